"""The teams of Compound SNIPS as folders: one per tier, and one with all tiers."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from compound_snips_data import INTENTS, make_requests
from compound_snips_tags import PART_LENGTH, REQUEST_LENGTH, SPLIT_TAGS, make_rows

import tfdistill as td
from tfdistill.agents import Plan, Step
from tfdistill.agents.team.folder import save_team
from tfdistill.agents.team.verifier import compatible_labels
from tfdistill.students import at_length

TIERS = ("tiny", "small", "teacher")
CALIBRATION = 300  # requests, and as many parts
SAMPLE = "play some jazz on deezer, and then book a table for two in rome. Also, rate it 4 stars"
PLAN = Plan(
    steps=(
        Step("parts", kind="spans"),
        Step("intent", kind="label", reads={"parts": "spans"}, each="parts"),
        Step("slots", kind="spans", reads={"parts": "spans"}, each="parts"),
        Step("verdict", kind="verdict", reads={"intent": "label", "slots": "spans"}, each="parts"),
    ),
    result=("parts", "intent", "slots"),
)


def save_teams(
    task: Any,
    models: Mapping[str, keras.Model],
    teacher: Callable[[], keras.Model],
    options: argparse.Namespace,
) -> dict[str, Path]:
    """Exports the models and writes the teams; returns the folder of each.

    The students compute their products in 8 bits, the teacher in float32. In a file, `request`
    reads a whole request and `part` one part; they share their weights.
    """
    folder = options.folder / "teams"
    folder.mkdir(exist_ok=True)
    files = {}
    for tier in TIERS:
        path = folder / f"{tier}.tflite"
        if not path.exists():
            model = teacher() if tier == "teacher" else models[tier]
            calls = None if tier == "teacher" else calibration(task)
            quantize = "int8_fc" if calls else None
            td.to_tflite(signatures_of(model), path, quantize=quantize, calibration=calls)
        tokenizer = folder / f"{tier}.json"
        (task.whole if tier == "teacher" else task.cut).save(str(tokenizer))
        files[tier] = path, tokenizer
    compatible = compatible_labels(
        (utterance.intent, [slot.name for slot in utterance.slots])
        for utterance in task.utterances["train"]
    )
    teams = {}
    for name, tiers in {**{tier: (tier,) for tier in TIERS}, "cascade": TIERS}.items():
        teams[name] = folder / name
        save_team(
            teams[name],
            plan=PLAN,
            files={tier: files[tier] for tier in tiers},
            agents=agents_of(tiers, tags=task.tags, compatible=compatible),
            sample_text=SAMPLE,
        )
    return teams


def signatures_of(model: keras.Model) -> dict[str, keras.Model]:
    """Cuts a model into what a request and what a part needs."""
    request, part = at_length(model, REQUEST_LENGTH), at_length(model, PART_LENGTH)
    return {
        "request": keras.Model(request.input, {"split": request.output["split"]}),
        "part": keras.Model(part.input, {name: part.output[name] for name in ("intent", "slots")}),
    }


def calibration(task: Any) -> dict[str, np.ndarray]:
    """Returns training requests and parts as ids, from which activations take their ranges."""
    requests = make_requests(task.utterances["train"], count=CALIBRATION, seed=3)
    parts = make_requests(task.utterances["train"], count=3 * CALIBRATION, seed=4)[::3]
    return {
        name: make_rows(texts, task.cut, tags=task.tags, length=length).ids
        for name, texts, length in (
            ("request", requests, REQUEST_LENGTH),
            ("part", parts, PART_LENGTH),
        )
    }


def agents_of(
    tiers: tuple[str, ...], *, tags: tuple[str, ...], compatible: Mapping[str, list[str]]
) -> dict[str, list[dict[str, Any]]]:
    """Describes the agents of a team, cheapest tier first."""
    steps: dict[str, list[dict[str, Any]]] = {"parts": [], "intent": [], "slots": []}
    for tier in tiers:
        own = {"file": tier, "tier": tier}
        part = {**own, "signature": "part", "compatible": compatible}
        steps["parts"].append(
            own
            | {"agent": "tagger", "name": f"{tier}_splitter", "signature": "request"}
            | {"output": "split", "classes": SPLIT_TAGS}
        )
        steps["intent"].append(
            part
            | {"agent": "classifier", "name": f"{tier}_intent", "output": "intent"}
            | {"classes": INTENTS, "peer": "slots"}
        )
        steps["slots"].append(
            part
            | {"agent": "tagger", "name": f"{tier}_slots", "output": "slots"}
            | {"classes": tags, "peer": "intent"}
        )
    verifier = {"agent": "verifier", "compatible": compatible, "label": "intent", "spans": "slots"}
    return {**steps, "verdict": [verifier]}
