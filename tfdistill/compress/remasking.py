"""Brings pruned weights back to zero at the end of each epoch, as TF-MOT's callback does."""

from __future__ import annotations

from typing import Any, Protocol

import keras

__all__ = ["Remaskable", "with_remasking"]


class Remaskable(Protocol):
    """A model whose weights can be brought back to their masks."""

    def remask(self) -> None:
        """Assigns the masked weights."""


class _RemaskAtEpochEnd(keras.callbacks.Callback):
    def __init__(self, compressed: Remaskable) -> None:
        super().__init__()
        self._compressed = compressed

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self._compressed.remask()


def with_remasking(callbacks: Any, compressed: Remaskable) -> list[Any]:
    """Adds the epoch-end re-masking in front of a user's callbacks.

    Args:
        callbacks: None, a callback, or a list of them, as `fit` takes.
        compressed: The model to re-mask.

    Returns:
        A new list; re-masking comes first, so that checkpoints are written from masked weights.
    """
    if callbacks is None:
        callbacks = []
    elif not isinstance(callbacks, (list, tuple)):
        callbacks = [callbacks]
    return [_RemaskAtEpochEnd(compressed), *callbacks]
