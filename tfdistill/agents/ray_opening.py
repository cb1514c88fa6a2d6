"""Starting the Ray workers of a pool: one class, one packed folder, names for the dashboard."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from tfdistill.agents import ray_process, ray_session, ray_worker
from tfdistill.agents.ray_executor import RayLane
from tfdistill.agents.ray_process import RayProcess

__all__ = ["RayLanes"]


class RayLanes:
    """Opens lanes on worker processes that all hold the same folder.

    Args:
        path: The folder of the unit, absolute.
        threads: Threads for one call of a model.
        timeout_s: The longest that one text may take; None is for ever.
        label: What the workers are called in Ray's dashboard, before their number.
    """

    def __init__(self, path: Path, *, threads: int, timeout_s: float | None, label: str) -> None:
        ray = ray_session.import_ray()
        self._actor_class = ray.remote(concurrency_groups={"health": 1})(
            ray_worker.make_pool_worker()
        )
        self._folder = ray_worker.ship(ray, path)
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
        deadline = time.monotonic() + ray_process.READY_S
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
            arguments=(ray_worker.PACKAGE_ROOT, self._folder, self._threads),
            packed=self._packed,
            name=f"{self._label}-{self._opened - 1}",
            timeout_s=self._timeout_s,
        )
        return RayLane(process, timeout_s=self._timeout_s)


def _too_late(num_agents: int, *, ready: int) -> str:
    ray: Any = ray_session.import_ray()
    return (
        f"The workers of the AgentPool were not ready within {ray_process.READY_S:g} s: {ready} of "
        f"{num_agents} answered. Each asks Ray for 1 CPU to start and holds none afterwards. "
        f"Requested CPUs: {num_agents - ready}. Free CPUs: "
        f"{ray.available_resources().get('CPU', 0.0):g} of "
        f"{ray.cluster_resources().get('CPU', 0.0):g}. End what holds them (actors made with "
        "`num_cpus=`), or use executor='threads'."
    )
