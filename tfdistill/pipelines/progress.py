"""One bar over a whole run, with the name of what is being done and an estimate of what is left."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import Any, TextIO

import keras
from tqdm import tqdm

__all__ = ["EpochBar", "Progress"]

_FOUND = 0.02  # share of the expected time within which a part cannot have been made
_FORMAT = "{desc:<34} {percentage:3.0f} %|{bar}| {elapsed} of about {total_time}"


class _Bar(tqdm):
    """A bar whose end is told as a time of day would be, and not as seconds an iteration."""

    @property
    def format_dict(self) -> dict[str, Any]:
        """Adds the expected time of the whole run."""
        state = super().format_dict
        done, elapsed = state["n"] - state["initial"], state["elapsed"]
        share = done / max(state["total"] - state["initial"], 1e-9)
        expected = state["total"] if share < 0.02 else elapsed / share
        state["total_time"] = self.format_interval(max(expected, elapsed))
        return state


class Progress:
    """Measures a run in the seconds that its parts are expected to take.

    Args:
        parts: Expected seconds of each part, by name.
        stream: Where the bar is drawn; None draws none.
    """

    def __init__(self, parts: Mapping[str, float], *, stream: TextIO | None = None) -> None:
        self._parts = dict(parts)
        self._bar = _Bar(
            total=sum(self._parts.values()) or 1.0,
            disable=stream is None,
            file=stream,
            bar_format=_FORMAT,
            leave=False,
            mininterval=0.5,
        )
        self._part, self._done = "", 0.0

    @contextlib.contextmanager
    def part(self, name: str, *, shown: str | None = None) -> Iterator[Progress]:
        """Names what is done inside; at its end the part counts as done, however long it took.

        A part that was found finished leaves the total, so that the estimate is of what is made.
        """
        self._part, self._done = name, 0.0
        self._bar.set_description_str(shown or name)
        expected, start = self._parts.get(name, 0.0), time.monotonic()
        yield self
        if self._done == 0.0 and time.monotonic() - start < _FOUND * expected:
            self._bar.total = max(self._bar.total - expected, self._bar.n, 1e-9)
        else:
            self.reach(1.0)

    def reach(self, share: float) -> None:
        """Says how much of the part is done, in [0, 1]."""
        moved = max(0.0, min(share, 1.0) - self._done)
        step = moved * self._parts.get(self._part, 0.0)
        self._bar.update(min(step, self._bar.total - self._bar.n))  # sums of fractions end beside 1
        self._done += moved

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()


class EpochBar(keras.callbacks.Callback):
    """Moves a `Progress` while a model trains: the share of its epochs that are done.

    Args:
        progress: The bar.
        begin: Share of the part that was done before this training.
    """

    def __init__(self, progress: Progress, *, begin: float = 0.0) -> None:
        super().__init__()
        self._progress, self._begin = progress, begin
        self._epoch, self._batch, self._steps = 0, 0, 0

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Takes the number of steps of an epoch, where the data tell it."""
        self._steps = self.params.get("steps") or 0

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Notes which epoch it is."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Moves the bar, once in ten steps, if it is known how many steps an epoch has."""
        self._batch = batch + 1
        if batch % 10 == 0 and batch < self._steps:
            self._move(self._epoch + batch / self._steps)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Moves the bar."""
        self._steps = self._batch
        self._move(epoch + 1)

    def _move(self, epochs: float) -> None:
        share = epochs / max(1, self.params.get("epochs") or 1)
        self._progress.reach(self._begin + (1 - self._begin) * share)
