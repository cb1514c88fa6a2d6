"""What each team gets right of the test requests, and what it takes."""

from __future__ import annotations

import argparse
import json
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from compound_snips_data import Request, make_requests
from compound_snips_teams import TIERS

from tfdistill.agents import TeamResult, ThresholdPolicy
from tfdistill.agents.team.folder import open_team

TIMED = 60  # requests of a turn
REPEATS = 9


def score(task: Any, folders: Mapping[str, Path], options: argparse.Namespace) -> dict[str, Any]:
    """Answers the test requests with every team, or reads what they answered."""
    requests = make_requests(task.utterances["test"], count=options.requests, seed=1)
    teams = {tier: open_team(folders[tier], policy=ThresholdPolicy(0.0)) for tier in TIERS}
    rows = {}
    for tier in TIERS:
        path = options.folder / f"scores_{tier}_{options.requests}_{options.seed}.json"
        if not path.exists():
            found = [judge(request, teams[tier].answer(request.text)) for request in requests]
            path.write_text(json.dumps(found), encoding="utf-8")
        rows[tier] = json.loads(path.read_text(encoding="utf-8"))
    sources = [request.sources for request in requests]
    size = {tier: (folders[tier] / tier / "model.tflite").stat().st_size / 1000 for tier in TIERS}
    return {"rows": rows, "sources": sources, "ms": time_each(teams, requests), "size": size}


def judge(request: Request, answer: TeamResult | Exception) -> dict[str, float]:
    """Compares an answer with a request.

    A part counts as found if its characters are right; its intent and slots are right if the part
    is. Slots are counted over the whole request as (name, first and last character).
    """
    wanted_slots = Counter((s.name, s.start, s.end) for p in request.parts for s in p.slots)
    if isinstance(answer, Exception):
        return _row(request, wanted_slots, Counter(), 0, exact=False, split=False)
    values = answer.values
    parts = values["parts"] or ()
    at = {(span.start, span.end): index for index, span in enumerate(parts)}
    found_slots = Counter(
        (span.label, span.start, span.end)
        for index in range(len(parts))
        for span in values.get(f"slots[{index}]") or ()
    )
    intents, exact = 0, len(parts) == len(request.parts)
    for part in request.parts:
        index = at.get((part.start, part.end))
        right = index is not None and values.get(f"intent[{index}]") == part.intent
        intents += right
        slots = index is not None and values.get(f"slots[{index}]")
        exact = exact and right and slots is not None
    split = set(at) == {(part.start, part.end) for part in request.parts}
    exact = bool(exact and split and found_slots == wanted_slots)
    return _row(request, wanted_slots, found_slots, intents, exact=exact, split=split)


def _row(
    request: Request, wanted: Counter, found: Counter, intents: int, *, exact: bool, split: bool
) -> dict[str, float]:
    return {
        "exact": float(exact),
        "split": float(split),
        "intents": intents,
        "parts": len(request.parts),
        "slots_right": sum((wanted & found).values()),
        "slots_found": sum(found.values()),
        "slots_wanted": sum(wanted.values()),
    }


def figures(rows: Sequence[Mapping[str, float]], weights: np.ndarray) -> dict[str, float]:
    """Returns the figures of one team, each request counted with its weight."""

    def total(name: str) -> float:
        return float(np.dot(weights, [row[name] for row in rows]))

    slots = total("slots_found") + total("slots_wanted")
    return {
        "exact": share(total("exact"), float(weights.sum())),
        "split": share(total("split"), float(weights.sum())),
        "intent": share(total("intents"), total("parts")),
        "slot_f1": share(2 * total("slots_right"), slots),
    }


def share(part: float, whole: float) -> float:
    """Returns part / whole, and NaN of nothing: a draw of few requests may have none."""
    return part / whole if whole else float("nan")


def intervals(
    rows: Mapping[str, Sequence[Mapping[str, float]]],
    sources: Sequence[Sequence[int]],
    *,
    draws: int = 1000,
) -> dict[str, dict[str, tuple[float, float]]]:
    """Returns 95 % intervals by a bootstrap over source utterances.

    Requests that share an utterance are not independent. So utterances are drawn, with
    replacement, and a request counts as often as the product of its utterances' counts (the
    pigeonhole bootstrap; Owen, "The pigeonhole bootstrap", 2007). Beside each team's figures
    there is `ratio`, its exact match over the teacher's in the same draw.
    """
    generator = np.random.default_rng(0)
    count = max(max(row) for row in sources) + 1
    seen: dict[str, dict[str, list[float]]] = {tier: {} for tier in rows}
    for _ in range(draws):
        drawn = np.bincount(generator.integers(0, count, count), minlength=count)
        weights = np.array([np.prod(drawn[list(row)]) for row in sources], float)
        now = {tier: figures(found, weights) for tier, found in rows.items()}
        for tier, found in now.items():
            values = found | {"ratio": share(found["exact"], now["teacher"]["exact"])}
            for name, value in values.items():
                seen[tier].setdefault(name, []).append(value)
    return {
        tier: {
            name: (float(np.nanquantile(values, 0.025)), float(np.nanquantile(values, 0.975)))
            for name, values in found.items()
        }
        for tier, found in seen.items()
    }


def time_each(teams: Mapping[str, Any], requests: Sequence[Request]) -> dict[str, float]:
    """Times the teams in turn, `TIMED` requests each; the median of the turns, ms per request.

    What is timed is `Team.answer`, text in and result out, on one thread. In turns of one request
    the teacher's 90 MB would push the students out of the processor's caches each time.
    """
    from time import perf_counter

    texts = [request.text for request in requests[:TIMED]]
    for team in teams.values():
        team.answer(texts[0])
    means: dict[str, list[float]] = {tier: [] for tier in teams}
    for repeat in range(REPEATS):
        # Another text each time for the file's memory.
        again = [text + " " * repeat for text in texts]
        for tier, team in teams.items():
            start = perf_counter()
            for text in again:
                team.answer(text)
            means[tier].append(1e3 * (perf_counter() - start) / len(texts))
    return {tier: statistics.median(values) for tier, values in means.items()}


def table(result: Mapping[str, Any]) -> str:
    """Returns the figures of all teams as Markdown."""
    rows, found = result["rows"], intervals(result["rows"], result["sources"])
    ones = np.ones(len(result["sources"]))
    teacher = figures(rows["teacher"], ones)["exact"]
    lines = [
        "| team | file KB | exact match | of the teacher team's | slot F1 | intent | split | "
        "ms per request | × faster |",
        "| --- | --: | --: | --: | --: | --: | --: | --: | --: |",
    ]
    for tier in reversed(TIERS):
        values, ranges = figures(rows[tier], ones), found[tier]

        def shown(name: str, values=values, ranges=ranges) -> str:
            low, high = ranges[name]
            return f"{values[name]:.3f} ({low:.3f}–{high:.3f})"

        low, high = ranges["ratio"]
        ms = result["ms"]
        lines.append(
            f"| {tier} | {result['size'][tier]:,.0f} | {shown('exact')} "
            f"| {share(values['exact'], teacher):.3f} ({low:.3f}–{high:.3f}) | {shown('slot_f1')} "
            f"| {shown('intent')} | {shown('split')} | {ms[tier]:.2f} "
            f"| {ms['teacher'] / ms[tier]:.1f} |"
        )
    return "\n".join(lines)
