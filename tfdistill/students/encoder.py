"""A small BERT-like text classifier that exports to TFLite as a handful of builtin ops.

The arguments carry KerasHub's names. What differs from BERT is what a small device would pay
for: no segment embedding, ReLU in place of GELU (TFLite fuses it into the matrix product), and
a mean over the real tokens in place of a pooled first token.
"""

from __future__ import annotations

import numbers
from typing import Any

import keras
import numpy as np
from keras import ops

from tfdistill._keras import check_backend
from tfdistill.students.initialize import initial_values

__all__ = ["EncoderBlock", "MaskedMean", "PositionEmbedding", "text_encoder"]


def text_encoder(
    *,
    vocabulary_size: int,
    sequence_length: int,
    num_layers: int = 2,
    hidden_dim: int = 64,
    num_heads: int = 2,
    intermediate_dim: int = 128,
    num_classes: int,
    dropout: float = 0.1,
    activation: str = "relu",
    seed: int | None = None,
    name: str = "text_encoder",
) -> keras.Model:
    """Builds a student: int32 token ids in, logits out.

    Args:
        vocabulary_size: Number of token ids, row 0 for padding included.
        sequence_length: Number of ids per text; shorter texts are padded with 0.
        num_layers: Number of encoder blocks, at least 1.
        hidden_dim: Width of the embeddings and blocks; a multiple of `num_heads`.
        num_heads: Number of attention heads.
        intermediate_dim: Width of the feed-forward layer inside a block.
        num_classes: Number of classes, at least 2.
        dropout: Share of activations dropped while training, a fraction in [0, 1).
        activation: Activation of the feed-forward layer.
        seed: Seed of the initial weights and of dropout; None draws one.
        name: Name of the model.

    Returns:
        A Functional model with the input `ids`, int32 `[B, sequence_length]`, and the output
        `logits`, float32 `[B, num_classes]`. Its blocks are named `encoder_0`, `encoder_1`, ….

    Raises:
        TypeError: If `dropout` is not a number.
        ValueError: If a size is out of range or `hidden_dim` is no multiple of `num_heads`.

    Example:
        >>> import numpy as np
        >>> student = text_encoder(vocabulary_size=100, sequence_length=8, hidden_dim=8,
        ...                        num_layers=1, intermediate_dim=16, num_classes=3, seed=0)
        >>> student(np.array([[5, 7, 0, 0, 0, 0, 0, 0]])).shape
        TensorShape([1, 3])

    References:
        Devlin et al. "BERT", 2018. https://arxiv.org/abs/1810.04805
    """
    check_backend()
    _check_sizes(
        vocabulary_size=(vocabulary_size, 2),
        sequence_length=(sequence_length, 1),
        num_layers=(num_layers, 1),
        hidden_dim=(hidden_dim, 1),
        num_heads=(num_heads, 1),
        intermediate_dim=(intermediate_dim, 1),
        num_classes=(num_classes, 2),
    )
    if hidden_dim % num_heads:
        raise ValueError(
            f"`hidden_dim` must be a multiple of `num_heads`. Received: hidden_dim={hidden_dim}, "
            f"num_heads={num_heads}. Each head takes an equal share of the width."
        )
    if isinstance(dropout, bool) or not isinstance(dropout, numbers.Real):
        raise TypeError(
            f"`dropout` must be a fraction in [0, 1). Received: dropout={dropout!r}. 0.1 is usual."
        )
    if not 0.0 <= dropout < 1.0:
        raise ValueError(
            f"`dropout` must be a fraction in [0, 1). Received: dropout={dropout!r}. 0.1 is usual."
        )
    seed = int(np.random.default_rng(seed).integers(2**30))
    ids = keras.Input((sequence_length,), dtype="int32", name="ids")
    is_token = ops.not_equal(ids, 0)
    x = keras.layers.Embedding(vocabulary_size, hidden_dim, name="token_embedding")(ids)
    x = PositionEmbedding(name="position_embedding")(x)
    x = keras.layers.LayerNormalization(epsilon=1e-6, name="embedding_norm")(x)
    for index in range(num_layers):
        x = EncoderBlock(
            num_heads=num_heads,
            intermediate_dim=intermediate_dim,
            dropout=dropout,
            activation=activation,
            seed=seed + index,
            name=f"encoder_{index}",
        )(x, is_token)
    x = MaskedMean(name="pooling")(x, is_token)
    logits = keras.layers.Dense(num_classes, name="logits")(x)
    model = keras.Model(ids, logits, name=name)
    for variable, value in initial_values(model, seed=seed):
        variable.assign(value)
    return model


@keras.saving.register_keras_serializable(package="tfdistill")
class PositionEmbedding(keras.layers.Layer):
    """Adds a learned vector for each position to inputs of shape `[B, T, D]`."""

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the table, float32 `[T, D]`."""
        self.table = self.add_weight(name="table", shape=input_shape[1:], initializer="zeros")

    def call(self, inputs: Any) -> Any:
        """Returns inputs + table, same shape."""
        return inputs + self.table


@keras.saving.register_keras_serializable(package="tfdistill")
class MaskedMean(keras.layers.Layer):
    """Averages `[B, T, D]` over the real tokens to `[B, D]`; a text of padding gives zeros."""

    def call(self, inputs: Any, is_token: Any) -> Any:
        """Returns Σ m · x / max(Σ m, 1) with m of shape `[B, T]`."""
        weights = ops.cast(is_token, inputs.dtype)[:, None, :]
        count = ops.maximum(ops.sum(weights, axis=-1), 1.0)
        return ops.squeeze(ops.matmul(weights, inputs), axis=1) / count


@keras.saving.register_keras_serializable(package="tfdistill")
class EncoderBlock(keras.layers.Layer):
    """One block of BERT: x = norm(x + attention(x)), then x = norm(x + ffn(x)).

    Args:
        num_heads: Number of attention heads.
        intermediate_dim: Width of the feed-forward layer.
        dropout: Share of activations dropped while training.
        activation: Activation of the feed-forward layer.
        seed: Seed of dropout.
        name: Name of the layer.
    """

    def __init__(
        self,
        *,
        num_heads: int,
        intermediate_dim: int,
        dropout: float = 0.1,
        activation: str = "relu",
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.intermediate_dim = intermediate_dim
        self.dropout = dropout
        self.activation = activation
        self.seed = seed

    def build(self, inputs_shape: tuple, is_token_shape: tuple | None = None) -> None:
        """Makes the layers of the block for inputs of shape `[B, T, D]`."""
        width = inputs_shape[-1]
        self.attention = keras.layers.MultiHeadAttention(
            self.num_heads,
            width // self.num_heads,
            dropout=self.dropout,
            seed=self.seed,
            name="attention",
        )
        self.attention.build(inputs_shape, inputs_shape)
        self.attention_norm = keras.layers.LayerNormalization(epsilon=1e-6, name="attention_norm")
        self.attention_norm.build(inputs_shape)
        self.ffn_inner = keras.layers.Dense(
            self.intermediate_dim, activation=self.activation, name="ffn_inner"
        )
        self.ffn_inner.build(inputs_shape)
        self.ffn_outer = keras.layers.Dense(width, name="ffn_outer")
        self.ffn_outer.build((*inputs_shape[:-1], self.intermediate_dim))
        self.ffn_norm = keras.layers.LayerNormalization(epsilon=1e-6, name="ffn_norm")
        self.ffn_norm.build(inputs_shape)
        self.drop = keras.layers.Dropout(self.dropout, seed=self.seed, name="dropout")

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
            "dropout": self.dropout,
            "activation": self.activation,
            "seed": self.seed,
        }


def _check_sizes(**sizes: tuple[Any, int]) -> None:
    for argument, (value, least) in sizes.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(
                f"`{argument}` must be an int of at least {least}. "
                f"Received: {argument}={value!r}. It fixes the shape of the student."
            )
