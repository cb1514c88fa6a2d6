"""The layers that an encoder student is made of; Keras saves and loads them by their names.

`EncoderBlock` is BERT's block. Its heads need not divide the width evenly, so a block that has
lost some of its heads is still one.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

__all__ = [
    "EncoderBlock",
    "MaskedMax",
    "MaskedMean",
    "MaskedRootSum",
    "PositionEmbedding",
    "TokenLookup",
    "TokenPairs",
]

_FIRST = 31_337  # times an id below 65,536 it stays within an int32


@keras.saving.register_keras_serializable(package="tfdistill")
class PositionEmbedding(keras.layers.Layer):
    """Adds a learned vector for each position to inputs of shape `[B, T, D]` or shorter ones.

    Args:
        length: T, rows of the table; None takes it from the inputs it is built for.
    """

    def __init__(self, *, length: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.length = length

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the table, float32 `[T, D]`."""
        # Remembered, because a copy may be built for inputs of any length.
        self.length = self.length or input_shape[1]
        shape = (self.length, input_shape[-1])
        self.table = self.add_weight(name="table", shape=shape, initializer="zeros")

    def get_config(self) -> dict[str, Any]:
        """Returns the settings, for files and copies."""
        return {**super().get_config(), "length": self.length}

    def call(self, inputs: Any) -> Any:
        """Returns inputs + table, same shape; fewer positions take the first rows of the table.

        Raises:
            ValueError: If there are more positions than rows.
        """
        length, longest = inputs.shape[1], self.table.shape[0]
        if length == longest:
            return inputs + self.table
        if length is not None and length > longest:
            raise ValueError(
                f"`inputs` must have at most {longest} positions, as many as the table. "
                f"Received: inputs of shape {tuple(inputs.shape)}. Cut the texts, or build the "
                "student with a larger `sequence_length`."
            )
        return inputs + self.table[: ops.shape(inputs)[1]]


@keras.saving.register_keras_serializable(package="tfdistill")
class MaskedMean(keras.layers.Layer):
    """Averages `[B, T, D]` over the real tokens to `[B, D]`; a text of padding gives zeros."""

    def call(self, inputs: Any, is_token: Any) -> Any:
        """Returns Σ m · x / max(Σ m, 1) with m of shape `[B, T]`."""
        weights = ops.cast(is_token, inputs.dtype)[:, None, :]
        count = ops.maximum(ops.sum(weights, axis=-1), 1.0)
        return ops.squeeze(ops.matmul(weights, inputs), axis=1) / count


@keras.saving.register_keras_serializable(package="tfdistill")
class MaskedMax(keras.layers.Layer):
    """Takes the largest of 0 and of `[B, T, D]` at the real tokens: `[B, D]`, zeros if none.

    The 0 keeps the range of the activations small, for an export that stores them in 8 bits: a
    large negative number in the place of padding would take the grid for itself.
    """

    def call(self, inputs: Any, is_token: Any) -> Any:
        """Returns maxₜ m · max(x, 0) with m of shape `[B, T]`."""
        return ops.max(ops.relu(inputs) * ops.cast(is_token, inputs.dtype)[:, :, None], axis=1)


@keras.saving.register_keras_serializable(package="tfdistill")
class MaskedRootSum(keras.layers.Layer):
    """Sums `[B, T, D]` over the real tokens and divides by the root of their number: `[B, D]`.

    Evidence adds up, as in a bag of words, and still long texts are not louder than short ones
    by their length alone.
    """

    def call(self, inputs: Any, is_token: Any) -> Any:
        """Returns Σ m · x / √max(Σ m, 1) with m of shape `[B, T]`."""
        weights = ops.cast(is_token, inputs.dtype)[:, None, :]
        count = ops.maximum(ops.sum(weights, axis=-1), 1.0)
        return ops.squeeze(ops.matmul(weights, inputs), axis=1) / ops.sqrt(count)


@keras.saving.register_keras_serializable(package="tfdistill")
class TokenPairs(keras.layers.Layer):
    """Gives each pair of neighboring tokens a row of a table, by a hash that a file computes, too.

    The pair (a, b) has the row 1 + (31337 · a + b) mod (R − 1); row 0 is that of padding. Pairs
    that share a row share their weights.

    Args:
        num_rows: Number of rows R, an int of at least 2.
    """

    def __init__(self, num_rows: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_rows = num_rows

    def call(self, ids: Any) -> Any:
        """Returns rows, int32 `[B, T - 1]`, of ids `[B, T]`."""
        first, second = ids[:, :-1], ids[:, 1:]
        rows = 1 + ops.mod(first * _FIRST + second, self.num_rows - 1)
        is_pair = ops.logical_and(ops.not_equal(first, 0), ops.not_equal(second, 0))
        return ops.where(is_pair, rows, 0)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "num_rows": self.num_rows}


@keras.saving.register_keras_serializable(package="tfdistill")
class EncoderBlock(keras.layers.Layer):
    """One block of BERT: x = norm(x + attention(x)), then x = norm(x + ffn(x)).

    Args:
        num_heads: Number of attention heads.
        intermediate_dim: Width of the feed-forward layer.
        head_dim: Width of a head; None takes the width of the block divided by `num_heads`.
        dropout: Share of activations dropped while training.
        activation: Activation of the feed-forward layer, a name or a function that Keras can save.
        epsilon: What is added to the variance in the norms.
        seed: Seed of dropout.
        name: Name of the layer.
    """

    def __init__(
        self,
        *,
        num_heads: int,
        intermediate_dim: int,
        head_dim: int | None = None,
        dropout: float = 0.1,
        activation: Any = "relu",
        epsilon: float = 1e-6,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.intermediate_dim = intermediate_dim
        self.head_dim = head_dim
        self.dropout = dropout
        self.activation = keras.activations.get(activation)
        self.epsilon = epsilon
        self.seed = seed

    def build(self, inputs_shape: tuple, is_token_shape: tuple | None = None) -> None:
        """Makes the layers of the block for inputs of shape `[B, T, D]`."""
        width, dtype = inputs_shape[-1], self.dtype_policy
        self.attention = keras.layers.MultiHeadAttention(
            self.num_heads,
            self.head_dim or width // self.num_heads,
            dropout=self.dropout,
            seed=self.seed,
            dtype=dtype,
            name="attention",
        )
        self.attention.build(inputs_shape, inputs_shape)
        self.attention_norm = keras.layers.LayerNormalization(
            epsilon=self.epsilon, dtype=dtype, name="attention_norm"
        )
        self.attention_norm.build(inputs_shape)
        self.ffn_inner = keras.layers.Dense(
            self.intermediate_dim, activation=self.activation, dtype=dtype, name="ffn_inner"
        )
        self.ffn_inner.build(inputs_shape)
        self.ffn_outer = keras.layers.Dense(width, dtype=dtype, name="ffn_outer")
        self.ffn_outer.build((*inputs_shape[:-1], self.intermediate_dim))
        self.ffn_norm = keras.layers.LayerNormalization(
            epsilon=self.epsilon, dtype=dtype, name="ffn_norm"
        )
        self.ffn_norm.build(inputs_shape)
        self.drop = keras.layers.Dropout(self.dropout, seed=self.seed, dtype=dtype, name="dropout")

    def call(self, inputs: Any, is_token: Any, training: bool | None = None) -> Any:
        """Returns the block's output, same shape; padding is not attended to."""
        mask = is_token[:, None, :]
        attended = self.attention(inputs, inputs, attention_mask=mask, training=training)
        x = self.attention_norm(inputs + self.drop(attended, training=training))
        transformed = self.ffn_outer(self.ffn_inner(x))
        return self.ffn_norm(x + self.drop(transformed, training=training))

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
            "intermediate_dim": self.intermediate_dim,
            "head_dim": self.head_dim,
            "dropout": self.dropout,
            "activation": keras.activations.serialize(self.activation),
            "epsilon": self.epsilon,
            "seed": self.seed,
        }


@keras.saving.register_keras_serializable(package="tfdistill")
class TokenLookup(keras.layers.Layer):
    """Maps ids to others by a fixed list: those of a cut vocabulary to those of the teacher.

    Args:
        kept_ids: What each id becomes, ints of length V: the teacher's id of each new one, see
            `tfdistill.students.cut_vocabulary`, or the row of each token, see `shared_rows`.
    """

    def __init__(self, kept_ids: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kept_ids = [int(token) for token in kept_ids]
        # The list is a constant of the file: two bytes an id where they suffice.
        short = max(self.kept_ids, default=0) <= np.iinfo(np.int16).max
        self._listed = np.asarray(self.kept_ids, np.int16 if short else np.int32)

    def call(self, ids: Any) -> Any:
        """Returns the other ids, int32, same shape."""
        return ops.cast(ops.take(self._listed, ids, axis=0), "int32")

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "kept_ids": self.kept_ids}
