"""Counts the texts of an executor that does not do so itself, by the futures that it returns."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from typing import Any

from tfdistill.agents.execution.stats import Latencies
from tfdistill.agents.execution.worker_executor import as_worker_thread

__all__ = ["FutureCounter"]


class FutureCounter:
    """Counts texts from submission to answer; an implementation of `Counts`.

    Attributes:
        submitted: Texts that were submitted.
        completed: Texts that have an answer or an error, or were cancelled.
        failed: Texts that have an error.
        latencies: Of those that are completed.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: set[Future[Any]] = set()
        self.submitted = self.completed = self.failed = 0
        self.latencies = Latencies()

    def follow(self, inner: Future[Any]) -> Future[Any]:
        """Counts a text.

        Args:
            inner: The executor's future.

        Returns:
            A future that is settled as `inner` is, once that has been counted. Its callbacks run
            as those of a worker's thread, which must not wait for room in the pool.
        """
        outer = _Follower(inner)
        submitted_at = time.monotonic()
        with self._lock:
            self.submitted += 1
            self._under_way.add(inner)

        def settle(_: Future[Any]) -> None:
            failed = not inner.cancelled() and inner.exception() is not None
            with self._lock:
                self._under_way.remove(inner)
                self.completed += 1
                self.failed += failed
                self.latencies.add(submitted_at)
            with as_worker_thread():
                outer.settle()

        inner.add_done_callback(settle)
        return outer

    @property
    def unfinished(self) -> int:
        """Texts that were submitted and are not completed."""
        return self.submitted - self.completed

    @property
    def waiting(self) -> int:
        """Texts that no agent has begun, as far as their futures say."""
        with self._lock:
            return sum(not (each.running() or each.done()) for each in self._under_way)


class _Follower(Future):
    """A future that is cancelled by way of another, and settled as that one is."""

    def __init__(self, inner: Future[Any]) -> None:
        super().__init__()
        self._inner = inner

    def cancel(self) -> bool:
        """Cancels the other one, whose callback settles this one."""
        return self._inner.cancel()

    def running(self) -> bool:
        """Returns whether the other one is under way."""
        return self._inner.running()

    def settle(self) -> None:
        """Takes over what the other one has."""
        if self._inner.cancelled():
            super().cancel()
            self.set_running_or_notify_cancel()
        elif (error := self._inner.exception()) is not None:
            self.set_exception(error)
        else:
            self.set_result(self._inner.result())
