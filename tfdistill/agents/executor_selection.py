"""Executor selection: from "threads", "auto" or an executor of one's own to one that can start.

"auto" tries the bundle for a moment. A tiny student answers in a fraction of a millisecond, and
handing one text to another process costs more than that, so the numbers decide, not the number of
cores.
"""

from __future__ import annotations

import importlib
import sys
import threading
import time
from collections.abc import Sequence

from tfdistill.agents.execution.executor import Executor, Job
from tfdistill.agents.execution.servable import Servable
from tfdistill.agents.execution.timing import available_cores, time_per_text, work_of

__all__ = ["EXECUTORS", "check_executor", "find_executor", "select_executor"]

# Name: module and class. A module is imported when its executor is used, as Ray's must be.
EXECUTORS = {
    "inline": ("tfdistill.agents.execution.inline", "InlineExecutor"),
    "threads": ("tfdistill.agents.execution.thread_worker", "ThreadExecutor"),
    "ray": ("tfdistill.agents.on_ray.worker", "RayExecutor"),
}


def check_executor(executor: object) -> None:
    """Refuses what is neither "auto", nor a name of `EXECUTORS`, nor an `Executor`."""
    if isinstance(executor, Executor):
        return
    names = ("auto", *EXECUTORS)
    if executor not in names:
        raise ValueError(
            f"`executor` must be one of {names}, or an instance of a class that derives from "
            f"`tfdistill.agents.Executor`. Received: executor={executor!r}."
        )


def find_executor(executor: str | Executor, job: Job) -> tuple[Executor, str]:
    """Finds what shall run a job.

    Args:
        executor: A name of `EXECUTORS`, "auto", or an executor.
        job: The job, to measure with.

    Returns:
        The executor, not started, and a sentence that says why this one.
    """
    if isinstance(executor, Executor):
        return executor, "it was given"
    name, reason = executor, "it was asked for"
    if executor == "auto":
        agents = job.try_agents()
        name, reason = select_executor(agents, job.sample_text, must_end=job.timeout_s is not None)
    module, class_name = EXECUTORS[name]
    return getattr(importlib.import_module(module), class_name)(), reason


# A second worker must bring at least this much, or the loop is simpler and as good.
_WORTHWHILE = 1.15


def select_executor(
    agents: Sequence[Servable], text: str | None, *, must_end: bool = False
) -> tuple[str, str]:
    """Chooses between a loop, threads and Ray.

    Args:
        agents: As many agents as the pool will have.
        text: What to measure with; None measures the model alone.
        must_end: Whether a text that takes too long has to be given up, which a loop in the
            caller's own thread cannot do.

    Returns:
        "inline", "threads" or "ray", and a sentence that says why.
    """
    nodes = _connected_nodes()
    if nodes > 1:
        return "ray", f"a Ray session with {nodes} machines is running"
    if must_end:
        return "threads", "`timeout_s` needs a thread beside the caller's"
    if len(agents) == 1:
        return "inline", "one agent has nobody to run beside"
    cores = available_cores()
    if cores == 1:
        return "inline", "this process may use one core only"
    loop = 1.0 / time_per_text(agents[0], text)
    workers = min(len(agents), cores)
    threads = _threads_per_second(agents[:workers], text)
    measured = (
        f"a loop answers {loop:,.0f} texts/s and {workers} threads {threads:,.0f} on this model"
    )
    if threads < _WORTHWHILE * loop:
        return "inline", f"{measured}, so threads do not pay"
    return "threads", f"{measured}; Ray pays on several machines or to isolate a model"


def _threads_per_second(
    agents: Sequence[Servable], text: str | None, *, seconds: float = 0.1
) -> float:
    counts = [0] * len(agents)
    end = time.perf_counter() + seconds

    def work(index: int) -> None:
        call = work_of(agents[index], text)
        while time.perf_counter() < end:
            call()
            counts[index] += 1

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(agents))]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - start)


def _connected_nodes() -> int:
    """Returns the machines of the Ray session of this process; 0 if there is none."""
    if "ray" not in sys.modules:
        return 0
    import ray

    if not ray.is_initialized():
        return 0
    return sum(bool(node["Alive"]) for node in ray.nodes())
