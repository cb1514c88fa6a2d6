"""How long a text takes here, and what follows from it: threads of a call, texts of a batch."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable

from tfdistill.agents.execution.servable import Servable

__all__ = ["available_cores", "chunk_for", "threads_for", "time_per_text", "work_of"]


def available_cores() -> int:
    """Returns the number of cores that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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


def time_per_text(agent: Servable, text: str | None, *, seconds: float = 0.05) -> float:
    """Measures how long one text takes in this process, in seconds; None: the model alone."""
    call = work_of(agent, text)
    call()  # the first call allocates
    return _repeat(call, seconds=seconds)


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


def work_of(agent: Servable, text: str | None) -> Callable[[], object]:
    """Returns the call that is timed: a refusal takes no time, so it must never be that."""
    return agent.run_blank if text is None else lambda: agent.answer(text)


def _repeat(call: Callable[[], object], *, seconds: float) -> float:
    count = 0
    start = time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds or count == 0:
        call()
        count += 1
    return elapsed / count
