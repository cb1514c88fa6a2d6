"""Starting and ending the HTTP server of a bundle or a team."""

from __future__ import annotations

import os
import socket
import warnings
from types import TracebackType
from typing import Any

from tfdistill.agents.execution.servable import open_servable
from tfdistill.agents.on_ray import actors
from tfdistill.agents.on_ray.worker_process import last_line
from tfdistill.arguments.numeric import check_int
from tfdistill.cluster import session

__all__ = ["Server"]

_NAME = "tfdistill"


class Server:
    """Serves a folder over HTTP with Ray Serve, until it is closed.

    A Ray session that runs already is used and left running, with the server taken out of it.

    Args:
        path: A bundle, or a team's folder.
        port: The TCP port, in [1, 65535].
        host: The address to listen on. "0.0.0.0" takes requests from other machines: put
            something that knows its users in front of it.
        num_replicas: Processes that answer.
        max_batch_size: Most texts that a replica takes together.
        batch_wait_s: How long the first text of a batch waits for others, in seconds.
        max_request_bytes: Largest body of a request; a larger one is refused with status 413.
        most_texts: Most texts of one request.
        timeout_s: Longest time for one request, in seconds; then it has status 504.

    Attributes:
        url: Where it answers.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it is damaged, or an argument is out of range.
        OSError: If the port is in use or not ours to take.
        ImportError: If the extra `serve` is not installed.
        RuntimeError: If Ray Serve runs already on another port.

    Example:
        >>> with Server("bundle/", port=8000) as server:  # doctest: +SKIP
        ...     server.url
        'http://127.0.0.1:8000'
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        port: int = 8000,
        host: str = "127.0.0.1",
        num_replicas: int = 1,
        max_batch_size: int = 16,
        batch_wait_s: float = 0.002,
        max_request_bytes: int = 2**20,
        most_texts: int = 256,
        timeout_s: float = 30.0,
    ) -> None:
        for name, count in (
            ("port", port),
            ("num_replicas", num_replicas),
            ("max_batch_size", max_batch_size),
            ("max_request_bytes", max_request_bytes),
            ("most_texts", most_texts),
        ):
            check_int(count, argument=name, at_least=1)
        folder = open_servable(path).path  # a bad folder is an error here, not in a worker's log
        check_port(host, port)
        serve = import_serve()
        self.url = f"http://{host}:{port}"
        self._serve = serve
        # Ray gives its proxy 5 s to start, which a busy machine does not keep.
        os.environ.setdefault("RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S", "300")
        self._session = session.acquire()
        ray = session.import_ray()
        try:
            from tfdistill.serving.deployment import make_application

            application = make_application(
                actors.ship(ray, folder),
                package_root=actors.PACKAGE_ROOT,
                num_replicas=num_replicas,
                max_batch_size=max_batch_size,
                batch_wait_s=batch_wait_s,
                max_request_bytes=max_request_bytes,
                most_texts=most_texts,
                timeout_s=timeout_s,
            )
            _start_proxy(serve, host=host, port=port)
            serve.run(application, name=_NAME, route_prefix="/")
        except ray.exceptions.RayError as error:
            self.close()
            raise RuntimeError(
                f"Ray Serve did not start ({last_line(error)}). Try again, or look at Ray's logs."
            ) from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Ends the server, and the Ray session if it was started here; once is enough."""
        if self._serve is None:
            return
        serve, self._serve = self._serve, None
        try:
            if session.import_ray().is_initialized():
                serve.shutdown()
        finally:
            if self._session is not None:
                session.release(self._session)

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def import_serve() -> Any:
    """Imports Ray Serve, or says how to get it."""
    try:
        with warnings.catch_warnings():
            # Ray Serve 2.60 declares its settings in a way that pydantic 2 warns about.
            warnings.simplefilter("ignore", DeprecationWarning)
            from ray import serve
    except ImportError as error:
        raise ImportError(
            "Serving needs Ray Serve. Install it with `pip install 'tfdistill[serve]'`."
        ) from error
    return serve


def _start_proxy(serve: Any, *, host: str, port: int) -> None:
    """Starts Serve; it waits for 60 s, and goes on starting after it has complained."""
    for attempt in range(4):
        try:
            serve.start(http_options={"host": host, "port": port})
            return
        except TimeoutError as error:
            if attempt == 3:
                raise RuntimeError(
                    f"Ray Serve did not start within 4 minutes ({error}). The machine may be too "
                    "busy; try again."
                ) from error


def check_port(host: str, port: int) -> None:
    """Refuses a port that cannot be had, before anything is started.

    Raises:
        ValueError: If `port` is no port.
        OSError: If it is in use, or needs rights that this process does not have.
    """
    if port > 65535:
        raise ValueError(f"`port` must be in [1, 65535]. Received: port={port}.")
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        raise OSError(
            error.errno,
            f"`port` must be free on {host}. Received: port={port}, which cannot be taken "
            f"({error.strerror}). End what uses it, or choose another with --port.",
        ) from error
