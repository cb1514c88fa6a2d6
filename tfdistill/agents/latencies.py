"""How long texts wait and how many are answered: the figures behind `AgentPool.stats`."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence

__all__ = ["Latencies", "percentile"]

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
