"""Starting Ray quietly when it is needed, and leaving alone a session that is not ours.

Ray is imported and started only when a pool asks for it. A session that already runs in this
process, or a cluster named by `RAY_ADDRESS`, is used as it is. One that was started here ends when
the last pool that uses it is closed; a `RayAgent` keeps it for the rest of the program.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

__all__ = ["acquire", "release"]

_lock = threading.Lock()
_session: str | None = None  # the session that was started here
_users = 0  # how many share it

# Our messages are short texts; Ray's default is 30 % of the machine's memory.
_OBJECT_STORE_BYTES = 128 * 2**20


def acquire() -> str | None:
    """Makes sure that Ray runs, and takes a share of the session if it was started here.

    Returns:
        What to give to `release` later; None for a session that is not ours to end.

    Raises:
        ImportError: If Ray is not installed.
    """
    global _session, _users
    ray = import_ray()
    with _lock:
        if not ray.is_initialized():
            start(ray)
            _session, _users = _name(ray), 0
        elif _name(ray) != _session:
            return None
        _users += 1
        return _session


def release(session: str | None = None) -> None:
    """Gives a share back, and ends the session when nobody uses it any more.

    Args:
        session: What `acquire` returned; None means the session of now. A session that the
            caller has ended in the meantime is nothing to do.
    """
    global _session, _users
    ray = import_ray()
    with _lock:
        current = _name(ray) if ray.is_initialized() else None
        if current is None or current != _session or session not in (None, current):
            return
        _users -= 1
        if _users == 0:
            _session = None
            ray.shutdown()


def start(ray: Any) -> None:
    """Connects to `RAY_ADDRESS` or starts a local session: no dashboard, no log on the screen."""
    import os

    if os.environ.get("RAY_ADDRESS"):
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
        return
    ray.init(
        address="local",
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=_OBJECT_STORE_BYTES,
    )


def _name(ray: Any) -> str:
    """Names this process's connection: a cluster's name stays the same when one reconnects."""
    context = ray.get_runtime_context()
    return f"{context.get_session_name()}/{context.get_job_id()}"


def import_ray() -> Any:
    """Imports Ray, or says how to get it."""
    try:
        import ray
    except ImportError as error:
        raise ImportError(
            "RayAgent and AgentPool(executor='ray') need Ray. Install it with "
            "`pip install ray`, or use executor='threads'."
        ) from error
    return ray
