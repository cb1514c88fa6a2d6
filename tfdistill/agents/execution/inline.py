"""The executor "inline": each text is answered in the thread that submits it."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import Any

from tfdistill.agents.execution.executor import Executor, Job
from tfdistill.agents.execution.servable import Servable, answer_of
from tfdistill.agents.execution.work_queue import WorkQueue

__all__ = ["InlineExecutor"]


class InlineExecutor(Executor):
    """Answers each text in the thread that submits it, with one agent."""

    name = "inline"
    _servable: Servable  # from `start` on

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.queue = WorkQueue(workers=1)
        self.counts = self.queue

    def start(self, job: Job) -> None:
        """Opens the one agent.

        Raises:
            ValueError: If a text has to be given up after a time.
        """
        if job.timeout_s is not None:
            raise ValueError(
                "`timeout_s` must be None for executor='inline'. Received: "
                f"timeout_s={job.timeout_s!r}. A loop cannot interrupt itself: use 'threads' or "
                "'ray'."
            )
        (self._servable,) = job.open_agents(1)
        self.chunk_size = 1 if job.chunk_size == "auto" else job.chunk_size

    def submit(self, text: str) -> Future[Any]:
        """Returns a future that is already done."""
        with self._lock:
            future = self.queue.put(text)
            (item,) = self.queue.take(1)
            try:
                answer = answer_of(self._servable, item.text)
            except BaseException as error:  # Ctrl-C: the text must not be under way for ever
                self.queue.finish(item, error)
                raise
        self.queue.finish(item, answer)
        return future

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
