"""From an HTTP request to its response, whoever answers the texts.

=======================  ==========================================================================
`GET /`                  the page to try it by hand
`POST /predict`          answers, see `exchange.py`
`GET /health`            200 while a replica answers, with what is served; 503 otherwise
`GET /metrics`           figures for Prometheus
=======================  ==========================================================================
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

from tfdistill.serving import page
from tfdistill.serving.exchange import RefusedError, parse_request, response_of
from tfdistill.serving.metrics import Metrics

__all__ = ["Routes"]


class Routes:
    """Responds to requests.

    Args:
        answer: Answers one text: its plain answer, and how many texts were answered with it.
        describe: Returns what is served: "name", "labels".
        max_request_bytes: Largest body of a request.
        most_texts: Most texts of a request.
        timeout_s: Longest time for one request, in seconds.
    """

    def __init__(
        self,
        *,
        answer: Callable[[str], Awaitable[Any]],
        describe: Callable[[], Awaitable[dict[str, Any]]],
        max_request_bytes: int,
        most_texts: int,
        timeout_s: float,
    ) -> None:
        self._answer = answer
        self._describe = describe
        self._max_request_bytes = max_request_bytes
        self._most_texts = most_texts
        self._timeout_s = timeout_s
        self._metrics = Metrics()

    async def respond(self, request: Any) -> Any:
        """Returns the response.

        Args:
            request: A `starlette.requests.Request`.

        Returns:
            A `starlette.responses.Response`.
        """
        from starlette.responses import Response

        start = time.perf_counter()
        self._metrics.in_progress.inc()
        try:
            status, media_type, content = await self._route(request)
        except RefusedError as error:
            status, media_type, content = _json(
                error.status, {"error": {"type": "RefusedError", "message": error.message}}
            )
        finally:
            self._metrics.in_progress.dec()
        self._metrics.requests.labels(status=str(status)).inc()
        self._metrics.seconds.observe(time.perf_counter() - start)
        return Response(content, status, headers=page.HEADERS, media_type=media_type)

    async def _route(self, request: Any) -> tuple[int, str, str]:
        path, method = request.url.path, request.method
        wanted = "POST" if path == "/predict" else "GET"
        if path not in page.FILES and path not in ("/predict", "/health", "/metrics"):
            raise RefusedError(404, f"There is no {path[:80]!r} here. Try / or POST /predict.")
        if method != wanted and (method, wanted) != ("HEAD", "GET"):
            raise RefusedError(405, f"{path} takes {wanted}. Received: {method}.")
        if path == "/predict":
            return await self._predict(request)
        if path == "/health":
            return await self._health()
        if path == "/metrics":
            return 200, "text/plain; version=0.0.4; charset=utf-8", self._metrics.text()
        media_type, content = page.FILES[path]
        return 200, media_type, content

    async def _predict(self, request: Any) -> tuple[int, str, str]:
        texts, single = parse_request(
            await self._read(request),
            content_type=request.headers.get("content-type", ""),
            most_texts=self._most_texts,
        )
        pending = asyncio.gather(*(self._answer(text) for text in texts))
        try:
            answered = await asyncio.wait_for(pending, self._timeout_s)
        except TimeoutError as error:
            self._metrics.texts.labels(outcome="error").inc(len(texts))
            raise RefusedError(
                504, f"The answer took longer than {self._timeout_s:g} s. Send less at once."
            ) from error
        except Exception as error:  # a replica that died, or Serve that is full
            self._metrics.texts.labels(outcome="error").inc(len(texts))
            raise RefusedError(
                503, f"No replica could answer ({type(error).__name__}). Try again in a moment."
            ) from error
        for answer, batch_size in answered:
            failed = set(answer) == {"error"}
            self._metrics.texts.labels(outcome="error" if failed else "answered").inc()
            self._metrics.batch_size.observe(batch_size)
        return _json(*response_of([answer for answer, _ in answered], single=single))

    async def _health(self) -> tuple[int, str, str]:
        try:
            described = await asyncio.wait_for(self._describe(), self._timeout_s)
        except Exception as error:  # whatever it is, nobody answers
            return _json(503, {"status": "unavailable", "error": type(error).__name__})
        return _json(200, {"status": "ok", **described})

    async def _read(self, request: Any) -> bytes:
        """Reads the body, and stops as soon as it is too large."""
        length = request.headers.get("content-length", "0")
        parts, size = [], int(length) if length.isdigit() else 0
        if size <= self._max_request_bytes:
            size = 0
            async for part in request.stream():
                size += len(part)
                if size > self._max_request_bytes:
                    break
                parts.append(part)
        if size > self._max_request_bytes:
            raise RefusedError(
                413,
                f"A request must be at most {self._max_request_bytes} bytes. Received: {size} or "
                "more. Send less at once.",
            )
        return b"".join(parts)


def _json(status: int, content: dict[str, Any]) -> tuple[int, str, str]:
    # Escaped to ASCII, because half a surrogate pair in an error message has no UTF-8.
    return status, "application/json", json.dumps(content)
