"""Asking every tier of a live team for every sub-task of requests whose answers are known."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tfdistill.agents.team.member import Caller, Question, moved
from tfdistill.agents.team.messages import Message, plain_value
from tfdistill.agents.team.plan import REQUEST, Step
from tfdistill.files.atomic import check_target, replacing
from tfdistill.rl.budget.record import TeamRecord

__all__ = ["LabeledRequest", "record_team", "team_fingerprint"]


@dataclass(frozen=True)
class LabeledRequest:
    """Is a request and what should be answered.

    Attributes:
        text: The request.
        values: The right value of every field, such as `{"parts": (Span(0, 9, "part"),),
            "intent[0]": "PlayMusic"}`; spans count from the start of the request.
        sources: What the request was made of, as numbers; for intervals.
    """

    text: str
    values: Mapping[str, Any]
    sources: tuple[int, ...] = field(default=())


def team_fingerprint(team: Any) -> str:
    """Computes what tells a team from others: its plan and the names and tiers of its agents.

    Args:
        team: A `tfdistill.agents.Team`.

    Returns:
        SHA-256, 64 characters.
    """
    agents = {name: [[m.name, m.tier] for m in who] for name, who in team.members.items()}
    text = json.dumps([team.plan.to_dict(), agents], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def record_team(
    team: Any, requests: Sequence[LabeledRequest], path: str | os.PathLike[str]
) -> TeamRecord:
    """Asks every tier for every sub-task, and writes down what was said and what it took.

    Each sub-task is asked with the right values of what it reads, so that whether it is right does
    not depend on what was chosen elsewhere. An agent that fails is wrong, with confidence 0.

    Args:
        team: A `tfdistill.agents.Team`; all its steps but verdicts answer with the same tiers.
        requests: Requests with their right answers.
        path: File of JSON lines to write, whole or not at all.

    Returns:
        The record.

    Raises:
        ValueError: If there is no request, a right value is missing, or the steps' tiers differ.
    """
    target = check_target(path)
    steps = [step for step in _ordered(team) if step.kind != "verdict"]
    tiers = [member.tier for member in team.members[steps[0].name]]
    for step in steps:
        own = [member.tier for member in team.members[step.name]]
        if own != tiers:
            raise ValueError(
                "`team` must have the same tiers in all steps. Received: "
                f"{steps[0].name!r} → {tiers}, {step.name!r} → {own}."
            )
    if not requests:
        raise ValueError("`requests` must have at least one request. Received: an empty list.")
    caller = Caller()
    with replacing(target) as temporary:
        with temporary.open("w", encoding="utf-8") as file:
            header = {"format": 1, "tiers": tiers, "team": team_fingerprint(team)}
            file.write(json.dumps(header) + "\n")
            for number, request in enumerate(requests):
                entry = {
                    "id": number,
                    "text": request.text,
                    "sources": list(request.sources or (number,)),
                    "subtasks": [
                        _subtask(team, caller, step, field, request)
                        for step in steps
                        for field in _fields(step, request)
                    ],
                }
                file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        record = TeamRecord.load(temporary)
    return record


def _ordered(team: Any) -> list[Step]:
    return [team.plan.step(name) for level in team.plan.levels for name in level]


def _fields(step: Step, request: LabeledRequest) -> Iterator[str]:
    count = 1 if step.each is None else len(_value(request, step.each))
    names = [step.name] if step.each is None else [f"{step.name}[{i}]" for i in range(count)]
    yield from names


def _value(request: LabeledRequest, field: str) -> Any:
    if field not in request.values:
        raise ValueError(
            f"`values` must have the right value of every field. Received: none for {field!r} of "
            f"{request.text[:60]!r}."
        )
    return request.values[field]


def _subtask(
    team: Any, caller: Caller, step: Step, field: str, request: LabeledRequest
) -> dict[str, Any]:
    suffix, start, end = field[len(step.name) :], 0, len(request.text)
    if step.each is not None:
        part = _value(request, step.each)[int(suffix[1:-1])]
        start, end = part.start, part.end
    inputs = {}
    for name in step.reads:
        if name not in (REQUEST, step.each):
            peer = f"{name}{suffix}" if team.plan.step(name).each else name
            inputs[name] = moved(_value(request, peer), -start)
    question = Question(field, request.text[start:end], start, inputs, {})
    answers = {}
    for member in team.members[step.name]:
        said, margin = caller.call(member, question, reply=None)
        answered = isinstance(said, Message)
        answers[member.tier] = {
            "confidence": said.confidence if isinstance(said, Message) else 0.0,
            "margin": margin if answered else 0.0,
            "right": isinstance(said, Message) and said.value == _value(request, field),
            "cost_ms": said.cost_ms,
            "answer": plain_value(said.value) if isinstance(said, Message) else None,
        }
    return {"field": field, "length": end - start, "answers": answers}
