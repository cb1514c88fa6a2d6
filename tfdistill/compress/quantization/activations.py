"""Fake quantization of what flows into the layers, for a file that stores activations as well.

A static int8 file holds every activation on a fixed grid of 256 levels between a least and a
largest value. Training can know of that: what enters a Dense, EinsumDense or convolution layer is
rounded to such a grid, whose ends follow the batches, and the gradient goes through within them.

    "moving_average"  the ends move 1/1000 of the way to those of each batch, as TF-MOT's
                      `MovingAverageQuantizer` has it; they begin where the first batch has them
    "last_value"      the ends of the last batch, as in TF-MOT's `LastValueQuantizer`

TF-MOT starts both at −6 and 6, from where a thousand steps of the moving average are too few.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from tfdistill.compress.technique import StateOwner
from tfdistill.introspection.weights import Target

__all__ = ["ActivationRange", "RULES", "moved_range", "watch_activations"]

RULES = ("moving_average", "last_value")
_DECAY = 0.999
_PROJECTIONS = ("_query_dense", "_key_dense", "_value_dense")


def moved_range(
    old: tuple[tf.Tensor, tf.Tensor], values: tf.Tensor, *, rule: str
) -> tuple[tf.Tensor, tf.Tensor]:
    """Moves the ends of a grid to those of a batch, zero always being on it.

    moving_average: end − (end − batch's end) / 1000;  last_value: the batch's end. A range of
    (0, 0) is one that has seen nothing, and takes the batch's ends whole.

    Args:
        old: Least and largest value so far, float32 scalars.
        values: The batch's activations, float32 of any shape.
        rule: "moving_average" or "last_value".

    Returns:
        The new least and largest value.

    Example:
        >>> least, most = moved_range((tf.constant(-1.0), tf.constant(1.0)), tf.constant([2.0]),
        ...                           rule="moving_average")
        >>> round(float(least), 4), round(float(most), 4)
        (-0.999, 1.001)
    """
    batch = (
        tf.minimum(tf.reduce_min(values), 0.0),
        tf.maximum(tf.reduce_max(values), 0.0),
    )
    if rule == "last_value":
        return batch
    unseen = tf.equal(old[0], old[1])
    moved = [end - (end - new) * (1.0 - _DECAY) for end, new in zip(old, batch, strict=True)]
    least, most = (tf.where(unseen, new, end) for end, new in zip(moved, batch, strict=True))
    return least, most


class ActivationRange:
    """The range of the activations at one place, and the rounding to its grid.

    Args:
        owner: The model that stores the range.
        target: The weight of the layer that the activations enter or leave.
        name: What tells it from the other ranges of that weight.
        rule: "moving_average" or "last_value".
    """

    def __init__(self, owner: StateOwner, target: Target, name: str, *, rule: str) -> None:
        self._rule = rule
        self.state = {
            f"{name}_{end}": owner.add_state(
                target, f"{name}_{end}", shape=(), initial=0.0, dtype="float32", aggregation="mean"
            )
            for end in ("least", "most")
        }
        self._ends: list[tf.Variable] = [variable.value for variable in self.state.values()]
        self._active = threading.local()  # the replicas of a strategy are traced in threads

    @contextlib.contextmanager
    def active(self, *, training: bool, begun: tf.Tensor | bool) -> Iterator[None]:
        """Rounds what passes while the body runs, in this thread.

        Args:
            training: Whether the range follows what passes.
            begun: Whether the technique has begun.

        Yields:
            Nothing.
        """
        self._active.settings = (training, begun)
        try:
            yield
        finally:
            self._active.settings = None

    def __call__(self, activations: Any) -> Any:
        """Returns activations on the grid, as they came if they are no float tensor."""
        settings = getattr(self._active, "settings", None)
        if settings is None or not tf.is_tensor(activations) or not activations.dtype.is_floating:
            return activations
        training, begun = settings
        values = tf.cast(activations, tf.float32)
        least, most = (tf.convert_to_tensor(end) for end in self._ends)
        if training:
            # An end of the grid is a setting, not a path for the gradient.
            moved = moved_range((least, most), tf.stop_gradient(values), rule=self._rule)
            least, most = (
                tf.where(begun, new, end) for end, new in zip((least, most), moved, strict=True)
            )
            for variable, end in zip(self._ends, (least, most), strict=True):
                variable.assign(end)
        rounded = tf.quantization.fake_quant_with_min_max_vars(values, least, most, num_bits=8)
        # A range that has seen nothing has no grid.
        rounded = tf.where(tf.logical_and(begun, least < most), rounded, values)
        return tf.cast(rounded, activations.dtype)


def watch_activations(owner: StateOwner, target: Target, *, rule: str) -> list[ActivationRange]:
    """Puts a range at the inputs of the layers that have a weight, and stores it in the model.

    The queries, keys and values of an attention layer are also rounded as they leave their
    projections: they are what its inner products take. A table that is used as the output layer
    has its inputs rounded there.

    Args:
        owner: The model whose student has the layers.
        target: The weight.
        rule: "moving_average" or "last_value".

    Returns:
        The ranges; none is active yet.
    """
    projections = {
        id(getattr(layer, name, None))
        for layer in owner.student._flatten_layers()
        for name in _PROJECTIONS
    }
    ranges: list[ActivationRange] = []
    for layer in owner.student._flatten_layers():
        weight = getattr(layer, "embeddings" if target.kind == "embedding" else "kernel", None)
        takes_floats = target.kind == "kernel" or isinstance(
            layer, keras.layers.ReversibleEmbedding
        )
        if weight is not target.variable or not takes_floats:
            continue
        number = f"_{len(ranges)}" if ranges else ""
        before = ActivationRange(owner, target, f"input{number}", rule=rule)
        ranges.append(before)
        after = None
        if id(layer) in projections:
            after = ActivationRange(owner, target, f"output{number}", rule=rule)
            ranges.append(after)
        # No setattr: Keras would track it. It goes with the layer, and a copy does not have it.
        vars(layer)["call"] = _rounding(layer.call, before, after)
    return ranges


def _rounding(
    call: Callable[..., Any], before: ActivationRange, after: ActivationRange | None
) -> Callable[..., Any]:
    @functools.wraps(call)
    def rounded(inputs: Any, *args: Any, **kwargs: Any) -> Any:
        outputs = call(before(inputs), *args, **kwargs)
        return outputs if after is None else after(outputs)

    return rounded
