"""How a pool runs its agents: in the caller, or on lanes, one thread each.

A *lane* is a place where texts are answered one batch at a time: an agent of this process
(`thread_lane.ThreadLane`), or a worker process of Ray (`ray_executor.RayLane`). The thread of a
lane takes a batch from the shared queue and waits for its answers; it spends that time outside
Python, so threads are enough to keep all cores busy.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Protocol

from tfdistill.agents.execution.servable import Unit, answer_of
from tfdistill.agents.execution.stats import memory_of
from tfdistill.agents.execution.work_queue import CLOSED, WorkItem, WorkQueue

__all__ = [
    "InlineExecutor",
    "Lane",
    "LaneExecutor",
    "LaneLostError",
    "mark_as_lane",
    "on_lane",
    "this_process",
]

_this_thread = threading.local()


def on_lane() -> bool:
    """Tells whether the caller is a lane's thread, such as a callback of a future.

    It must not wait for room in its own pool: it is the one that makes room.
    """
    return getattr(_this_thread, "is_lane", False)


def mark_as_lane() -> None:
    """Makes the caller's thread count as a lane's."""
    _this_thread.is_lane = True


def this_process() -> dict[str, Any]:
    """Describes this process as a worker."""
    return {"pid": os.getpid(), "state": "ready", "restarts": 0, **memory_of(os.getpid())}


class LaneLostError(RuntimeError):
    """Says that a lane has ended for good; its items have been put back."""


class Lane(Protocol):
    """A place where texts are answered."""

    def serve(self, items: list[WorkItem], queue: WorkQueue) -> None:
        """Finishes each item or puts it back.

        Raises:
            LaneLostError: If the lane cannot go on. No item is left in its hands.
        """

    def describe(self) -> dict[str, Any]:
        """Returns `pid`, `state`, `restarts`, `private_bytes` and `shared_bytes`."""

    def close(self) -> None:
        """Ends the worker behind the lane."""


class InlineExecutor:
    """Answers each text in the thread that submits it.

    Args:
        unit: What answers; one caller at a time uses it.
    """

    def __init__(self, unit: Unit) -> None:
        self._unit = unit
        self._lock = threading.Lock()
        self.queue = WorkQueue(workers=1)

    def submit(self, text: str) -> Future[Any]:
        """Returns a future that is already done."""
        with self._lock:
            future = self.queue.put(text)
            (item,) = self.queue.take(1)
            try:
                answer = answer_of(self._unit, item.text)
            except BaseException as error:  # Ctrl-C: the text must not be under way for ever
                self.queue.finish(item, error)
                raise
        self.queue.finish(item, answer)
        return future

    def describe(self) -> list[dict[str, Any]]:
        """Returns this process as the only worker."""
        return [this_process()]

    def scale(self, num_agents: int) -> None:
        """Refuses any number but one."""
        if num_agents != 1:
            raise RuntimeError(
                "`num_agents` must be 1 for executor='inline', which answers in the thread that "
                f"asks. Received: num_agents={num_agents!r}. Create the pool with "
                "executor='threads' or 'ray'."
            )

    def close(self, *, cancel: bool, patience_s: float | None = None) -> None:
        """Refuses further texts; none is ever waiting."""
        self.queue.close(cancel=cancel)


class _Seat:
    """One lane with its thread, and whether it has been asked to leave."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.thread: threading.Thread | None = None
        self.leaving = False
        self.lost = False


class LaneExecutor:
    """Answers texts on several lanes, each with a thread of its own.

    Args:
        lanes: The lanes, ready to serve.
        chunk_size: The largest batch that a lane takes at once.
        name: What the threads are called.
        more_lanes: Opens a number of further lanes, for `scale`.
    """

    def __init__(
        self,
        lanes: Sequence[Lane],
        *,
        chunk_size: int,
        name: str,
        more_lanes: Callable[[int], Sequence[Lane]] | None = None,
    ) -> None:
        self._chunk_size = chunk_size
        self._name = name
        self._more_lanes = more_lanes
        self._started = 0
        self._lock = threading.Lock()
        self._scaling = threading.Lock()
        self._seats: list[_Seat] = []
        self.queue = WorkQueue(workers=len(lanes))
        self._seat(lanes)

    def submit(self, text: str) -> Future[Any]:
        """Queues a text and returns its future."""
        return self.queue.put(text)

    def describe(self) -> list[dict[str, Any]]:
        """Describes each worker."""
        return [seat.lane.describe() for seat in list(self._seats)]

    def scale(self, num_agents: int) -> None:
        """Opens further lanes, or lets some leave once they have finished their batch.

        Args:
            num_agents: How many lanes there shall be, lost ones not counted.

        Raises:
            RuntimeError: If the executor is closed, or new lanes cannot be opened.
        """
        with self._scaling:
            if self.queue.closed:
                raise RuntimeError(CLOSED)
            with self._lock:
                present = [seat for seat in self._seats if not seat.lost]
            if num_agents > len(present):
                if self._more_lanes is None:
                    raise RuntimeError("This pool cannot grow. Create a larger one.")
                self._seat(self._more_lanes(num_agents - len(present)))
                self.queue.resize(num_agents)
                return
            leaving = present[num_agents:]
            for seat in leaving:
                seat.leaving = True
            self.queue.resize(num_agents)
            for seat in leaving:
                if seat.thread is not threading.current_thread() and seat.thread is not None:
                    seat.thread.join()
                seat.lane.close()
            with self._lock:
                self._seats = [seat for seat in self._seats if seat not in leaving]

    def close(self, *, cancel: bool, patience_s: float | None = None) -> None:
        """Waits for the answers that are under way, then ends the workers.

        Args:
            cancel: Whether texts that no lane has taken yet are cancelled.
            patience_s: Longest wait for a lane, in seconds; None waits as long as it takes.
        """
        self.queue.close(cancel=cancel)
        seats = list(self._seats)
        for seat in seats:
            # A callback may close the pool, from a lane's own thread.
            if seat.thread is not threading.current_thread() and seat.thread is not None:
                seat.thread.join(patience_s)
        for seat in seats:
            seat.lane.close()

    def _seat(self, lanes: Sequence[Lane]) -> None:
        seats = [_Seat(lane) for lane in lanes]
        with self._lock:
            self._seats += seats
        for seat in seats:
            # Daemons: a pool that nobody closed must not keep the interpreter from ending.
            seat.thread = threading.Thread(
                target=self._run, args=(seat,), name=f"{self._name}-{self._started}", daemon=True
            )
            self._started += 1
            seat.thread.start()

    def _run(self, seat: _Seat) -> None:
        mark_as_lane()
        while batch := self.queue.take(self._chunk_size, leaving=lambda: seat.leaving):
            try:
                seat.lane.serve(batch, self.queue)
            except LaneLostError as error:
                self._lose(seat, error)
                return
            except BaseException as error:  # unforeseen: its texts must fail, not wait for ever
                self.queue.give_up(batch, error)
                self._lose(seat, error)
                return

    def _lose(self, seat: _Seat, error: BaseException) -> None:
        with self._lock:
            seat.lost = True
            last = all(each.lost for each in self._seats)
        if last:
            self.queue.break_off(error)
