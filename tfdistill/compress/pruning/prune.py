"""Magnitude pruning with TF-MOT's own schedules and masks, on any Keras 3 weight.

Three shapes of zeros: single weights, blocks, and N:M, where N of each M neighbors stay. Each is
taken on the 2-D view of a weight, so attention kernels have them as Dense kernels do.

The order of operations is TF-MOT's: update the mask from the current weights, assign the masked
weights, run forward. A pruned weight can so regrow for one step before the next mask, which is
what lets a weight that matters come back.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdistill.arguments import check_int
from tfdistill.compress.compressed_model import Compressed, append
from tfdistill.compress.guarantees import SPARSITY, TWO_OF_FOUR, Guarantee
from tfdistill.compress.pruning import masks
from tfdistill.compress.technique import (
    StateOwner,
    WeightState,
    WeightTransform,
    conditional_assign,
)
from tfdistill.introspection.backend import full_name, tfmot
from tfdistill.introspection.weights import Patterns, Target

__all__ = ["Prune", "prune_low_magnitude"]


def prune_low_magnitude(
    model: keras.Model,
    *,
    sparsity: float = 0.5,
    steps: int = 1000,
    pruning_schedule: Any = None,
    include: Patterns = None,
    exclude: Patterns = None,
    scope: str = "tensor",
    pattern: tuple[int, int] | None = None,
    block_size: tuple[int, int] = (1, 1),
    block_pooling_type: str = "AVG",
    regrow: bool = True,
    begin_step: int = 0,
) -> Compressed:
    """Makes a copy of a model that sets its smallest weights to zero while it trains.

    Sparsity grows from 0 to `sparsity` over `steps` training steps as 1 − (1 − step/steps)³
    does, so that the network can adapt while there is much to lose. Attention kernels and
    embedding tables are pruned like Dense kernels. Zeros make the file smaller after gzip;
    they do not make TFLite faster.

    Args:
        model: A built Keras 3 model, or a `Compressed` one to add pruning to. Left untouched.
            Pruning is put before what it would undo, such as quantization.
        sparsity: Share of zeros in each tensor at the end, a fraction in [0, 1).
        steps: Training steps until then, an int of at least 1.
        pruning_schedule: A TF-MOT schedule (`PolynomialDecay`, `ConstantSparsity`), which then
            replaces `sparsity` and `steps`.
        include: Globs over layer paths to prune; None takes all kernels and embeddings.
        exclude: Globs over layer paths to leave alone.
        scope: "tensor" gives each tensor the sparsity asked for; "global" takes one threshold
            over all of them, so that tensors of small weights lose more.
        pattern: (N, M) keeps N of each M neighbors and sets `sparsity` to 1 − N/M. The neighbors
            are inputs of one output, in an embedding entries of one row: those that lie side by
            side in a TFLite file.
        block_size: Height and width, in inputs and outputs, of the blocks that are removed
            whole. `sparsity` then is the share of blocks.
        block_pooling_type: "AVG" judges a block by its mean magnitude, "MAX" by its largest.
        regrow: Whether removed weights follow the optimizer until the next step begins, as in
            TF-MOT, and so may come back. False sets them to zero after each optimizer step.
        begin_step: Training steps of the model before the schedule begins to count.

    Returns:
        A model to compile and fit; `strip` turns it into a plain one.

    Raises:
        TypeError: If `model` is not a Keras 3 model or the schedule not one of TF-MOT's.
        ValueError: If a number is out of range, a pattern does not divide a weight, a glob
            matches nothing, or the model has pruning that has not ended.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> small = prune_low_magnitude(model, sparsity=0.5, steps=1)
        >>> _ = small(keras.ops.ones((1, 4)), training=True)
        >>> from tfdistill.compress.compressed_model import strip
        >>> int((strip(small).layers[0].kernel.numpy() == 0).sum())
        4

    References:
        Zhu, Gupta. "To prune, or not to prune", 2017, section 3.
        https://arxiv.org/abs/1710.01878
        Mishra et al. "Accelerating Sparse Deep Neural Networks", 2021, for N:M.
        https://arxiv.org/abs/2104.08378
    """
    transform = Prune(
        sparsity=sparsity,
        steps=steps,
        pruning_schedule=pruning_schedule,
        include=include,
        exclude=exclude,
        scope=scope,
        pattern=pattern,
        block_size=block_size,
        block_pooling_type=block_pooling_type,
        regrow=regrow,
        begin_step=begin_step,
    )
    return append(model, transform)


@keras.saving.register_keras_serializable(package="tfdistill")
class Prune(WeightTransform):
    """Magnitude pruning as one step of a recipe; see `prune_low_magnitude` for the arguments."""

    def __init__(
        self,
        *,
        sparsity: float = 0.5,
        steps: int = 1000,
        pruning_schedule: Any = None,
        include: Patterns = None,
        exclude: Patterns = None,
        scope: str = "tensor",
        pattern: tuple[int, int] | None = None,
        block_size: tuple[int, int] = (1, 1),
        block_pooling_type: str = "AVG",
        regrow: bool = True,
        begin_step: int = 0,
    ) -> None:
        super().__init__(include=include, exclude=exclude, begin_step=begin_step)
        self.pattern = _check_pattern(pattern)
        self.block_size = _check_block_size(block_size, pattern=self.pattern)
        self.block_pooling_type = _check_pooling(block_pooling_type)
        self.scope = _check_scope(scope)
        if not isinstance(regrow, bool):
            raise TypeError(
                f"`regrow` must be True or False. Received: regrow={regrow!r}. "
                "False sets removed weights to zero after each optimizer step."
            )
        self.regrow = regrow
        self.guarantees = (SPARSITY, TWO_OF_FOUR) if self.pattern == (2, 4) else (SPARSITY,)
        if isinstance(pruning_schedule, dict):
            pruning_schedule = _schedule_from_config(pruning_schedule)
        if pruning_schedule is None:
            sparsity = _check_sparsity(sparsity, pattern=self.pattern)
            steps = check_int(
                steps,
                argument="steps",
                at_least=1,
                hint="Epochs times batches per epoch is the number of training steps.",
            )
            pruning_schedule = tfmot().sparsity.keras.PolynomialDecay(
                initial_sparsity=0.0,
                final_sparsity=sparsity,
                begin_step=0,
                end_step=steps,
                frequency=max(1, steps // 20),
            )
        elif not isinstance(pruning_schedule, tfmot().sparsity.keras.PruningSchedule):
            raise TypeError(
                "`pruning_schedule` must be a TF-MOT PruningSchedule. Received: "
                f"pruning_schedule={full_name(pruning_schedule)}. "
                "Use tfmot.sparsity.keras.PolynomialDecay or ConstantSparsity."
            )
        self.schedule = pruning_schedule
        _check_schedule(self.target_sparsity, pattern=self.pattern)

    def preserves(self, guarantee: Guarantee) -> bool:
        """Says whether a guarantee outlasts that weights are set to zero."""
        return "zeroing" in guarantee.survives

    @property
    def target_sparsity(self) -> float | None:
        """The share of zeros that the schedule ends with; None if it is one of your own."""
        config = self.schedule.get_config().get("config", {})
        return config.get("final_sparsity", config.get("target_sparsity"))

    @property
    def end_step(self) -> int | None:
        """The step of the model at which the schedule ends; None if it never does."""
        end = self.schedule.get_config().get("config", {}).get("end_step", -1)
        return None if end < 0 else self.begin_step + end

    def create(self, owner: StateOwner, target: Target) -> WeightState:
        """Adds the mask and the threshold of one weight to the model."""
        return self.create_all(owner, [target])[0]

    def create_all(self, owner: StateOwner, targets: Sequence[Target]) -> list[WeightState]:
        """Adds the masks and thresholds of all weights, which move together."""
        if self.pattern is not None:
            _check_divides(self.pattern, targets)
        states = [_PruneState(self, owner, target) for target in targets]
        states[0].together = _MaskGroup(self, owner, states)
        return list(states)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments, the schedule in place of `sparsity` and `steps`."""
        return {
            **super().get_config(),
            "pruning_schedule": self.schedule.get_config(),
            "scope": self.scope,
            "pattern": self.pattern,
            "block_size": self.block_size,
            "block_pooling_type": self.block_pooling_type,
            "regrow": self.regrow,
        }


def _schedule_from_config(config: dict[str, Any]) -> Any:
    """Rebuilds one of TF-MOT's two schedules; no other class is ever instantiated."""
    module = tfmot().sparsity.keras
    known = {"PolynomialDecay": module.PolynomialDecay, "ConstantSparsity": module.ConstantSparsity}
    if config.get("class_name") not in known:
        raise ValueError(
            f"`pruning_schedule` must be one of {sorted(known)}. "
            f"Received: pruning_schedule={config.get('class_name')!r}."
        )
    return known[config["class_name"]](**config["config"])


Pair = tuple[int, int]


def _check_sparsity(sparsity: object, *, pattern: Pair | None) -> float:
    """Returns the sparsity to reach, which an N:M pattern decides; refuses percentages."""
    if isinstance(sparsity, bool) or not isinstance(sparsity, numbers.Real):
        raise TypeError(
            f"`sparsity` must be a fraction in [0, 1). Received: sparsity={sparsity!r}."
        )
    value = float(sparsity)
    if not 0.0 <= value < 1.0:
        percent = 1.0 < value < 100.0
        hint = f"Did you mean {value / 100:g}?" if percent else "0.5 is a safe start."
        raise ValueError(
            f"`sparsity` must be a fraction in [0, 1). Received: sparsity={sparsity!r}. {hint}"
        )
    if pattern is None:
        return value
    own = 1.0 - pattern[0] / pattern[1]
    if value not in (0.5, own) and not math.isclose(value, own):  # 0.5 is the default
        raise ValueError(
            f"`sparsity` must be 1 − N/M = {own:g} with a pattern. Received: "
            f"sparsity={sparsity!r}, pattern={pattern!r}. Leave one of them out."
        )
    return own


def _check_schedule(target_sparsity: float | None, *, pattern: Pair | None) -> None:
    """Refuses a schedule that ends with another sparsity than the pattern."""
    if pattern is None or target_sparsity is None:
        return
    own = 1.0 - pattern[0] / pattern[1]
    if not math.isclose(target_sparsity, own, rel_tol=1e-6):
        raise ValueError(
            f"`pruning_schedule` must end at 1 − N/M = {own:g} with a pattern. Received: "
            f"pruning_schedule to {target_sparsity!r}, pattern={pattern!r}. Give `steps` instead."
        )


def _check_pattern(pattern: object) -> Pair | None:
    """Returns the pattern as a tuple; refuses what is no N of M."""
    if pattern is None:
        return None
    pair = _pair(pattern)
    if pair is None or not 0 < pair[0] < pair[1]:
        raise ValueError(
            f"`pattern` must be a pair of ints N < M. Received: pattern={pattern!r}. "
            "(2, 4) keeps 2 of each 4 neighbors."
        )
    return pair


def _check_block_size(block_size: object, *, pattern: Pair | None) -> Pair:
    """Returns the block's height and width; refuses others, and blocks with a pattern."""
    pair = _pair(block_size)
    if pair is None or min(pair) < 1:
        raise ValueError(
            "`block_size` must be a pair of ints of at least 1, height and width. "
            f"Received: block_size={block_size!r}. (1, 4) removes 4 outputs of an input at a time."
        )
    if pattern is not None and pair != (1, 1):
        raise ValueError(
            "`block_size` must be (1, 1) with a pattern. Received: "
            f"block_size={block_size!r}, pattern={pattern!r}. Leave one of them out."
        )
    return pair


def _check_pooling(block_pooling_type: object) -> str:
    """Returns the pooling; refuses others than TF-MOT's two."""
    if block_pooling_type not in ("AVG", "MAX"):
        raise ValueError(
            "`block_pooling_type` must be 'AVG' or 'MAX'. "
            f"Received: block_pooling_type={block_pooling_type!r}. TF-MOT has no other."
        )
    return str(block_pooling_type)


def _check_scope(scope: object) -> str:
    """Returns the scope; refuses others than the two."""
    if scope not in ("tensor", "global"):
        raise ValueError(
            f"`scope` must be 'tensor' or 'global'. Received: scope={scope!r}. "
            "'tensor' gives each tensor the same sparsity, 'global' one threshold to all."
        )
    return str(scope)


def _check_divides(pattern: Pair, targets: Sequence[Target]) -> None:
    """Refuses weights whose neighbors cannot be divided into groups of M."""
    for target in targets:
        axis = _pattern_axis(target)
        length = target.matrix_shape[axis]
        if length % pattern[1]:
            side = "width" if axis else "input axis"
            layer = target.path.rpartition("/")[0]
            raise ValueError(
                f"`pattern` must divide the {side} of each weight. Received: pattern={pattern!r} "
                f"for {target.path!r}, whose {side} has {length} entries. "
                f"Leave the layer out with exclude={layer!r}."
            )


def _pair(value: object) -> Pair | None:
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        return None
    if any(isinstance(item, bool) or not isinstance(item, numbers.Integral) for item in value):
        return None
    return int(value[0]), int(value[1])


class _PruneState(WeightState):
    """Mask and threshold of one weight.

    Args:
        transform: The technique.
        owner: The model that keeps the variables.
        target: The weight.
    """

    def __init__(self, transform: Prune, owner: StateOwner, target: Target) -> None:
        super().__init__(transform, target)
        self.mask = owner.add_state(target, "mask", shape=target.variable.shape, initial=1.0)
        self.threshold = owner.add_state(target, "threshold", shape=(), initial=0.0)
        # Taken here, as the weight is, where no autocast scope hides them.
        self._mask: tf.Variable = self.mask.value
        self._threshold: tf.Variable = self.threshold.value
        self.together: _MaskGroup | None = None  # the first state of a transform moves them all

    @property
    def variables(self) -> dict[str, keras.Variable]:
        """The mask and the threshold."""
        return {"mask": self.mask, "threshold": self.threshold}

    def update(self) -> None:
        """Moves the masks, if it is their turn, and masks the weight."""
        if self.together is not None:
            self.together.update()
        self.reapply_mask()

    def after_update(self) -> None:
        """Masks the weight again, unless it may regrow."""
        if not self.transform.regrow:
            self.reapply_mask()

    def reapply_mask(self) -> None:
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
            return masks.n_of_m_scores(matrix, n=n, m=m, axis=_pattern_axis(self.target))
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

    def unmet_target(self) -> str | None:
        """Says how much of the sparsity is missing, or None."""
        if self.transform.scope == "global":
            return self.together.unmet_target() if self.together is not None else None
        return _missing(self.transform, [self])


class _MaskGroup:
    """The weights of one pruning transform in one model, which move together.

    Args:
        transform: The technique.
        owner: The model.
        states: Its weights.
    """

    def __init__(self, transform: Prune, owner: StateOwner, states: list[_PruneState]) -> None:
        self.transform = transform
        self.states = states
        self._step: tf.Variable = owner.step.value

    def update(self) -> None:
        """Moves all masks if it is the schedule's turn."""
        turn, sparsity = self.transform.schedule(self._step - self.transform.begin_step)
        # One condition for all weights, because each has a price of its own.
        conditional_assign(turn, lambda: self.move(tf.cast(sparsity, tf.float32)))

    def move(self, sparsity: tf.Tensor) -> None:
        """Sets all masks from the current weights.

        Args:
            sparsity: Share of units to remove, float32 scalar.
        """
        scores = [state.scores() for state in self.states]
        if self.transform.scope == "global":
            everything = tf.concat([tf.reshape(one, [-1]) for one in scores], axis=0)
            common = masks.threshold_at(everything, self._kept(everything.shape[0], sparsity))
            # Each weight keeps its largest unit, or a whole layer might go dead.
            thresholds = [tf.minimum(common, tf.reduce_max(one)) for one in scores]
        else:
            units = [tf.reshape(one, [-1]) for one in scores]
            kept = [self._kept(one.shape[0], sparsity) for one in units]
            thresholds = [masks.threshold_at(*pair) for pair in zip(units, kept, strict=True)]
        for state, score, threshold in zip(self.states, scores, thresholds, strict=True):
            state.move(score, threshold)

    def unmet_target(self) -> str | None:
        """Says what all of them together lack."""
        return _missing(self.transform, self.states)

    def _kept(self, size: int, sparsity: tf.Tensor) -> tf.Tensor:
        if self.transform.pattern is None:
            return masks.kept_count(size, sparsity)
        n, m = self.transform.pattern
        return masks.n_of_m_kept_count(size, sparsity, n=n, m=m)


def _pattern_axis(target: Target) -> int:
    """Returns the axis of the 2-D view along which a group of an N:M pattern lies.

    It is the axis whose entries are neighbors in a TFLite file: the inputs of a kernel, which is
    stored as `[outputs, inputs]`, and the width of an embedding.
    """
    return 1 if target.kind == "embedding" else 0


def _missing(transform: Prune, states: list[_PruneState]) -> str | None:
    """Compares the share of removed units with the target."""
    removed = np.concatenate([state.removed().ravel() for state in states])
    reached, target = float(np.mean(removed)), transform.target_sparsity
    # TF-MOT rounds to whole units and keeps one; its last update may fall short of the end. A
    # pattern is reached in every group or not at all.
    slack = 1e-9 if transform.pattern is not None else len(states) / removed.size + 1e-3
    if target is None or reached >= target - slack:
        return None
    name = states[0].target.path if len(states) == 1 else f"{len(states)} weights"
    return f"{name}: sparsity {reached:.3f} of {target:.3f}"
