"""Makes the token embedding smaller: two narrow factors for a wide table, or one table for two.

========================= ============ =====================================================
                          numbers      exact if
========================= ============ =====================================================
table `[V, D]`            V · D
`factorize_embedding`     V · E + E·D  the table has rank E or less
input and output table    2 · V · D
`tie_embeddings`          V · D        the two are equal
========================= ============ =====================================================
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from tfdistill.arguments import check_int
from tfdistill.compress.structured.architecture import backbone_kind, check_structure
from tfdistill.compress.structured.rebuild import rebuild_backbone, rewrite
from tfdistill.introspection.backend import check_model
from tfdistill.introspection.clone import copied_layer

__all__ = ["factorize_embedding", "factors", "tie_embeddings"]

_PROJECTION = "embedding_projection"


def factors(table: np.ndarray, *, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Splits a table into two factors whose product is nearest to it.

    With the singular value decomposition X = U · S · Vᵀ the factors are U√S and √S Vᵀ, cut to
    the `width` largest singular values: no other pair comes closer in least squares (Eckart and
    Young), and the even split gives both about the same scale, for the optimizer and for 8 bits.

    Args:
        table: Float array `[V, D]`.
        width: Number of columns of the first factor, in [1, min(V, D)].

    Returns:
        float32 arrays `[V, width]` and `[width, D]`.

    Example:
        >>> rows, projection = factors(np.array([[2.0, 4.0], [1.0, 2.0]]), width=1)
        >>> (rows @ projection).round(3)
        array([[2., 4.],
               [1., 2.]], dtype=float32)
    """
    left, singular, right = np.linalg.svd(table.astype(np.float64), full_matrices=False)
    root = np.sqrt(singular[:width])
    return (
        (left[:, :width] * root).astype(np.float32),
        (root[:, None] * right[:width]).astype(np.float32),
    )


def factorize_embedding(model: keras.Model, *, embedding_dim: int) -> keras.Model:
    """Replaces a student's token table by a narrow one and a projection to the old width.

    Both start from the singular value decomposition of the table. The result is what
    `text_encoder(embedding_dim=...)` builds, so a student that was started from its teacher's
    table can be trained wide and made narrow afterwards.

    Args:
        model: A student of this package. Left untouched.
        embedding_dim: Width of the narrow table, an int in [1, min(V, D)).

    Returns:
        A student with the layer `embedding_projection` behind its `token_embedding`.

    Raises:
        TypeError: If `model` is not a plain Keras 3 model or `embedding_dim` not an int.
        ValueError: If the architecture is unknown, its table factorized already, or
            `embedding_dim` out of range.

    Example:
        >>> from tfdistill.students.encoder import text_encoder
        >>> student = text_encoder(vocabulary_size=100, sequence_length=4, num_layers=1,
        ...                        hidden_dim=8, intermediate_dim=4, num_classes=2)
        >>> smaller = factorize_embedding(student, embedding_dim=2)
        >>> student.count_params() - smaller.count_params()  # 100·8 - (100·2 + 2·8)
        584

    References:
        Lan et al. "ALBERT", 2020, section 3.1. https://arxiv.org/abs/1909.11942
    """
    check_structure(model)
    names = [layer.name for layer in model.layers]
    if backbone_kind(model) or "token_embedding" not in names or _PROJECTION in names:
        raise ValueError(
            "`model` must be a student of this package whose token_embedding is not factorized. "
            f"Received: model={model.name!r} of class {type(model).__name__}. A backbone has no "
            "place for a projection; build text_encoder(embedding_dim=...) and distil into it."
        )
    table = model.get_layer("token_embedding")
    rows, width = table.embeddings.shape
    embedding_dim = check_int(
        embedding_dim,
        argument="embedding_dim",
        at_least=1,
        at_most=min(rows, width) - 1,
        hint=f"The table is {rows} x {width}.",
    )
    narrow, projection = factors(table.embeddings.numpy(), width=embedding_dim)
    widen = keras.layers.Dense(width, use_bias=False, dtype=table.dtype_policy, name=_PROJECTION)

    def new_layer(old: Any) -> Any:
        return copied_layer(old, **({"output_dim": embedding_dim} if old is table else {}))

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        outputs = layer(*args, **kwargs)
        return widen(outputs) if layer.name == table.name else outputs

    smaller = rewrite(model, new_layer=new_layer, call=call, values={id(table.embeddings): narrow})
    widen.kernel.assign(projection)
    return smaller


def tie_embeddings(model: keras.Model) -> keras.Model:
    """Makes a language model use one table for the tokens it reads and those it predicts.

    The table starts as the mean of the two. If they were equal, nothing changes.

    Args:
        model: A KerasHub `LlamaBackbone`, or a Functional model with a Keras
            `ReversibleEmbedding`. Left untouched.

    Returns:
        A model of the same kind whose `ReversibleEmbedding` has `tie_weights=True`.

    Raises:
        TypeError: If `model` is not a Keras 3 model.
        ValueError: If it has no `ReversibleEmbedding` with two tables.

    Example:
        >>> ids = keras.Input((4,), dtype="int32")
        >>> words = keras.layers.ReversibleEmbedding(10, 2, tie_weights=False)
        >>> model = keras.Model(ids, words(words(ids), reverse=True))
        >>> model.count_params(), tie_embeddings(model).count_params()
        (40, 20)

    References:
        Press, Wolf. "Using the Output Embedding to Improve Language Models", 2017.
        https://arxiv.org/abs/1608.05859
    """
    check_model(model, argument="model")
    tables = [
        layer
        for layer in model.layers
        if isinstance(layer, keras.layers.ReversibleEmbedding) and not layer.tie_weights
    ]
    kind = backbone_kind(model)
    if not tables or kind not in (None, "LlamaBackbone"):
        raise ValueError(
            "`model` must have a ReversibleEmbedding with tie_weights=False at its top level. "
            f"Received: model={model.name!r} of class {type(model).__name__}. Of a KerasHub task, "
            "pass `task.backbone`; a classifier predicts no tokens, so it has nothing to tie."
        )
    values: dict[int, np.ndarray | None] = {}
    for table in tables:
        both = np.stack([table.embeddings.numpy(), table.reverse_embeddings.numpy().T])
        mean = both.mean(axis=0, dtype=np.float64)  # the mean of equal numbers is that number
        values[id(table.embeddings)] = mean.astype(both.dtype)
        values[id(table.reverse_embeddings)] = None
    if kind:
        return rebuild_backbone(model, changes={"tie_word_embeddings": True}, values=values)

    def new_layer(old: Any) -> Any:
        return copied_layer(old, **({"tie_weights": True} if old in tables else {}))

    return rewrite(model, new_layer=new_layer, values=values)
