"""Rebuilds models with some of their layers changed, left out or used twice.

A Functional model is a graph of calls; Keras goes through it and asks for a layer in place of
each old one and for what to call (`rewrite`). The weights follow layer by layer, so the given
model is only read. A KerasHub backbone is built again, smaller and of the same class
(`rebuild_backbone`), or with this package's blocks (`with_own_blocks`): KerasHub's take the width
of a head from the number of heads, and Llama's cannot be saved outside of its backbone.
`EncoderBlock` and `DecoderBlock` compute the same from the same weights without either limit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from tfdistill.compress.structured.architecture import backbone_kind, parts_of
from tfdistill.introspection.clone import Values, copied_layer, copy_state
from tfdistill.students.decoder_blocks import DecoderBlock
from tfdistill.students.encoder_blocks import EncoderBlock

__all__ = ["rebuild_backbone", "rewrite", "with_own_blocks"]


def with_own_blocks(model: keras.Model) -> keras.Model:
    """Rebuilds a KerasHub backbone as a Functional model of this package's blocks.

    Args:
        model: A built `BertBackbone` or `LlamaBackbone`; any other model is returned as it is.

    Returns:
        A Functional model with the same inputs and outputs, whose layers have the same names.
    """
    kind = backbone_kind(model)
    if kind is None:
        return model
    blocks: list[tuple[Any, Any]] = []
    masks: dict[int, Any] = {}

    def make(old: Any) -> Any:
        if old not in model.transformer_layers:
            return copied_layer(old)
        new = _encoder_block(old) if kind == "BertBackbone" else _decoder_block(old, model)
        blocks.append((new, old))
        return new

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(layer, EncoderBlock | DecoderBlock):
            return layer(*args, **kwargs)
        mask = kwargs.get("padding_mask", kwargs.get("decoder_padding_mask"))
        if id(mask) not in masks:
            masks[id(mask)] = ops.not_equal(mask, 0)
        return layer(args[0], masks[id(mask)])

    rewritten = rewrite(model, new_layer=make, call=call, skip=tuple(model.transformer_layers))
    for new, old in blocks:
        _transfer_block(new, old)
    return rewritten


def _encoder_block(old: Any) -> EncoderBlock:
    parts = parts_of(old)
    return EncoderBlock(
        num_heads=parts.num_heads,
        head_dim=parts.head_dim,
        intermediate_dim=parts.num_units,
        dropout=old.dropout,
        activation=old.activation,
        epsilon=old.layer_norm_epsilon,
        dtype=old.dtype_policy,
        name=old.name,
    )


def _decoder_block(old: Any, backbone: Any) -> DecoderBlock:
    parts = parts_of(old)
    rotary = next(
        layer for layer in old._flatten_layers() if type(layer).__name__ == "LlamaRotaryEmbedding"
    )
    # KerasHub's own numbers, so that a backbone with stretched wavelengths keeps them.
    frequencies = np.asarray(rotary._get_inverse_freq(parts.head_dim)).tolist()
    return DecoderBlock(
        num_heads=parts.num_heads,
        num_key_value_heads=parts.num_heads // parts.group_size,
        head_dim=parts.head_dim,
        intermediate_dim=parts.num_units,
        dropout=old.dropout,
        epsilon=backbone.layer_norm_epsilon,
        frequencies=frequencies,
        dtype=old.dtype_policy,
        name=old.name,
    )


def _transfer_block(new: Any, old: Any) -> None:
    """Copies the weights part by part: the two classes keep them in different orders."""
    mine, given = parts_of(new).layers, parts_of(old).layers
    for part, layer in mine.items():
        copy_state(layer, given[part])


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
            copy_state(new, old, values=values)
    return smaller


def rewrite(
    model: keras.Model,
    *,
    new_layer: Callable[[Any], Any] = copied_layer,
    call: Callable[..., Any] | None = None,
    values: Values | None = None,
    skip: Sequence[keras.layers.Layer] = (),
) -> keras.Model:
    """Rebuilds a Functional model and copies its weights.

    Args:
        model: A built Functional model. Left untouched.
        new_layer: Makes the layer that takes an old one's place, of the same class.
        call: Called as `call(new_layer, *args, **kwargs)` for each call in the graph, in order;
            returns what the layer would have. None calls the layer.
        values: New values by the `id` of the old variable, where they are not the old ones; None
            for a variable that is gone.
        skip: Old layers whose weights the caller copies.

    Returns:
        A Functional model with the same name, inputs and outputs.
    """
    pairs: list[tuple[Any, Any]] = []

    def make(old: Any) -> Any:
        new = new_layer(old)
        pairs.append((new, old))
        return new

    def run(layer: Any, *args: Any, **kwargs: Any) -> Any:
        return layer(*args, **kwargs) if call is None else call(layer, *args, **kwargs)

    rewritten = keras.models.clone_model(model, clone_function=make, call_function=run)
    for new, old in pairs:
        if (
            isinstance(old, keras.layers.Layer)
            and new.built
            and not any(old is layer for layer in skip)
        ):
            copy_state(new, old, values=values)
    return rewritten
