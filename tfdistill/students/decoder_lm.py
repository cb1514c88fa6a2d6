"""A small causal language model: Llama's architecture, token ids in, logits of the next token out.

One table reads tokens and predicts them (tied), which at this size is a good part of all weights.
`groups` lets several layers share one set of weights.
"""

from __future__ import annotations

import keras
from keras import ops

from tfdistill.arguments import check_int
from tfdistill.students.decoder_blocks import DecoderBlock, rope_frequencies
from tfdistill.students.encoder import assign_groups
from tfdistill.students.initialization import initial_values

__all__ = ["causal_lm"]


def causal_lm(
    *,
    vocabulary_size: int,
    num_layers: int = 4,
    hidden_dim: int = 128,
    num_heads: int = 4,
    num_key_value_heads: int | None = None,
    head_dim: int | None = None,
    intermediate_dim: int = 344,
    groups: int | None = None,
    pattern: str = "immediate",
    dropout: float = 0.0,
    epsilon: float = 1e-5,
    max_wavelength: float = 10000.0,
    seed: int | None = None,
    name: str = "causal_lm",
) -> keras.Model:
    """Builds a decoder: RMSNorm, RoPE, grouped-query attention, SwiGLU, tied embedding.

    Position i of the logits is the prediction of token i + 1. There is no padding token: text
    stands at the left of a row, and what is behind it changes nothing before it.

    Args:
        vocabulary_size: Number of tokens V.
        num_layers: Number of blocks.
        hidden_dim: Width D.
        num_heads: Number of query heads, a multiple of `num_key_value_heads`.
        num_key_value_heads: Number of key-value heads; None takes `num_heads`.
        head_dim: Width of a head, even; None takes `hidden_dim // num_heads`.
        intermediate_dim: Width of the gated feed-forward layer.
        groups: Number of blocks with weights of their own; None gives each its own.
        pattern: "immediate" or "cyclic": which blocks share, see `tfdistill.share_layers`.
        dropout: Share of activations dropped while training.
        epsilon: What is added to the mean square in the norms.
        max_wavelength: Base of the longest wavelength of the positions.
        seed: Seed of the weights and of dropout.
        name: Name of the model.

    Returns:
        A Functional model, int32 `[B, L]` named "ids" to float32 `[B, L, V]`.

    Raises:
        ValueError: If a size is below 1 or the heads do not divide.

    Example:
        >>> student = causal_lm(vocabulary_size=9, num_layers=2, hidden_dim=8, num_heads=2,
        ...                     intermediate_dim=4, groups=1, seed=0)
        >>> student.output_shape, student.count_params()  # 9·8 + 4·8·8 + 3·8·4 + 3·8
        ((None, None, 9), 448)

    References:
        Liu et al. "MobileLLM", 2024, section 2. https://arxiv.org/abs/2402.14905
    """
    key_value = num_heads if num_key_value_heads is None else num_key_value_heads
    width = hidden_dim // num_heads if head_dim is None else head_dim
    _check_sizes(
        vocabulary_size=vocabulary_size,
        num_layers=num_layers,
        hidden_dim=hidden_dim,
        num_heads=num_heads,
        num_key_value_heads=key_value,
        head_dim=width,
        intermediate_dim=intermediate_dim,
    )
    order = assign_groups(num_layers, groups=groups or num_layers, pattern=pattern)
    blocks = [
        DecoderBlock(
            num_heads=num_heads,
            num_key_value_heads=key_value,
            head_dim=width,
            intermediate_dim=intermediate_dim,
            dropout=dropout,
            epsilon=epsilon,
            frequencies=rope_frequencies(width, max_wavelength=max_wavelength),
            seed=None if seed is None else seed + index,
            name=f"decoder_{index}",
        )
        for index in range(max(order) + 1)
    ]
    ids = keras.Input((None,), dtype="int32", name="ids")
    table = keras.layers.ReversibleEmbedding(
        vocabulary_size, hidden_dim, tie_weights=True, name="token_embedding"
    )
    x = table(ids)
    is_token = ops.ones_like(ids, dtype="bool")
    for group in order:
        x = blocks[group](x, is_token)
    x = keras.layers.RMSNormalization(epsilon=epsilon, name="final_norm")(x)
    model = keras.Model(ids, table(x, reverse=True), name=name)
    if seed is not None:
        for variable, value in initial_values(model, seed=seed):
            variable.assign(value)
    return model


def _check_sizes(**sizes: int) -> None:
    for argument, size in sizes.items():
        check_int(size, argument=argument, at_least=1)
    if sizes["num_heads"] % sizes["num_key_value_heads"]:
        raise ValueError(
            "`num_heads` must be a multiple of `num_key_value_heads`. Received: "
            f"num_heads={sizes['num_heads']}, num_key_value_heads={sizes['num_key_value_heads']}."
        )
    if sizes["head_dim"] % 2:
        raise ValueError(
            "`head_dim` must be even, because positions turn pairs of coordinates. "
            f"Received: head_dim={sizes['head_dim']}. Choose another hidden_dim or num_heads."
        )
