"""What `/metrics` shows, in the format of Prometheus."""

from __future__ import annotations

from typing import Any

__all__ = ["Metrics"]

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counts the requests of one server, in a registry of its own.

    Attributes:
        requests: Counter of requests by `status`.
        texts: Counter of texts by `outcome`, "answered" or "error".
        seconds: Histogram of the time from a request to its response.
        batch_size: Histogram, for each text, of how many were answered with it.
        in_progress: Gauge of requests under way.
    """

    def __init__(self) -> None:
        # It comes with the extra `serve`.
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self._registry = CollectorRegistry()
        made: dict[str, Any] = {"registry": self._registry}
        self.requests = Counter(
            "tfdistill_requests_total", "Requests by HTTP status.", ["status"], **made
        )
        self.texts = Counter("tfdistill_texts_total", "Texts by outcome.", ["outcome"], **made)
        self.seconds = Histogram(
            "tfdistill_request_seconds", "Time of a request.", buckets=_SECONDS, **made
        )
        self.batch_size = Histogram(
            "tfdistill_batch_size", "Texts answered together.", buckets=_SIZES, **made
        )
        self.in_progress = Gauge("tfdistill_requests_in_progress", "Requests under way.", **made)

    def text(self) -> str:
        """Returns all figures as Prometheus reads them."""
        from prometheus_client import generate_latest

        return generate_latest(self._registry).decode("utf-8")
