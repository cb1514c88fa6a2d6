"""Makes the layers of a transformer narrower: fewer attention heads, fewer feed-forward units."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from tfdistill.compress.structured.architecture import (
    backbone_kind,
    check_structure,
    find_blocks,
    parts_of,
)
from tfdistill.compress.structured.importance import (
    Removal,
    check_keep,
    most_important,
    part_importance,
    summarize,
)
from tfdistill.compress.structured.rebuild import rebuild_backbone, rewrite, with_own_blocks
from tfdistill.introspection.clone import copied_layer
from tfdistill.students.decoder_blocks import DecoderBlock

__all__ = ["prune_ffn", "prune_heads"]


def prune_heads(model: keras.Model, *, keep: int, calibration: Any) -> tuple[keras.Model, Removal]:
    """Removes, in each layer, the attention heads that add least to the hidden states.

    A head's importance is ‖a · W‖₂, the norm of what it adds through its rows of the output
    kernel: the mean over the real tokens of an example, root mean square over the examples of
    `calibration`. Where several query heads share a key-value head, whole groups go, by the mean
    of their importances. Nothing is trained; distil the result from the given model to heal it.

    Args:
        model: A student of this package or a KerasHub `BertBackbone` or `LlamaBackbone`. Left
            untouched.
        keep: Number of (query) heads to keep in each layer, an int in [1, heads] and, with
            grouped-query attention, a multiple of the heads in a group.
        calibration: Typical inputs of the model, some hundred examples: an array, a dict by input
            name, or a list in the model's order.

    Returns:
        The smaller model and a `Removal`. A backbone comes back as a plain Functional model with
        the same inputs and outputs: its class would divide its width by the number of heads. If
        the removed heads add nothing, the output stays the same.

    Raises:
        TypeError: If `model` is not a plain Keras 3 model, `keep` not an int or `calibration`
            of another dtype.
        ValueError: If the architecture is unknown, `keep` out of range or no whole number of
            groups, or `calibration` empty or of another shape.

    Example:
        >>> from tfdistill.students.encoder import text_encoder
        >>> student = text_encoder(vocabulary_size=9, sequence_length=4, num_layers=1,
        ...                        num_heads=4, hidden_dim=8, intermediate_dim=4, num_classes=2)
        >>> smaller, summary = prune_heads(student, keep=1, calibration=np.ones((2, 4), "int32"))
        >>> len(summary.removed["encoder_0"]), smaller.get_layer("encoder_0").num_heads
        (3, 1)

    References:
        Muralidharan et al. "Compact Language Models via Pruning and Knowledge Distillation",
        2024, section 2.2. https://arxiv.org/abs/2407.14679. There the norm is taken before the
        output kernel; here after it, so that a head that reaches nothing counts as nothing.
    """
    check_structure(model)
    own = with_own_blocks(model)
    blocks = find_blocks(own)
    parts = {block.name: parts_of(block) for block in blocks}
    present = {name: each.num_heads for name, each in parts.items()}
    check_keep(keep, present=min(present.values()), what="heads")
    group = max(each.group_size for each in parts.values())
    if keep % group:
        raise ValueError(
            f"`keep` must be a multiple of {group}, the query heads that share one key-value head. "
            f"Received: keep={keep!r}. The heads of a group stay or go together."
        )
    importance = part_importance(own, blocks, part="attention_output", calibration=calibration)
    kept = {
        name: _whole_groups(scores, keep=int(keep), group=parts[name].group_size)
        for name, scores in importance.items()
    }
    values: dict[int, np.ndarray] = {}
    for name, heads in kept.items():
        values |= parts[name].without_heads(heads)

    def new_layer(old: Any) -> Any:
        if old.name not in parts:
            return copied_layer(old)
        changes = {"num_heads": int(keep), "head_dim": parts[old.name].head_dim}
        if isinstance(old, DecoderBlock):
            changes["num_key_value_heads"] = int(keep) // parts[old.name].group_size
        return copied_layer(old, **changes)

    smaller = rewrite(own, new_layer=new_layer, values=values)
    summary = summarize(
        "heads", before=model, after=smaller, kept=kept, present=present, importance=importance
    )
    return smaller, summary


def _whole_groups(scores: np.ndarray, *, keep: int, group: int) -> np.ndarray:
    """Picks whole groups of neighboring heads by their mean score.

    Example:
        >>> _whole_groups(np.array([9.0, 0.0, 5.0, 5.0]), keep=2, group=2).tolist()
        [2, 3]
    """
    groups = most_important(scores.reshape(-1, group).mean(axis=1), keep=keep // group)
    return (groups[:, None] * group + np.arange(group)).ravel()


def prune_ffn(model: keras.Model, *, keep: int, calibration: Any) -> tuple[keras.Model, Removal]:
    """Removes, in each layer, the feed-forward units that add least to the hidden states.

    A unit's importance is |a| · ‖W‖₂, the norm of what its activation adds through its row of the
    output kernel: the mean over the real tokens of an example, root mean square over the examples
    of `calibration`. Nothing is trained; distil the result from the given model to heal it.

    Args:
        model: A student of this package or a KerasHub `BertBackbone` or `LlamaBackbone`. Left
            untouched.
        keep: Number of units to keep in each layer, an int in [1, units]; a multiple of 8 or
            more runs best.
        calibration: Typical inputs of the model, some hundred examples: an array, a dict by input
            name, or a list in the model's order.

    Returns:
        The smaller model (of the same class, for a backbone) and a `Removal`. If the removed
        units add nothing, the output stays the same.

    Raises:
        TypeError: If `model` is not a plain Keras 3 model, `keep` not an int or `calibration`
            of another dtype.
        ValueError: If the architecture is unknown, `keep` out of range, or `calibration` empty or
            of another shape.

    Example:
        >>> from tfdistill.students.encoder import text_encoder
        >>> student = text_encoder(vocabulary_size=9, sequence_length=4, num_layers=1,
        ...                        hidden_dim=4, intermediate_dim=16, num_classes=2)
        >>> smaller, summary = prune_ffn(student, keep=8, calibration=np.ones((2, 4), "int32"))
        >>> len(summary.removed["encoder_0"]), smaller.get_layer("encoder_0").intermediate_dim
        (8, 8)

    References:
        Muralidharan et al. "Compact Language Models via Pruning and Knowledge Distillation",
        2024, section 2.2. https://arxiv.org/abs/2407.14679. There the norm is taken before the
        output kernel; here after it, so that a unit that reaches nothing counts as nothing.
    """
    blocks = check_structure(model)
    parts = {block.name: parts_of(block) for block in blocks}
    present = {name: each.num_units for name, each in parts.items()}
    check_keep(keep, present=min(present.values()), what="feed-forward units")
    importance = part_importance(model, blocks, part="outer", calibration=calibration)
    kept = {name: most_important(scores, keep=keep) for name, scores in importance.items()}
    values: dict[int, np.ndarray] = {}
    for name, units in kept.items():
        values |= parts[name].without_units(units)
    changes = {"intermediate_dim": int(keep)}
    if backbone_kind(model):
        smaller = rebuild_backbone(model, changes=changes, values=values)
    else:
        smaller = rewrite(
            model,
            new_layer=lambda old: copied_layer(old, **(changes if old.name in parts else {})),
            values=values,
        )
    summary = summarize(
        "feed-forward units",
        before=model,
        after=smaller,
        kept=kept,
        present=present,
        importance=importance,
    )
    return smaller, summary
