"""The block of a causal language model: Llama's, in plain Keras.

Queries and keys are turned by their position (RoPE), several query heads share one key-value
head (GQA), the feed-forward layer is gated (SwiGLU), and norms only rescale (RMSNorm). Written
out here because KerasHub's block takes the width of a head from the number of heads, which a
block that has lost some of its heads contradicts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

__all__ = ["DecoderBlock", "rope_frequencies", "rotate", "scaled_first"]

_MASKED = -1e9  # what is added to a score that must not count


def rope_frequencies(head_dim: int, *, max_wavelength: float = 10000.0) -> list[float]:
    """Computes how far each pair of a head's coordinates turns from one position to the next.

    f_i = max_wavelength^(−2i / head_dim).

    Args:
        head_dim: Width of a head, an even int.
        max_wavelength: The base of the longest wavelength; 10,000 in the paper.

    Returns:
        `head_dim / 2` angles in radians, the first being 1.

    Example:
        >>> rope_frequencies(4, max_wavelength=100.0)
        [1.0, 0.1]

    References:
        Su et al. "RoFormer", 2021, section 3.2.2. https://arxiv.org/abs/2104.09864
    """
    return [float(max_wavelength ** (-2 * i / head_dim)) for i in range(head_dim // 2)]


def rotate(x: Any, frequencies: Sequence[float], *, positions: Any = None) -> Any:
    """Turns queries or keys by their position: coordinate i together with i + d/2.

    Args:
        x: Float tensor `[B, L, H, d]`.
        frequencies: d / 2 angles in radians per position.
        positions: int tensor `[L]`; None counts from 0.

    Returns:
        A tensor of the same shape; position 0 is left as it is.

    Example:
        >>> x = np.array([[[[1.0, 0.0]], [[1.0, 0.0]]]], "float32")  # two positions
        >>> (rotate(x, [np.pi / 2]).numpy().round(3) + 0.0).tolist()
        [[[[1.0, 0.0]], [[0.0, 1.0]]]]
    """
    if positions is None:
        positions = ops.arange(ops.shape(x)[1])
    positions = ops.cast(positions, "float32")
    angles = positions[:, None] * np.tile(np.asarray(frequencies, "float32"), 2)[None]
    cosines = ops.cast(ops.cos(angles), x.dtype)[None, :, None, :]
    sines = ops.cast(ops.sin(angles), x.dtype)[None, :, None, :]
    first, second = ops.split(x, 2, axis=-1)
    return x * cosines + ops.concatenate([-second, first], axis=-1) * sines


def scaled_first(norm: keras.layers.Layer, x: Any) -> Any:
    """Computes an RMSNorm as (γ · x) · 1 / √(mean x² + ε), the scale first.

    The same number as the layer's, but TFLite's converter multiplies a scale that comes last into
    the kernels behind it. That would take them off the grid that they were trained on.

    Args:
        norm: A built `RMSNormalization`. Another layer is called as it is.
        x: What it norms, float `[…, D]`.

    Returns:
        float `[…, D]`.

    Example:
        >>> norm = keras.layers.RMSNormalization(epsilon=0.0)
        >>> norm.build((None, 2))
        >>> scaled_first(norm, np.array([[3.0, 4.0]])).numpy().astype(float).round(3).tolist()
        [[0.849, 1.131]]
    """
    if not isinstance(norm, keras.layers.RMSNormalization):
        return norm(x)
    exact = ops.cast(x, "float32")
    mean = ops.mean(ops.square(exact), axis=-1, keepdims=True)
    normed = exact * ops.cast(norm.scale, "float32") * ops.rsqrt(mean + norm.epsilon)
    return ops.cast(normed, norm.compute_dtype)


@keras.saving.register_keras_serializable(package="tfdistill")
class DecoderBlock(keras.layers.Layer):
    """One block of Llama: x = x + attention(norm(x)), then x = x + ffn(norm(x)).

    Args:
        num_heads: Number of query heads; a multiple of `num_key_value_heads`.
        num_key_value_heads: Number of key-value heads, each shared by as many query heads.
        head_dim: Width of a head, an even int.
        intermediate_dim: Width of the gated feed-forward layer.
        dropout: Share of activations dropped while training.
        epsilon: What is added to the mean square in the norms.
        frequencies: Angles of `rotate`; None takes `rope_frequencies(head_dim)`.
        seed: Seed of dropout.
        name: Name of the layer.

    References:
        Touvron et al. "LLaMA", 2023. https://arxiv.org/abs/2302.13971
        Ainslie et al. "GQA", 2023. https://arxiv.org/abs/2305.13245
    """

    def __init__(
        self,
        *,
        num_heads: int,
        num_key_value_heads: int,
        head_dim: int,
        intermediate_dim: int,
        dropout: float = 0.0,
        epsilon: float = 1e-6,
        frequencies: Sequence[float] | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.num_key_value_heads = num_key_value_heads
        self.head_dim = head_dim
        self.intermediate_dim = intermediate_dim
        self.dropout = dropout
        self.epsilon = epsilon
        self.frequencies = [float(angle) for angle in frequencies or rope_frequencies(head_dim)]
        self.seed = seed

    def build(self, inputs_shape: tuple, is_token_shape: tuple | None = None) -> None:
        """Makes the layers of the block for inputs of shape `[B, L, D]`."""
        width = inputs_shape[-1]
        heads = (None, None, self.num_heads, self.head_dim)
        inner = (*inputs_shape[:-1], self.intermediate_dim)
        self.attention_norm = self._norm("attention_norm", inputs_shape)
        self.query = self._projection("query", self.num_heads, inputs_shape)
        self.key = self._projection("key", self.num_key_value_heads, inputs_shape)
        self.value = self._projection("value", self.num_key_value_heads, inputs_shape)
        self.softmax = keras.layers.Softmax(dtype="float32", name="softmax")
        self.attention_output = keras.layers.EinsumDense(
            "blhd,hdm->blm", (None, width), dtype=self.dtype_policy, name="attention_output"
        )
        self.attention_output.build(heads)
        self.ffn_norm = self._norm("ffn_norm", inputs_shape)
        self.ffn_gate = self._dense("ffn_gate", self.intermediate_dim, inputs_shape)
        self.ffn_inner = self._dense("ffn_inner", self.intermediate_dim, inputs_shape)
        self.ffn_outer = self._dense("ffn_outer", width, inner)
        self.drop = keras.layers.Dropout(
            self.dropout, seed=self.seed, dtype=self.dtype_policy, name="dropout"
        )

    def call(self, inputs: Any, is_token: Any, training: bool | None = None) -> Any:
        """Returns the block's output, same shape; no position attends to padding or later ones."""
        attended = self._attend(self.attention_norm(inputs), is_token, training=training)
        x = inputs + self.drop(self.attention_output(attended), training=training)
        return x + self._feed_forward(self.ffn_norm(x))

    def _attend(self, x: Any, is_token: Any, *, training: bool | None) -> Any:
        query = rotate(self.query(x), self.frequencies)
        shared = self.num_heads // self.num_key_value_heads
        key = ops.repeat(rotate(self.key(x), self.frequencies), shared, axis=2)
        value = ops.repeat(self.value(x), shared, axis=2)
        positions = ops.arange(ops.shape(x)[1])
        causal = (positions[:, None] >= positions[None, :])[None, None]
        scores = ops.einsum("bqhd,bkhd->bhqk", query, key) * (1.0 / math.sqrt(self.head_dim))
        mask = ops.logical_and(ops.cast(is_token, "bool")[:, None, None, :], causal)
        weights = ops.cast(self.softmax(scores, mask), self.compute_dtype)
        return self.drop(ops.einsum("bhqk,bkhd->bqhd", weights, value), training=training)

    def extend(
        self, inputs: Any, *, positions: Any, keys: Any, values: Any
    ) -> tuple[Any, Any, Any]:
        """Computes the outputs of further positions from the cache of those before them.

        The cache is read and not changed: its slots count up to the first new position, and the
        caller puts the new rows where they belong. That is several times faster than to hand a
        changed cache out of a `.tflite` file.

        Args:
            inputs: Hidden states of the S new positions, float `[B, S, D]`.
            positions: Their numbers, int `[S]`, one after the other.
            keys: Turned keys of earlier positions, float `[B, G, C, d]` for G key-value heads and
                C slots; slots from `positions[0]` on are not looked at.
            values: Their values, same shape.

        Returns:
            The outputs `[B, S, D]`, and the new keys and values `[B, G, S, d]`.
        """
        normal = scaled_first(self.attention_norm, inputs)
        query = rotate(self.query(normal), self.frequencies, positions=positions)
        key = rotate(self.key(normal), self.frequencies, positions=positions)
        new_keys = ops.transpose(key, (0, 2, 1, 3))
        new_values = ops.transpose(self.value(normal), (0, 2, 1, 3))
        steps, slots = inputs.shape[1], keys.shape[2]
        groups, shared = self.num_key_value_heads, self.num_heads // self.num_key_value_heads
        stacked = (-1, groups, shared * steps, self.head_dim)
        query = ops.reshape(ops.transpose(query, (0, 2, 1, 3)), stacked)
        query = query * (1.0 / math.sqrt(self.head_dim))
        unused = ops.cast(ops.arange(slots) >= positions[0], "float32")
        later = np.triu(np.ones((steps, steps), "float32"), 1)
        scores = ops.concatenate(
            [
                tf.matmul(query, keys, transpose_b=True) + unused * _MASKED,
                tf.matmul(query, new_keys, transpose_b=True)
                + np.tile(later, (shared, 1)) * _MASKED,
            ],
            axis=-1,
        )
        weights = ops.softmax(scores, axis=-1)
        attended = ops.matmul(weights[..., :slots], values)
        attended = attended + ops.matmul(weights[..., slots:], new_values)
        heads = ops.reshape(attended, (-1, self.num_heads, steps, self.head_dim))
        x = inputs + self.attention_output(ops.transpose(heads, (0, 2, 1, 3)))
        further = self._feed_forward(scaled_first(self.ffn_norm, x))
        return x + further, new_keys, new_values

    def _feed_forward(self, normal: Any) -> Any:
        gate = ops.silu(ops.cast(self.ffn_gate(normal), "float32"))
        return self.ffn_outer(self.ffn_inner(normal) * ops.cast(gate, self.compute_dtype))

    def _norm(self, name: str, shape: tuple) -> keras.layers.Layer:
        layer = keras.layers.RMSNormalization(
            epsilon=self.epsilon, dtype=self.dtype_policy, name=name
        )
        layer.build(shape)
        return layer

    def _projection(self, name: str, num_heads: int, shape: tuple) -> keras.layers.Layer:
        layer = keras.layers.EinsumDense(
            "blm,mhd->blhd", (None, num_heads, self.head_dim), dtype=self.dtype_policy, name=name
        )
        layer.build(shape)
        return layer

    def _dense(self, name: str, width: int, shape: tuple) -> keras.layers.Layer:
        layer = keras.layers.Dense(width, use_bias=False, dtype=self.dtype_policy, name=name)
        layer.build(shape)
        return layer

    def compute_output_shape(
        self, inputs_shape: tuple, is_token_shape: tuple | None = None
    ) -> tuple:
        """Returns the shape of the inputs."""
        return inputs_shape

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "head_dim": self.head_dim,
            "intermediate_dim": self.intermediate_dim,
            "dropout": self.dropout,
            "epsilon": self.epsilon,
            "frequencies": self.frequencies,
            "seed": self.seed,
        }
