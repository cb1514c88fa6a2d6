"""From measured changes and sizes to a recipe: always the cheapest byte next."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np

from tfdistill.compress.sensitivity_analysis.one_shot import TECHNIQUES, stored_bytes
from tfdistill.compress.technique import WeightTransform

__all__ = ["Row", "Weights", "make_recipe"]

# Matrix, kind and size in bytes of each weight by its path; "" is all that is not compressed.
Weights = dict[str, tuple[np.ndarray, str, int]]
_Choice = tuple[tuple[str, float], ...]  # technique and setting, in the order of a recipe


class Row(Protocol):
    """What is known of one technique at one setting on one weight."""

    @property
    def path(self) -> str:
        """Path of the weight."""

    @property
    def technique(self) -> str:
        """Name of the technique."""

    @property
    def setting(self) -> float:
        """Its setting."""

    @property
    def change(self) -> float:
        """How much the output changes."""


def make_recipe(
    rows: Sequence[Row], weights: Weights, *, target_bytes: int, steps: int
) -> list[WeightTransform]:
    """Chooses what to do to which weight, so that all of them take at most `target_bytes`.

    Each move gives one weight another setting of one technique. The move with the largest
    Δbytes / Δchange is made, until the target is reached.

    Args:
        rows: What was measured.
        weights: Matrices, kinds and sizes by path.
        target_bytes: Size of all weights together, after gzip.
        steps: Training steps of a pruning schedule.

    Returns:
        Transforms in the order of `TECHNIQUES`, one for each setting that is used.

    Raises:
        TypeError: If `target_bytes` is not an int.
        ValueError: If it is not positive, or cannot be reached.
    """
    if isinstance(target_bytes, bool) or not isinstance(target_bytes, int):
        raise TypeError(
            f"`target_bytes` must be an int. Received: target_bytes={target_bytes!r}. "
            "100 * 1024 is 100 KB."
        )
    changes = {(row.path, row.technique, row.setting): row.change for row in rows}
    chosen: dict[str, _Choice] = {path: () for path in weights if path}
    sizes = _Sizes(weights)
    total = sum(size for _, _, size in weights.values())
    while total > target_bytes:
        best: tuple[float, int, str, _Choice] | None = None
        for path, choice in chosen.items():
            for other in _moves(path, choice, changes):
                saved = sizes(path, choice) - sizes(path, other)
                if saved <= 0:
                    continue
                cost = _change(path, other, changes) - _change(path, choice, changes)
                worth = saved / max(cost, 1e-9)
                if best is None or worth > best[0]:
                    best = (worth, saved, path, other)
        if best is None:
            raise ValueError(
                f"`target_bytes` must be at least {total:,} for what was tried. Received: "
                f"target_bytes={target_bytes!r}. Try stronger settings, or a smaller student."
            )
        _, saved, path, other = best
        chosen[path] = other
        total -= saved
    return _transforms(chosen, [path for path in weights if path], steps=steps)


class _Sizes:
    """Sizes of a weight under any choice, each measured once."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self._known: dict[tuple[str, _Choice], int] = {
            (path, ()): size for path, (_, _, size) in weights.items()
        }

    def __call__(self, path: str, choice: _Choice) -> int:
        if (path, choice) not in self._known:
            matrix, kind, _ = self._weights[path]
            for name, setting in choice:
                matrix = TECHNIQUES[name].apply(matrix, kind, setting)
            bits = dict(choice).get("quantize")
            size = stored_bytes(matrix, kind=kind, bits=None if bits is None else int(bits))
            self._known[path, choice] = size
        return self._known[path, choice]


def _moves(
    path: str, choice: _Choice, changes: Mapping[tuple[str, str, float], float]
) -> Iterator[_Choice]:
    for other_path, name, setting in changes:
        if other_path == path and dict(choice).get(name) != setting:
            grown = {**dict(choice), name: setting}
            yield tuple((known, grown[known]) for known in TECHNIQUES if known in grown)


def _change(path: str, choice: _Choice, changes: Mapping[tuple[str, str, float], float]) -> float:
    """Adds up the changes of a choice; a metric that rose by chance does not count as a gain."""
    return math.fsum(max(changes[path, name, setting], 0.0) for name, setting in choice)


def _transforms(
    chosen: Mapping[str, _Choice], paths: Sequence[str], *, steps: int
) -> list[WeightTransform]:
    recipe = []
    for name, technique in TECHNIQUES.items():
        settings = {dict(choice)[name] for choice in chosen.values() if name in dict(choice)}
        for setting in sorted(settings):
            own = [path for path, choice in chosen.items() if (name, setting) in choice]
            # A glob also fits a longer path that ends in it.
            more = [p for p in paths if p not in own and any(p.endswith(f"/{o}") for o in own)]
            exclude = [_escape(path) for path in more] or None
            recipe.append(technique.transform(setting, steps, list(map(_escape, own)), exclude))
    return recipe


def _escape(path: str) -> str:
    """Writes a path as a glob that matches itself."""
    return re.sub(r"([*?[])", r"[\1]", path)
