"""The executor "ray": agents in worker processes of Ray, and what becomes of texts when one dies.

Ray places, starts and restarts the processes. `worker_process` notices that one is gone or stuck,
and `execution.quarantine` says which text did it; here each text is settled, or goes back to the
queue.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from tfdistill.agents.execution import quarantine
from tfdistill.agents.execution.executor import Job
from tfdistill.agents.execution.work_queue import WorkItem, WorkQueue
from tfdistill.agents.execution.worker_executor import WorkerExecutor, pool_label
from tfdistill.agents.on_ray import actors, worker_process
from tfdistill.agents.on_ray.worker_process import (
    ProcessDiedError,
    RayProcess,
    StuckError,
    last_line,
)
from tfdistill.cluster import session

__all__ = ["RayExecutor", "RayWorker"]

# A lost worker's batch is tried again one text at a time, so it should stay small.
_LARGEST_CHUNK = 64


class RayExecutor(WorkerExecutor):
    """The executor "ray": each agent in a process of its own, on this machine or others.

    A Ray session that runs already is used and left running; otherwise one is started, and ended
    with the last executor that uses it.
    """

    name = "ray"

    def __init__(self) -> None:
        super().__init__()
        self._session: str | None = None

    def start(self, job: Job) -> None:
        """Starts the worker processes and waits until they answer.

        Raises:
            ImportError: If Ray is not installed.
            RuntimeError: If they are not ready within 60 s.
        """
        self._session = session.acquire()
        try:
            label = pool_label()
            opener = _RayWorkers(
                job.path, threads=job.threads, timeout_s=job.timeout_s, label=label
            )
            workers = opener.open(job.num_agents)
            handover_s = workers[0].time_handover()
            self.run_workers(
                workers,
                chunk_size=job.chunk_for(handover_s=handover_s, most=_LARGEST_CHUNK),
                label=label,
                more_workers=opener.open,
            )
        except BaseException:
            self._release()
            raise

    def close(self, *, cancel: bool, patience_s: float | None = None) -> None:
        """Ends the processes, and the Ray session if it is ours and nobody else uses it."""
        try:
            super().close(cancel=cancel, patience_s=patience_s)
        finally:
            self._release()

    def _release(self) -> None:
        held, self._session = self._session, None
        if held is not None:
            session.release(held)


class RayWorker:
    """A worker that answers with a worker process of Ray.

    Args:
        process: The worker.
        timeout_s: The longest that one text may take, as the process knows it; for the message.
    """

    def __init__(self, process: RayProcess, *, timeout_s: float | None = None) -> None:
        self._task_error = session.import_ray().exceptions.RayTaskError
        self._process = process
        self._timeout_s = timeout_s or 0.0

    def serve(self, items: list[WorkItem], queue: WorkQueue) -> None:
        """Has the worker answer the items, and deals with its death."""
        try:
            if items[0].possible_poison:
                self._serve_isolated(items[0], queue)
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
        except ProcessDiedError:
            quarantine.retry_in_isolation(items, queue)
            self._process.revive()
            return
        except StuckError as error:
            self._settle_stuck(items, error.index, queue)
            self._process.kill()
            self._process.revive()
            return
        except self._task_error:  # no answers, though the worker lives
            quarantine.retry_in_isolation(items, queue)
            return
        if answers is None:
            queue.put_back(items)
            self._process.revive()
            return
        for item, answer in zip(items, answers, strict=True):
            queue.finish(item, answer)

    def _settle_stuck(self, items: list[WorkItem], index: int | None, queue: WorkQueue) -> None:
        if index is None:  # one of them, but which?
            quarantine.retry_in_isolation(items, queue)
            return
        # Those before it were answered, and their answers are lost with the process.
        queue.put_back(items[:index] + items[index + 1 :])
        queue.finish(items[index], quarantine.timeout_of(items[index], self._timeout_s))

    def _serve_isolated(self, item: WorkItem, queue: WorkQueue) -> None:
        messages = self._process.start_alone(item.text, quick_s=quarantine.QUICK_S)
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
            text = f"The text {quarantine.shown(item.text)} failed: {last_line(error)}"
            queue.finish(item, RuntimeError(text))
            return
        except StuckError as error:
            # A worker that says nothing may have died, so one silence proves nothing.
            item.silences += error.index is None
            if error.index is None and item.silences < 2:
                queue.put_back([item])
            else:
                queue.finish(item, quarantine.timeout_of(item, self._timeout_s))
            self._process.kill()
        except ProcessDiedError:
            if "started" in kinds:
                quarantine.count_attempt(item, quick="slow" not in kinds)
            outcome = quarantine.outcome(item)
            if outcome is None:
                queue.put_back([item])
            else:
                queue.finish(item, outcome)
        self._process.revive()


class _RayWorkers:
    """Opens workers on worker processes that all hold the same folder.

    Args:
        path: The folder of the servable, absolute.
        threads: Threads for one call of a model.
        timeout_s: The longest that one text may take; None is for ever.
        label: What the workers are called in Ray's dashboard, before their number.
    """

    def __init__(self, path: Path, *, threads: int, timeout_s: float | None, label: str) -> None:
        ray = session.import_ray()
        self._actor_class = ray.remote(concurrency_groups={"health": 1})(actors.make_pool_worker())
        self._folder = actors.ship(ray, path)
        (self._packed,) = self._folder.pop("packed")
        self._threads = threads
        self._timeout_s = timeout_s
        self._label = label
        self._opened = 0

    def open(self, num_agents: int) -> list[RayWorker]:
        """Starts worker processes and waits until all of them answer.

        Args:
            num_agents: How many.

        Raises:
            RuntimeError: If they are not ready within 60 s, naming requested and free CPUs, or
                one cannot start.
        """
        workers = [self._start() for _ in range(num_agents)]
        deadline = time.monotonic() + worker_process.READY_S
        ready = 0
        try:
            for worker in workers:
                worker.wait_ready(deadline=deadline)
                ready += 1
        except BaseException as error:
            for worker in workers:
                worker.close()
            if not isinstance(error, TimeoutError):
                raise
            raise RuntimeError(_too_late(num_agents, ready=ready)) from error
        return workers

    def _start(self) -> RayWorker:
        self._opened += 1
        process = RayProcess(
            self._actor_class,
            arguments=(actors.PACKAGE_ROOT, self._folder, self._threads),
            packed=self._packed,
            name=f"{self._label}-{self._opened - 1}",
            timeout_s=self._timeout_s,
        )
        return RayWorker(process, timeout_s=self._timeout_s)


def _too_late(num_agents: int, *, ready: int) -> str:
    ray: Any = session.import_ray()
    return (
        f"The workers of the AgentPool were not ready within {worker_process.READY_S:g} s: "
        f"{ready} of {num_agents} answered. Each asks Ray for 1 CPU to start and holds none "
        "afterwards. "
        f"Requested CPUs: {num_agents - ready}. Free CPUs: "
        f"{ray.available_resources().get('CPU', 0.0):g} of "
        f"{ray.cluster_resources().get('CPU', 0.0):g}. End what holds them (actors made with "
        "`num_cpus=`), or use executor='threads'."
    )
