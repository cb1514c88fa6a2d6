"""How a pool runs its agents: in the caller, or on lanes, one thread each.

A *lane* is a place where texts are answered one batch at a time: an agent of this process
(`ThreadLane`), or a worker process of Ray (`ray_executor.RayLane`). The thread of a lane takes a
batch from the shared queue and waits for its answers; it spends that time outside Python, so
threads are enough to keep all cores busy.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any, Protocol

from tfdistill.agents.agent import Agent
from tfdistill.agents.work import WorkItem, WorkQueue

__all__ = ["InlineExecutor", "Lane", "LaneExecutor", "LaneLostError", "ThreadLane", "on_lane"]


_this_thread = threading.local()


def on_lane() -> bool:
    """Tells whether the caller is a lane's thread, such as a callback of a future.

    It must not wait for room in its own pool: it is the one that makes room.
    """
    return getattr(_this_thread, "is_lane", False)


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
        """Returns `pid`, `state` and `restarts`."""

    def close(self) -> None:
        """Ends the worker behind the lane."""


class InlineExecutor:
    """Answers each text in the thread that submits it.

    Args:
        agent: The agent; one caller at a time uses it.
    """

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._lock = threading.Lock()
        self.queue = WorkQueue(workers=1)

    def submit(self, text: str) -> Future[Any]:
        """Returns a future that is already done."""
        with self._lock:
            future = self.queue.put(text)
            (item,) = self.queue.take(1)
            answer = self._agent.answer(item.text)
        self.queue.finish(item, answer)
        return future

    def describe(self) -> list[dict[str, Any]]:
        """Returns this process as the only worker."""
        return [{"pid": os.getpid(), "state": "ready", "restarts": 0}]

    def close(self, *, cancel: bool, patience_s: float | None = None) -> None:
        """Refuses further texts; none is ever waiting."""
        self.queue.close(cancel=cancel)


class LaneExecutor:
    """Answers texts on several lanes, each with a thread of its own.

    Args:
        lanes: The lanes, ready to serve.
        chunk_size: The largest batch that a lane takes at once.
        name: What the threads are called.
    """

    def __init__(self, lanes: Sequence[Lane], *, chunk_size: int, name: str) -> None:
        self._lanes = list(lanes)
        self._chunk_size = chunk_size
        self._alive = len(self._lanes)
        self._lock = threading.Lock()
        self.queue = WorkQueue(workers=len(self._lanes))
        # Daemons: a pool that nobody closed must not keep the interpreter from ending.
        self._threads = [
            threading.Thread(target=self._run, args=(lane,), name=f"{name}-{index}", daemon=True)
            for index, lane in enumerate(self._lanes)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, text: str) -> Future[Any]:
        """Queues a text and returns its future."""
        return self.queue.put(text)

    def describe(self) -> list[dict[str, Any]]:
        """Describes each worker."""
        return [lane.describe() for lane in self._lanes]

    def close(self, *, cancel: bool, patience_s: float | None = None) -> None:
        """Waits for the answers that are under way, then ends the workers.

        Args:
            cancel: Whether texts that no lane has taken yet are cancelled.
            patience_s: Longest wait for a lane, in seconds; None waits as long as it takes.
        """
        self.queue.close(cancel=cancel)
        for thread in self._threads:
            # A callback may close the pool, from a lane's own thread.
            if thread is not threading.current_thread():
                thread.join(patience_s)
        for lane in self._lanes:
            lane.close()

    def _run(self, lane: Lane) -> None:
        _this_thread.is_lane = True
        while batch := self.queue.take(self._chunk_size):
            try:
                lane.serve(batch, self.queue)
            except LaneLostError as error:
                self._lose_lane(error)
                return
            except BaseException as error:  # unforeseen: its texts must fail, not wait for ever
                self.queue.give_up(batch, error)
                self._lose_lane(error)
                return

    def _lose_lane(self, error: BaseException) -> None:
        with self._lock:
            self._alive -= 1
            last = self._alive == 0
        if last:
            self.queue.break_off(error)


class ThreadLane:
    """A lane that answers with an agent of its own, in this process.

    LiteRT lets go of Python's lock while it computes, so several of these use several cores. The
    weights are mapped from the file and shared.

    Args:
        agent: An agent that no other lane uses.
    """

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def serve(self, items: list[WorkItem], queue: WorkQueue) -> None:
        """Answers the items one by one."""
        for item in items:
            queue.finish(item, self._agent.answer(item.text))

    def describe(self) -> dict[str, Any]:
        """Returns this process."""
        return {"pid": os.getpid(), "state": "ready", "restarts": 0}

    def close(self) -> None:
        """Does nothing: the agent goes with the lane."""
