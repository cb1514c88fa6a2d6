"""From a bundle and a wish ("threads", "ray", "auto") to agents that run."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tfdistill.agents import planning, ray_session
from tfdistill.agents.agent import Agent
from tfdistill.agents.executors import InlineExecutor, Lane, LaneExecutor, ThreadLane
from tfdistill.export.bundle import Bundle

__all__ = ["EXECUTORS", "OpenedExecutor", "check_count", "open_executor"]

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
        bundle: The checked bundle.
        executor: What answers.
        name: "inline", "threads" or "ray".
        reason: Why this one, in words.
        chunk_size: The largest batch.
        session: The Ray session that it has a share of, as named by `ray_session.acquire`.
    """

    bundle: Bundle
    executor: InlineExecutor | LaneExecutor
    name: str
    reason: str
    chunk_size: int
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
) -> OpenedExecutor:
    """Checks the arguments of an `AgentPool`, which documents them, and starts its agents."""
    if executor not in EXECUTORS:
        raise ValueError(f"`executor` must be one of {EXECUTORS}. Received: executor={executor!r}.")
    check_count("num_agents", num_agents)
    if chunk_size != "auto":
        check_count("chunk_size", chunk_size, hint=" or 'auto'")
    agents = [Agent(bundle, threads=threads_per_agent)]
    text = planning.sample_text(agents[0])
    if executor in ("auto", "threads"):
        agents += [Agent(bundle, threads=threads_per_agent) for _ in range(num_agents - 1)]
    name, reason = executor, "it was asked for"
    if executor == "auto":
        name, reason = planning.choose_executor(agents, text)
    running: InlineExecutor | LaneExecutor
    session = None
    if name == "inline":
        size = 1 if chunk_size == "auto" else chunk_size
        running = InlineExecutor(agents[0])
    else:
        lanes, handover_s, most, session = _open_lanes(
            name, agents, num_agents=num_agents, threads=threads_per_agent
        )
        size = (
            planning.chunk_for(
                planning.time_per_text(agents[0], text), handover_s=handover_s, most=most
            )
            if chunk_size == "auto"
            else chunk_size
        )
        label = f"tfdistill-pool-{next(_numbers)}"
        running = LaneExecutor(lanes, chunk_size=size, name=label)
    return OpenedExecutor(agents[0].bundle, running, name, reason, size, session)


def check_count(argument: str, value: object, *, hint: str = "") -> None:
    """Refuses what is not an int of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(
            f"`{argument}` must be an int{hint}. Received: {argument}={value!r} "
            f"({type(value).__name__})."
        )
    if value < 1:
        raise ValueError(f"`{argument}` must be at least 1{hint}. Received: {argument}={value!r}.")


def _open_lanes(
    name: str, agents: list[Agent], *, num_agents: int, threads: int
) -> tuple[Sequence[Lane], float, int, str | None]:
    """Returns lanes, the seconds to hand a batch over, the largest chunk, and the Ray session."""
    if name == "threads":
        return [ThreadLane(agent) for agent in agents], _THREAD_HANDOVER_S, _MOST_FOR_THREADS, None
    from tfdistill.agents.ray_executor import open_ray_lanes

    session = ray_session.acquire()
    try:
        lanes = open_ray_lanes(str(agents[0].bundle.path), num_agents=num_agents, threads=threads)
        return lanes, lanes[0].time_handover(), _MOST_FOR_RAY, session
    except BaseException:
        if session is not None:
            ray_session.release(session)
        raise
