"""What runs inside Ray's worker processes: agents, and nothing that imports TensorFlow.

Both classes are made inside functions, because Ray then sends them to the worker as they are and
not by name. So they run before the worker can import `tfdistill`, and make it importable
themselves: it may be a checkout that only the main program knows. (A `runtime_env` would do the
same and cost a second for each worker.)
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tfdistill
from tfdistill.agents.execution.servable import open_servable
from tfdistill.cluster import session, shipping

__all__ = ["PACKAGE_ROOT", "RayAgent", "WORKER_OPTIONS", "make_pool_worker", "ship"]

# The folder that holds the package `tfdistill`: site-packages, or a checkout.
PACKAGE_ROOT = str(Path(tfdistill.__file__).resolve().parents[1])

# Contract with Ray: a worker comes back after each death, and is never run twice behind our back.
# They are spread over the machines, where Ray would fill one after the other.
WORKER_OPTIONS = {"max_restarts": -1, "max_task_retries": 0, "scheduling_strategy": "SPREAD"}


def ship(ray: Any, path: Path) -> dict[str, Any]:
    """Puts a folder into Ray's object store and returns what a worker needs to have it.

    Args:
        ray: The module.
        path: The folder, absolute.

    Returns:
        Its path, its fingerprint, and a reference to the packed bytes inside a list, where Ray
        leaves it alone until somebody asks for it.
    """
    return {
        "path": str(path),
        "digest": shipping.fingerprint(path),
        "packed": [ray.put(shipping.pack(path))],
    }


class RayAgent:
    """Makes an `Agent` in a Ray worker process.

    `RayAgent.remote(bundle)` returns a Ray actor at once; its `predict.remote(texts)` returns an
    object reference, and `ray.get` the list of `Prediction`, equal to what `Agent.predict` returns
    here. A path is sent, never a model: an interpreter cannot be pickled. The actor holds no CPU
    while it waits (Ray's default for actors), so that several agents fit on few cores;
    `RayAgent.options(num_cpus=1).remote(bundle)` asks for something else. If no Ray session runs,
    one is started quietly; it ends with the program or with `ray.shutdown()`.

    Example:
        >>> import ray
        >>> from tfdistill.agents import RayAgent
        >>> agents = [RayAgent.remote(path) for path in ("topic/", "tone/")]  # doctest: +SKIP
        >>> ray.get([agent.predict.remote(["oil rose"]) for agent in agents])  # doctest: +SKIP
    """

    @staticmethod
    def remote(bundle: str | os.PathLike[str], *, threads: int = 1) -> Any:
        """Starts the worker process.

        Args:
            bundle: A bundle folder (or a team's). Machines that do not have it at this path get
                a copy through Ray's object store.
            threads: Threads for one call of the model.

        Returns:
            The handle of a Ray actor with the method `predict(texts, return_exceptions=False)`.

        Raises:
            FileNotFoundError: If there is no such folder.
            ValueError: If it is not a sound bundle.
        """
        return _start(bundle, threads=threads, options={})

    @staticmethod
    def options(**options: Any) -> RayAgentOptions:
        """Sets Ray's options of the actor, such as `num_cpus`, `name` or `max_restarts`.

        Args:
            **options: Keyword arguments of `ActorClass.options` in Ray.

        Returns:
            An object with the same `remote` method.
        """
        return RayAgentOptions(options)


class RayAgentOptions:
    """Is `RayAgent` with options of Ray; made by `RayAgent.options`.

    Args:
        options: Keyword arguments of `ActorClass.options` in Ray.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = dict(options)

    def remote(self, bundle: str | os.PathLike[str], *, threads: int = 1) -> Any:
        """Starts the worker process, as `RayAgent.remote` does."""
        return _start(bundle, threads=threads, options=self._options)


def _start(bundle: str | os.PathLike[str], *, threads: int, options: dict[str, Any]) -> Any:
    path = open_servable(bundle).path  # a bad bundle is an error here, not in a worker's log
    # A share that is never given back: closing a pool must not end agents that still work.
    session.acquire()
    folder = ship(session.import_ray(), path)
    return _ray_agent().options(**options).remote(PACKAGE_ROOT, folder, threads)


@functools.cache
def _ray_agent() -> Any:
    ray = session.import_ray()

    class RayAgent:
        def __init__(self, package_root: str, folder: dict[str, Any], threads: int) -> None:
            import os
            import sys

            import ray

            if package_root not in sys.path and os.path.isdir(package_root):
                sys.path.insert(0, package_root)
            from tfdistill.agents.execution import servable
            from tfdistill.cluster import shipping

            path = shipping.local_folder(
                folder["path"],
                digest=folder["digest"],
                packed=lambda: ray.get(folder["packed"][0]),
            )
            self._servable = servable.open_servable(path, threads=threads)
            self._predict_each = servable.predict_each

        def predict(self, texts: Any, return_exceptions: bool = False) -> list[Any]:
            return self._predict_each(self._servable, texts, return_exceptions=return_exceptions)

    return ray.remote(RayAgent)


def make_pool_worker() -> type:
    """Returns the class of a pool's workers, before Ray wraps it.

    Its calls name the *incarnation* that they are meant for, the life of the process between two
    deaths. A restarted worker refuses what was sent to the one before, which the pool has already
    taken back; so no text is run twice without the pool knowing.
    """
    ray = session.import_ray()

    class PoolWorker:
        def __init__(self, package_root: str, folder: dict[str, Any], threads: int) -> None:
            import os
            import sys
            import uuid

            import ray

            if package_root not in sys.path and os.path.isdir(package_root):
                sys.path.insert(0, package_root)
            from tfdistill.agents.execution import servable
            from tfdistill.cluster import shipping

            # A worker that Ray restarts must not depend on an object in its store. So where the
            # path will not do, the pool sends the packed folder afterwards, with `open`.
            path = shipping.same_folder(folder["path"], digest=folder["digest"])
            self._digest, self._threads = folder["digest"], threads
            self._servable: Any = (
                None
                if path is None
                else servable.open_servable(path, threads=threads, shared_weights=True)
            )
            self._answer_of = servable.answer_of
            self._node = ray.get_runtime_context().get_node_id()
            self._incarnation = uuid.uuid4().hex
            self._began: tuple[int, float] | None = None  # which text, and since when

        # In a group of its own, so that it answers while `run` is busy.
        @ray.method(concurrency_group="health")
        def pulse(self) -> dict[str, Any]:
            """Returns who this is, on which text it is, and for how many seconds."""
            import os
            import time

            now = time.monotonic()
            index, since = self._began or (0, now)
            return {
                "incarnation": self._incarnation,
                "pid": os.getpid(),
                "is_open": self._servable is not None,
                "node": self._node,
                "index": index,
                "busy_s": now - since,
            }

        def open(self, packed: bytes) -> None:
            """Takes the packed folder, unpacked once on each machine, and opens it."""
            from tfdistill.agents.execution import servable
            from tfdistill.cluster import shipping

            path = shipping.unpack(packed, digest=self._digest)
            self._servable = servable.open_servable(
                path, threads=self._threads, shared_weights=True
            )

        @ray.method(concurrency_group="health")
        def memory(self) -> dict[str, int | None]:
            """Returns what `memory_of` says of this process."""
            import os

            from tfdistill.agents.execution.stats import memory_of

            return memory_of(os.getpid())

        def run(self, incarnation: str, texts: list[str]) -> list[Any] | None:
            """Answers texts; None if they were meant for an earlier incarnation."""
            import time

            if incarnation != self._incarnation:
                return None
            answers = []
            try:
                for index, text in enumerate(texts):
                    self._began = index, time.monotonic()
                    answers.append(self.answer(text))
            finally:
                self._began = None
            return answers

        def run_alone(self, incarnation: str, text: str, quick_s: float) -> Iterator[Any]:
            """Answers one text and says how far it got: "started", "slow" after `quick_s`.

            The pool asks for one message at a time, so the text is touched only when the pool
            holds the "started".
            """
            import threading
            import time

            if incarnation != self._incarnation:
                yield "stale", None
                return
            yield "started", None
            answers: list[Any] = []

            def work() -> None:
                try:
                    answers.append(self.answer(text))
                except BaseException as error:  # would end the thread without an answer
                    answers.append(RuntimeError(f"The worker failed on this text: {error!r}"))

            self._began = 0, time.monotonic()
            thread = threading.Thread(target=work)
            thread.start()
            thread.join(quick_s)
            if thread.is_alive():
                yield "slow", None
                thread.join()
            self._began = None
            yield "answer", answers[0]

        def answer(self, text: str) -> Any:
            """Answers one text."""
            return self._answer_of(self._servable, text)

    return PoolWorker
