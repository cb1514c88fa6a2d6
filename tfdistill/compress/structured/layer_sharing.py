"""Gives several blocks of a transformer one set of weights: the size of one, the work of all.

The patterns and where they come from are in `tfdistill.students.encoder`. In a file that is
made of such a model, each shared tensor is stored once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from tfdistill.compress.structured.architecture import check_structure, find_blocks
from tfdistill.compress.structured.rebuild import rewrite, with_own_blocks
from tfdistill.students.encoder import assign_groups

__all__ = ["share_layers"]


def share_layers(student: keras.Model, *, pattern: str = "cyclic", groups: int = 1) -> keras.Model:
    """Makes a student whose blocks share `groups` sets of weights.

    Each set starts as the mean of the blocks that it replaces, which is where blocks that began
    alike, or that were taken from the same teacher, lose least; blocks that were drawn at random
    have a mean near nothing, so build such a student with `text_encoder(groups=...)`. A gradient
    is the sum over the uses of a block. If the blocks of a group were equal, nothing changes.

    Args:
        student: A student of this package or a KerasHub `BertBackbone` or `LlamaBackbone`. Left
            untouched.
        pattern: For four blocks and two groups "cyclic" is 0 1 0 1, "immediate" 0 0 1 1.
        groups: Number of blocks with weights of their own, an int in [1, blocks].

    Returns:
        A Functional model with the same inputs and outputs. A group's block has the name of the
        first block in it. A backbone comes back as a plain Functional model.

    Raises:
        TypeError: If `student` is not a plain Keras 3 model or `groups` not an int.
        ValueError: If the architecture or the pattern is unknown, `groups` out of range, or blocks
            of one group differ in size.

    Example:
        >>> from tfdistill.students.encoder import text_encoder
        >>> student = text_encoder(vocabulary_size=9, sequence_length=4, num_layers=4,
        ...                        hidden_dim=8, intermediate_dim=8, num_classes=2, seed=0)
        >>> shared = share_layers(student, groups=1)
        >>> [layer.name for layer in shared.layers if layer.name.startswith("encoder")]
        ['encoder_0']

    References:
        Lan et al. "ALBERT", 2020, section 3.1. https://arxiv.org/abs/1909.11942
        Takase, Kiyono. "Lessons on Parameter Sharing across Layers in Transformers", 2021.
        https://arxiv.org/abs/2104.06022
    """
    check_structure(student, argument="student")
    own = with_own_blocks(student)
    blocks = find_blocks(own)
    group_of_block = assign_groups(len(blocks), groups=groups, pattern=pattern)
    members = [
        [block for block, other in zip(blocks, group_of_block, strict=True) if other == group]
        for group in range(groups)
    ]
    values: dict[int, np.ndarray] = {}
    for group in members:
        _check_equal_sizes(group)
        values |= _mean_of_blocks(group)
    first = [group[0].name for group in members]
    names = {block.name for block in blocks}
    made: dict[str, Any] = {}
    position = iter(group_of_block)

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if layer.name not in names:
            return layer(*args, **kwargs)
        made.setdefault(layer.name, layer)
        name = first[next(position)]
        return made[name](*args, **kwargs)

    return rewrite(own, call=call, values=values)


def _mean_of_blocks(blocks: Sequence[keras.layers.Layer]) -> dict[int, np.ndarray]:
    """Averages the weights of some blocks.

    Args:
        blocks: Built blocks of the same sizes; one that is used twice counts twice.

    Returns:
        For each weight of the first block its new value by the variable's `id`.

    Example:
        >>> low = keras.layers.Dense(1, kernel_initializer="zeros")
        >>> high = keras.layers.Dense(1, kernel_initializer="ones")
        >>> low.build((None, 1)), high.build((None, 1))
        (None, None)
        >>> _mean_of_blocks([low, low, low, high])[id(low.kernel)].tolist()
        [[0.25]]
    """
    values = {}
    for same in zip(*(block.weights for block in blocks), strict=True):
        # In float64, so that the mean of equal numbers is that number.
        mean = np.mean([each.numpy() for each in same], axis=0, dtype=np.float64)
        values[id(same[0])] = mean.astype(same[0].dtype)
    return values


def _check_equal_sizes(blocks: Sequence[keras.layers.Layer]) -> None:
    sizes = {tuple(tuple(each.shape) for each in block.weights) for block in blocks}
    if len(sizes) > 1:
        raise ValueError(
            "`student` must have blocks of equal sizes in each group. Received: student with "
            f"{[block.name for block in blocks]}, which differ. Choose another pattern or more "
            "groups."
        )
