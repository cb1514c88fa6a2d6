"""A training that was killed ends as one that was not: to the last bit.

The runs that are killed are processes of their own; they import this file for `train`.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import mock

import keras
import numpy as np
import pytest

import tfdistill as td
from tfdistill.distill.teacher_cache import cache

X = np.random.default_rng(1).normal(size=(70, 5)).astype("float32")
Y = np.random.default_rng(2).integers(0, 3, 70).astype("int32")
EPOCHS = 5


def net(seed: int, units: int) -> keras.Model:
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input((5,)),
            keras.layers.Dense(units, "relu", name="hidden"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.4),
            keras.layers.Dense(3),
        ]
    )


class DieAt(keras.callbacks.Callback):
    """Ends the process, or the training, in the middle of an epoch."""

    def __init__(self, epoch: int, *, kill: bool):
        super().__init__()
        self.at, self.kill, self.epoch = epoch, kill, 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.epoch == self.at and batch == 1:
            if self.kill:
                os.kill(os.getpid(), signal.SIGKILL)
            raise KeyboardInterrupt


def cached(folder: Path, *, die_at_row: int | None = None) -> td.TeacherCache:
    teacher = net(1, units=12)
    asked = 0

    def ask(batch):
        nonlocal asked
        asked += len(batch)
        if die_at_row is not None and asked > die_at_row:
            os.kill(os.getpid(), signal.SIGKILL)
        return teacher.predict_on_batch(batch)

    with mock.patch.object(cache, "_BATCHES_PER_SHARD", 2):
        return td.TeacherCache.build(ask, X, folder, batch_size=8, fingerprint="net 1")


def train(kind: str, folder: Path, *, die_at: int | None = None, kill: bool = False):
    """Trains, with a backup, and returns all state and the history."""
    student, teacher, features = net(0, units=6), net(1, units=12), []
    if "compressed" in kind:
        student = td.quantize_aware(td.prune_low_magnitude(student, sparsity=0.5, steps=20))
    if "cache" in kind:
        teacher = cached(folder / "cache")
        data, arguments = (teacher.dataset(X, Y, batch_size=16, seed=3),), {}
    else:
        data, arguments = (X, Y), {"batch_size": 16}
        features = [td.FeatureLoss(teacher="hidden", student="hidden", loss="hidden_mse")]
    distiller = td.Distiller(student=student, teacher=teacher, feature_losses=features)
    rate = keras.optimizers.schedules.CosineDecay(0.01, 25)
    distiller.compile(keras.optimizers.Adam(rate), temperature=3.0, metrics=["accuracy"])
    keras.utils.set_random_seed(7)
    callbacks: list[keras.callbacks.Callback] = [
        keras.callbacks.BackupAndRestore(folder / "backup"),
        td.callbacks.Schedule("alpha", td.callbacks.cosine(0.1, 0.9)),
    ]
    if die_at is not None:
        callbacks.append(DieAt(die_at, kill=kill))
    try:
        history = distiller.fit(
            *data, **arguments, epochs=EPOCHS, callbacks=callbacks, verbose=0
        ).history
    except KeyboardInterrupt:
        return [], {}
    state = [*distiller.variables, *distiller.optimizer.variables]
    return [np.asarray(variable) for variable in state], history


@functools.cache
def undisturbed(kind: str):
    with tempfile.TemporaryDirectory() as folder:
        return train(kind, Path(folder))


def killed(call: str) -> None:
    """Runs a call of this file in a process that is going to kill itself."""
    code = (
        "import sys; from pathlib import Path; "
        f"sys.path.insert(0, {str(Path(__file__).parent)!r}); "
        f"sys.path.insert(0, {str(Path(td.__file__).parents[1])!r}); "
        f"import test_resume; test_resume.{call}"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]


def same(one, other, *, tail: int) -> None:
    for now, then in zip(one[0], other[0], strict=True):
        np.testing.assert_array_equal(now, then)
    assert one[1] == {name: values[-tail:] for name, values in other[1].items()}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["arrays", "cache"])
def test_a_fit_that_was_killed_ends_as_an_undisturbed_one(kind: str, tmp_path: Path):
    killed(f"train({kind!r}, Path({str(tmp_path / 'killed')!r}), die_at=2, kill=True)")
    metadata = json.loads((tmp_path / "killed/backup/training_metadata.json").read_text())
    assert metadata["epoch"] == 2
    resumed, whole = train(kind, tmp_path / "killed"), undisturbed(kind)
    # Weights, batch statistics, dropout seeds, projectors, alpha, and Adam's moments and step.
    same(resumed, whole, tail=EPOCHS - 2)


@pytest.mark.slow
def test_masks_and_pruning_steps_of_a_compressed_student_resume_too(tmp_path: Path):
    train("compressed arrays", tmp_path / "broken", die_at=2)
    resumed = train("compressed arrays", tmp_path / "broken")
    same(resumed, train("compressed arrays", tmp_path / "whole"), tail=EPOCHS - 2)


@pytest.mark.slow
def test_a_killed_build_and_a_killed_fit_end_as_undisturbed_ones(tmp_path: Path):
    folder = tmp_path / "killed"
    killed(f"cached(Path({str(folder / 'cache')!r}), die_at_row=50)")
    shards = len(list((folder / "cache").glob("shard-*")))
    assert 0 < shards < 5
    killed(f"train('compressed cache', Path({str(folder)!r}), die_at=3, kill=True)")
    resumed = train("compressed cache", folder)
    same(resumed, train("compressed cache", tmp_path / "whole"), tail=EPOCHS - 3)


@pytest.mark.slow
def test_a_run_that_forgets_its_dropout_seeds_would_be_noticed(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("tfdistill.introspection.seed_state.seed_states", lambda model: [])
    train("arrays", tmp_path / "broken", die_at=2)
    resumed, whole = train("arrays", tmp_path / "broken"), undisturbed("arrays")
    differences = [np.abs(a - b).max() for a, b in zip(resumed[0], whole[0], strict=True)]
    assert max(differences) > 1e-4


def test_a_backup_inside_an_epoch_repeats_the_epoch(tmp_path: Path):
    """What `save_freq` cannot do: Keras starts the epoch again, with weights of its middle."""
    distiller = td.Distiller(student=net(0, 6), teacher=net(1, 12))
    distiller.compile("sgd")
    backup = keras.callbacks.BackupAndRestore(tmp_path / "b", save_freq=3)
    with pytest.raises(KeyboardInterrupt):
        stop = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs: (
                (_ for _ in ()).throw(KeyboardInterrupt) if batch == 3 else None
            )
        )
        distiller.fit(X, Y, batch_size=14, callbacks=[backup, stop], verbose=0)
    again = td.Distiller(student=net(0, 6), teacher=net(1, 12))
    again.compile("sgd")
    again.fit(X, Y, batch_size=14, callbacks=[backup], verbose=0)
    assert int(again.optimizer.iterations) == 3 + 5
