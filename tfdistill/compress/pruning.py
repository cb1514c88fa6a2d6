"""Magnitude pruning with TF-MOT's own schedules and masks, on any Keras 3 weight.

Three shapes of zeros: single weights, blocks, and N:M, where N of each M neighbors stay. Each is
taken on the 2-D view of a weight, so attention kernels have them as Dense kernels do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from tfdistill._keras import full_name, tfmot
from tfdistill.compress import pruning_checks
from tfdistill.compress.pruning_slots import PruneSlot, PruneSlots
from tfdistill.compress.targets import Patterns, Target
from tfdistill.compress.technique import WeightSlot, WeightTransform
from tfdistill.compress.transform import Compressed, append

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
        scope: "tensor" gives each tensor the promised sparsity; "global" takes one threshold
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
        >>> from tfdistill.compress.transform import strip
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

    promises = "sparsity"
    keeps = frozenset({"sparsity", "clusters_with_zero"})

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
        self.pattern = pruning_checks.check_pattern(pattern)
        self.block_size = pruning_checks.check_block_size(block_size, pattern=self.pattern)
        self.block_pooling_type = pruning_checks.check_pooling(block_pooling_type)
        self.scope = pruning_checks.check_scope(scope)
        self.regrow = pruning_checks.check_regrow(regrow)
        if isinstance(pruning_schedule, dict):
            pruning_schedule = _schedule_from_config(pruning_schedule)
        if pruning_schedule is None:
            sparsity = pruning_checks.check_sparsity(sparsity, pattern=self.pattern)
            pruning_checks.check_steps(steps)
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
        pruning_checks.check_schedule(self.target_sparsity, pattern=self.pattern)

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

    def create(self, owner: Compressed, target: Target) -> WeightSlot:
        """Adds the mask and the threshold of one weight to the model."""
        return self.create_all(owner, [target])[0]

    def create_all(self, owner: Compressed, targets: Sequence[Target]) -> list[WeightSlot]:
        """Adds the masks and thresholds of all weights, which move together."""
        if self.pattern is not None:
            pruning_checks.check_divides(self.pattern, targets)
        slots = [PruneSlot(self, owner, target) for target in targets]
        slots[0].together = PruneSlots(self, owner, slots)
        return list(slots)

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
