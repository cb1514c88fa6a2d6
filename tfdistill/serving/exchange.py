"""What goes over the wire: a JSON request in, a JSON response out, and nothing that can surprise.

```
POST /predict  {"text": "oil prices rose"}       →  {"answer": {"label": …}}
POST /predict  {"texts": ["oil rose", ""]}       →  {"answers": [{"label": …}, {"error": {…}}]}
```

An error of one text stands in its place; a request that cannot be read is refused as a whole.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from typing import Any

__all__ = ["RefusedError", "parse_request", "response_of", "to_plain"]

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
    """Turns an answer of a unit, or the error in its place, into JSON's own types.

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
