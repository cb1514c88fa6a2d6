"""The queue between a pool and its workers: each text waits in it until somebody answers it.

A text is *finished* exactly once, with a prediction or an error; until then it is either in the
queue or in the hands of one worker, which finishes it or puts it back. So nothing is lost when a
worker dies, and an answer that arrives twice is counted once.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from tfdistill.agents.execution.stats import Latencies

__all__ = ["CLOSED", "WorkItem", "WorkQueue"]

CLOSED = (
    "This AgentPool is closed. Create a new one, or keep it open with "
    "`with AgentPool(...) as pool:`."
)


class WorkItem:
    """One text on its way to an answer.

    Attributes:
        text: The text.
        future: Receives the answer.
        submitted_at: When it came, on the clock of `time.monotonic`.
        possible_poison: Whether a worker died while it held this text. It is then run by itself,
            with an acknowledgement, so that the next death is known to be of this text.
        failed_attempts: Deaths after a worker had acknowledged that it started this text.
        silences: Times that a worker went silent while it held this text alone.
        isolated_attempts: Those of the failed attempts, after the second, that ended their worker
            within 100 ms.
    """

    __slots__ = (
        "failed_attempts",
        "future",
        "isolated_attempts",
        "possible_poison",
        "running",
        "silences",
        "submitted_at",
        "text",
    )

    def __init__(self, text: str) -> None:
        self.text = text
        self.future: Future[Any] = Future()
        self.submitted_at = time.monotonic()
        self.running = False
        self.possible_poison = False
        self.silences = 0
        self.failed_attempts = 0
        self.isolated_attempts = 0


class WorkQueue:
    """Holds work items for several worker threads, in order.

    Args:
        workers: How many workers share the queue; a worker never takes more than its share.
    """

    def __init__(self, *, workers: int) -> None:
        self._workers = workers
        self._items: deque[WorkItem] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._stopped: BaseException | None = None  # why nothing more will be answered
        self.submitted = 0
        self.completed = 0
        self.failed = 0
        self.latencies = Latencies()

    def put(self, text: str) -> Future[Any]:
        """Adds a text and returns the future of its answer.

        Raises:
            RuntimeError: If the queue is closed, or no worker is left to answer.
        """
        item = WorkItem(text)
        with self._changed:
            if self._closed:
                raise RuntimeError(CLOSED)
            if self._stopped is not None:
                raise RuntimeError(str(self._stopped)) from self._stopped
            self._items.append(item)
            self.submitted += 1
            self._changed.notify()
        return item.future

    def take(self, limit: int, *, leaving: Callable[[], bool] = lambda: False) -> list[WorkItem]:
        """Waits for work and hands out some; an empty list means that there will be no more.

        Args:
            limit: The largest number of items. Fewer are given when other workers would be left
                with nothing, and a possible poison message is always given alone.
            leaving: Tells whether this worker should take no more; asked after each `resize`.
        """
        with self._changed:
            while True:
                if leaving():
                    self._changed.notify()  # the call that woke this worker was for another
                    return []
                batch = self._next_batch(limit)
                if batch:
                    return batch
                if self._closed and self.unfinished == 0:
                    # The last item was finished or cancelled: wake the others, to end as well.
                    self._changed.notify_all()
                    return []
                self._changed.wait()

    def resize(self, workers: int) -> None:
        """Changes how many workers share the queue, and wakes those that shall leave."""
        with self._changed:
            self._workers = max(1, workers)
            self._changed.notify_all()

    def put_back(self, items: list[WorkItem]) -> None:
        """Returns items that were taken and not answered to the front of the queue."""
        with self._changed:
            if self._stopped is not None:
                self._fail(items, self._stopped)
                return
            self._items.extendleft(reversed(items))
            self._changed.notify_all()

    def finish(self, item: WorkItem, answer: Any) -> None:
        """Settles an item: an exception becomes its error, anything else its result."""
        with self._changed:
            self._count(answer)
            self.latencies.add(item.submitted_at)
        # Outside the lock: a callback of the future may well submit the next text.
        if isinstance(answer, BaseException):
            item.future.set_exception(answer)
        else:
            item.future.set_result(answer)

    def give_up(self, items: list[WorkItem], error: BaseException) -> None:
        """Settles what a worker still held when it failed in an unforeseen way."""
        with self._changed:
            held = [item for item in items if not item.future.done() and item not in self._items]
            self._fail(held, error)

    def close(self, *, cancel: bool) -> None:
        """Ends the queue: what is in it is still answered, or with `cancel` is taken back.

        A text that a worker has begun is answered even then, but not tried a second time.
        """
        with self._changed:
            self._closed = True
            if cancel:
                for item in self._items:
                    if not item.running:
                        item.future.cancel()  # `_fail` counts it
                self._stop(RuntimeError("The AgentPool was closed before this text was answered."))
            self._changed.notify_all()

    def break_off(self, error: BaseException) -> None:
        """Fails everything that waits, because no worker is left."""
        with self._changed:
            self._stop(error)
            self._changed.notify_all()

    @property
    def closed(self) -> bool:
        """Whether `close` has been called."""
        return self._closed

    @property
    def waiting(self) -> int:
        """Items that no worker has taken yet."""
        return len(self._items)

    @property
    def unfinished(self) -> int:
        """Items that have been submitted and have no answer yet."""
        return self.submitted - self.completed

    def _next_batch(self, limit: int) -> list[WorkItem]:
        limit = min(limit, max(1, math.ceil(len(self._items) / self._workers)))
        batch: list[WorkItem] = []
        while self._items and len(batch) < limit:
            if self._items[0].possible_poison and batch:
                break
            item = self._items.popleft()
            if not item.running and not item.future.set_running_or_notify_cancel():
                self.completed += 1  # the caller cancelled it
                continue
            item.running = True
            batch.append(item)
            if item.possible_poison:
                break
        return batch

    def _stop(self, error: BaseException) -> None:
        self._stopped = error
        items = list(self._items)
        self._items.clear()
        self._fail(items, error)

    def _fail(self, items: list[WorkItem], error: BaseException) -> None:
        for item in items:
            if item.running or item.future.set_running_or_notify_cancel():
                item.future.set_exception(RuntimeError(str(error)))
                self._count(error)
            else:
                self._count(None)  # cancelled

    def _count(self, answer: Any) -> None:
        self.completed += 1
        self.failed += isinstance(answer, BaseException)
        if self._closed and self.unfinished == 0:
            self._changed.notify_all()
