"""Writes a KerasHub backbone with this package's blocks.

KerasHub's blocks take the width of a head from the number of heads, and Llama's cannot be saved
outside of its backbone. `EncoderBlock` and `DecoderBlock` compute the same from the same weights
without either limit.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from tfdistill.structure.architecture import backbone_kind, parts_of
from tfdistill.structure.rewriting import copied_layer, rewrite
from tfdistill.students.blocks import EncoderBlock
from tfdistill.students.decoder import DecoderBlock

__all__ = ["with_own_blocks"]


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
        layer.trainable = given[part].trainable
        for variable, value in zip(layer.variables, given[part].variables, strict=True):
            variable.trainable = value.trainable
            variable.assign(value)
