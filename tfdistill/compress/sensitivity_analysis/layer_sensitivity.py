"""Which layer bears which compression: measured one at a time, then a recipe for a size.

    found = td.sensitivity(model, x_calibration)
    print(found); found.plot("sensitivity.png")
    small = td.Compressed(model, recipe=found.recipe(target_bytes=100_000, steps=500))

Nothing is trained here: the change is that of the weights alone, at once. Training repairs much
of it, so the numbers rank layers and settings; they do not predict the final accuracy.

The sensitivity table as a picture.
"""

from __future__ import annotations

import numbers
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tqdm.auto import tqdm

from tfdistill.compress.compressed_model import Compressed, strip
from tfdistill.compress.sensitivity_analysis.one_shot import TECHNIQUES, stored_bytes
from tfdistill.compress.sensitivity_analysis.recipe_search import Weights, make_recipe
from tfdistill.compress.technique import WeightTransform
from tfdistill.files.atomic import check_target, gzip_bytes, replacing
from tfdistill.introspection.backend import check_model
from tfdistill.introspection.clone import copy_model
from tfdistill.introspection.named_model import NamedModel, named_model
from tfdistill.introspection.weights import Patterns, find_targets, select
from tfdistill.reports.figures import new_figure

__all__ = ["Sensitivity", "SensitivityRow", "draw_sensitivity", "sensitivity"]


@dataclass(frozen=True)
class SensitivityRow:
    """What one technique at one setting does to one weight.

    Attributes:
        path: Path of the weight, as `include=` takes it.
        technique: "prune", "cluster" or "quantize".
        setting: Sparsity (a fraction), number of clusters, or bits.
        change: How much the model's output changes: the relative error ‖y′ − y‖ / ‖y‖, or the
            loss of the metric.
        size_bytes: What the weight then takes after gzip; scales are not counted.
        bytes_saved: How much less that is than its float32 numbers after gzip.
    """

    path: str
    technique: str
    setting: float
    change: float
    size_bytes: int
    bytes_saved: int


@dataclass(frozen=True)
class Sensitivity:
    """A table of all that was tried; `str()` lays it out, weights by settings.

    Attributes:
        rows: What was measured.
        size_bytes: Size of all weights as float32 after gzip, each compressed by itself.
    """

    rows: tuple[SensitivityRow, ...]
    size_bytes: int
    _weights: Weights = field(repr=False, compare=False, default_factory=dict)

    def recipe(self, *, target_bytes: int, steps: int = 1000) -> list[WeightTransform]:
        """Proposes what to do to which layer, for a size.

        Greedy: the next step is always the one that saves most bytes for the change it makes.
        Sizes of combinations are measured; their changes are taken to add up.

        Args:
            target_bytes: What all weights together may take after gzip, an int. The graph
                around them comes on top in a `.tflite` file.
            steps: Training steps until the zeros are there, an int of at least 1.

        Returns:
            Transforms for `Compressed(model, recipe=...)`, in their order; an empty list if the
            weights are small enough as they are.

        Raises:
            TypeError: If `target_bytes` is not an int.
            ValueError: If it cannot be reached with what was tried.
        """
        return make_recipe(self.rows, self._weights, target_bytes=target_bytes, steps=steps)

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Draws the table as a PNG: rows are weights, columns settings, dark is a large change.

        Args:
            path: The PNG file to write.

        Raises:
            ImportError: If matplotlib is not installed.
        """
        draw_sensitivity(self.rows, path)

    def __str__(self) -> str:
        columns = list(dict.fromkeys((row.technique, row.setting) for row in self.rows))
        heads = [TECHNIQUES[name].label.format(setting) for name, setting in columns]
        paths = list(dict.fromkeys(row.path for row in self.rows))
        width = max([6, *map(len, paths)])
        changes = {(row.path, row.technique, row.setting): row.change for row in self.rows}
        lines = [f"{'change':<{width}} " + " ".join(f"{head:>11}" for head in heads)]
        for path in paths:
            cells = " ".join(f"{changes[(path, *column)]:>11.4f}" for column in columns)
            lines.append(f"{path:<{width}} {cells}")
        return "\n".join([*lines, f"{self.size_bytes / 1024:,.1f} KB of float32 after gzip"])


def sensitivity(
    model: keras.Model,
    data: Any,
    *,
    metric: Callable[[Any], float] | None = None,
    include: Patterns = None,
    exclude: Patterns = None,
    settings: Mapping[str, Sequence[float]] | None = None,
    batch_size: int = 64,
) -> Sensitivity:
    """Tries each technique on each weight by itself, and measures what the output says to it.

    Costs one pass over `data` for each weight and setting; a hundred examples are enough.
    Nothing is random, so the same call gives the same table.

    Args:
        model: A built Keras 3 model; a `Compressed` one is stripped first. Left untouched.
        data: Calibration inputs: one array, a dict of arrays, or a list in the model's order.
        metric: From the outputs on all of `data` (an array, or a dict of several) to a number
            of which more is better, such as accuracy; None measures the outputs themselves.
        include: Globs over layer paths to try; None takes all kernels and embeddings.
        exclude: Globs over layer paths to leave out.
        settings: What to try, by technique: sparsities for "prune", numbers of clusters for
            "cluster", bits for "quantize". None takes a usual range of each.
        batch_size: Rows per call of the model.

    Returns:
        The table.

    Raises:
        TypeError: If `model` is not a Keras 3 model (a path, for one), or `data` does not hold
            what the model takes.
        ValueError: If the model has nothing to compress, a glob matches nothing, `data` has
            another shape, a technique is unknown, or the metric returns no finite number.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="scores")])
        >>> found = sensitivity(model, np.eye(4, dtype="float32"), settings={"quantize": [8]})
        >>> row, = found.rows
        >>> row.path, row.technique, row.change < 0.01
        ('scores/kernel', 'quantize', True)
    """
    _check(model, metric, batch_size)
    tried = _check_settings(settings)
    plain = strip(model) if isinstance(model, Compressed) else model
    targets = select(find_targets(plain), include=include, exclude=exclude)
    copy = copy_model(plain)
    twins = {target.path: target.variable for target in find_targets(copy)}
    named = named_model(copy)
    answer = _answerer(named, named.arrays(data, argument="data"), batch_size)
    reference = answer()
    score = None if metric is None else _scored(metric, reference)
    rows: list[SensitivityRow] = []
    weights: Weights = {}
    total = len(targets) * sum(map(len, tried.values()))
    with tqdm(total=total, unit="try", desc="trying each weight") as bar:
        for target in targets:
            value = keras.ops.convert_to_numpy(target.variable)
            matrix = value.reshape(target.matrix_shape)
            before = stored_bytes(matrix, kind=target.kind, bits=None)
            weights[target.path] = (matrix, target.kind, before)
            for name, setting in ((n, s) for n, chosen in tried.items() for s in chosen):
                changed = TECHNIQUES[name].apply(matrix, target.kind, setting)
                twins[target.path].assign(changed.reshape(value.shape))
                outputs = answer()
                if metric is not None and score is not None:
                    change = score - _scored(metric, outputs)
                else:
                    change = _relative_error(reference, outputs)
                bits = int(setting) if name == "quantize" else None
                size = stored_bytes(changed, kind=target.kind, bits=bits)
                rows.append(SensitivityRow(target.path, name, setting, change, size, before - size))
                bar.update()
            twins[target.path].assign(value)
    own = {id(target.variable) for target in targets}
    rest = [w for w in plain.weights if id(w) not in own]
    rest_bytes = gzip_bytes(keras.ops.convert_to_numpy(w).astype("<f4").tobytes() for w in rest)
    weights[""] = (np.zeros((0, 0), "float32"), "other", rest_bytes if rest else 0)
    return Sensitivity(tuple(rows), sum(size for _, _, size in weights.values()), weights)


def _answerer(
    named: NamedModel, arrays: Mapping[str, np.ndarray], batch_size: int
) -> Callable[[], dict[str, np.ndarray]]:
    """Makes a function that runs the model, with the weights of the moment, on all rows."""
    run = tf.function(named, autograph=False, reduce_retracing=True)
    rows = len(next(iter(arrays.values())))
    batches = [
        {name: tf.constant(array[first : first + batch_size]) for name, array in arrays.items()}
        for first in range(0, rows, batch_size)
    ]

    def answer() -> dict[str, np.ndarray]:
        parts = [run(batch) for batch in batches]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    return answer


def _relative_error(
    reference: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]
) -> float:
    error = sum(float(np.sum((outputs[name] - reference[name]) ** 2.0)) for name in reference)
    size = sum(float(np.sum(value**2.0)) for value in reference.values())
    return float(np.sqrt(error / max(size, 1e-30)))


def _scored(metric: Callable[[Any], float], outputs: Mapping[str, np.ndarray]) -> float:
    value = metric(next(iter(outputs.values())) if len(outputs) == 1 else dict(outputs))
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not np.isfinite(number):
        raise ValueError(
            "`metric` must return a finite number of which more is better. "
            f"Received: {value!r}. For example lambda logits: accuracy(labels, logits.argmax(-1))."
        )
    return number


def _check(model: Any, metric: Any, batch_size: Any) -> None:
    if isinstance(model, str | os.PathLike):
        raise TypeError(
            f"`model` must be a Keras 3 model. Received: model={os.fspath(model)!r}, a path. The "
            "weights in a file cannot be tried one by one: give the model that it was made from, "
            "or look into the file with `tfdistill.survey`."
        )
    check_model(model, argument="model")
    if metric is not None and not callable(metric):
        raise TypeError(
            f"`metric` must be a function of the outputs, or None. Received: metric={metric!r}. "
            "For example lambda logits: accuracy(labels, logits.argmax(-1))."
        )
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(
            f"`batch_size` must be an int of at least 1. Received: batch_size={batch_size!r}."
        )


def _check_settings(
    settings: Mapping[str, Sequence[float]] | None,
) -> dict[str, tuple[float, ...]]:
    if settings is None:
        return {name: technique.settings for name, technique in TECHNIQUES.items()}
    unknown = [name for name in settings if name not in TECHNIQUES]
    chosen = {name: tuple(settings[name]) for name in TECHNIQUES if settings.get(name)}
    if unknown or not chosen:
        raise ValueError(
            f"`settings` must name at least one of {list(TECHNIQUES)}, with what to try. Received: "
            f"settings={dict(settings)!r}. For example {{'prune': [0.5], 'quantize': [8, 4]}}."
        )
    for name, values in chosen.items():
        for value in values:
            is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
            if not is_number or not TECHNIQUES[name].allows(float(value)):
                raise ValueError(
                    f"`settings` must hold what its techniques take. Received: {name}={value!r}. "
                    f"{TECHNIQUES[name].range}"
                )
    return chosen


_FLOOR = 1e-4  # changes below are all as good as none


def draw_sensitivity(rows: Sequence[SensitivityRow], path: str | os.PathLike[str]) -> None:
    """Draws weights by settings: color for the change on a log scale, numbers for KB saved.

    Args:
        rows: What was measured.
        path: The PNG file to write.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    columns = list(dict.fromkeys((row.technique, row.setting) for row in rows))
    paths = list(dict.fromkeys(row.path for row in rows))
    figure = new_figure(
        width=2.5 + 0.09 * max(map(len, paths)) + 0.8 * len(columns),
        height=1.6 + 0.32 * len(paths),
    )
    from matplotlib.colors import LogNorm

    target = check_target(path)
    changes = np.full((len(paths), len(columns)), _FLOOR)
    saved = np.zeros_like(changes)
    for row in rows:
        place = paths.index(row.path), columns.index((row.technique, row.setting))
        changes[place] = max(row.change, _FLOOR)
        saved[place] = row.bytes_saved / 1024
    axes = figure.subplots()
    norm = LogNorm(_FLOOR, max(float(changes.max()), 10 * _FLOOR))
    image = axes.imshow(changes, cmap="Blues", norm=norm, aspect="auto")
    for (y, x), kilobytes in np.ndenumerate(saved):
        dark = norm(changes[y, x]) > 0.6
        axes.text(
            x, y, f"{kilobytes:.1f}", ha="center", va="center", fontsize=8,
            color="white" if dark else "#343a40",
        )  # fmt: skip
    axes.set_yticks(range(len(paths)), paths, fontsize=8)
    heads = [TECHNIQUES[name].label.format(setting) for name, setting in columns]
    axes.set_xticks(range(len(columns)), heads, fontsize=8, rotation=30, ha="right")
    axes.set_title("KB saved in each weight", fontsize=10, loc="left")
    for side in axes.spines.values():
        side.set_visible(False)
    figure.colorbar(image, ax=axes, label="change of the output")
    with replacing(target) as temporary:
        figure.canvas.print_png(os.fspath(temporary))
