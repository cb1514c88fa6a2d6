"""A teacher's answers on disk: equal to the teacher, safe to interrupt, refused when foreign."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import keras
import numpy as np
import pytest

from tfdistill import Distiller, TeacherCache


def classifier(units: int = 4, classes: int = 3, seed: int = 0) -> keras.Model:
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [keras.Input((5,)), keras.layers.Dense(units, "relu"), keras.layers.Dense(classes)]
    )


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(64, 5)).astype("float32")


@pytest.fixture
def y() -> np.ndarray:
    return np.random.default_rng(2).integers(0, 3, 64).astype("int32")


def logits_of(dataset) -> np.ndarray:
    return np.concatenate([batch[0]["tfdistill_teacher_logits"] for batch in dataset])


def test_the_cache_holds_what_the_teacher_says(tmp_path: Path, x: np.ndarray):
    teacher = classifier()
    cache = TeacherCache.build(teacher, x, tmp_path / "c", batch_size=7)
    assert (cache.num_rows, cache.num_classes) == (64, 3)
    stored = logits_of(cache.dataset(x, shuffle=False))
    # Another batch size may sum in another order: a few units in the last place.
    np.testing.assert_allclose(stored, teacher.predict(x, verbose=0), atol=1e-6)


def test_training_on_the_cache_equals_training_with_the_teacher(tmp_path: Path, x, y):
    teacher = classifier(units=16, seed=1)
    cache = TeacherCache.build(teacher, x, tmp_path / "c")
    weights = []
    for source in (teacher, cache):
        student = classifier(seed=2)
        distiller = Distiller(student=student, teacher=source)
        distiller.compile(keras.optimizers.SGD(0.1), alpha=0.3)
        data = cache.dataset(x, y, shuffle=False, batch_size=16)
        if source is teacher:
            distiller.fit(x, y, batch_size=16, shuffle=False, epochs=3, verbose=0)
        else:
            distiller.fit(data, epochs=3, verbose=0)
        weights.append(student.get_weights())
    for online, offline in zip(*weights, strict=True):
        np.testing.assert_allclose(online, offline, atol=1e-6)


def test_inputs_and_labels_stay_with_their_answers_under_shuffling(tmp_path: Path, x, y):
    teacher = classifier()
    cache = TeacherCache.build(teacher, x, tmp_path / "c")
    weight = np.arange(64, dtype="float32")
    seen = []
    for inputs, labels, weights in cache.dataset(x, y, sample_weight=weight, batch_size=10):
        rows = weights.numpy().astype(int)
        np.testing.assert_array_equal(inputs["tfdistill_inputs"], x[rows])
        np.testing.assert_array_equal(labels, y[rows])
        expected = teacher.predict_on_batch(x[rows])
        np.testing.assert_allclose(inputs["tfdistill_teacher_logits"], expected, atol=1e-6)
        seen.extend(rows)
    assert sorted(seen) == list(range(64))


def test_each_pass_is_the_epoch_after_and_can_be_started_from(tmp_path: Path, x, y):
    cache = TeacherCache.build(classifier(), x, tmp_path / "c")

    def labels(dataset):
        return np.concatenate([batch[1] for batch in dataset]).tolist()

    dataset = cache.dataset(x, y, seed=3)
    passes = [labels(dataset) for _ in range(3)]
    assert passes[0] != passes[1]
    assert labels(cache.dataset(x, y, seed=3, initial_epoch=2)) == passes[2]


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize(
    ("batch_size", "per_pass", "size"), [(16, 1, 16), (16, 2, 16), (24, 1, None)]
)
def test_a_batch_size_that_divides_the_rows_is_static_as_in_plain_fit(
    tmp_path: Path, x, y, monkeypatch, kept: bool, batch_size: int, per_pass: int, size: int | None
):
    if not kept:
        monkeypatch.setattr("tfdistill.distill.teacher_cache.cache._KEPT_BYTES", 0)
    cache = TeacherCache.build(classifier(), x, tmp_path / "c")
    data = cache.dataset(x, y, batch_size=batch_size, epochs_per_pass=per_pass)
    sizes = {spec.shape[0] for spec in keras.tree.flatten(data.element_spec)}
    assert sizes == {size}
    assert sum(len(batch[1]) for batch in data) == 64 // per_pass


def test_top_k_keeps_the_best_classes_and_the_mass_of_the_rest(tmp_path: Path, x):
    teacher = classifier(classes=6)
    cache = TeacherCache.build(teacher, x, tmp_path / "c", top_k=2)
    stored = keras.ops.softmax(logits_of(cache.dataset(x, shuffle=False))).numpy()
    full = keras.ops.softmax(teacher.predict(x, verbose=0)).numpy()
    best = np.argsort(-full)[:, :2]
    np.testing.assert_allclose(
        np.take_along_axis(stored, best, 1), np.take_along_axis(full, best, 1), atol=1e-6
    )
    np.testing.assert_allclose(stored.sum(-1), 1.0, atol=1e-6)


def test_a_dict_of_inputs_is_kept_together(tmp_path: Path):
    inputs = {"a": np.arange(8.0, dtype="float32")[:, None], "b": np.ones((8, 1), "float32")}
    cache = TeacherCache.build(
        lambda batch: np.concatenate([batch["a"], batch["b"]], axis=1),
        inputs,
        tmp_path / "c",
        fingerprint="join",
    )
    (first,) = next(iter(cache.dataset(inputs, batch_size=8, shuffle=False)))
    np.testing.assert_array_equal(first["tfdistill_teacher_logits"][:, 0], np.arange(8.0))
    assert sorted(first["tfdistill_inputs"]) == ["a", "b"]


def test_a_student_may_read_something_else_of_the_same_rows(tmp_path: Path, x, y):
    cache = TeacherCache.build(classifier(), x, tmp_path / "c")
    rows = np.arange(64)

    batches = list(cache.dataset(x, y, student_x=rows, batch_size=16, seed=3))

    order = np.concatenate([batch[0]["tfdistill_inputs"] for batch in batches])
    assert sorted(order) == rows.tolist()
    assert order.tolist() != rows.tolist()
    np.testing.assert_array_equal(np.concatenate([batch[1] for batch in batches]), y[order])
    np.testing.assert_array_equal(
        logits_of(batches), logits_of(cache.dataset(x, shuffle=False))[order]
    )


def test_a_finished_cache_is_not_asked_again(tmp_path: Path, x):
    calls = []

    def teacher(batch):
        calls.append(len(batch))
        return batch[:, :2]

    TeacherCache.build(teacher, x, tmp_path / "c", batch_size=16, fingerprint="t")
    first = sum(calls)
    TeacherCache.build(teacher, x, tmp_path / "c", batch_size=16, fingerprint="t")
    assert (first, sum(calls)) == (65, 66)  # one row each to learn the number of classes


def test_a_damaged_shard_is_made_again(tmp_path: Path, x):
    teacher = classifier()
    folder = tmp_path / "c"
    whole = logits_of(
        TeacherCache.build(teacher, x, folder, batch_size=2).dataset(x, shuffle=False)
    )
    shard = sorted(folder.glob("shard-*"))[1]
    shard.write_bytes(shard.read_bytes()[:-40])
    with pytest.raises(ValueError, match="shard 1 of 2 cannot be read. Call TeacherCache.build"):
        TeacherCache(folder)
    mended = TeacherCache.build(teacher, x, folder, batch_size=2)
    np.testing.assert_array_equal(logits_of(mended.dataset(x, shuffle=False)), whole)


BUILD_AND_DIE = """
    import sys, os, signal
    import numpy as np
    from tfdistill import TeacherCache
    x = np.arange(200, dtype="float32")[:, None]
    rows = 0
    def teacher(batch):
        global rows
        rows += len(batch)
        if rows > int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
        return np.concatenate([batch, -batch], axis=1)
    TeacherCache.build(teacher, x, sys.argv[1], batch_size=4, fingerprint="t")
"""


def rows_asked_to_go_on(folder: Path) -> int:
    x, asked = np.arange(200, dtype="float32")[:, None], []

    def teacher(batch):
        asked.append(len(batch))
        return np.concatenate([batch, -batch], axis=1)

    TeacherCache.build(teacher, x, folder, batch_size=4, fingerprint="t")
    return sum(asked)


def test_a_killed_build_goes_on_at_the_last_whole_shard(tmp_path: Path):
    folder = tmp_path / "c"
    script = [sys.executable, "-c", textwrap.dedent(BUILD_AND_DIE), str(folder)]
    killed = subprocess.run([*script, "150"], capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert sorted(os.listdir(folder)) == ["manifest.json", "shard-00000.npz", "shard-00001.npz"]
    with pytest.raises(ValueError, match="shard 2 of 4 cannot be read"):
        TeacherCache(folder)
    # 200 rows in shards of 64: two are there, 72 rows and the one for the classes are left.
    assert rows_asked_to_go_on(folder) == 73
    x = np.arange(200, dtype="float32")[:, None]
    stored = logits_of(TeacherCache(folder).dataset(x, shuffle=False))
    np.testing.assert_array_equal(stored, np.concatenate([x, -x], axis=1))


@pytest.mark.slow
def test_a_build_that_was_killed_before_its_manifest_was_there_can_be_built(tmp_path: Path):
    folder = tmp_path / "c"
    die = f"""
import os, signal
os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
{textwrap.dedent(BUILD_AND_DIE)}"""
    script = [sys.executable, "-c", die, str(folder), "999"]
    killed = subprocess.run(script, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    (left,) = os.listdir(folder)
    assert left.startswith(".tfdistill-new-") and left.endswith("-manifest.json")

    assert rows_asked_to_go_on(folder) == 201
    assert sorted(os.listdir(folder)) == [
        "manifest.json", *(f"shard-0000{number}.npz" for number in range(4))
    ]  # fmt: skip


def test_training_that_starts_at_a_later_epoch_goes_on_exactly(tmp_path: Path, x, y):
    cache = TeacherCache.build(classifier(seed=1), x, tmp_path / "c")

    def trained(*spans: tuple[int, int]) -> list[np.ndarray]:
        student = classifier(seed=2)
        distiller = Distiller(student=student, teacher=cache)
        distiller.compile(keras.optimizers.Adam(0.01))
        for first, last in spans:  # a new dataset each time, as after a crash
            data = cache.dataset(x, y, seed=3)
            distiller.fit(data, initial_epoch=first, epochs=last, verbose=0)
        return student.get_weights()

    whole, in_parts, repeated = trained((0, 4)), trained((0, 1), (1, 4)), trained((0, 1), (0, 3))
    for expected, found in zip(whole, in_parts, strict=True):
        np.testing.assert_array_equal(found, expected)
    # The test can fail: the first epoch's order twice gives other weights.
    assert any((a != b).any() for a, b in zip(whole, repeated, strict=True))


def test_resume_false_starts_over(tmp_path: Path, x):
    TeacherCache.build(classifier(), x, tmp_path / "c")
    other = classifier(seed=5)
    cache = TeacherCache.build(other, x, tmp_path / "c", resume=False)
    expected = other.predict(x, verbose=0)
    np.testing.assert_allclose(logits_of(cache.dataset(x, shuffle=False)), expected, atol=1e-6)


def test_a_distiller_with_a_cache_wants_the_answers_in_the_batches(tmp_path: Path, x, y):
    distiller = Distiller(
        student=classifier(), teacher=TeacherCache.build(classifier(seed=1), x, tmp_path)
    )
    distiller.compile("sgd")
    with pytest.raises(RuntimeError, match="needs the teacher's logits in each batch"):
        distiller.fit(x, y, verbose=0)


def test_validation_data_without_answers_is_measured_on_its_labels(tmp_path: Path, x, y):
    cache = TeacherCache.build(classifier(seed=1), x, tmp_path)
    student = classifier()
    distiller = Distiller(student=student, teacher=cache)
    distiller.compile("sgd", metrics=["accuracy"])
    history = distiller.fit(
        cache.dataset(x, y), validation_data=(x, y), epochs=1, verbose=0
    ).history
    assert sorted(key for key in history if key.startswith("val_")) == [
        "val_accuracy",
        "val_hard_loss",
        "val_loss",
    ]
    student.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    expected = student.evaluate(x, y, verbose=0)
    assert history["val_loss"][0] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("top_k", [None, 2])
def test_the_answers_can_be_had_by_themselves(top_k: int | None, tmp_path: Path):
    logits = np.log(np.array([[0.5, 0.3, 0.1, 0.1], [0.05, 0.05, 0.2, 0.7]], np.float32))
    x = np.arange(2)[:, None]
    cache = TeacherCache.build(
        lambda batch: logits[batch[:, 0]], x, tmp_path / "cache", top_k=top_k, fingerprint="two"
    )
    shares = np.exp(cache.logits())
    np.testing.assert_allclose(shares / shares.sum(-1, keepdims=True), np.exp(logits), atol=1e-3)
    np.testing.assert_array_equal(cache.logits([1]), cache.logits()[1:])
