"""What a bundle answers: written, read strictly, absent in older bundles."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shared_fixtures.typed_bundles import MOODS, WORD_LOGITS, WORD_NUMBERS, summing_model

from tfdistill.bundles import Confidence, NumberScale, open_bundle
from tfdistill.export import save_bundle


def manifest(bundle: Path) -> dict[str, Any]:
    return json.loads((bundle / "manifest.json").read_text())


def edited(bundle: Path, target: Path, **changes: Any) -> Path:
    copy = Path(shutil.copytree(bundle, target))
    content = {**manifest(bundle), **changes}
    content = {name: value for name, value in content.items() if value is not ...}
    (copy / "manifest.json").write_text(json.dumps(content))
    return copy


def test_the_manifest_names_the_task(moods_bundle: Path, stars_bundle: Path):
    assert manifest(moods_bundle)["task"] == "labels"
    assert manifest(moods_bundle)["thresholds"] == [0.5, 0.8, 0.7]
    assert manifest(stars_bundle)["task"] == "number"
    assert manifest(stars_bundle)["scale"] == {"mean": 3.0, "standard_deviation": 2.0}

    moods, stars = open_bundle(moods_bundle), open_bundle(stars_bundle)
    assert (moods.task, moods.thresholds, moods.scale) == ("labels", (0.5, 0.8, 0.7), None)
    assert (stars.task, stars.thresholds, stars.scale) == ("number", None, NumberScale(3.0, 2.0))


def test_a_bundle_without_a_task_answers_with_a_class(moods_bundle: Path, tmp_path: Path):
    old = open_bundle(edited(moods_bundle, tmp_path / "old", task=..., thresholds=...))
    assert (old.task, old.thresholds, old.scale) == ("class", None, None)


def test_thresholds_are_one_half_and_the_scale_is_one_unless_they_are_given(tmp_path: Path):
    model, tokenizer = summing_model(WORD_LOGITS)
    given: dict[str, Any] = {"tokenizer": tokenizer, "quantize": None}
    moods = save_bundle(model, tmp_path / "moods", labels=MOODS, task="labels", **given)
    assert moods.thresholds == (0.5, 0.5, 0.5)

    model, tokenizer = summing_model(WORD_NUMBERS)
    given["tokenizer"] = tokenizer
    stars = save_bundle(model, tmp_path / "stars", labels=["stars"], task="number", **given)
    assert stars.scale == NumberScale(0.0, 1.0)


def test_a_scale_turns_outputs_into_units():
    scale = NumberScale(mean=10.0, standard_deviation=4.0)
    np.testing.assert_array_equal(scale.units(np.array([-1.0, 0.0, 2.5])), [6.0, 10.0, 20.0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "colour"}, "`task` must be one of ('class', 'labels', 'number')"),
        ({"task": ["labels"]}, "`task` must be one of"),
        ({"task": "class"}, "`thresholds` must be None for task='class'. Received: 3"),
        ({"thresholds": ...}, "`thresholds` must be stated for task='labels'"),
        ({"thresholds": {}}, "`thresholds` must be a list. Received: dict"),
        ({"thresholds": [0.5]}, "`thresholds` must be one for each of the 3 labels. Received: 1"),
        ({"thresholds": [0.5, 0.5, 1.0]}, "`thresholds[2]` must be a number in (0, 1)"),
        ({"thresholds": [0.5, 0.5, "1"]}, "`thresholds[2]` must be a number in (0, 1)"),
        ({"thresholds": [0.5, 0.5, float("nan")]}, "`thresholds[2]` must be a number in (0, 1)"),
        ({"thresholds": [0.5, 0.5, 10**400]}, "too large to convert"),
        ({"scale": {"mean": 0, "standard_deviation": 1}}, "`scale` must be None for task='labels'"),
        ({"confidence": Confidence().to_dict()}, "`confidence` must be None for task='labels'"),
        ({"task": "number", "thresholds": ...}, "`labels` must be one name for task='number'"),
    ],
)
def test_a_manifest_that_states_nonsense_is_refused(
    changes: dict[str, Any], message: str, moods_bundle: Path, tmp_path: Path
):
    copy = edited(moods_bundle, tmp_path / "copy", **changes)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        open_bundle(copy)
    assert str(caught.value).endswith("Save the bundle again.")


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        (..., "`scale` must be stated for task='number'"),
        (None, "`scale` must have exactly the parts mean and standard_deviation"),
        ({"mean": 0.0}, "`scale` must have exactly the parts"),
        ({"mean": "0", "standard_deviation": 1.0}, "`mean` must be a number in"),
        ({"mean": 1e39, "standard_deviation": 1.0}, "`mean` must be a number in [-1e38, 1e38]"),
        ({"mean": 0.0, "standard_deviation": 0.0}, "`standard_deviation` must be a number in (0, "),
        ({"mean": 0.0, "standard_deviation": float("inf")}, "`standard_deviation` must be a"),
    ],
)
def test_a_scale_that_is_none_is_refused(
    scale: Any, message: str, stars_bundle: Path, tmp_path: Path
):
    copy = edited(stars_bundle, tmp_path / "copy", scale=scale)
    with pytest.raises(ValueError, match=re.escape(message)):
        open_bundle(copy)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"task": "tags"}, ValueError, "`task` must be one of"),
        ({"scale": NumberScale()}, ValueError, "`scale` must be None for task='class'"),
        ({"thresholds": [0.5]}, ValueError, "`thresholds` must be None for task='class'"),
        ({"task": "number"}, ValueError, "`labels` must be one name for task='number'"),
        ({"task": "labels", "thresholds": 0.5}, TypeError, "`thresholds` must be a list of numb"),
        ({"task": "labels", "confidence": Confidence()}, ValueError, "`confidence` must be None"),
    ],
)
def test_parts_of_another_task_are_refused_before_anything_is_written(
    options: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
):
    model, tokenizer = summing_model(WORD_LOGITS)
    with pytest.raises(error, match=re.escape(message)):
        save_bundle(model, tmp_path / "b", tokenizer=tokenizer, labels=MOODS, **options)
    assert not (tmp_path / "b").exists()


def test_a_scale_of_another_type_is_refused(tmp_path: Path):
    model, tokenizer = summing_model(WORD_NUMBERS)
    with pytest.raises(TypeError, match=re.escape("`scale` must be a NumberScale or None")):
        save_bundle(
            model, tmp_path / "b", tokenizer=tokenizer, labels=["stars"], task="number",
            scale=(0.0, 1.0),
        )  # fmt: skip
