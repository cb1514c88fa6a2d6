"""Writes down what every tier answers to every sub-task, so that policies can be compared offline.

    python benchmarks/compound_snips_record.py --data FOLDER

needs the teams of `compound_snips.py` in the same `--folder`. It writes `record_dev.jsonl`,
requests made of utterances that no model was trained on, for thresholds and policies to learn
from, and `record_test.jsonl`. The first line of a file describes it; each other line is a request:

    {"id", "text", "sources", "subtasks": [{"field", "length", "answers": {tier: {...}}}]}

with `confidence`, `margin`, `entropy`, `right` and `answer` for each tier. Intent and slots are
asked for the true parts, so that a sub-task's answer does not depend on another's; a request is
right if all of its sub-tasks are.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from compound_snips import arguments, prepare
from compound_snips_data import Part, Request, make_requests
from compound_snips_teams import TIERS

from tfdistill.agents import Question, Span, Team
from tfdistill.agents.team.folder import open_team
from tfdistill.agents.team.messages import plain_value

STEPS = ("parts", "intent", "slots")
COUNTS = {"dev": 2000, "test": 1500}
TIMED = 40


def main() -> None:
    """Writes both files, unless they are there."""
    options = arguments()
    task = prepare(options)
    team = open_team(options.folder / "teams" / "cascade")
    for split, count in COUNTS.items():
        path = options.folder / f"record_{split}.jsonl"
        if path.exists():
            continue
        requests = make_requests(task.utterances[split], count=count, seed=1)
        write(path, requests, team)
        print(path, flush=True)


def write(path: Path, requests: list[Request], team: Team) -> None:
    """Asks every tier everything, and writes the answers."""
    head = {"format": 1, "tiers": list(TIERS), **costs(requests, team)}
    fresh = path.with_name(f"new.{path.name}")
    known: dict[tuple[str, str], dict[str, Any]] = {}
    with fresh.open("w", encoding="utf-8") as stream:
        stream.write(json.dumps(head) + "\n")
        for number, request in enumerate(requests):
            parts = tuple(Span(part.start, part.end, "part") for part in request.parts)
            rows = [subtask("parts", request.text, 0, plain_value(parts), team, known)]
            for index, part in enumerate(request.parts):
                text = request.text[part.start : part.end]
                for step, wanted in wanted_of(part).items():
                    row = subtask(f"{step}[{index}]", text, part.start, wanted, team, known)
                    rows.append(row)
            line = {"id": number, "text": request.text, "sources": list(request.sources)}
            stream.write(json.dumps(line | {"subtasks": rows}) + "\n")
    fresh.replace(path)


def wanted_of(part: Part) -> dict[str, Any]:
    """Returns the right answers to a part, slots counted in the request."""
    return {"intent": part.intent, "slots": [[s.start, s.end, s.name] for s in part.slots]}


def subtask(
    field: str,
    text: str,
    start: int,
    wanted: Any,
    team: Team,
    known: dict[tuple[str, str], dict[str, Any]],
) -> dict[str, Any]:
    """Returns what each tier answers to one sub-task; a text that was asked before is not again."""
    step = field.partition("[")[0]
    answers = {}
    for member in team.members[step]:
        key = member.name, text
        if key not in known:
            known[key] = ask(member, field, text)
        found = dict(known[key])
        value = found["answer"]
        if isinstance(value, list):
            value = [[a + start, b + start, label] for a, b, label in value]
        answers[member.tier] = found | {"answer": value, "right": value == wanted}
    return {"field": field, "length": len(text), "answers": answers}


def ask(member: Any, field: str, text: str) -> dict[str, Any]:
    """Asks one agent; an agent that fails has confidence 0."""
    try:
        answer = member.answer(Question(field, text))
        outputs, words = member.file.run(text, signature=member.signature)
    except (ValueError, RuntimeError):
        return {"confidence": 0.0, "margin": 0.0, "entropy": 0.0, "answer": None}
    logits = np.atleast_2d(outputs[member.output][0]).astype(np.float64)
    if member.kind == "spans":
        logits = logits[words.first]
    shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares /= shares.sum(axis=-1, keepdims=True)
    entropy = -(shares * np.log(np.maximum(shares, 1e-12))).sum(axis=-1).max()
    value = plain_value(answer.value)
    found = {"confidence": answer.confidence, "margin": answer.margin}
    return {**found, "entropy": float(entropy), "answer": value}


def costs(requests: list[Request], team: Team) -> Mapping[str, Any]:
    """Measures what an answer of each tier takes, with nothing remembered; medians in ms."""
    cost: dict[str, dict[str, float]] = {tier: {} for tier in TIERS}
    for step in STEPS:
        for member in team.members[step]:
            spent = []
            for request in requests[:TIMED]:
                part = request.parts[0]
                text = request.text if step == "parts" else request.text[part.start : part.end]
                member.file.forget()
                start = perf_counter()
                member.answer(Question(step, text))
                spent.append(1e3 * (perf_counter() - start))
            cost[member.tier][step] = round(statistics.median(spent), 4)
    return {"cost_ms": cost, "shared_ms": {tier: cost[tier]["slots"] for tier in TIERS}}


if __name__ == "__main__":
    main()
