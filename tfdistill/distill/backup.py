"""Backups of a training that a kill at any moment cannot spoil.

`keras.callbacks.BackupAndRestore` writes weights and epoch in two files, one after the other, and
leaves out the states of dropout: a kill between the two repeats an epoch from its end. Here the
number of the epoch is part of the name of one file, which is there whole or not at all.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfdistill.arguments import check_number
from tfdistill.files.atomic import replacing
from tfdistill.introspection.seed_state import seed_states

__all__ = ["Backup"]

_NAME = re.compile(r"epoch-(\d{8})\.(weights\.h5|seeds\.npz)")


class Backup(keras.callbacks.Callback):
    """Goes on where a training was killed, and ends as if it had not been.

    At the end of an epoch, but not more often than every few seconds, it keeps weights, optimizer
    and the states of random layers. The end is equal to the bit where the order of the rows follows
    from the epoch: with `TeacherCache.dataset`, `EpochRows`, or datasets that are not shuffled.

    Args:
        folder: Where to keep them; made if it is not there. Other files in it are left alone.
        every_s: Least seconds between two backups, a number of at least 0. 0 keeps every epoch.

    Raises:
        TypeError: If `every_s` is not a number.
        ValueError: If it is below 0.

    Example:
        >>> import tempfile
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     history = model.fit(np.ones((4, 2)), np.ones(4), epochs=2, verbose=0,
        ...                         callbacks=[Backup(folder)])
        ...     len(history.epoch), os.listdir(folder)
        (2, [])
    """

    def __init__(self, folder: str | os.PathLike[str], *, every_s: float = 20.0) -> None:
        super().__init__()
        check_number(every_s, argument="every_s", interval="[0, inf)")
        self._folder = Path(folder)
        self._every_s = every_s
        self._saved_at = 0.0

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Loads the newest backup; `fit` then begins at the epoch behind it."""
        self._saved_at = time.monotonic()
        epochs = self._epochs()
        if not epochs:
            return
        epoch = max(epochs)
        optimizer = self.model.optimizer
        if optimizer is not None and not optimizer.built:
            optimizer.build(self.model.trainable_variables)
        self.model.load_weights(self._path(epoch, "weights.h5"))
        with np.load(self._path(epoch, "seeds.npz"), allow_pickle=False) as seeds:
            for number, state in enumerate(seed_states(self.model)):
                state.assign(seeds[f"seed_{number}"])
        self.model._initial_epoch = epoch

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Keeps the state, if the last time is long enough ago."""
        if time.monotonic() - self._saved_at < self._every_s:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        older = self._epochs()
        states = seed_states(self.model)
        seeds = {
            f"seed_{number}": keras.ops.convert_to_numpy(state)
            for number, state in enumerate(states)
        }
        with (
            replacing(self._path(epoch + 1, "seeds.npz")) as temporary,
            temporary.open("wb") as file,
        ):
            np.savez(file, **seeds)
        # The weights come last: a backup is there as soon as they are.
        with replacing(self._path(epoch + 1, "weights.h5")) as temporary:
            self.model.save_weights(temporary)
        self._remove(older - {epoch + 1})
        self._saved_at = time.monotonic()

    def on_train_end(self, logs: dict | None = None) -> None:
        """Removes the backups of a training that is finished."""
        self._remove(self._epochs(whole=False))

    def _path(self, epoch: int, ending: str) -> Path:
        return self._folder / f"epoch-{epoch:08d}.{ending}"

    def _epochs(self, *, whole: bool = True) -> set[int]:
        names: list[Any] = [_NAME.fullmatch(name) for name in self._names()]
        return {int(name[1]) for name in names if name and (not whole or name[2] == "weights.h5")}

    def _names(self) -> list[str]:
        return os.listdir(self._folder) if self._folder.is_dir() else []

    def _remove(self, epochs: set[int]) -> None:
        for epoch in epochs:
            for ending in ("weights.h5", "seeds.npz"):
                self._path(epoch, ending).unlink(missing_ok=True)
