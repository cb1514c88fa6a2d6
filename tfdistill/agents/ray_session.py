"""Starting Ray quietly when it is needed, and leaving alone a session that is not ours.

Ray is imported and started only when a pool asks for it. A session that already runs in this
process, or a cluster named by `RAY_ADDRESS`, is used as it is. One that was started here ends when
the last pool that uses it is closed.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

__all__ = ["acquire", "release"]

_lock = threading.Lock()
_users = 0  # pools that use a session started here

# Our messages are short texts; Ray's default is 30 % of the machine's memory.
_OBJECT_STORE_BYTES = 128 * 2**20


def acquire() -> bool:
    """Makes sure that Ray runs; returns whether `release` must be called later.

    Raises:
        ImportError: If Ray is not installed.
    """
    global _users
    ray = import_ray()
    with _lock:
        if not ray.is_initialized():
            start(ray)
            _users = 0
        elif _users == 0:
            return False
        _users += 1
        return True


def release() -> None:
    """Ends the session that was started here when nobody uses it any more."""
    global _users
    ray = import_ray()
    with _lock:
        _users -= 1
        if _users == 0 and ray.is_initialized():
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
