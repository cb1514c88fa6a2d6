"""The models whose structure can be cut, and where their heads and feed-forward units are.

================================== =============================== ==========================
model                              its blocks                      heads in groups of
================================== =============================== ==========================
students of this package, and what `EncoderBlock`, `DecoderBlock`  query heads per key-value
`prune_heads`, `share_layers` make                                 head; 1 in an encoder
KerasHub `BertBackbone`            `TransformerEncoder`            1
KerasHub `LlamaBackbone`           `LlamaTransformerDecoder`       query heads per key-value
                                                                   head
================================== =============================== ==========================

KerasHub is never imported here: its layers are known by their class, their parts by their names.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from tfdistill.compress.compressed_model import Compressed
from tfdistill.introspection.backend import check_model
from tfdistill.students.decoder_blocks import DecoderBlock
from tfdistill.students.encoder_blocks import EncoderBlock

__all__ = ["BlockParts", "backbone_kind", "check_structure", "find_blocks", "parts_of"]

_ENCODER = {
    "query": "query",
    "key": "key",
    "value": "value",
    "attention_output": "attention_output",
    "attention_norm": "attention_norm",
    "inner": "ffn_inner",
    "outer": "ffn_outer",
    "ffn_norm": "ffn_norm",
}
_HUB_ENCODER = {
    **_ENCODER,
    "attention_norm": "self_attention_layer_norm",
    "inner": "feedforward_intermediate_dense",
    "outer": "feedforward_output_dense",
    "ffn_norm": "feedforward_layer_norm",
}
_HUB_DECODER = {
    **_HUB_ENCODER,
    "attention_norm": "self_attention_layernorm",
    "gate": "feedforward_gate_dense",
    "ffn_norm": "feedforward_layernorm",
}
_NAMES = {
    "EncoderBlock": _ENCODER,
    "DecoderBlock": {**_ENCODER, "gate": "ffn_gate"},
    "TransformerEncoder": _HUB_ENCODER,
    "LlamaTransformerDecoder": _HUB_DECODER,
}
_BACKBONES = ("BertBackbone", "LlamaBackbone")


@dataclass(frozen=True)
class BlockParts:
    """The layers inside one block by what they do.

    Attributes:
        block: The block itself.
        layers: "query", "key", "value", "attention_output", "attention_norm", "inner", "outer",
            "ffn_norm" and, in a gated feed-forward layer, "gate".
    """

    block: keras.layers.Layer
    layers: dict[str, keras.layers.Layer]

    @property
    def num_heads(self) -> int:
        """Number of query heads."""
        return self.layers["query"].kernel.shape[1]

    @property
    def group_size(self) -> int:
        """Number of query heads that share one key-value head."""
        return self.num_heads // self.layers["key"].kernel.shape[1]

    @property
    def head_dim(self) -> int:
        """Width of a head."""
        return self.layers["query"].kernel.shape[2]

    @property
    def num_units(self) -> int:
        """Number of feed-forward units."""
        return self.layers["outer"].kernel.shape[0]

    def without_heads(self, kept: np.ndarray) -> dict[int, np.ndarray]:
        """Cuts the attention's weights down to some heads.

        Args:
            kept: Indices of the query heads to keep, whole groups.

        Returns:
            The new values by the `id` of the old variable.
        """
        groups = np.unique(kept // self.group_size)
        values = {}
        for part, heads in (("query", kept), ("key", groups), ("value", groups)):
            layer = self.layers[part]
            values[id(layer.kernel)] = layer.kernel.numpy()[:, heads]
            if layer.bias is not None:
                values[id(layer.bias)] = layer.bias.numpy()[heads]
        output = self.layers["attention_output"].kernel
        values[id(output)] = output.numpy()[kept]
        return values

    def without_units(self, kept: np.ndarray) -> dict[int, np.ndarray]:
        """Cuts the feed-forward weights down to some units.

        Args:
            kept: Indices of the units to keep.

        Returns:
            The new values by the `id` of the old variable.
        """
        values = {}
        for part in ("inner", "gate"):
            layer = self.layers.get(part)
            if layer is not None:
                values[id(layer.kernel)] = layer.kernel.numpy()[:, kept]
                if layer.bias is not None:
                    values[id(layer.bias)] = layer.bias.numpy()[kept]
        outer = self.layers["outer"].kernel
        values[id(outer)] = outer.numpy()[kept]
        return values


def backbone_kind(model: keras.Model) -> str | None:
    """Tells which KerasHub backbone a model is.

    Args:
        model: Any Keras model.

    Returns:
        "BertBackbone", "LlamaBackbone" (also for what inherits from it) or None.
    """
    for kind in type(model).__mro__:
        if kind.__name__ in _BACKBONES and _of_keras_hub(kind):
            return kind.__name__
    return None


def find_blocks(model: keras.Model) -> list[keras.layers.Layer]:
    """Lists the blocks of a model in the order in which they run; a shared one once per use.

    Args:
        model: A Functional model.

    Returns:
        Blocks at its top level; none if there are none of a known kind.

    Example:
        >>> from tfdistill.students.encoder import text_encoder
        >>> student = text_encoder(vocabulary_size=9, sequence_length=4, num_layers=2,
        ...                        hidden_dim=4, intermediate_dim=4, num_classes=2)
        >>> [block.name for block in find_blocks(student)]
        ['encoder_0', 'encoder_1']
    """
    return [layer for layer in _operations(model) if _block_class(layer) is not None]


def parts_of(block: keras.layers.Layer) -> BlockParts:
    """Finds the layers inside a block.

    Args:
        block: A built block of a known kind.

    Returns:
        Its parts.
    """
    inside = {layer.name: layer for layer in block._flatten_layers(include_self=False)}
    names = _NAMES[_block_class(block) or ""]
    return BlockParts(block, {part: inside[name] for part, name in names.items()})


def check_structure(model: Any, *, argument: str = "model") -> list[keras.layers.Layer]:
    """Refuses a model whose blocks are not known.

    Args:
        model: What the caller passed.
        argument: Name of the caller's argument, for the messages.

    Returns:
        Its blocks, once per use.

    Raises:
        TypeError: If it is not a Keras 3 model, or a `Compressed` one.
        ValueError: If it is not built or of an unknown architecture.
    """
    check_model(model, argument=argument)
    if isinstance(model, Compressed):
        raise TypeError(
            f"`{argument}` must be a plain Keras model. Received: {argument}={model.name!r}, a "
            "`Compressed` one. Cut the structure first and compress what is left, or `strip` it."
        )
    blocks = find_blocks(model)
    own = all(isinstance(block, EncoderBlock | DecoderBlock) for block in blocks)
    if not blocks or not (own or backbone_kind(model)):
        raise ValueError(
            f"`{argument}` must be a student of this package (text_encoder) or a KerasHub "
            f"BertBackbone or LlamaBackbone. Received: {argument}={model.name!r} of class "
            f"{type(model).__name__}. If it is built around one of those, pass that one "
            "(`classifier.backbone`, or `model.get_layer(...)`) and build around the result again."
        )
    return blocks


def _operations(model: keras.Model) -> Iterator[Any]:
    """Goes through the calls of a Functional model in their order."""
    by_depth = getattr(model, "_nodes_by_depth", {})
    for depth in sorted(by_depth, reverse=True):
        for node in by_depth[depth]:
            yield node.operation


def _block_class(layer: Any) -> str | None:
    kind = type(layer)
    known = isinstance(layer, EncoderBlock | DecoderBlock) or (
        kind.__name__ in _NAMES and _of_keras_hub(kind)
    )
    return kind.__name__ if known else None


def _of_keras_hub(kind: type) -> bool:
    return kind.__module__.partition(".")[0] == "keras_hub"
