"""Quantization-aware training of weights, on the very grid that the TFLite converter uses.

A weight is rounded to a symmetric integer grid in the forward pass, and its gradient goes
through as if it had not been (straight-through estimator). Kernels have one scale for each
output channel, embedding tables one for the tensor at 8 bits and one for each row (or some
neighboring rows, `group_size`) at 4: this is what the converter writes, so the exported
integers are the trained ones.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from tfdistill.compress.compressed_model import Compressed, append
from tfdistill.compress.guarantees import GRID, GROUPS, Guarantee
from tfdistill.compress.quantization.activations import RULES, ActivationRange, watch_activations
from tfdistill.compress.quantization.row_groups import can_group, group_rows, ungroup_rows
from tfdistill.compress.technique import StateOwner, WeightState, WeightTransform
from tfdistill.introspection.weights import Patterns, Target

__all__ = ["Quantize", "fake_quantize", "fake_quantize_in_training", "quantize_aware"]


def quantize_aware(
    model: keras.Model,
    *,
    bits: int = 8,
    activations: str | None = None,
    group_size: int = 1,
    include: Patterns = None,
    exclude: Patterns = None,
) -> Compressed:
    """Makes a copy of a model that trains on quantized weights.

    Attention kernels and embedding tables are covered. A pruned model keeps its zeros: zero is
    on the grid, and the masks go on as before.

    With `activations`, what enters the quantized layers is rounded to 256 levels as well, and so
    are the queries, keys and values of attention layers: for a file written with
    `to_tflite(..., quantize="int8", calibration=x)`. Other activations of such a file (the
    scores of attention, sums, norms) are not rounded while training. `strip` leaves the rounding
    of activations away, and the file measures its ranges on the calibration data, so it agrees
    with the stripped model within the steps of its own grids, not to the bit.

    Args:
        model: A built Keras 3 model, or a `Compressed` one to add quantization to. Untouched.
        bits: 8 or 4, of the weights.
        activations: None, "moving_average" (a slow average of the batches' ranges) or
            "last_value" (the range of the last batch), for 8-bit activations.
        group_size: Neighboring rows of a 4-bit table that share a scale: 1, 2, 4, 8 or 16.
            In the file a scale costs 12 bytes, so narrow tables gain by more than 1. A table that
            is the output layer too keeps one for each row.
        include: Globs over layer paths to quantize; None takes all kernels and embeddings.
        exclude: Globs over layer paths to leave alone.

    Returns:
        A model to compile and fit; `strip` bakes the grid into a plain one.

    Raises:
        TypeError: If `model` is not a Keras 3 model.
        ValueError: If `bits` is neither 8 nor 4, `activations` or `group_size` is unknown,
            or a glob matches nothing.

    Example:
        >>> import numpy as np
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
        >>> float(quantize_aware(model, bits=4)(np.ones((1, 1)))[0, 0]) == float(
        ...     model.layers[0].kernel[0, 0])  # a lone weight is the largest level of its grid
        True

    References:
        Jacob et al. "Quantization and Training of Neural Networks for Efficient
        Integer-Arithmetic-Only Inference", 2018, section 3. https://arxiv.org/abs/1712.05877
    """
    transform = Quantize(
        bits=bits,
        activations=activations,
        group_size=group_size,
        include=include,
        exclude=exclude,
    )
    return append(model, transform)


def fake_quantize(matrix: tf.Tensor, *, bits: int, axis: int | None) -> tf.Tensor:
    """Rounds a matrix to the symmetric grid that its own largest values span.

    scale = max |w| / (2^(bits−1) − 1), level = round(w / scale), result = level · scale.

    Args:
        matrix: Weights, float tensor of shape `[I, O]`.
        bits: 2 to 8; the levels are symmetric (±127 at 8 bits, ±7 at 4).
        axis: Axis that has one scale for each index: 1 columns, 0 rows, None the whole tensor.

    Returns:
        Weights on the grid, same shape and dtype.

    Example:
        >>> fake_quantize(tf.constant([[-0.9], [7.0], [2.4]]), bits=4, axis=1).numpy().ravel()
        array([-1.,  7.,  2.], dtype=float32)
    """
    largest = _largest(matrix, axis=axis)
    scale, _ = _scale(largest, bits=bits)
    return tf.round(tf.math.divide_no_nan(matrix, scale)) * scale


def fake_quantize_in_training(matrix: tf.Tensor, *, bits: int, axis: int | None) -> tf.Tensor:
    """Rounds as TensorFlow's fake-quantization kernels do, and lets the gradient through.

    The values are those of `fake_quantize` but for the last bit, and equal to the last bit those
    of `tf.quantization.fake_quant_with_min_max_vars_per_channel`, which TF-MOT trains with. That
    kernel walks down one channel after the other; these whole-matrix operations take half of its
    time, its gradient's included.

    Args:
        matrix: Weights, float32 tensor of shape `[I, O]`.
        bits: 2 to 8.
        axis: As in `fake_quantize`.

    Returns:
        Weights on the grid, same shape. The gradient is 1 where |w| is within the grid's ends,
        which rounding may put a bit below the largest |w|.

    Example:
        >>> matrix = tf.constant([[-0.9], [7.0], [2.4]])
        >>> fake_quantize_in_training(matrix, bits=4, axis=1).numpy().ravel()
        array([-1.,  7.,  2.], dtype=float32)
    """
    half = 2.0 ** (bits - 1) - 1.0
    scale, inverse = _scale(_largest(tf.stop_gradient(matrix), axis=axis), bits=bits)
    end = half * scale

    @tf.custom_gradient
    def rounded(values: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        shifted = tf.clip_by_value(values, -end, end) + end
        on_grid = tf.floor(shifted * inverse - half + 0.5) * scale

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            return tf.where(tf.abs(values) <= end, upstream, tf.zeros_like(upstream))

        return on_grid, gradient

    return rounded(matrix)


def _largest(matrix: tf.Tensor, *, axis: int | None) -> tf.Tensor:
    reduced = None if axis is None else [1 - axis]
    return tf.reduce_max(tf.abs(matrix), axis=reduced, keepdims=True)


def _scale(largest: tf.Tensor, *, bits: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the distance of two levels and its inverse; both are 0 where all weights are."""
    half = 2.0 ** (bits - 1) - 1.0
    # TensorFlow turns a plain division by a constant into a product, in graphs only, and a
    # model would answer otherwise in `predict` than when it is called.
    return tf.math.divide_no_nan(largest, half), tf.math.divide_no_nan(half, largest)


@keras.saving.register_keras_serializable(package="tfdistill")
class Quantize(WeightTransform):
    """Weight quantization as one step of a recipe; see `quantize_aware` for the arguments."""

    guarantees = (GRID,)

    def __init__(
        self,
        *,
        bits: int = 8,
        activations: str | None = None,
        group_size: int = 1,
        include: Patterns = None,
        exclude: Patterns = None,
        begin_step: int = 0,
    ) -> None:
        super().__init__(include=include, exclude=exclude, begin_step=begin_step)
        if isinstance(bits, bool) or bits not in (4, 8):
            raise ValueError(
                f"`bits` must be 8 or 4. Received: bits={bits!r}. "
                "TFLite runs no other width of weights fast."
            )
        if activations is not None and activations not in RULES:
            raise ValueError(
                f"`activations` must be None or one of {RULES}. Received: activations="
                f"{activations!r}. It says how the ranges of activations follow the batches."
            )
        if isinstance(group_size, bool) or group_size not in (GROUPS if bits == 4 else (1,)):
            raise ValueError(
                f"`group_size` must be one of {GROUPS} at 4 bits and 1 at 8. Received: "
                f"group_size={group_size!r} with bits={bits!r}. At 8 bits a table has one "
                "scale in all."
            )
        self.bits = int(bits)
        self.activations = activations
        self.group_size = int(group_size)

    def preserves(self, guarantee: Guarantee) -> bool:
        """Says whether a guarantee outlasts that weights are rounded to a symmetric grid."""
        return "rounding" in guarantee.survives

    def create(self, owner: StateOwner, target: Target) -> WeightState:
        """Adds the range of one weight to the model."""
        return _QuantizeState(self, owner, target)

    def get_config(self) -> dict[str, Any]:
        """Returns the width, what goes with it, and the globs."""
        own = {
            "bits": self.bits,
            "activations": self.activations,
            "group_size": self.group_size,
        }
        return {**super().get_config(), **own}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Quantize:
        """Rebuilds the transform from its config, which files have under an older name as well."""
        config = dict(config)
        if "rows_per_scale" in config:
            config["group_size"] = config.pop("rows_per_scale")
        return cls(**config)


class _QuantizeState(WeightState):
    """Range of one weight at the last training step, as TF-MOT's `LastValueQuantizer` has it."""

    def __init__(self, transform: Quantize, owner: StateOwner, target: Target) -> None:
        super().__init__(transform, target)
        self._bits = transform.bits
        self._axis: int | None = 1
        self._rows = 1  # of a table, that have one scale
        if target.kind == "embedding":
            self._axis = None if transform.bits == 8 else 0
            self._rows = _rows_of(transform, owner.student, target)
        channels: tuple[int, ...] = ()
        if self._axis is not None:
            channels = (math.ceil(target.matrix_shape[self._axis] / self._rows),)
        self._ranges = {
            name: owner.add_state(
                target, f"{name}_{transform.bits}_bits", shape=channels, initial=initial
            )
            for name, initial in (("min_var", -6.0), ("max_var", 6.0))
        }
        # Taken here, where no autocast scope can hide them behind half-precision copies.
        self._least, self._most = (variable.value for variable in self._ranges.values())
        self._activations: list[ActivationRange] = []
        if transform.activations is not None:
            self._activations = watch_activations(owner, target, rule=transform.activations)

    @property
    def variables(self) -> dict[str, keras.Variable]:
        """The range, and those of the activations."""
        variables = dict(self._ranges)
        for each in self._activations:
            variables.update(each.state)
        return variables

    @contextlib.contextmanager
    def around_call(self, *, training: bool, begun: tf.Tensor | bool) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for each in self._activations:
                stack.enter_context(each.active(training=training, begun=begun))
            yield

    def __call__(self, value: tf.Tensor, *, training: bool) -> tf.Tensor:
        matrix = self.target.to_matrix(value)
        if self._rows > 1:
            matrix = group_rows(matrix, self._rows)
        if training:
            largest = tf.reshape(_largest(matrix, axis=self._axis), self._most.shape)
            self._least.assign(-largest)
            self._most.assign(largest)
            matrix = fake_quantize_in_training(matrix, bits=self._bits, axis=self._axis)
        else:
            matrix = fake_quantize(matrix, bits=self._bits, axis=self._axis)
        if self._rows > 1:
            matrix = ungroup_rows(matrix, shape=self.target.matrix_shape)
        return self.target.from_matrix(matrix)


def _rows_of(transform: Quantize, student: keras.Model, target: Target) -> int:
    """Returns how many rows may share a scale: one, if the table does more than being looked up."""
    owners = [
        layer
        for layer in student._flatten_layers()
        if getattr(layer, "embeddings", None) is target.variable
    ]
    return transform.group_size if all(can_group(layer) for layer in owners) else 1
