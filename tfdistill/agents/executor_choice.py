"""From a bundle and a wish ("threads", "ray", "auto") to agents that run.

Choosing how to run a bundle on this machine, by trying it for a moment.

A tiny student answers in a fraction of a millisecond. Handing one text to another process costs
more than that, so the numbers decide, not the number of cores.
"""

from __future__ import annotations

import itertools
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from tfdistill.agents.execution.executors import InlineExecutor, Lane, LaneExecutor
from tfdistill.agents.execution.servable import Unit, open_unit
from tfdistill.agents.execution.thread_worker import ThreadLane
from tfdistill.cluster import session as ray_session

__all__ = [
    "EXECUTORS",
    "OpenedExecutor",
    "available_cores",
    "check_count",
    "choose_executor",
    "chunk_for",
    "open_executor",
    "threads_for",
    "time_per_text",
]

EXECUTORS = ("auto", "inline", "threads", "ray")

# Handing over to a thread is a lock and two signals; a Ray call is measured when it starts.
_THREAD_HANDOVER_S = 1e-4
_MOST_FOR_THREADS = 32
# A lost worker's batch is tried again one text at a time, so it should stay small.
_MOST_FOR_RAY = 64

_numbers = itertools.count()


@dataclass(frozen=True)
class OpenedExecutor:
    """Agents that run, and how they were chosen.

    Attributes:
        unit: The first of what answers.
        executor: What answers.
        name: "inline", "threads" or "ray".
        reason: Why this one, in words.
        chunk_size: The largest batch.
        threads_per_agent: Threads for one call of a model.
        session: The Ray session that it has a share of, as named by `ray_session.acquire`.
    """

    unit: Unit
    executor: InlineExecutor | LaneExecutor
    name: str
    reason: str
    chunk_size: int
    threads_per_agent: int
    session: str | None

    def shut_down(self, *, cancel: bool, patience_s: float | None) -> None:
        """Ends the agents, and the Ray session if it is ours and nobody else uses it."""
        try:
            self.executor.close(cancel=cancel, patience_s=patience_s)
        finally:
            if self.session is not None:
                ray_session.release(self.session)


def open_executor(
    bundle: str | os.PathLike[str],
    *,
    executor: str,
    num_agents: int,
    chunk_size: int | Literal["auto"],
    threads_per_agent: int,
    timeout_s: float | None,
) -> OpenedExecutor:
    """Checks the arguments of an `AgentPool`, which documents them, and starts its agents."""
    if executor not in EXECUTORS:
        raise ValueError(f"`executor` must be one of {EXECUTORS}. Received: executor={executor!r}.")
    check_count("num_agents", num_agents)
    check_count("threads_per_agent", threads_per_agent)
    if chunk_size != "auto":
        check_count("chunk_size", chunk_size, hint=" or 'auto'")
    _check_timeout(timeout_s, executor=executor)
    threads = threads_for(threads_per_agent, num_agents=num_agents)
    units = [open_unit(bundle, threads=threads)]
    text = units[0].sample_text()
    if executor in ("auto", "threads"):
        units += [open_unit(bundle, threads=threads) for _ in range(num_agents - 1)]
    name, reason = executor, "it was asked for"
    if executor == "auto":
        name, reason = choose_executor(units, text, must_end=timeout_s is not None)
    running: InlineExecutor | LaneExecutor
    session = None
    if name == "inline":
        size = 1 if chunk_size == "auto" else chunk_size
        running = InlineExecutor(units[0])
    else:
        label = f"tfdistill-pool-{os.getpid()}-{next(_numbers)}"
        opened = _open_lanes(
            name,
            units,
            num_agents=num_agents,
            threads=threads,
            timeout_s=timeout_s,
            label=label,
        )
        session = opened.session
        size = (
            chunk_for(
                time_per_text(units[0], text),
                handover_s=opened.handover_s,
                most=opened.most,
            )
            if chunk_size == "auto"
            else chunk_size
        )
        running = LaneExecutor(
            opened.lanes, chunk_size=size, name=label, more_lanes=opened.more_lanes
        )
    return OpenedExecutor(units[0], running, name, reason, size, threads, session)


def check_count(argument: str, value: object, *, hint: str = "") -> None:
    """Refuses what is not an int of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(
            f"`{argument}` must be an int{hint}. Received: {argument}={value!r} "
            f"({type(value).__name__})."
        )
    if value < 1:
        raise ValueError(f"`{argument}` must be at least 1{hint}. Received: {argument}={value!r}.")


def _check_timeout(timeout_s: object, *, executor: str) -> None:
    if timeout_s is None:
        return
    is_number = isinstance(timeout_s, int | float) and not isinstance(timeout_s, bool)
    if not is_number or not 0.0 < timeout_s < float("inf"):  # type: ignore[operator]
        raise ValueError(
            "`timeout_s` must be a number of seconds in (0, inf), or None. "
            f"Received: timeout_s={timeout_s!r}."
        )
    if executor == "inline":
        raise ValueError(
            "`timeout_s` must be None for executor='inline'. Received: "
            f"timeout_s={timeout_s!r}. A loop cannot interrupt itself: use 'threads' or 'ray'."
        )


@dataclass(frozen=True)
class _OpenedLanes:
    lanes: Sequence[Lane]
    more_lanes: Callable[[int], Sequence[Lane]]
    handover_s: float  # to hand a batch over
    most: int  # the largest chunk
    session: str | None


def _open_lanes(
    name: str,
    units: list[Unit],
    *,
    num_agents: int,
    threads: int,
    timeout_s: float | None,
    label: str,
) -> _OpenedLanes:
    path = units[0].path

    def reopen() -> Unit:
        return open_unit(path, threads=threads)

    def on_threads(opened: Sequence[Unit]) -> Sequence[Lane]:
        return [ThreadLane(unit, timeout_s=timeout_s, reopen=reopen) for unit in opened]

    if name == "threads":
        return _OpenedLanes(
            on_threads(units),
            lambda count: on_threads([reopen() for _ in range(count)]),
            _THREAD_HANDOVER_S,
            _MOST_FOR_THREADS,
            None,
        )
    from tfdistill.agents.on_ray.lane import RayLanes

    session = ray_session.acquire()
    try:
        opener = RayLanes(path, threads=threads, timeout_s=timeout_s, label=label)
        lanes = opener.open(num_agents)
        return _OpenedLanes(lanes, opener.open, lanes[0].time_handover(), _MOST_FOR_RAY, session)
    except BaseException:
        if session is not None:
            ray_session.release(session)
        raise


# A second lane must bring at least this much, or the loop is simpler and as good.
_WORTHWHILE = 1.15


def available_cores() -> int:
    """Returns the number of cores that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def time_per_text(agent: Unit, text: str | None, *, seconds: float = 0.05) -> float:
    """Measures how long one text takes in this process, in seconds; None: the model alone."""
    call = _work(agent, text)
    call()  # the first call allocates
    return _repeat(call, seconds=seconds)


def threads_for(asked: int, *, num_agents: int) -> int:
    """Returns the threads for one call of the model, so that all agents together fit the cores.

    Args:
        asked: Threads per agent that were asked for.
        num_agents: Agents of this machine that work at the same time.

    Returns:
        At most `asked` and at least 1: cores // num_agents. Threads that wait for each other's
        core make every call slower.
    """
    return max(1, min(asked, available_cores() // num_agents))


def choose_executor(
    agents: Sequence[Unit], text: str | None, *, must_end: bool = False
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
    lanes = min(len(agents), cores)
    threads = _threads_per_second(agents[:lanes], text)
    measured = (
        f"a loop answers {loop:,.0f} texts/s and {lanes} threads {threads:,.0f} on this model"
    )
    if threads < _WORTHWHILE * loop:
        return "inline", f"{measured}, so threads do not pay"
    return "threads", f"{measured}; Ray pays on several machines or to isolate a model"


def chunk_for(text_s: float, *, handover_s: float, most: int) -> int:
    """Returns how many texts to hand over at once for the handing over to cost a twentieth at most.

    Args:
        text_s: Seconds for one text.
        handover_s: Seconds to hand a batch over and get its answers back.
        most: The largest chunk.

    Example:
        >>> chunk_for(0.0005, handover_s=0.001, most=64)
        40
        >>> chunk_for(0.1, handover_s=0.001, most=64)
        1
    """
    return max(1, min(most, math.ceil(20 * handover_s / text_s)))


def _work(agent: Unit, text: str | None) -> Callable[[], object]:
    """Returns the call that is timed: a refusal takes no time, so it must never be that."""
    return agent.run_blank if text is None else lambda: agent.answer(text)


def _threads_per_second(agents: Sequence[Unit], text: str | None, *, seconds: float = 0.1) -> float:
    counts = [0] * len(agents)
    end = time.perf_counter() + seconds

    def work(index: int) -> None:
        call = _work(agents[index], text)
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


def _repeat(call: Callable[[], object], *, seconds: float) -> float:
    count = 0
    start = time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds or count == 0:
        call()
        count += 1
    return elapsed / count


def _connected_nodes() -> int:
    """Returns the machines of the Ray session of this process; 0 if there is none."""
    if "ray" not in sys.modules:
        return 0
    import ray

    if not ray.is_initialized():
        return 0
    return sum(bool(node["Alive"]) for node in ray.nodes())
