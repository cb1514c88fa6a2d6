"""Lanes whose agents live in Ray worker processes, and what becomes of the texts when one dies.

Ray places, starts and restarts the processes. `ray_process.py` notices that one is gone or stuck,
and `failures.py` says whose fault it was; here each text is settled, or goes back to the queue.

Starting the Ray workers of a pool: one class, one packed folder, names for the dashboard.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from tfdistill.agents.execution import quarantine
from tfdistill.agents.execution.work_queue import WorkItem, WorkQueue
from tfdistill.agents.on_ray import actors, worker_process
from tfdistill.agents.on_ray.worker_process import (
    RayProcess,
    StuckError,
    WorkerLostError,
    last_line,
)
from tfdistill.cluster import session

__all__ = ["RayLane", "RayLanes"]


class RayLane:
    """A lane that answers with a worker process of Ray.

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
            quarantine.suspect(items, queue)
            self._process.revive()
            return
        except StuckError as error:
            self._settle_stuck(items, error.index, queue)
            self._process.kill()
            self._process.revive()
            return
        except self._task_error:  # no answers, though the worker lives
            quarantine.suspect(items, queue)
            return
        if answers is None:
            queue.put_back(items)
            self._process.revive()
            return
        for item, answer in zip(items, answers, strict=True):
            queue.finish(item, answer)

    def _settle_stuck(self, items: list[WorkItem], index: int | None, queue: WorkQueue) -> None:
        if index is None:  # one of them, but which?
            quarantine.suspect(items, queue)
            return
        # Those before it were answered, and their answers are lost with the process.
        queue.put_back(items[:index] + items[index + 1 :])
        queue.finish(items[index], quarantine.timeout_of(items[index], self._timeout_s))

    def _serve_suspect(self, item: WorkItem, queue: WorkQueue) -> None:
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
        except WorkerLostError:
            if "started" in kinds:
                quarantine.charge(item, quick="slow" not in kinds)
            verdict = quarantine.verdict(item)
            if verdict is None:
                queue.put_back([item])
            else:
                queue.finish(item, verdict)
        self._process.revive()


class RayLanes:
    """Opens lanes on worker processes that all hold the same folder.

    Args:
        path: The folder of the unit, absolute.
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

    def open(self, num_agents: int) -> list[RayLane]:
        """Starts worker processes and waits until all of them answer.

        Args:
            num_agents: How many.

        Raises:
            RuntimeError: If they are not ready within 60 s, naming requested and free CPUs, or
                one cannot start.
        """
        lanes = [self._start() for _ in range(num_agents)]
        deadline = time.monotonic() + worker_process.READY_S
        ready = 0
        try:
            for lane in lanes:
                lane.wait_ready(deadline=deadline)
                ready += 1
        except BaseException as error:
            for lane in lanes:
                lane.close()
            if not isinstance(error, TimeoutError):
                raise
            raise RuntimeError(_too_late(num_agents, ready=ready)) from error
        return lanes

    def _start(self) -> RayLane:
        self._opened += 1
        process = RayProcess(
            self._actor_class,
            arguments=(actors.PACKAGE_ROOT, self._folder, self._threads),
            packed=self._packed,
            name=f"{self._label}-{self._opened - 1}",
            timeout_s=self._timeout_s,
        )
        return RayLane(process, timeout_s=self._timeout_s)


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
