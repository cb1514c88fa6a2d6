"""The recorded answers of every tier of a team to every request: a table to learn from.

With the answers recorded, a policy is tried out by looking up, thousands of times a second and with
no model called. Whether a choice of tiers gets a request right is then an AND over its sub-tasks.
A record's file is JSON lines, which are checked one by one.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfdistill.files.atomic import check_target, replacing

__all__ = ["TeamRecord", "parse", "step_of"]


@dataclass(frozen=True, eq=False)
class TeamRecord:
    r"""Holds R requests of up to N sub-tasks, each answered by M tiers.

    Attributes:
        tiers: Names of the tiers, the cheapest first.
        fields: Names of the N sub-tasks, such as "intent[1]"; a request need not have them all.
        active: Which sub-tasks a request has, bool `[R, N]`.
        right: Whether the answer is right, bool `[R, N, M]`; false where there is no sub-task.
        confidence: How sure the tier was, in [0, 1], float32 `[R, N, M]`.
        margin: How far ahead of the runner-up, in [0, 1], float32 `[R, N, M]`.
        cost_ms: What the answer took, float32 `[R, N, M]`.
        answers: Equal numbers are equal answers, −1 is unknown, int32 `[R, N, M]`.
        length: Characters of the text a sub-task is about, int32 `[R, N]`.
        sources: What each request was made of, as numbers; for intervals.
        shares_passes: Whether sub-tasks of one part on one tier are paid for once.
        team: Fingerprint of the team that answered, or "".

    Example:
        >>> import tempfile, pathlib
        >>> def said(confidence, right):
        ...     return {"confidence": confidence, "margin": confidence, "right": right}
        >>> header = {"format": 1, "tiers": ["tiny", "teacher"],
        ...           "cost_ms": {"tiny": {"topic": 0.1}, "teacher": {"topic": 8.0}}}
        >>> answers = {"tiny": said(0.6, False), "teacher": said(0.9, True)}
        >>> request = {"id": 0, "text": "a", "sources": [0], "subtasks": [
        ...     {"field": "topic", "length": 1, "answers": answers}]}
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "record.jsonl"
        >>> _ = path.write_text(json.dumps(header) + "\n" + json.dumps(request) + "\n")
        >>> record = TeamRecord.load(path)
        >>> record.alone(0).tolist(), record.alone(1).tolist()
        ([0.0], [1.0])
    """

    tiers: tuple[str, ...]
    fields: tuple[str, ...]
    active: np.ndarray
    right: np.ndarray
    confidence: np.ndarray
    margin: np.ndarray
    cost_ms: np.ndarray
    answers: np.ndarray
    length: np.ndarray
    sources: tuple[tuple[int, ...], ...]
    shares_passes: bool = False
    team: str = ""

    def __post_init__(self) -> None:
        if not len(self.active) or not self.active.any(axis=1).all():
            raise ValueError(
                "A record must have at least one request, and each at least one sub-task. "
                f"Received: {len(self.active)} requests, "
                f"{int((~self.active.any(axis=1)).sum())} of them without one."
            )
        for name, most in (("confidence", 1.0), ("margin", 1.0), ("cost_ms", np.inf)):
            values = getattr(self, name)[self.active]
            wrong = values[~((values >= 0) & (values <= most) & np.isfinite(values))]
            if len(wrong):
                raise ValueError(
                    f"`{name}` must be in [0, {most}] and finite. Received: {name}={wrong[0]!r}, "
                    f"and {len(wrong) - 1} more. Record the team again."
                )

    def __len__(self) -> int:
        return len(self.active)

    @property
    def steps(self) -> tuple[str, ...]:
        """Name of each sub-task without its number."""
        return tuple(step_of(field) for field in self.fields)

    @property
    def parts(self) -> np.ndarray:
        """Which sub-tasks share a pass on one tier, as equal numbers, int `[N]`."""
        if not self.shares_passes:
            return np.arange(len(self.fields))
        groups = [field.partition("[")[2] or field for field in self.fields]
        return np.array([groups.index(group) for group in groups])

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, team: str | None = None) -> TeamRecord:
        """Reads a record.

        Args:
            path: File of JSON lines: the header, then one request each.
            team: Fingerprint of the team that the record must be of; None takes any.

        Returns:
            The record.

        Raises:
            ValueError: If a line is not what it should be, a number is out of range or missing,
                there is no request, or another team answered.
        """
        record = cls(**parse(Path(path)))
        if team is not None and team != record.team:
            raise ValueError(
                f"`path` must be a record of this team. Received: path={str(path)!r}, made by the "
                f"team {record.team[:12]!r}; this one is {team[:12]!r}. Record this team."
            )
        return record

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the record as `load` reads it, whole or not at all.

        Args:
            path: File to write.
        """
        header = {"format": 1, "tiers": list(self.tiers), "team": self.team}
        header |= {"shared_ms": {}} if self.shares_passes else {}
        with replacing(check_target(path)) as temporary, temporary.open("w") as file:
            file.write(json.dumps(header) + "\n")
            for request in range(len(self)):
                columns = np.flatnonzero(self.active[request]).tolist()
                subtasks = [self._subtask(request, column) for column in columns]
                entry = {"id": request, "sources": list(self.sources[request])}
                file.write(json.dumps({**entry, "subtasks": subtasks}) + "\n")

    def _subtask(self, request: int, column: int) -> dict:
        answers = {}
        for k, tier in enumerate(self.tiers):
            at = request, column, k
            answers[tier] = {
                "confidence": float(self.confidence[at]),
                "margin": float(self.margin[at]),
                "right": bool(self.right[at]),
                "cost_ms": float(self.cost_ms[at]),
            }
            if self.answers[at] >= 0:
                answers[tier]["answer"] = int(self.answers[at])
        length = int(self.length[request, column])
        return {"field": self.fields[column], "length": length, "answers": answers}

    def take(self, requests: Sequence[int] | np.ndarray) -> TeamRecord:
        """Returns the record of some of the requests, in that order."""
        rows = np.asarray(requests)
        names = "active right confidence margin cost_ms answers length".split()
        chosen = {name: getattr(self, name)[rows] for name in names}
        sources = tuple(self.sources[row] for row in rows)
        return dataclasses.replace(self, sources=sources, **chosen)

    def split(self, *, fraction: float = 0.5, seed: int = 0) -> tuple[TeamRecord, TeamRecord]:
        """Splits the requests at random.

        Args:
            fraction: How much of them goes into the first part, in (0, 1).
            seed: Seed of the draw.

        Returns:
            Two records, for training and for validation.
        """
        count = round(fraction * len(self))
        if not 0 < count < len(self):
            raise ValueError(
                "`fraction` must leave requests in both parts. Received: "
                f"fraction={fraction!r} of {len(self)} requests."
            )
        order = np.random.default_rng(seed).permutation(len(self))
        return self.take(order[:count]), self.take(order[count:])

    def drifted(self, *, seed: int, strength: float = 1.0) -> TeamRecord:
        """Returns the record with confidences that no longer mean what they did.

        logit c′ = a · logit c + d for each kind of sub-task and tier, ln a and d / 2 normal with
        deviation strength / 2: the order within a kind stays, its meaning and the order between
        kinds do not.

        Args:
            seed: Seed of a and d; equal seeds drift alike.
            strength: Size of the drift; 0 is none.
        """
        random = np.random.default_rng(seed)
        confidence = self.confidence.astype(np.float64)
        for step in sorted(set(self.steps)):
            columns = np.array([name == step for name in self.steps])
            slope, shift = random.normal(size=(2, len(self.tiers))) * strength / 2
            kept = np.clip(confidence[:, columns], 1e-6, 1 - 1e-6)
            logit = np.exp(slope) * np.log(kept / (1 - kept)) + 2 * shift
            confidence[:, columns] = 1 / (1 + np.exp(-logit))
        return dataclasses.replace(self, confidence=confidence.astype(np.float32))

    def scores(self, right: np.ndarray, *, reward: str = "all-right") -> np.ndarray:
        """Scores requests: 1 or 0 for "all-right", the fraction of sub-tasks for "mean".

        Args:
            right: Whether each sub-task is right, bool `[R, N]`.
            reward: "all-right" or "mean".

        Returns:
            float32 `[R]`.
        """
        if reward == "all-right":
            return (right | ~self.active).all(axis=1).astype(np.float32)
        return ((right & self.active).sum(axis=1) / self.active.sum(axis=1)).astype(np.float32)

    def alone(self, tier: int, *, reward: str = "all-right") -> np.ndarray:
        """Scores what one tier gets alone, float32 `[R]`."""
        return self.scores(self.right[:, :, tier], reward=reward)


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
