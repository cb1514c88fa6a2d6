"""A training that is killed goes on from its backup and ends as an undisturbed one."""

from __future__ import annotations

import re
from pathlib import Path

import keras
import numpy as np
import pytest

from tfdistill.distill import Backup, EpochRows

X = np.random.default_rng(0).normal(size=(96, 4)).astype("float32")
Y = (X.sum(axis=1) > 0).astype("int32")


def build() -> keras.Model:
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(8, activation="relu"),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(2),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss)
    return model


class Kill(keras.callbacks.Callback):
    def __init__(self, epoch: int) -> None:
        super().__init__()
        self._epoch = epoch

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        if epoch == self._epoch:
            raise KeyboardInterrupt


def train(*callbacks: keras.callbacks.Callback, folder: Path | None = None) -> list[np.ndarray]:
    model = build()
    rows = EpochRows(X, Y, batch_size=8, seed=1, epochs_per_pass=2)
    kept = [] if folder is None else [Backup(folder, every_s=0)]
    model.fit(rows.dataset(), epochs=6, verbose=0, callbacks=[rows, *kept, *callbacks])
    return model.get_weights()


def test_it_ends_to_the_bit_as_undisturbed_with_dropout_and_optimizer(tmp_path: Path):
    whole = train()
    for epoch in (2, 5):
        with pytest.raises(KeyboardInterrupt):
            train(Kill(epoch), folder=tmp_path)
    resumed = train(folder=tmp_path)
    for one, other in zip(whole, resumed, strict=True):
        np.testing.assert_array_equal(one, other)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_without_the_states_of_dropout_it_would_end_elsewhere(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("tfdistill.distill.backup.seed_states", lambda model: [])
    whole = train()
    with pytest.raises(KeyboardInterrupt):
        train(Kill(3), folder=tmp_path)
    resumed = train(folder=tmp_path)
    assert any((one != other).any() for one, other in zip(whole, resumed, strict=True))


@pytest.mark.slow
def test_a_backup_whose_weights_are_missing_does_not_count(tmp_path: Path):
    with pytest.raises(KeyboardInterrupt):
        train(Kill(3), folder=tmp_path)
    # Killed between the two files of the next backup.
    (tmp_path / "epoch-00000004.seeds.npz").write_bytes(b"half")
    resumed = train(folder=tmp_path)
    for one, other in zip(train(), resumed, strict=True):
        np.testing.assert_array_equal(one, other)


def test_backups_are_not_more_often_than_asked_and_other_files_stay(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("mine")
    model = build()
    callbacks = [Backup(tmp_path, every_s=3600), Kill(4)]
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, epochs=6, verbose=0, callbacks=callbacks)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_negative_time_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=re.escape("`every_s` must be")):
        Backup(tmp_path, every_s=-1)


def test_epochs_of_one_pass_are_all_rows_in_another_order_each_pass():
    rows = EpochRows(np.arange(10), np.arange(10), batch_size=3, seed=0, epochs_per_pass=2)
    seen = []
    for epoch in range(4):
        rows.on_epoch_begin(epoch)
        seen.append([int(value) for x, _ in rows.dataset() for value in x])
    assert sorted(seen[0] + seen[1]) == sorted(seen[2] + seen[3]) == list(range(10))
    assert seen[0] + seen[1] != seen[2] + seen[3]


def test_rows_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=re.escape("`y` must have as many rows as `x`")):
        EpochRows(np.ones(3), np.ones(2), batch_size=1)


def test_every_epoch_has_as_many_rows_though_a_pass_has_not_a_multiple():
    rows = EpochRows(np.arange(7), np.arange(7), batch_size=2, seed=0, epochs_per_pass=3)
    lengths = []
    for epoch in range(3):
        rows.on_epoch_begin(epoch)
        lengths.append(sum(len(x) for x, _ in rows.dataset()))
    assert lengths == [3, 3, 3] and rows.dataset().cardinality() == 2
