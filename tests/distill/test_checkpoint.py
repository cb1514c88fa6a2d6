"""A Distiller in a `.keras` file: all that training needs, and not the teacher."""

from __future__ import annotations

import collections
import functools
import json
import os
import re
import signal
import subprocess
import sys
import time
import warnings
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfdistill as td
from tfdistill import losses
from tfdistill.introspection.seed_state import seed_states

X = np.random.default_rng(1).normal(size=(70, 5)).astype("float32")
Y = np.random.default_rng(2).integers(0, 3, 70).astype("int32")


def net(seed: int = 0, units: int = 6, name: str | None = None) -> keras.Model:
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input((5,)),
            keras.layers.Dense(units, "relu", name="hidden"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.4),
            keras.layers.Dense(3),
        ],
        name=name,
    )


def distiller(*, student=None, teacher=None, features=(), **arguments) -> td.Distiller:
    made = td.Distiller(
        student=student or net(), teacher=teacher or net(1, 300), feature_losses=features
    )
    made.compile(**{"optimizer": keras.optimizers.Adam(0.01), **arguments})
    return made


def state(made: td.Distiller) -> list[np.ndarray]:
    return [np.asarray(variable) for variable in [*made.variables, *made.optimizer.variables]]


def fit(made: td.Distiller, first: int, last: int) -> dict:
    keras.utils.set_random_seed(7)
    schedule = td.callbacks.Schedule("temperature", td.callbacks.linear(4.0, 1.0), epochs=4)
    return made.fit(
        X,
        Y,
        initial_epoch=first,
        epochs=last,
        batch_size=16,
        callbacks=[schedule],
        verbose=0,
    ).history


FEATURE = td.FeatureLoss(teacher="hidden", student="hidden", loss="hidden_mse", weight=0.3)


@pytest.mark.parametrize("compress", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_saved_distiller_goes_on_to_the_last_bit(compress: bool, tmp_path: Path):
    def made() -> td.Distiller:
        student = net()
        if compress:
            student = td.quantize_aware(td.prune_low_magnitude(student, sparsity=0.5, steps=12))
        return distiller(
            student=student,
            features=[FEATURE],
            soft_loss="reverse_kl",
            alpha=0.3,
            metrics=["accuracy", keras.metrics.SparseTopKCategoricalAccuracy(2)],
        )

    whole = made()
    history = fit(whole, 0, 4)
    part = made()
    fit(part, 0, 2)
    part.save(tmp_path / "d.keras")
    loaded = td.Distiller.load(tmp_path / "d.keras", teacher=net(1, 300))
    for now, then in zip(state(loaded), state(part), strict=True):
        np.testing.assert_array_equal(now, then)
    tail = fit(loaded, 2, 4)
    assert tail == {name: values[2:] for name, values in history.items()}
    for now, then in zip(state(loaded), state(whole), strict=True):
        np.testing.assert_array_equal(now, then)


def test_the_teacher_is_not_in_the_file(tmp_path: Path):
    made = distiller()
    fit(made, 0, 1)
    made.save(tmp_path / "d.keras")
    teacher_bytes = 4 * made._teacher.teacher.count_params()
    assert teacher_bytes == 4 * 3903
    with zipfile.ZipFile(tmp_path / "d.keras") as archive:
        assert archive.namelist() == ["metadata.json", "config.json", "model.weights.h5"]
        config = json.loads(archive.read("config.json"))
        # The teacher's width; as a word, because Keras numbers shared objects by their address.
        assert not re.search(rb"\b300\b", archive.read("config.json"))
        archive.extract("model.weights.h5", tmp_path)
    assert sorted(config["config"]) == [
        "dtype",
        "feature_losses",
        "name",
        "student",
        "teacher_fingerprints",
    ]
    import h5py

    sizes = []
    with h5py.File(tmp_path / "model.weights.h5") as file:
        file.visititems(lambda name, node: sizes.append(getattr(node, "size", 0)))
    # 81 numbers of the student, 69 of them trained: two of Adam's for each. Then its step and
    # rate, alpha and T, and a seed of two numbers.
    assert sum(sizes) == made.student.count_params() + 2 * 69 + 2 + 2 + 2


def test_the_arguments_of_compile_come_back(tmp_path: Path):
    made = distiller(soft_loss="skewed_kl", alpha=0.25, temperature=3.0, ignore_class=2)
    made.temperature.assign(5.0)
    made.save(tmp_path / "d.keras")
    loaded = td.Distiller.load(tmp_path / "d.keras", teacher=net(1, 300))
    assert loaded._soft_loss is losses.skewed_kl
    assert (float(loaded.alpha), float(loaded.temperature)) == (0.25, 5.0)
    assert (loaded._ignore_class, loaded.loss.ignore_class) == (2, 2)
    assert loaded.optimizer.get_config() == made.optimizer.get_config()
    before = made.evaluate(X, Y, return_dict=True, verbose=0)
    assert loaded.evaluate(X, Y, return_dict=True, verbose=0) == before


def my_soft_loss(teacher_logits, student_logits, *, temperature):
    return losses.forward_kl(teacher_logits, student_logits, temperature=temperature)


@pytest.mark.parametrize(
    ("soft_loss", "name"),
    [
        (my_soft_loss, "my_soft_loss"),
        (lambda t, s, *, temperature: my_soft_loss(t, s, temperature=temperature), "<lambda>"),
        (functools.partial(losses.jensen_shannon, beta=0.3), "partial"),
    ],
)
def test_a_soft_loss_of_ones_own_is_named_in_the_file_and_given_again(soft_loss, name, tmp_path):
    made = distiller(soft_loss=soft_loss)
    made.save(tmp_path / "d.keras")
    with pytest.raises(ValueError, match=f"`custom_objects` must hold the soft loss '{name}'"):
        td.Distiller.load(tmp_path / "d.keras", teacher=net(1, 300))
    loaded = td.Distiller.load(
        tmp_path / "d.keras", teacher=net(1, 300), custom_objects={name: soft_loss}
    )
    assert loaded._soft_loss is soft_loss


def test_a_keras_distillation_loss_comes_back(tmp_path: Path):
    keras_loss = keras.distillation.LogitsDistillation(
        temperature=4.0, loss=keras.losses.KLDivergence()
    )
    made = distiller(soft_loss=keras_loss)
    made.save(tmp_path / "d.keras")
    loaded = td.Distiller.load(tmp_path / "d.keras", teacher=net(1, 300))
    assert loaded._soft_loss.loss.temperature == 4.0
    before = made.evaluate(X, Y, return_dict=True, verbose=0)
    assert loaded.evaluate(X, Y, return_dict=True, verbose=0) == before


def test_a_distiller_that_was_not_compiled_comes_back_as_it_was(tmp_path: Path):
    made = td.Distiller(student=net(), teacher=net(1, 300), name="plain")
    made.save(tmp_path / "d.keras")
    loaded = td.Distiller.load(tmp_path / "d.keras", teacher=net(1, 300))
    assert (loaded.compiled, loaded.name) == (False, "plain")
    np.testing.assert_array_equal(loaded.predict(X, verbose=0), made.predict(X, verbose=0))


def test_several_teachers_and_caches_are_recognized(tmp_path: Path, recwarn):
    cache = td.TeacherCache.build(net(1, 300), X, tmp_path / "cache", fingerprint="on GPU 3")
    for before, after in (
        ([(net(1), 0.5), (net(2), 0.5)], [net(1), net(2)]),
        (net(1, 300), cache),
        (cache, net(1, 300)),
        (lambda x: x[:, :3], net(1)),
    ):
        distiller(teacher=before).save(tmp_path / "d.keras")
        td.Distiller.load(tmp_path / "d.keras", teacher=after)
    assert [one for one in recwarn if "another teacher" in str(one.message)] == []


@pytest.mark.parametrize("teacher", [net(2, 300), [net(1, 300), net(2)]])
def test_another_teacher_is_warned_of(teacher, tmp_path: Path):
    distiller().save(tmp_path / "d.keras")
    with pytest.warns(UserWarning, match="The Distiller goes on with another teacher: fingerprint"):
        td.Distiller.load(tmp_path / "d.keras", teacher=teacher)


def test_keras_itself_is_told_that_the_teacher_is_missing(tmp_path: Path):
    distiller().save(tmp_path / "d.keras")
    with pytest.raises(
        ValueError, match=r"does not hold it.*Distiller.load\(path, teacher=\.\.\.\)"
    ):
        keras.saving.load_model(tmp_path / "d.keras")


def test_a_teacher_of_other_classes_is_refused_at_load(tmp_path: Path):
    distiller().save(tmp_path / "d.keras")
    other = keras.Sequential([keras.Input((5,)), keras.layers.Dense(4)])
    with pytest.raises(ValueError, match="teacher → 4, student → 3"):
        td.Distiller.load(tmp_path / "d.keras", teacher=other)


def test_the_file_of_another_model_is_refused(tmp_path: Path):
    net().save(tmp_path / "net.keras")
    with pytest.raises(TypeError, match="`path` must be a file that Distiller.save wrote"):
        td.Distiller.load(tmp_path / "net.keras", teacher=net(1))


def test_weights_of_a_student_with_other_random_layers_are_refused(tmp_path: Path):
    made = distiller()
    made.save_weights(tmp_path / "d.weights.h5")
    plain = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)])
    with pytest.raises(ValueError, match="1 random generators in the file, 0 in the model"):
        distiller(student=plain).load_weights(tmp_path / "d.weights.h5")


def test_seeds_of_attention_and_nested_models_are_found():
    inputs = keras.Input((4, 8))
    attention = keras.layers.MultiHeadAttention(2, 4, dropout=0.1)(inputs, inputs)
    inner = keras.Model(inputs, keras.layers.GaussianNoise(0.1)(attention))
    outer = keras.Sequential([keras.Input((4, 8)), inner, keras.layers.Dropout(0.1)])
    assert len(seed_states(outer)) == 3
    assert len(seed_states(td.Distiller(student=outer, teacher=lambda x: x))) == 3


def test_a_float16_student_keeps_the_scale_of_its_loss(tmp_path: Path):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        student = net()
    finally:
        keras.config.set_dtype_policy("float32")
    made = distiller(student=student)
    fit(made, 0, 1)
    made.save(tmp_path / "d.keras")
    loaded = td.Distiller.load(tmp_path / "d.keras", teacher=net(1, 300))
    assert isinstance(loaded.optimizer, keras.optimizers.LossScaleOptimizer)
    for now, then in zip(state(loaded), state(made), strict=True):
        np.testing.assert_array_equal(now, then)


def test_a_model_inside_a_callable_teacher_is_not_stored_either(tmp_path: Path):
    hidden = net(1, 300)
    made = distiller(teacher=lambda x: tf.stop_gradient(hidden(x, training=False)))
    made.save(tmp_path / "d.keras")
    assert (tmp_path / "d.keras").stat().st_size < 60_000


SAVE_FOR_EVER = """
import sys
import keras, numpy as np, tfdistill as td
number = 1
def net(units):
    inner = keras.layers.Dense(units, name="hidden")
    return keras.Sequential([keras.Input((5,)), inner, keras.layers.Dense(3, name="out")])
made = td.Distiller(student=net(2000), teacher=net(4))
made.compile("adam")
while True:
    for variable in made.student.variables:
        variable.assign(np.full(variable.shape, number, "float32"))
    if number == 2:
        print("here", flush=True)
    made.save(sys.argv[1])
    made.save_weights(sys.argv[2])
    number += 1
"""


def outcomes_of_kills(folder: Path, *, kills: int, seed: int) -> collections.Counter:
    """Kills processes that save over one file again and again; counts how the file was left."""
    found: collections.Counter = collections.Counter()
    random = np.random.default_rng(seed)
    root = str(Path(td.__file__).parents[1])
    teacher = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)])
    paths = folder / "distiller.keras", folder / "distiller.weights.h5"
    for _ in range(kills):
        process = subprocess.Popen(
            [sys.executable, "-c", SAVE_FOR_EVER, *map(str, paths)],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": root},
        )  # fmt: skip
        assert process.stdout is not None
        with process.stdout:
            assert process.stdout.readline() == b"here\n"
            time.sleep(random.uniform(0.0, 0.3))
            process.send_signal(signal.SIGKILL)
            process.wait()
        found["killed while saving"] += len(list(folder.iterdir())) > len(paths)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of another teacher
                made = td.Distiller.load(paths[0], teacher=teacher)
            values = {float(v) for each in made.student.get_weights() for v in np.unique(each)}
            made.load_weights(paths[1])
            weights = {float(v) for each in made.student.get_weights() for v in np.unique(each)}
            found["whole" if len(values) == len(weights) == 1 else "mixed"] += 1
        except (OSError, ValueError) as error:
            found[f"damaged: {type(error).__name__}"] += 1
    return found


@pytest.mark.slow
def test_a_kill_while_saving_leaves_the_old_file_or_the_new_one(tmp_path: Path):
    kills = int(os.environ.get("TFDISTILL_KILLS", "6"))  # 60 of 60 were whole, 52 hit a save
    found = outcomes_of_kills(tmp_path, kills=kills, seed=2)
    assert found["whole"] == kills, found
    assert found["killed while saving"] > kills / 4  # else the kills came too early or too late
    distiller().save(tmp_path / "distiller.keras")  # sweeps what the kills left of this file
    assert not [path for path in tmp_path.iterdir() if path.name.endswith("-distiller.keras")]


DIE_WHILE_SAVING = """
import os, signal, sys, zipfile
import keras, tfdistill as td
def net():
    return keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)])
made = td.Distiller(student=net(), teacher=net())
made.compile("adam")
close = zipfile.ZipFile.close
def die(archive):
    if archive.mode == "w":
        os.kill(os.getpid(), signal.SIGKILL)
    close(archive)
zipfile.ZipFile.close = die
made.save(sys.argv[1])
"""


@pytest.mark.slow
def test_a_kill_before_the_last_bytes_leaves_the_old_file(tmp_path: Path):
    path = tmp_path / "d.keras"
    distiller().save(path)
    before = path.read_bytes()
    env = {**os.environ, "PYTHONPATH": str(Path(td.__file__).parents[1])}
    script = [sys.executable, "-c", DIE_WHILE_SAVING, str(path)]
    killed = subprocess.run(script, env=env, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2
    distiller().save(path)
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_while_saving_leaves_the_old_file(tmp_path: Path, monkeypatch):
    path = tmp_path / "d.keras"
    distiller().save(path)
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise RuntimeError("no memory left")

    made = distiller(student=net(5))
    monkeypatch.setattr(type(made), "save_own_variables", fail)
    with pytest.raises(RuntimeError, match="no memory left"):
        made.save(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["d.keras"]


@pytest.mark.parametrize(("answer", "kept"), [("n", True), ("y", False)])
def test_without_overwrite_keras_asks_first(tmp_path: Path, monkeypatch, answer: str, kept: bool):
    paths = tmp_path / "d.keras", tmp_path / "d.weights.h5"
    for path in paths:
        path.write_text("old")
    monkeypatch.setattr("builtins.input", lambda _: answer)
    distiller().save(paths[0], overwrite=False)
    distiller().save_weights(paths[1], overwrite=False)
    assert [path.read_bytes() == b"old" for path in paths] == [kept, kept]


def test_a_folder_and_several_weight_files_are_written_as_keras_does(tmp_path: Path):
    made = distiller()
    made.save(tmp_path / "folder", zipped=False)
    assert (tmp_path / "folder" / "config.json").is_file()
    made.save_weights(tmp_path / "d.weights.json", max_shard_size=1)
    assert (tmp_path / "d.weights.json").is_file()


def test_another_suffix_is_refused_as_keras_does(tmp_path: Path):
    with pytest.raises(ValueError, match="Invalid filepath extension for saving"):
        distiller().save(tmp_path / "d.zip")
