"""Choosing how to run a bundle on this machine, by trying it for a moment.

A tiny student answers in a fraction of a millisecond. Handing one text to another process costs
more than that, so the numbers decide, not the number of cores.
"""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence

from tfdistill.agents.units import Unit

__all__ = ["available_cores", "choose_executor", "chunk_for", "threads_for", "time_per_text"]

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
