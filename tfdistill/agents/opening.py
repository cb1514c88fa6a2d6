"""From a bundle and a wish ("threads", "ray", "auto") to agents that run."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from tfdistill.agents import planning, ray_session
from tfdistill.agents.executors import InlineExecutor, Lane, LaneExecutor
from tfdistill.agents.thread_lane import ThreadLane
from tfdistill.agents.units import Unit, open_unit

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
    threads = planning.threads_for(threads_per_agent, num_agents=num_agents)
    units = [open_unit(bundle, threads=threads)]
    text = units[0].sample_text()
    if executor in ("auto", "threads"):
        units += [open_unit(bundle, threads=threads) for _ in range(num_agents - 1)]
    name, reason = executor, "it was asked for"
    if executor == "auto":
        name, reason = planning.choose_executor(units, text, must_end=timeout_s is not None)
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
            planning.chunk_for(
                planning.time_per_text(units[0], text),
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
    from tfdistill.agents.ray_opening import RayLanes

    session = ray_session.acquire()
    try:
        opener = RayLanes(path, threads=threads, timeout_s=timeout_s, label=label)
        lanes = opener.open(num_agents)
        return _OpenedLanes(lanes, opener.open, lanes[0].time_handover(), _MOST_FOR_RAY, session)
    except BaseException:
        if session is not None:
            ray_session.release(session)
        raise
