"""A small BERT-like text classifier that exports to TFLite as a handful of builtin ops.

The arguments carry KerasHub's names. What differs from BERT is what a small device would pay
for: no segment embedding, ReLU in place of GELU (TFLite fuses it into the matrix product), and
a mean over the real tokens in place of a pooled first token.

Blocks may share their weights (`groups=`). For four blocks in two groups:

============= ======== ====================================================================
`pattern`     groups   as in
============= ======== ====================================================================
"cyclic"      0 1 0 1  "cycle" of Takase and Kiyono; ALBERT is its case of one group
"immediate"   0 0 1 1  "sequence" of Takase and Kiyono; the block-wise sharing of MobileLLM
============= ======== ====================================================================

Takase and Kiyono find "cycle" the better one. Neither saves computing: a model of four blocks
takes the time of four, in the space of `groups`.

References:
    Lan et al. "ALBERT", 2020, section 3.1. https://arxiv.org/abs/1909.11942
    Takase, Kiyono. "Lessons on Parameter Sharing across Layers in Transformers", 2021, section 3.
    https://arxiv.org/abs/2104.06022
    Liu et al. "MobileLLM", 2024, section 2.3. https://arxiv.org/abs/2402.14905
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from tfdistill.arguments import check_int, check_number
from tfdistill.introspection.backend import check_backend, check_model
from tfdistill.students.encoder_blocks import (
    EncoderBlock,
    MaskedMax,
    MaskedMean,
    MaskedRootSum,
    PositionEmbedding,
    TokenLookup,
    TokenPairs,
)
from tfdistill.students.initialization import initial_values

__all__ = ["any_length", "assign_groups", "text_encoder"]

_PATTERNS = ("cyclic", "immediate")
_POOLINGS = ("mean", "mean_max")
_MOST_PAIRED = 65_536  # ids whose pairs a hash of 32 bits tells apart


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
    embedding_dim: int | None = None,
    embedding_window: int = 1,
    groups: int | None = None,
    pattern: str = "cyclic",
    pooling: str = "mean",
    row_of_token: Sequence[int] | None = None,
    pair_rows: int | None = None,
    pair_dim: int = 2,
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
        num_classes: Number of logits, at least 1; a single one is a number, or yes against no.
        dropout: Share of activations dropped while training, a fraction in [0, 1).
        activation: Activation of the feed-forward layer.
        embedding_dim: Width of the token table; below `hidden_dim` a projection without a bias,
            `embedding_projection`, widens its rows, and the table of `V · D` numbers becomes one
            of `V · E + E · D`. None is `hidden_dim`, without a projection.
        embedding_window: Number of tokens that the projection reads for one, an odd int: 3 is
            the token and its neighbors, a convolution. Tags depend on neighbors first of all, and
            this costs a small part of a block that would have to find them by attention.
        groups: Number of blocks with weights of their own, an int in [1, num_layers]; the other
            blocks use theirs, see `tfdistill.students.encoder`. None shares nothing.
        pattern: "cyclic" or "immediate": which blocks share.
        pooling: "mean" of the tokens, or "mean_max": beside it the largest value of each
            feature, for texts of which one word decides.
        row_of_token: The row of the token table that each id reads, ints of length
            `vocabulary_size` from 0 upwards, see `shared_rows`; the table then has
            `max(row_of_token) + 1` rows. None gives each id a row of its own.
        pair_rows: Rows of a table of pairs of neighboring tokens, whose sum is read beside what the
            blocks found, as a bag of words would; None is no table. See `TokenPairs`.
        pair_dim: Width of that table.
        seed: Seed of the initial weights and of dropout; None draws one.
        name: Name of the model.

    Returns:
        A Functional model with the input `ids`, int32 `[B, sequence_length]`, and the output
        `logits`, float32 `[B, num_classes]`. Its blocks are named `encoder_0`, `encoder_1`, …;
        of shared ones there are only the first `groups`.

    Raises:
        TypeError: If `dropout` is not a number or `groups` no int.
        ValueError: If a size is out of range, `hidden_dim` is no multiple of `num_heads`,
            `pattern` or `pooling` unknown, or `row_of_token` does not fit.

    Example:
        >>> import numpy as np
        >>> student = text_encoder(vocabulary_size=100, sequence_length=8, hidden_dim=8,
        ...                        num_layers=1, intermediate_dim=16, num_classes=3, seed=0)
        >>> student(np.array([[5, 7, 0, 0, 0, 0, 0, 0]])).shape
        TensorShape([1, 3])

    References:
        Devlin et al. "BERT", 2018. https://arxiv.org/abs/1810.04805
        Lan et al. "ALBERT", 2020, section 3.1 (`embedding_dim`, `groups`).
        https://arxiv.org/abs/1909.11942
        Collobert et al. "Natural Language Processing (Almost) from Scratch", 2011, section 3.3
        (`embedding_window`). https://arxiv.org/abs/1103.0398
        Cheng et al. "Wide & Deep Learning for Recommender Systems", 2016 (`pair_rows`).
        https://arxiv.org/abs/1606.07792
    """
    check_backend()
    _check_sizes(
        vocabulary_size=(vocabulary_size, 2),
        sequence_length=(sequence_length, 1),
        num_layers=(num_layers, 1),
        hidden_dim=(hidden_dim, 1),
        num_heads=(num_heads, 1),
        intermediate_dim=(intermediate_dim, 1),
        num_classes=(num_classes, 1),
        embedding_window=(embedding_window, 1),
    )
    if embedding_window % 2 == 0:
        raise ValueError(
            "`embedding_window` must be odd. Received: embedding_window="
            f"{embedding_window}. As many neighbors are read before a token as behind it."
        )
    if hidden_dim % num_heads:
        raise ValueError(
            f"`hidden_dim` must be a multiple of `num_heads`. Received: hidden_dim={hidden_dim}, "
            f"num_heads={num_heads}. Each head takes an equal share of the width."
        )
    check_number(dropout, argument="dropout", interval="[0, 1)", hint="0.1 is usual.")
    if pooling not in _POOLINGS:
        raise ValueError(
            f"`pooling` must be one of {_POOLINGS}. Received: pooling={pooling!r}. "
            "'mean' is the smaller one."
        )
    if pair_rows is not None:
        _check_sizes(pair_rows=(pair_rows, 2), pair_dim=(pair_dim, 1))
        if sequence_length < 2 or vocabulary_size > _MOST_PAIRED:
            raise ValueError(
                "`pair_rows` must be None for texts of one token and for more than "
                f"{_MOST_PAIRED:,} ids. Received: pair_rows={pair_rows}, sequence_length="
                f"{sequence_length}, vocabulary_size={vocabulary_size}."
            )
    table_width = _table_width(embedding_dim, hidden_dim=hidden_dim)
    groups = num_layers if groups is None else groups
    group_of_block = assign_groups(num_layers, groups=groups, pattern=pattern)
    seed = int(np.random.default_rng(seed).integers(2**30))
    ids = keras.Input((sequence_length,), dtype="int32", name="ids")
    is_token = ops.not_equal(ids, 0)
    rows, num_rows = ids, vocabulary_size
    if row_of_token is not None:
        num_rows = _count_rows(row_of_token, vocabulary_size=vocabulary_size)
        rows = TokenLookup(row_of_token, name="token_rows")(ids)
    x = keras.layers.Embedding(num_rows, table_width, name="token_embedding")(rows)
    projection: dict[str, Any] = {"use_bias": False, "name": "embedding_projection"}
    if embedding_window > 1:
        # Padding is nobody's neighbor, whatever its row holds.
        x = x * ops.cast(is_token, x.dtype)[:, :, None]
        x = keras.layers.Conv1D(hidden_dim, embedding_window, padding="same", **projection)(x)
    elif table_width < hidden_dim:
        x = keras.layers.Dense(hidden_dim, **projection)(x)
    x = PositionEmbedding(name="position_embedding")(x)
    x = keras.layers.LayerNormalization(epsilon=1e-6, name="embedding_norm")(x)
    blocks = [
        EncoderBlock(
            num_heads=num_heads,
            intermediate_dim=intermediate_dim,
            dropout=dropout,
            activation=activation,
            seed=seed + index,
            name=f"encoder_{index}",
        )
        for index in range(groups)
    ]
    for group in group_of_block:
        x = blocks[group](x, is_token)
    pooled = MaskedMean(name="pooling")(x, is_token)
    if pooling == "mean_max":
        largest = MaskedMax(name="max_pooling")(x, is_token)
        pooled = keras.layers.Concatenate(name="both_poolings")([pooled, largest])
    if pair_rows is not None:
        pairs = TokenPairs(pair_rows, name="token_pairs")(ids)
        table = keras.layers.Embedding(pair_rows, pair_dim, name="pair_embedding")
        summed = MaskedRootSum(name="pair_pooling")(table(pairs), ops.not_equal(pairs, 0))
        pooled = keras.layers.Concatenate(name="pooling_and_pairs")([pooled, summed])
    logits = keras.layers.Dense(num_classes, name="logits")(pooled)
    model = keras.Model(ids, logits, name=name)
    for variable, value in initial_values(model, seed=seed):
        variable.assign(value)
    return model


def any_length(student: keras.Model) -> keras.Model:
    """Lets a student read rows that are shorter than its own length, for batches cut short.

    Half of what a student computes may be padding. A model that reads `[B, T]` for any T up to
    its `sequence_length` trains on texts of like length in batches no longer than they are, and
    says the same, as padding has no influence on an answer.

    Args:
        student: A student of `text_encoder` or `bag_of_words`. Its weights are shared, so training
            the result trains it; its input shape, which an exported file needs fixed, stays as it
            is.

    Returns:
        A Functional model of the same layers with the input `ids`, int32 `[B, T]`.

    Raises:
        TypeError: If `student` is not a Keras 3 model.

    Example:
        >>> import numpy as np
        >>> student = text_encoder(vocabulary_size=9, sequence_length=8, hidden_dim=4,
        ...                        num_layers=1, intermediate_dim=4, num_classes=2, seed=0)
        >>> short, padded = np.array([[5, 7]]), np.array([[5, 7, 0, 0, 0, 0, 0, 0]])
        >>> bool(np.allclose(any_length(student)(short), student(padded), atol=1e-6))
        True
    """
    check_model(student, argument="student")
    ids = keras.Input((None,), dtype="int32", name="ids")
    # A clone whose layers are the very same ones: another input, no weights of its own.
    return keras.models.clone_model(student, input_tensors=ids, clone_function=lambda layer: layer)


def _table_width(embedding_dim: int | None, *, hidden_dim: int) -> int:
    if embedding_dim is None:
        return hidden_dim
    _check_sizes(embedding_dim=(embedding_dim, 1))
    if embedding_dim > hidden_dim:
        raise ValueError(
            f"`embedding_dim` must be at most `hidden_dim`. Received: embedding_dim="
            f"{embedding_dim}, hidden_dim={hidden_dim}. A wider table costs more than it can hold."
        )
    return embedding_dim


def _count_rows(row_of_token: Sequence[int], *, vocabulary_size: int) -> int:
    rows = np.asarray(row_of_token)
    if rows.shape != (vocabulary_size,) or rows.dtype.kind not in "iu":
        raise ValueError(
            f"`row_of_token` must hold one int for each of the {vocabulary_size} ids. Received: "
            f"row_of_token of shape {rows.shape} and {rows.dtype}. `shared_rows` makes it."
        )
    missing = np.setdiff1d(np.arange(rows.max() + 1), rows)
    if rows.min() < 0 or len(missing):
        raise ValueError(
            "`row_of_token` must name every row from 0 to the highest. Received: row_of_token "
            f"from {rows.min()} to {rows.max()} without {missing[:3].tolist()}. "
            "A row that no token reads is never trained."
        )
    return int(rows.max()) + 1


def _check_sizes(**sizes: tuple[Any, int]) -> None:
    for argument, (value, least) in sizes.items():
        hint = "It fixes the shape of the student."
        check_int(value, argument=argument, at_least=least, hint=hint)


def assign_groups(num_layers: int, *, groups: int, pattern: str = "cyclic") -> tuple[int, ...]:
    """Says which group each block of a stack belongs to.

    "cyclic" gives block i the group i mod k; "immediate" gives it ⌊i · k / n⌋, so that groups are
    neighbors and, where k does not divide n, differ by one block at most.

    Args:
        num_layers: Number of blocks n.
        groups: Number of groups k, an int in [1, n].
        pattern: "cyclic" or "immediate".

    Returns:
        n group numbers in [0, k).

    Raises:
        TypeError: If `groups` is not an int.
        ValueError: If `groups` is out of range or `pattern` unknown.

    Example:
        >>> assign_groups(4, groups=2), assign_groups(4, groups=2, pattern="immediate")
        ((0, 1, 0, 1), (0, 0, 1, 1))
    """
    if pattern not in _PATTERNS:
        raise ValueError(
            f"`pattern` must be one of {_PATTERNS}. Received: pattern={pattern!r}. For four blocks "
            "in two groups, 'cyclic' is 0 1 0 1 and 'immediate' is 0 0 1 1."
        )
    hint = "So many blocks have weights of their own. 1 gives all blocks the same weights."
    check_int(groups, argument="groups", at_least=1, at_most=num_layers, hint=hint)
    if pattern == "cyclic":
        return tuple(index % groups for index in range(num_layers))
    return tuple(index * groups // num_layers for index in range(num_layers))
