"""The figures behind `AgentPool.stats`: counts and latencies of texts, memory of workers.

Workers of one machine map the same model file, so most of a large model is counted once, however
many workers there are.
"""

from __future__ import annotations

import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import psutil

__all__ = [
    "Counts",
    "Latencies",
    "memory_of",
    "percentile",
    "this_process",
    "total_memory",
]

_KEPT = 4096
_WINDOW_S = 10


def percentile(values: Sequence[float], share: float) -> float:
    """Returns the smallest value that at least this share of the values does not exceed.

    This is the nearest-rank definition: the value of rank ceil(share · n). It is always one of
    the values, so a p99 is a time that somebody really waited.

    Args:
        values: At least one number, in any order.
        share: Which percentile, a fraction in (0, 1].

    Example:
        >>> percentile([4.0, 1.0, 3.0, 2.0], 0.5), percentile([4.0, 1.0, 3.0, 2.0], 0.95)
        (2.0, 4.0)

    References:
        Hyndman and Fan. "Sample Quantiles in Statistical Packages", 1996, definition 1.
    """
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


class Latencies:
    """Remembers the last few thousand waiting times, and counts answers by the second.

    Args:
        clock: Seconds that only go up.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._opened = clock()
        self._waited: deque[float] = deque(maxlen=_KEPT)
        self._seconds: deque[tuple[int, int]] = deque(maxlen=_WINDOW_S + 1)

    def add(self, submitted_at: float) -> None:
        """Counts an answer, to a text that was submitted at that moment of the clock."""
        now = self._clock()
        self._waited.append(now - submitted_at)
        second = int(now)
        if self._seconds and self._seconds[-1][0] == second:
            self._seconds[-1] = (second, self._seconds[-1][1] + 1)
        else:
            self._seconds.append((second, 1))

    def figures(self) -> dict[str, float | None]:
        """Returns the figures as of now.

        Returns:
            "throughput_per_s", the mean over the last 10 s (or since the start, where that is
            less), and "p50_ms", "p95_ms" and "p99_ms" of the time from submitting a text to its
            answer, over the last 4,096 answers; None before the first.
        """
        now = self._clock()
        waited = list(self._waited)
        recent = sum(count for second, count in list(self._seconds) if second > now - _WINDOW_S)
        elapsed = max(1e-3, min(_WINDOW_S, now - self._opened))
        figures: dict[str, float | None] = {"throughput_per_s": recent / elapsed}
        for name, share in (("p50_ms", 0.5), ("p95_ms", 0.95), ("p99_ms", 0.99)):
            figures[name] = 1e3 * percentile(waited, share) if waited else None
        return figures


class Counts(Protocol):
    """What is counted of the texts of a pool."""

    latencies: Latencies

    @property
    def submitted(self) -> int:
        """Texts that were submitted."""

    @property
    def completed(self) -> int:
        """Texts that have an answer or an error, or were cancelled."""

    @property
    def failed(self) -> int:
        """Texts that have an error."""

    @property
    def unfinished(self) -> int:
        """Texts that were submitted and are not completed."""

    @property
    def waiting(self) -> int:
        """Texts that no agent has begun."""


Memory = dict[str, int | None]


def memory_of(pid: int) -> Memory:
    """Returns "private_bytes" and "shared_bytes" of a process of this machine.

    Private is what would be free if the process ended (`psutil`'s USS); shared is the rest of
    what it has in memory.

    Args:
        pid: The process. One that is gone, or belongs to somebody else, has None for both, as
            have all where the system does not tell the two apart.
    """
    try:
        found = psutil.Process(pid).memory_full_info()
        private, shared = int(found.uss), int(found.rss) - int(found.uss)
    except (psutil.Error, AttributeError, OSError):
        return {"private_bytes": None, "shared_bytes": None}
    return {"private_bytes": private, "shared_bytes": max(shared, 0)}


def this_process() -> dict[str, Any]:
    """Describes this process as a worker."""
    return {"pid": os.getpid(), "state": "ready", "restarts": 0, **memory_of(os.getpid())}


def total_memory(workers: Iterable[Memory]) -> Memory:
    """Adds up private memory and takes shared memory once, that of the largest worker.

    Args:
        workers: One entry per process. Those with None are left out.

    Example:
        >>> total_memory([{"private_bytes": 3, "shared_bytes": 50},
        ...               {"private_bytes": 4, "shared_bytes": 40}])
        {'private_bytes': 7, 'shared_bytes': 50}
    """
    entries = list(workers)
    private = [each["private_bytes"] for each in entries if each["private_bytes"] is not None]
    shared = [each["shared_bytes"] for each in entries if each["shared_bytes"] is not None]
    return {
        "private_bytes": sum(private) if private else None,
        "shared_bytes": max(shared) if shared else None,
    }
