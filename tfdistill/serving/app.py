"""From an HTTP request to its response, whoever answers the texts.

=======================  ==========================================================================
`GET /`                  the page to try it by hand
`POST /predict`          answers, as JSON
`GET /health`            200 while a replica answers, with what is served; 503 otherwise
`GET /metrics`           figures for Prometheus
=======================  ==========================================================================

```
POST /predict  {"text": "oil prices rose"}       →  {"answer": {"label": …}}
POST /predict  {"texts": ["oil rose", ""]}       →  {"answers": [{"label": …}, {"error": {…}}]}
```

An error of one text stands in its place; a request that cannot be read is refused as a whole.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from tfdistill.serving import page

__all__ = ["RefusedError", "Routes", "parse_request", "response_of", "to_plain"]


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
        self._metrics = _Metrics()

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


LARGEST_DEPTH = 64


class RefusedError(Exception):
    """Says why a request is refused.

    Attributes:
        status: The HTTP status code.
        message: What is wrong and what to do.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message


def parse_request(body: bytes, *, content_type: str, most_texts: int) -> tuple[list[str], bool]:
    """Reads the texts of a request.

    Args:
        body: What was sent.
        content_type: The header of that name. Only JSON is taken, which a page of another site
            cannot send without asking.
        most_texts: How many texts one request may have.

    Returns:
        The texts, and whether it was a single one under "text".

    Raises:
        RefusedError: With status 415, 400 or 413.

    Example:
        >>> parse_request(b'{"text": "oil"}', content_type="application/json", most_texts=8)
        (['oil'], True)
    """
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise RefusedError(
            415,
            "The Content-Type must be application/json. Received: "
            f"{content_type[:80]!r}. Send a header `Content-Type: application/json`.",
        )
    try:
        content = json.loads(body.decode("utf-8"))
    # RecursionError: a few kilobytes of brackets are enough to reach Python's limit.
    except (ValueError, RecursionError) as error:
        raise RefusedError(
            400, f"The body must be JSON in UTF-8. Received: {len(body)} bytes ({error})."
        ) from error
    if not isinstance(content, dict) or len(content) != 1 or not content.keys() & {"text", "texts"}:
        raise RefusedError(
            400, 'The body must be an object with "text" or "texts": {"text": "oil prices rose"}.'
        )
    single = "text" in content
    texts = [content["text"]] if single else content["texts"]
    if not isinstance(texts, list) or not texts:
        raise RefusedError(400, '"texts" must be a list of at least one text.')
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            name = '"text"' if single else f'"texts"[{index}]'
            raise RefusedError(400, f"{name} must be a string. Received: {type(text).__name__}.")
    if len(texts) > most_texts:
        raise RefusedError(
            413,
            f'"texts" must have at most {most_texts} texts. Received: {len(texts)}. '
            "Send several requests.",
        )
    return texts, single


def response_of(answers: Sequence[Any], *, single: bool) -> tuple[int, dict[str, Any]]:
    """Returns the status and the content of a response.

    Args:
        answers: One per text: plain values, as `to_plain` makes them.
        single: Whether the request had "text".

    Example:
        >>> response_of([{"label": "oil"}], single=True)
        (200, {'answer': {'label': 'oil'}})
        >>> response_of([{"error": {"type": "ValueError", "message": "no"}}], single=True)
        (422, {'error': {'type': 'ValueError', 'message': 'no'}})
    """
    if not single:
        return 200, {"answers": list(answers)}
    (answer,) = answers
    if set(answer) == {"error"}:
        return 422, answer
    return 200, {"answer": answer}


def to_plain(answer: Any) -> dict[str, Any]:
    """Turns an answer, or the error in its place, into JSON's own types.

    Args:
        answer: A dataclass such as `Prediction`, a result with `to_json()` such as a team's, or
            an exception.

    Raises:
        TypeError: If it is something else.
    """
    if isinstance(answer, BaseException):
        return {"error": {"type": type(answer).__name__, "message": str(answer)}}
    if hasattr(answer, "to_json"):
        content = answer.to_json()
    elif dataclasses.is_dataclass(answer) and not isinstance(answer, type):
        content = dataclasses.asdict(answer)
    else:
        raise TypeError(
            f"An answer must be a dataclass or have `to_json()`. Received: {type(answer).__name__}."
        )
    return _finite(content, depth=0)


def _finite(value: Any, *, depth: int) -> Any:
    """Copies a value; numbers that JSON does not have become None."""
    if depth > LARGEST_DEPTH:
        raise TypeError(f"An answer must not be nested deeper than {LARGEST_DEPTH}.")
    if isinstance(value, dict):
        return {str(key): _finite(each, depth=depth + 1) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each, depth=depth + 1) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64)


class _Metrics:
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
