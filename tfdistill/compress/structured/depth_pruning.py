"""Takes whole layers (blocks) out of a transformer: fewer of them, each as wide as before."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from tfdistill.compress.structured.architecture import backbone_kind, check_structure
from tfdistill.compress.structured.importance import (
    Removal,
    block_influence,
    check_keep,
    most_important,
    summarize,
)
from tfdistill.compress.structured.rebuild import rebuild_backbone, rewrite

__all__ = ["drop_layers"]


def drop_layers(model: keras.Model, *, keep: int, calibration: Any) -> tuple[keras.Model, Removal]:
    """Removes the layers that change the hidden states least.

    A layer's importance is its block influence, 1 − cos(before, after) averaged over the real
    tokens of `calibration`. Nothing is trained; distil the result from the given model to heal it.

    Args:
        model: A student of this package or a KerasHub `BertBackbone` or `LlamaBackbone`. Left
            untouched. Uses of a shared block are layers of their own.
        keep: Number of layers to keep, an int in [1, layers].
        calibration: Typical inputs of the model, some hundred examples: an array, a dict by input
            name, or a list in the model's order.

    Returns:
        The smaller model (of the same class, for a backbone) and a `Removal`. A student's layers
        keep their names; a backbone's are numbered again. If the removed layers change nothing,
        neither does the output.

    Raises:
        TypeError: If `model` is not a plain Keras 3 model, `keep` not an int or `calibration`
            of another dtype.
        ValueError: If the architecture is unknown, `keep` out of range, or `calibration` empty or
            of another shape.

    Example:
        >>> from tfdistill.students.encoder import text_encoder
        >>> student = text_encoder(vocabulary_size=9, sequence_length=4, num_layers=3,
        ...                        hidden_dim=4, intermediate_dim=4, num_classes=2, seed=0)
        >>> smaller, summary = drop_layers(student, keep=1, calibration=np.ones((2, 4), "int32"))
        >>> len(summary.removed["text_encoder"]), smaller.count_params() < student.count_params()
        (2, True)

    References:
        Men et al. "ShortGPT: Layers in Large Language Models are More Redundant Than You
        Expect", 2024. https://arxiv.org/abs/2403.03853
    """
    blocks = check_structure(model)
    check_keep(keep, present=len(blocks), what="layers")
    influence = block_influence(model, blocks, calibration=calibration)
    kept = most_important(influence, keep=keep)
    if backbone_kind(model):
        dropped = [block for index, block in enumerate(blocks) if index not in kept]
        smaller = rebuild_backbone(model, changes={"num_layers": int(keep)}, dropped=dropped)
    else:
        smaller = _without_calls(model, kept, blocks=blocks)
    summary = summarize(
        "layers",
        before=model,
        after=smaller,
        kept={model.name: kept},
        present={model.name: len(blocks)},
        importance={model.name: influence},
    )
    return smaller, summary


def _without_calls(
    model: keras.Model, kept: np.ndarray, *, blocks: list[keras.layers.Layer]
) -> keras.Model:
    position = iter(range(len(blocks)))
    names = {block.name for block in blocks}

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if layer.name in names and next(position) not in kept:
            return args[0]
        return layer(*args, **kwargs)

    return rewrite(model, call=call)
