"""Takes units out of the feed-forward layers of a transformer, where most of its weights are."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from tfdistill.structure.architecture import backbone_kind, check_structure, parts_of
from tfdistill.structure.hub_rebuilding import rebuild_backbone
from tfdistill.structure.importance import most_important, part_importance
from tfdistill.structure.removal import Removal, check_keep, summarize
from tfdistill.structure.rewriting import copied_layer, rewrite

__all__ = ["prune_ffn"]


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
