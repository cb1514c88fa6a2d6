"""From a backbone to a language model, and the parts of one.

`language_model` puts the prediction of the next token on a KerasHub backbone. `causal_parts` finds
in a model what generation and export work on: the table, the blocks in their order, the norm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from tfdistill.compress.structured.architecture import backbone_kind, find_blocks
from tfdistill.compress.structured.rebuild import with_own_blocks
from tfdistill.introspection.backend import check_model
from tfdistill.introspection.clone import copy_model
from tfdistill.students.decoder_blocks import DecoderBlock, scaled_first

__all__ = ["CausalParts", "causal_parts", "language_model"]


@dataclass(frozen=True)
class CausalParts:
    """What a causal language model is made of.

    Attributes:
        table: The token embedding, which also predicts (`reverse=True`).
        blocks: The blocks in the order in which they run; a shared one once per use.
        norm: The last norm.
    """

    table: keras.layers.Embedding
    blocks: tuple[DecoderBlock, ...]
    norm: keras.layers.Layer

    @property
    def cache_shape(self) -> tuple[int, int, int]:
        """Number of blocks, of key-value heads in each, and the width of a head."""
        first = self.blocks[0]
        return len(self.blocks), first.num_key_value_heads, first.head_dim

    def extend(
        self, ids: Any, *, positions: Any, keys: Any, values: Any, embed: Any = None
    ) -> tuple[Any, list[Any], list[Any]]:
        """Computes the last hidden states of further positions from the cache.

        Args:
            ids: Token ids of S new positions, int `[B, S]`.
            positions: Their numbers, int `[S]`.
            keys: For each block its cached keys, float `[B, G, C, d]`; see `DecoderBlock.extend`.
            values: For each block its cached values.
            embed: Reads the table in place of the layer itself, for the export; None for that.

        Returns:
            Normed hidden states `[B, S, D]`, and for each block its new keys and values.
        """
        x = (embed or self.table)(ids)
        new_keys, new_values = [], []
        for index, block in enumerate(self.blocks):
            x, key, value = block.extend(
                x, positions=positions, keys=keys[index], values=values[index]
            )
            new_keys.append(key)
            new_values.append(value)
        return scaled_first(self.norm, x), new_keys, new_values


def language_model(backbone: keras.Model, *, name: str = "language_model") -> keras.Model:
    """Makes a model from token ids to the logits of each next token.

    A `LlamaBackbone`, or what `prune_heads` made of one, is copied into this package's blocks,
    so that the result can be cut, compressed, exported and saved. Any other backbone of KerasHub
    with a `ReversibleEmbedding` is wrapped as it is and shares its weights: enough for a teacher.

    Args:
        backbone: Token ids and padding mask in, hidden states out.
        name: Name of the model.

    Returns:
        A Functional model, int32 `[B, L]` named "ids" to float32 `[B, L, V]`.

    Raises:
        TypeError: If `backbone` is not a Keras 3 model.
        ValueError: If it has no `token_embedding` that can predict.

    Example:
        >>> import keras_hub
        >>> backbone = keras_hub.models.LlamaBackbone(
        ...     vocabulary_size=9, num_layers=1, num_query_heads=2, num_key_value_heads=1,
        ...     hidden_dim=8, intermediate_dim=4, tie_word_embeddings=True)
        >>> language_model(backbone).output_shape
        (None, None, 9)
    """
    check_model(backbone, argument="backbone")
    layers = {layer.name: layer for layer in backbone.layers}
    table = layers.get("token_embedding")
    if not isinstance(table, keras.layers.ReversibleEmbedding):
        raise ValueError(
            "`backbone` must have a ReversibleEmbedding called 'token_embedding', which predicts "
            f"tokens. Received: backbone={backbone.name!r} of class {type(backbone).__name__}."
        )
    ids = keras.Input((None,), dtype="int32", name="ids")
    if backbone_kind(backbone) != "LlamaBackbone" and not _is_decoder(backbone):
        padding_mask = ops.ones_like(ids)
        states = backbone({"token_ids": ids, "padding_mask": padding_mask})
        return keras.Model(ids, table(states, reverse=True), name=name)
    own = with_own_blocks(backbone)
    if own is backbone:
        own = copy_model(backbone)
    layers = {layer.name: layer for layer in own.layers}
    table, old_norm = layers["token_embedding"], layers["sequence_output_layernorm"]
    norm = keras.layers.RMSNormalization(epsilon=old_norm.epsilon, name="final_norm")
    x, is_token = table(ids), ops.ones_like(ids, dtype="bool")
    for block in find_blocks(own):
        x = block(x, is_token)
    model = keras.Model(ids, table(norm(x), reverse=True), name=name)
    norm.scale.assign(old_norm.scale)
    return model


def causal_parts(model: keras.Model, *, argument: str = "model") -> CausalParts:
    """Finds the parts of a language model of this package.

    Args:
        model: What `causal_lm` or `language_model` built, or structure tools made of it.
        argument: Name of the caller's argument, for the messages.

    Returns:
        Its parts; their weights are the model's own.

    Raises:
        TypeError: If `model` is not a Keras 3 model.
        ValueError: If it is not such a language model.
    """
    check_model(model, argument=argument)
    layers = {layer.name: layer for layer in model.layers}
    table, norm = layers.get("token_embedding"), layers.get("final_norm")
    if not (
        isinstance(table, keras.layers.ReversibleEmbedding) and norm is not None
    ) or not _is_decoder(model):
        raise ValueError(
            f"`{argument}` must be a language model of this package. Received: "
            f"{argument}={model.name!r} of class {type(model).__name__}. Build one with "
            "`tfdistill.students.causal_lm`, or from a LlamaBackbone with "
            "`tfdistill.language.language_model`."
        )
    blocks = tuple(block for block in find_blocks(model) if isinstance(block, DecoderBlock))
    return CausalParts(table, blocks, norm)


def _is_decoder(model: keras.Model) -> bool:
    blocks = find_blocks(model)
    return bool(blocks) and all(isinstance(block, DecoderBlock) for block in blocks)
