"""A worker whose agent lives in this process, and what happens to a text that takes too long.

LiteRT lets go of Python's lock while it computes, so several of these use several cores. The
weights are mapped from the file and shared. A thread cannot be ended from outside: one that hangs
is left behind, its text fails, and an agent opened anew takes over.
"""

from __future__ import annotations

import contextlib
import queue as queues
import threading
import time
from collections.abc import Callable
from typing import Any

from tfdistill.agents.execution.executor import Job
from tfdistill.agents.execution.quarantine import timeout_of
from tfdistill.agents.execution.servable import Servable, answer_of
from tfdistill.agents.execution.stats import this_process
from tfdistill.agents.execution.work_queue import WorkItem, WorkQueue
from tfdistill.agents.execution.worker_executor import (
    WorkerExecutor,
    WorkerLostError,
    as_worker_thread,
    pool_label,
)

__all__ = ["ThreadExecutor", "ThreadWorker"]

_MOST_LEFT_BEHIND = 8
_HANDOVER_S = 1e-4  # handing over to a thread is a lock and two signals
_LARGEST_CHUNK = 32


class ThreadExecutor(WorkerExecutor):
    """The executor "threads": several agents in this process, each on a thread of its own."""

    name = "threads"

    def start(self, job: Job) -> None:
        """Opens the agents and starts their threads."""

        def open_workers(count: int) -> list[ThreadWorker]:
            return [
                ThreadWorker(each, timeout_s=job.timeout_s, reopen=lambda: job.open_agents(1)[0])
                for each in job.open_agents(count)
            ]

        self.run_workers(
            open_workers(job.num_agents),
            chunk_size=job.chunk_for(handover_s=_HANDOVER_S, most=_LARGEST_CHUNK),
            label=pool_label(),
            more_workers=open_workers,
        )


class ThreadWorker:
    """Answers with a servable of its own.

    Args:
        servable: What answers, and no other worker uses it.
        timeout_s: The longest that one text may take, in seconds; None is for ever.
        reopen: Opens another servable like it, after one had to be left behind. Needed with
            `timeout_s`.
    """

    def __init__(
        self,
        servable: Servable,
        *,
        timeout_s: float | None = None,
        reopen: Callable[[], Servable] | None = None,
    ) -> None:
        self._servable = servable
        self._timeout_s = timeout_s
        self._reopen = reopen
        self._replaced = 0
        self._left_behind: list[_Helper] = []
        self._lost = False
        self._helper = _Helper(servable) if timeout_s is not None else None

    def serve(self, items: list[WorkItem], queue: WorkQueue) -> None:
        """Answers the items one by one."""
        if self._helper is None or self._timeout_s is None:
            for item in items:
                queue.finish(item, answer_of(self._servable, item.text))
            return
        hanging = self._helper.start(items, queue).wait(self._timeout_s)
        if hanging is not None:
            # The rest first: what follows may fail, and then no item may be in our hands.
            queue.put_back(items[hanging + 1 :])
            queue.finish(items[hanging], timeout_of(items[hanging], self._timeout_s))
            self._replace(self._helper)

    def describe(self) -> dict[str, Any]:
        """Returns this process; a restart is an agent that was left behind hanging."""
        state = "lost" if self._lost else "ready"
        return {**this_process(), "state": state, "restarts": self._replaced}

    def close(self) -> None:
        """Lets the helping thread end; the agent goes with the worker."""
        if self._helper is not None:
            self._helper.stop()

    def _replace(self, helper: _Helper) -> None:
        self._replaced += 1
        # One that was slow, and not stuck, has ended in the meantime.
        self._left_behind = [each for each in [*self._left_behind, helper] if each.is_alive()]
        try:
            if len(self._left_behind) >= _MOST_LEFT_BEHIND or self._reopen is None:
                raise RuntimeError(
                    f"{len(self._left_behind)} threads hang and cannot be ended. executor='ray' "
                    "ends the process of a text that takes too long"
                )
            self._helper = _Helper(self._reopen())
        except Exception as error:
            self._lost = True
            raise WorkerLostError(
                f"The agents of this AgentPool do not come back: {error}. Create a new AgentPool."
            ) from error


class _Attempt:
    """A batch in the hands of a helper, and how far it is."""

    def __init__(self, items: list[WorkItem], queue: WorkQueue) -> None:
        self._items = items
        self._queue = queue
        self._changed = threading.Condition()
        self._index = 0
        self._started_at = time.monotonic()
        self._given_up = False

    def run(self, servable: Servable) -> bool:
        """Answers the items; False if that took too long and somebody else goes on."""
        for index, item in enumerate(self._items):
            with self._changed:
                if self._given_up:
                    return False
                self._index, self._started_at = index, time.monotonic()
            answer = answer_of(servable, item.text)
            with self._changed:
                # Whoever comes first, the helper or the clock, settles the item.
                if self._given_up:
                    return False
                self._index = index + 1
                if self._index == len(self._items):
                    # Not for each item: the worker would compete with us for Python's lock.
                    self._changed.notify()
            self._queue.finish(item, answer)
        return True

    def wait(self, timeout_s: float) -> int | None:
        """Waits for the end of the batch; returns the position of an item that takes too long."""
        with self._changed:
            while self._index < len(self._items):
                left = self._started_at + timeout_s - time.monotonic()
                if left <= 0:
                    self._given_up = True
                    return self._index
                self._changed.wait(left)
        return None


class _Helper:
    """A thread with a servable, which answers one batch after the other."""

    def __init__(self, servable: Servable) -> None:
        self._servable = servable
        self._attempts: queues.SimpleQueue[_Attempt | None] = queues.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="tfdistill-helper", daemon=True)
        self._thread.start()

    def start(self, items: list[WorkItem], queue: WorkQueue) -> _Attempt:
        """Hands over a batch."""
        attempt = _Attempt(items, queue)
        self._attempts.put(attempt)
        return attempt

    def stop(self) -> None:
        """Ends the thread after what it is doing."""
        self._attempts.put(None)

    def is_alive(self) -> bool:
        """Tells whether the thread has not ended yet."""
        return self._thread.is_alive()

    def _run(self) -> None:
        with as_worker_thread(), contextlib.suppress(SystemExit):
            while (attempt := self._attempts.get()) is not None:
                if not attempt.run(self._servable):
                    return
