"""Executors whose agents are workers that share one queue.

A *worker* is a place where texts are answered one batch at a time: an agent of this process
(`thread_worker.ThreadWorker`), or a process of Ray (`on_ray.worker.RayWorker`). Each worker has a
thread here that takes a batch from the shared queue and waits for its answers; it spends that time
outside Python, so threads are enough to keep all cores busy.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Protocol

from tfdistill.agents.execution.executor import Executor
from tfdistill.agents.execution.work_queue import CLOSED, WorkItem, WorkQueue

__all__ = [
    "Worker",
    "WorkerExecutor",
    "WorkerLostError",
    "as_worker_thread",
    "on_worker_thread",
    "pool_label",
]

_this_thread = threading.local()
_numbers = itertools.count()


def pool_label() -> str:
    """Returns a name for the workers of a pool that no other pool of this machine has."""
    return f"tfdistill-pool-{os.getpid()}-{next(_numbers)}"


def on_worker_thread() -> bool:
    """Tells whether the caller is a worker's thread, such as a callback of a future.

    It must not wait for room in its own pool: it is the one that makes room.
    """
    return getattr(_this_thread, "is_worker", False)


@contextmanager
def as_worker_thread() -> Iterator[None]:
    """Makes the caller's thread count as a worker's meanwhile."""
    before = on_worker_thread()
    _this_thread.is_worker = True
    try:
        yield
    finally:
        _this_thread.is_worker = before


class WorkerLostError(RuntimeError):
    """Says that a worker has ended for good; its items have been put back."""


class Worker(Protocol):
    """A place where texts are answered."""

    def serve(self, items: list[WorkItem], queue: WorkQueue) -> None:
        """Finishes each item or puts it back.

        Raises:
            WorkerLostError: If the worker cannot go on. No item is left in its hands.
        """

    def describe(self) -> dict[str, Any]:
        """Returns `pid`, `state`, `restarts`, `private_bytes` and `shared_bytes`."""

    def close(self) -> None:
        """Ends the worker behind the worker."""


class _Slot:
    """One worker with its thread, and whether it has been asked to leave."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.thread: threading.Thread | None = None
        self.leaving = False
        self.lost = False


class WorkerExecutor(Executor):
    """Answers texts with several workers, each with a thread of its own.

    What derives from it opens its workers in `start` and gives them to `run_workers`.
    """

    def __init__(self) -> None:
        self._label = self.name
        self._more_workers: Callable[[int], Sequence[Worker]] | None = None
        self._started = 0
        self._lock = threading.Lock()
        self._scaling = threading.Lock()
        self._slots: list[_Slot] = []
        self.queue = WorkQueue(workers=1)
        self.counts = self.queue

    def run_workers(
        self,
        workers: Sequence[Worker],
        *,
        chunk_size: int,
        label: str,
        more_workers: Callable[[int], Sequence[Worker]] | None = None,
    ) -> None:
        """Starts the threads of workers.

        Args:
            workers: The workers, ready to serve.
            chunk_size: The largest batch that a worker takes at once.
            label: What the threads are called.
            more_workers: Opens a number of further workers, for `scale`.
        """
        self.chunk_size, self._label, self._more_workers = chunk_size, label, more_workers
        self.queue.resize(len(workers))
        self._fill(workers)

    def submit(self, text: str) -> Future[Any]:
        """Queues a text and returns its future."""
        return self.queue.put(text)

    def describe(self) -> list[dict[str, Any]]:
        """Describes each worker."""
        return [slot.worker.describe() for slot in list(self._slots)]

    def scale(self, num_agents: int) -> None:
        """Opens further workers, or lets some leave once they have finished their batch.

        Args:
            num_agents: How many workers there shall be, lost ones not counted.

        Raises:
            RuntimeError: If the executor is closed, or new workers cannot be opened.
        """
        with self._scaling:
            if self.queue.closed:
                raise RuntimeError(CLOSED)
            with self._lock:
                present = [slot for slot in self._slots if not slot.lost]
            if num_agents > len(present):
                if self._more_workers is None:
                    raise RuntimeError("This pool cannot grow. Create a larger one.")
                self._fill(self._more_workers(num_agents - len(present)))
                self.queue.resize(num_agents)
                return
            leaving = present[num_agents:]
            for slot in leaving:
                slot.leaving = True
            self.queue.resize(num_agents)
            for slot in leaving:
                if slot.thread is not threading.current_thread() and slot.thread is not None:
                    slot.thread.join()
                slot.worker.close()
            with self._lock:
                self._slots = [slot for slot in self._slots if slot not in leaving]

    def close(self, *, cancel: bool, patience_s: float | None = None) -> None:
        """Waits for the answers that are under way, then ends the workers.

        Args:
            cancel: Whether texts that no worker has taken yet are cancelled.
            patience_s: Longest wait for a worker, in seconds; None waits as long as it takes.
        """
        self.queue.close(cancel=cancel)
        slots = list(self._slots)
        for slot in slots:
            # A callback may close the pool, from a worker's own thread.
            if slot.thread is not threading.current_thread() and slot.thread is not None:
                slot.thread.join(patience_s)
        for slot in slots:
            slot.worker.close()

    def _fill(self, workers: Sequence[Worker]) -> None:
        slots = [_Slot(worker) for worker in workers]
        with self._lock:
            self._slots += slots
        for slot in slots:
            # Daemons: a pool that nobody closed must not keep the interpreter from ending.
            slot.thread = threading.Thread(
                target=self._run, args=(slot,), name=f"{self._label}-{self._started}", daemon=True
            )
            self._started += 1
            slot.thread.start()

    def _run(self, slot: _Slot) -> None:
        with as_worker_thread():
            while batch := self.queue.take(self.chunk_size, leaving=lambda: slot.leaving):
                try:
                    slot.worker.serve(batch, self.queue)
                except WorkerLostError as error:
                    self._lose(slot, error)
                    return
                except BaseException as error:  # unforeseen: its texts must fail, not wait for ever
                    self.queue.give_up(batch, error)
                    self._lose(slot, error)
                    return

    def _lose(self, slot: _Slot, error: BaseException) -> None:
        with self._lock:
            slot.lost = True
            last = all(each.lost for each in self._slots)
        if last:
            self.queue.break_off(error)
