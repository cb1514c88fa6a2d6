"""Lanes whose agents live in Ray worker processes, and what becomes of the texts when one dies.

Ray places, starts and restarts the processes. `ray_process.py` notices that one is gone or stuck,
and `failures.py` says whose fault it was; here each text is settled, or goes back to the queue.
"""

from __future__ import annotations

from typing import Any

from tfdistill.agents import failures, ray_session
from tfdistill.agents.ray_process import RayProcess, StuckError, WorkerLostError, last_line
from tfdistill.agents.work import WorkItem, WorkQueue

__all__ = ["RayLane"]


class RayLane:
    """A lane that answers with a worker process of Ray.

    Args:
        process: The worker.
        timeout_s: The longest that one text may take, as the process knows it; for the message.
    """

    def __init__(self, process: RayProcess, *, timeout_s: float | None = None) -> None:
        self._task_error = ray_session.import_ray().exceptions.RayTaskError
        self._process = process
        self._timeout_s = timeout_s or 0.0

    def serve(self, items: list[WorkItem], queue: WorkQueue) -> None:
        """Has the worker answer the items, and deals with its death."""
        try:
            if items[0].suspect:
                self._serve_suspect(items[0], queue)
            else:
                self._serve_batch(items, queue)
        except BaseException:
            self._process.state = "lost"
            raise

    def describe(self) -> dict[str, Any]:
        """Describes the worker process."""
        return self._process.describe()

    def wait_ready(self, *, deadline: float) -> None:
        """Waits until the worker answers, as `RayProcess.wait_ready` does."""
        self._process.wait_ready(deadline=deadline)

    def time_handover(self) -> float:
        """Measures how long an empty batch takes, in seconds."""
        return self._process.time_handover()

    def close(self) -> None:
        """Ends the worker process."""
        self._process.close()

    def _serve_batch(self, items: list[WorkItem], queue: WorkQueue) -> None:
        try:
            answers = self._process.run([item.text for item in items])
        except WorkerLostError:
            failures.suspect(items, queue)
            self._process.revive()
            return
        except StuckError as error:
            self._settle_stuck(items, error.index, queue)
            self._process.kill()
            self._process.revive()
            return
        except self._task_error:  # no answers, though the worker lives
            failures.suspect(items, queue)
            return
        if answers is None:
            queue.put_back(items)
            self._process.revive()
            return
        for item, answer in zip(items, answers, strict=True):
            queue.finish(item, answer)

    def _settle_stuck(self, items: list[WorkItem], index: int | None, queue: WorkQueue) -> None:
        if index is None:  # one of them, but which?
            failures.suspect(items, queue)
            return
        # Those before it were answered, and their answers are lost with the process.
        queue.put_back(items[:index] + items[index + 1 :])
        queue.finish(items[index], failures.timeout_of(items[index], self._timeout_s))

    def _serve_suspect(self, item: WorkItem, queue: WorkQueue) -> None:
        messages = self._process.start_alone(item.text, quick_s=failures.QUICK_S)
        kinds: list[str] = []
        try:
            while True:
                kind, answer = self._process.next_message(messages)
                if kind == "answer":
                    queue.finish(item, answer)
                    return
                kinds.append(kind)
                if kind == "stale":
                    queue.put_back([item])
                    self._process.revive()
                    return
        except self._task_error as error:
            text = f"The text {failures.shown(item.text)} failed: {last_line(error)}"
            queue.finish(item, RuntimeError(text))
            return
        except StuckError as error:
            # A worker that says nothing may have died, so one silence proves nothing.
            item.silences += error.index is None
            if error.index is None and item.silences < 2:
                queue.put_back([item])
            else:
                queue.finish(item, failures.timeout_of(item, self._timeout_s))
            self._process.kill()
        except WorkerLostError:
            if "started" in kinds:
                failures.charge(item, quick="slow" not in kinds)
            verdict = failures.verdict(item)
            if verdict is None:
                queue.put_back([item])
            else:
                queue.finish(item, verdict)
        self._process.revive()
