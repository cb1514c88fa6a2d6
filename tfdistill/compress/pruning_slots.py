"""Where the masks of a model live, and how they follow a pruning schedule.

The order of operations is TF-MOT's: update the mask from the current weights, assign the masked
weights, run forward. A pruned weight can so regrow for one step before the next mask, which is
what lets a weight that matters come back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import keras
import numpy as np
import tensorflow as tf

from tfdistill.compress import masks
from tfdistill.compress.state_moves import move_if
from tfdistill.compress.targets import Target
from tfdistill.compress.technique import WeightSlot

if TYPE_CHECKING:
    from tfdistill.compress.pruning import Prune
    from tfdistill.compress.transform import Compressed

__all__ = ["PruneSlot", "PruneSlots", "pattern_axis"]


class PruneSlot(WeightSlot):
    """Mask and threshold of one weight.

    Args:
        transform: The technique.
        owner: The model that keeps the variables.
        target: The weight.
    """

    def __init__(self, transform: Prune, owner: Compressed, target: Target) -> None:
        super().__init__(transform, target)
        self.mask = owner.add_state(target, "mask", shape=target.variable.shape, initial=1.0)
        self.threshold = owner.add_state(target, "threshold", shape=(), initial=0.0)
        # Taken here, as the weight is, where no autocast scope hides them.
        self._mask: tf.Variable = self.mask.value
        self._threshold: tf.Variable = self.threshold.value
        self.together: PruneSlots | None = None  # the first slot of a transform moves them all

    @property
    def state(self) -> dict[str, keras.Variable]:
        """The mask and the threshold."""
        return {"mask": self.mask, "threshold": self.threshold}

    def update(self) -> None:
        """Moves the masks, if it is their turn, and masks the weight."""
        if self.together is not None:
            self.together.update()
        self.remask()

    def after_update(self) -> None:
        """Masks the weight again, unless it may regrow."""
        if not self.transform.regrow:
            self.remask()

    def remask(self) -> None:
        """Assigns the masked weight."""
        self.weight.assign(self.weight * self._mask)

    def __call__(self, value: tf.Tensor, *, training: bool) -> tf.Tensor:
        """Masks the value, except while training."""
        # While training the weight itself was masked in `update`: a mask in the graph would
        # take the gradient from pruned weights, and they could never come back.
        return value if training else value * tf.cast(self._mask, value.dtype)

    def scores(self) -> tf.Tensor:
        """Scores the units of the weight as its pattern says."""
        matrix = self.target.to_matrix(tf.cast(self.weight, tf.float32))
        if self.transform.pattern is not None:
            n, m = self.transform.pattern
            return masks.n_of_m_scores(matrix, n=n, m=m, axis=pattern_axis(self.target))
        block_size, pooling = self.transform.block_size, self.transform.block_pooling_type
        return masks.block_scores(matrix, block_size=block_size, pooling=pooling)

    def move(self, scores: tf.Tensor, threshold: tf.Tensor) -> None:
        """Sets the mask to the units whose scores reach the threshold."""
        kept = tf.cast(scores >= threshold, self._mask.dtype)
        matrix = masks.expand_blocks(
            kept, block_size=self.transform.block_size, shape=self.target.matrix_shape
        )
        self._mask.assign(self.target.from_matrix(matrix))
        self._threshold.assign(tf.cast(threshold, self._threshold.dtype))

    def removed(self) -> np.ndarray:
        """Tells for each unit of the weight, a weight or a block, whether it is zero."""
        value = tf.cast(self.weight, tf.float32) * tf.cast(self._mask, tf.float32)
        block_size = self.transform.block_size
        matrix = self.target.to_matrix(value)
        return masks.block_scores(matrix, block_size=block_size, pooling="MAX").numpy() == 0

    def shortfall(self) -> str | None:
        """Says how much of the sparsity is missing, or None."""
        if self.transform.scope == "global":
            return self.together.shortfall() if self.together is not None else None
        return _missing(self.transform, [self])


class PruneSlots:
    """The weights of one pruning transform in one model, which move together.

    Args:
        transform: The technique.
        owner: The model.
        slots: Its weights.
    """

    def __init__(self, transform: Prune, owner: Compressed, slots: list[PruneSlot]) -> None:
        self.transform = transform
        self.slots = slots
        self._step: tf.Variable = owner.step.value

    def update(self) -> None:
        """Moves all masks if it is the schedule's turn."""
        turn, sparsity = self.transform.schedule(self._step - self.transform.begin_step)
        # One condition for all weights, because each has a price of its own.
        move_if(turn, lambda: self.move(tf.cast(sparsity, tf.float32)))

    def move(self, sparsity: tf.Tensor) -> None:
        """Sets all masks from the current weights.

        Args:
            sparsity: Share of units to remove, float32 scalar.
        """
        scores = [slot.scores() for slot in self.slots]
        if self.transform.scope == "global":
            everything = tf.concat([tf.reshape(one, [-1]) for one in scores], axis=0)
            common = masks.threshold_at(everything, self._kept(everything.shape[0], sparsity))
            # Each weight keeps its largest unit, or a whole layer might go dead.
            thresholds = [tf.minimum(common, tf.reduce_max(one)) for one in scores]
        else:
            units = [tf.reshape(one, [-1]) for one in scores]
            kept = [self._kept(one.shape[0], sparsity) for one in units]
            thresholds = [masks.threshold_at(*pair) for pair in zip(units, kept, strict=True)]
        for slot, score, threshold in zip(self.slots, scores, thresholds, strict=True):
            slot.move(score, threshold)

    def shortfall(self) -> str | None:
        """Says what all of them together lack."""
        return _missing(self.transform, self.slots)

    def _kept(self, size: int, sparsity: tf.Tensor) -> tf.Tensor:
        if self.transform.pattern is None:
            return masks.kept_count(size, sparsity)
        n, m = self.transform.pattern
        return masks.n_of_m_kept_count(size, sparsity, n=n, m=m)


def pattern_axis(target: Target) -> int:
    """Returns the axis of the 2-D view along which a group of an N:M pattern lies.

    It is the axis whose entries are neighbors in a TFLite file: the inputs of a kernel, which is
    stored as `[outputs, inputs]`, and the width of an embedding.
    """
    return 1 if target.kind == "embedding" else 0


def _missing(transform: Prune, slots: list[PruneSlot]) -> str | None:
    """Compares the share of removed units with what was promised."""
    removed = np.concatenate([slot.removed().ravel() for slot in slots])
    reached, promised = float(np.mean(removed)), transform.target_sparsity
    # TF-MOT rounds to whole units and keeps one; its last update may fall short of the end. A
    # pattern is reached in every group or not at all.
    slack = 1e-9 if transform.pattern is not None else len(slots) / removed.size + 1e-3
    if promised is None or reached >= promised - slack:
        return None
    name = slots[0].target.path if len(slots) == 1 else f"{len(slots)} weights"
    return f"{name}: sparsity {reached:.3f} of {promised:.3f}"
