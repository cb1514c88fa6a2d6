"""Reading the recorded answers of a team: JSON lines, checked one by one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["parse", "step_of"]

FORMAT = 1


def step_of(field: str) -> str:
    """Returns the name of a sub-task without its number: "intent" for "intent[1]".

    Example:
        >>> step_of("intent[1]")
        'intent'
    """
    return field.partition("[")[0]


def parse(path: Path) -> dict[str, Any]:
    """Reads a file of recorded answers.

    Args:
        path: JSON lines: a header with `format`, `tiers`, and `cost_ms` by tier and kind of
            sub-task (or `cost_ms` in every answer); then a request per line with `sources` and
            `subtasks`.

    Returns:
        The attributes of a `TeamRecord`.

    Raises:
        ValueError: If a line is not as described; the message has its number.
    """
    with path.open(encoding="utf-8") as file:
        lines = [line for line in file if line.strip()]
    header = _json(lines[0], 1, path) if lines else None
    if not isinstance(header, dict) or header.get("format") != FORMAT or len(lines) < 2:
        raise ValueError(
            f"`path` must be a record of format {FORMAT} with at least one request. Received: "
            f"path={str(path)!r} with {len(lines)} lines, the first {str(header)[:80]!r}."
        )
    requests = [_json(line, number, path) for number, line in enumerate(lines[1:], 2)]
    try:
        return _arrays(header, requests)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(
            "A record must have `sources` and `subtasks` with the answers of every tier in each "
            f"line. Received: path={str(path)!r} ({type(error).__name__}: {error})."
        ) from error


def _json(line: str, number: int, path: Path) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"A record must be JSON lines. Received: line {number} of {str(path)!r} ({error})."
        ) from error


def _arrays(header: dict[str, Any], requests: list[dict[str, Any]]) -> dict[str, Any]:
    tiers = tuple(header["tiers"])
    fields = _columns(requests)
    shape = len(requests), len(fields), len(tiers)
    known: dict[str, int] = {}
    arrays: dict[str, np.ndarray] = {
        "active": np.zeros(shape[:2], bool),
        "right": np.zeros(shape, bool),
        "confidence": np.zeros(shape, np.float32),
        "margin": np.zeros(shape, np.float32),
        "cost_ms": np.zeros(shape, np.float32),
        "answers": np.full(shape, -1, np.int32),
        "length": np.zeros(shape[:2], np.int32),
    }
    for row, request in enumerate(requests):
        for subtask in request["subtasks"]:
            at = row, fields.index(subtask["field"])
            arrays["active"][at], arrays["length"][at] = True, subtask["length"]
            for k, tier in enumerate(tiers):
                answer = subtask["answers"][tier]
                step = step_of(subtask["field"])
                cost = answer["cost_ms"] if "cost_ms" in answer else header["cost_ms"][tier][step]
                arrays["cost_ms"][*at, k] = cost
                arrays["right"][*at, k] = answer["right"]
                arrays["confidence"][*at, k] = answer["confidence"]
                arrays["margin"][*at, k] = answer["margin"]
                if "answer" in answer:
                    text = json.dumps(answer["answer"], sort_keys=True)
                    arrays["answers"][*at, k] = known.setdefault(text, len(known))
    sources = tuple(tuple(int(s) for s in request["sources"]) for request in requests)
    return {
        "tiers": tiers,
        "fields": fields,
        "sources": sources,
        "shares_passes": "shared_ms" in header,
        "team": str(header.get("team", "")),
        **arrays,
    }


def _columns(requests: list[dict[str, Any]]) -> tuple[str, ...]:
    """Orders the sub-tasks as a team does: by step, then by number."""
    seen = dict.fromkeys(entry["field"] for request in requests for entry in request["subtasks"])
    steps = list(dict.fromkeys(map(step_of, seen)))
    numbers = {field: int(field.partition("[")[2].rstrip("]") or 0) for field in seen}
    return tuple(sorted(seen, key=lambda field: (steps.index(step_of(field)), numbers[field])))
