"""What a teacher cache refuses, by what differs and with what to do."""

from __future__ import annotations

import json
import os
from pathlib import Path

import keras
import numpy as np
import pytest

from tfdistill import TeacherCache


def classifier(units: int = 4, classes: int = 3, seed: int = 0) -> keras.Model:
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [keras.Input((5,)), keras.layers.Dense(units, "relu"), keras.layers.Dense(classes)]
    )


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(64, 5)).astype("float32")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"teacher": 1}, "teacher"),
        ({"text": 1}, "inputs"),
        ({"length": 4}, "inputs"),
        ({"top_k": 2}, "top_k"),
    ],
)
def test_answers_of_another_build_are_refused_by_what_differs(tmp_path: Path, x, change, named):
    TeacherCache.build(classifier(), x, tmp_path / "c")
    other = x + change.get("text", 0)
    teacher = classifier(seed=change.get("teacher", 0))
    if "length" in change:
        other, teacher = x[:, :4], keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        named = "inputs, teacher"
    with pytest.raises(ValueError, match=f"differs in {named}: .*pass resume=False"):
        TeacherCache.build(teacher, other, tmp_path / "c", top_k=change.get("top_k"))


def test_a_teacher_of_equal_weights_and_other_settings_is_refused(tmp_path: Path, x):
    def teacher(activation: str) -> keras.Model:
        model = classifier()
        model.layers[0].activation = keras.activations.get(activation)
        return model

    TeacherCache.build(teacher("relu"), x, tmp_path / "c")
    TeacherCache.build(teacher("relu"), x, tmp_path / "c")
    with pytest.raises(ValueError, match="differs in teacher"):
        TeacherCache.build(teacher("tanh"), x, tmp_path / "c")


def test_other_inputs_are_refused_by_dataset(tmp_path: Path, x):
    cache = TeacherCache.build(classifier(), x, tmp_path / "c")
    with pytest.raises(ValueError, match="`x` must be the inputs that the cache was built with"):
        cache.dataset(x[:, ::-1])


@pytest.mark.parametrize("argument", ["y", "sample_weight", "student_x"])
def test_labels_of_another_length_are_refused(tmp_path: Path, x, argument):
    cache = TeacherCache.build(classifier(), x, tmp_path / "c")
    with pytest.raises(ValueError, match=f"`{argument}` must have as many rows as `x`.*10 rows"):
        cache.dataset(x, **{argument: np.zeros(10)})


def test_a_folder_without_a_cache_is_refused(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="`path` must be the folder of a teacher cache"):
        TeacherCache(tmp_path)


def test_a_folder_of_other_files_is_left_alone(tmp_path: Path, x):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="`path` must be a new or empty folder"):
        TeacherCache.build(classifier(), x, tmp_path, resume=False)
    assert os.listdir(tmp_path) == ["thesis.txt"]


@pytest.mark.parametrize(
    "manifest",
    [
        {"format": 1, "kind": "team", "plan": {}, "agents": {}, "files": {}},
        {"format": 1, "kind": "bundle", "sequence_length": 8, "signatures": {}, "files": {}},
        {"format": 1, "sequence_length": 8, "signatures": {}, "files": {}},  # without a kind
    ],
)
@pytest.mark.parametrize("resume", [True, False])
def test_a_bundle_or_a_team_is_never_built_over(tmp_path: Path, x, manifest, resume: bool):
    content = json.dumps(manifest)
    (tmp_path / "manifest.json").write_text(content)
    (tmp_path / "model.tflite").write_text("years of work")
    with pytest.raises(ValueError, match="`path` must be the folder of a teacher cache") as told:
        TeacherCache.build(classifier(), x, tmp_path, resume=resume)
    assert "resume=False" not in str(told.value)
    assert (tmp_path / "manifest.json").read_text() == content
    assert sorted(os.listdir(tmp_path)) == ["manifest.json", "model.tflite"]
    with pytest.raises(ValueError, match="`path` must be the folder of a teacher cache"):
        TeacherCache(tmp_path)


def test_starting_over_keeps_what_the_user_put_into_the_folder(tmp_path: Path, x):
    TeacherCache.build(classifier(), x, tmp_path)
    for name in ("notes.txt", "shard-of-mine.npz"):
        (tmp_path / name).write_text("mine")
    TeacherCache.build(classifier(seed=5), x, tmp_path, resume=False)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert (tmp_path / "shard-of-mine.npz").read_text() == "mine"

    (tmp_path / "shard-00007.npz").write_text("mine")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match=r"must hold no shards but those of its manifest.*00007"):
        TeacherCache.build(classifier(), x, tmp_path, resume=False)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_cache_states_its_kind_and_one_without_opens(tmp_path: Path, x):
    TeacherCache.build(classifier(), x, tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest.pop("kind") == "teacher cache"
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    assert TeacherCache(tmp_path).num_rows == 64
    TeacherCache.build(classifier(), x, tmp_path)  # goes on: there is nothing left to do


def test_a_newer_format_is_refused(tmp_path: Path, x):
    TeacherCache.build(classifier(), x, tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps({**manifest, "format": 99}))
    with pytest.raises(ValueError, match="`path` must be a teacher cache of format 1.*99"):
        TeacherCache(tmp_path)


def test_a_manifest_that_is_no_manifest_is_refused(tmp_path: Path):
    (tmp_path / "manifest.json").write_text("[]")
    with pytest.raises(ValueError, match="manifest.json cannot be read"):
        TeacherCache(tmp_path)


def test_a_callable_needs_a_fingerprint(tmp_path: Path, x):
    with pytest.raises(ValueError, match="`fingerprint` must name a teacher that is a callable"):
        TeacherCache.build(lambda batch: batch, x, tmp_path)


def test_something_else_than_a_teacher_is_refused(tmp_path: Path, x):
    with pytest.raises(TypeError, match="`teacher` must be a Keras 3 model"):
        TeacherCache.build("model.keras", x, tmp_path)


def test_several_outputs_are_refused(tmp_path: Path, x):
    with pytest.raises(TypeError, match="`teacher` must return one tensor of logits.*2 outputs"):
        TeacherCache.build(lambda batch: (batch, batch), x, tmp_path, fingerprint="two")


@pytest.mark.parametrize("top_k", [0, 4, True])
def test_top_k_out_of_range_is_refused(tmp_path: Path, x, top_k):
    with pytest.raises((TypeError, ValueError), match=r"`top_k` must be an int in \[1, 3\]"):
        TeacherCache.build(classifier(), x, tmp_path, top_k=top_k)


def test_a_batch_size_of_zero_is_refused(tmp_path: Path, x):
    with pytest.raises(ValueError, match="`batch_size` must be an int of at least 1"):
        TeacherCache.build(classifier(), x, tmp_path, batch_size=0)


def test_no_rows_are_refused(tmp_path: Path, x):
    with pytest.raises(ValueError, match="`x` must hold at least one row"):
        TeacherCache.build(classifier(), x[:0], tmp_path)
