"""Takes rows out of the token embedding: often the largest tensor of a small model."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from tfdistill.compress.structured.architecture import backbone_kind, check_structure
from tfdistill.compress.structured.importance import Removal, summarize
from tfdistill.compress.structured.rebuild import rebuild_backbone, rewrite
from tfdistill.introspection.clone import copied_layer

__all__ = ["prune_vocabulary"]


def prune_vocabulary(model: keras.Model, *, keep: Any) -> tuple[keras.Model, Removal]:
    """Removes the rows of the token embedding that no text needs.

    Row i of the new table is row `keep[i]` of the old one, so what the given model answers for
    the ids `keep[ids]` the smaller one answers for `ids`. The same goes for the outputs over the
    vocabulary that a KerasHub `ReversibleEmbedding` makes, whether its two tables are tied
    (one table, cut once) or not.

    Args:
        model: A student of this package or a KerasHub `BertBackbone` or `LlamaBackbone`. Left
            untouched.
        keep: The old id of each new id, distinct ints in [0, vocabulary), such as the `kept_ids`
            of `tfdistill.students.cut_vocabulary`. A student needs id 0, its padding, first.

    Returns:
        The smaller model (of the same class, for a backbone) and a `Removal`.

    Raises:
        TypeError: If `model` is not a plain Keras 3 model or `keep` holds no ints.
        ValueError: If the architecture is unknown or the ids are none, repeated, out of range, or
            do not begin with the student's padding.

    Example:
        >>> from tfdistill.students.encoder import text_encoder
        >>> student = text_encoder(vocabulary_size=9, sequence_length=4, num_layers=1,
        ...                        hidden_dim=4, intermediate_dim=4, num_classes=2)
        >>> smaller, summary = prune_vocabulary(student, keep=[0, 1, 5])
        >>> summary.removed["token_embedding"], smaller.get_layer("token_embedding").input_dim
        ((2, 3, 4, 6, 7, 8), 3)
    """
    check_structure(model)
    table = _token_table(model)
    kept = _check_ids(keep, rows=table.input_dim)
    # Known by the input: a student makes its padding mask from the ids themselves.
    if "padding_mask" not in {each.name for each in model.inputs} and kept[0] != 0:
        raise ValueError(
            f"`keep` must begin with 0, the padding of a student. Received: keep[0]={kept[0]}. "
            "The students take id 0 for padding before they look at the table."
        )
    values = {id(table.embeddings): table.embeddings.numpy()[kept]}
    for variable in table.variables:
        if variable.name == "reverse_embeddings":
            values[id(variable)] = variable.numpy()[:, kept]
    if backbone_kind(model):
        smaller = rebuild_backbone(model, changes={"vocabulary_size": len(kept)}, values=values)
    else:
        changes = {"input_dim": len(kept)}
        smaller = rewrite(
            model,
            new_layer=lambda old: copied_layer(old, **(changes if old is table else {})),
            values=values,
        )
    summary = summarize(
        "vocabulary rows",
        before=model,
        after=smaller,
        kept={table.name: kept},
        present={table.name: table.input_dim},
        importance={},
    )
    return smaller, summary


def _token_table(model: keras.Model) -> keras.layers.Embedding:
    """Finds the layer that looks up the token ids."""
    tables = [layer for layer in model.layers if isinstance(layer, keras.layers.Embedding)]
    named = [layer for layer in tables if layer.name == "token_embedding"]
    if not named:
        raise ValueError(
            "`model` must have an Embedding layer called 'token_embedding'. Received: model="
            f"{model.name!r} with {[layer.name for layer in tables]}. Give the layer that name."
        )
    if any(layer.name == "token_rows" for layer in model.layers):
        raise ValueError(
            "`model` must have a row for each token. Received: a model whose tokens share the rows "
            f"of {named[0].input_dim}. Build it with fewer of them: `shared_rows(num_rows=...)`."
        )
    return named[0]


def _check_ids(keep: Any, *, rows: int) -> np.ndarray:
    kept = np.asarray(keep)
    if kept.ndim != 1 or not len(kept):
        raise ValueError(
            "`keep` must be a list of the token ids to keep. "
            f"Received: keep of shape {kept.shape}. `cut_vocabulary` finds those of some texts."
        )
    if kept.dtype.kind not in "iu":
        raise TypeError(
            f"`keep` must hold ints, the token ids to keep. Received: keep of {kept.dtype}. "
            "Turn a mask into ids with np.flatnonzero(mask)."
        )
    if kept.min() < 0 or kept.max() >= rows:
        raise ValueError(
            f"`keep` must hold token ids in [0, {rows}). Received: ids from {kept.min()} to "
            f"{kept.max()}. The table has {rows} rows."
        )
    if len(np.unique(kept)) < len(kept):
        values, counts = np.unique(kept, return_counts=True)
        raise ValueError(
            f"`keep` must hold each token id once. Received: id {values[counts > 1][0]} "
            f"{counts.max()} times. np.unique(keep) drops repetitions."
        )
    return kept.astype(np.int64)
