"""Builds a KerasHub backbone again, smaller and of the same class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from tfdistill.structure.architecture import backbone_kind
from tfdistill.structure.rewriting import Values, transfer

__all__ = ["rebuild_backbone"]


def rebuild_backbone(
    backbone: Any,
    *,
    changes: Mapping[str, Any],
    values: Values | None = None,
    dropped: Sequence[keras.layers.Layer] = (),
) -> keras.Model:
    """Makes a backbone with other sizes and copies the weights that are left.

    Args:
        backbone: A KerasHub backbone. Left untouched.
        changes: Arguments of its constructor that change.
        values: New values by the `id` of the old variable, where they are not the old ones; None
            for a variable that is gone.
        dropped: Layers that have no counterpart any more.

    Returns:
        A backbone of the same class.
    """
    config = backbone.get_config()
    if backbone_kind(backbone) == "LlamaBackbone":  # KerasHub 0.32 leaves it out of the config
        config["tie_word_embeddings"] = backbone.tie_word_embeddings
    smaller = type(backbone).from_config({**config, **changes})
    left = [layer for layer in backbone.layers if not any(layer is gone for gone in dropped)]
    for new, old in zip(smaller.layers, left, strict=True):
        if isinstance(old, keras.layers.Layer):
            transfer(new, old, values=values)
    return smaller
