"""Magnitude pruning with TF-MOT's own schedules and mask update, on any Keras 3 weight.

The order of operations is TF-MOT's: update the mask from the current weights, assign the masked
weights, run forward. A pruned weight can so regrow for one step before the next mask, which is
what lets a weight that matters come back.
"""

from __future__ import annotations

import numbers
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdistill._keras import full_name, tfmot
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
) -> Compressed:
    """Makes a copy of a model that sets its smallest weights to zero while it trains.

    Sparsity grows from 0 to `sparsity` over `steps` training steps as 1 − (1 − step/steps)³
    does, so that the network can adapt while there is much to lose. Attention kernels and
    embedding tables are pruned like Dense kernels. Zeros make the file smaller after gzip;
    they do not make TFLite faster.

    Args:
        model: A built Keras 3 model, or a `Compressed` one to add pruning to. Left untouched.
        sparsity: Share of zeros in each tensor at the end, a fraction in [0, 1).
        steps: Training steps until then, an int of at least 1.
        pruning_schedule: A TF-MOT schedule (`PolynomialDecay`, `ConstantSparsity`), which then
            replaces `sparsity` and `steps`.
        include: Globs over layer paths to prune; None takes all kernels and embeddings.
        exclude: Globs over layer paths to leave alone.

    Returns:
        A model to compile and fit; `strip` turns it into a plain one.

    Raises:
        TypeError: If `model` is not a Keras 3 model or the schedule not one of TF-MOT's.
        ValueError: If a number is out of range or a glob matches nothing.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> small = prune_low_magnitude(model, sparsity=0.5, steps=1)
        >>> _ = small(np.ones((1, 4)), training=True)
        >>> from tfdistill.compress.transform import strip
        >>> int(np.sum(strip(small).layers[0].kernel.numpy() == 0))
        4

    References:
        Zhu, Gupta. "To prune, or not to prune", 2017, section 3.
        https://arxiv.org/abs/1710.01878
    """
    transform = Prune(
        sparsity=sparsity,
        steps=steps,
        pruning_schedule=pruning_schedule,
        include=include,
        exclude=exclude,
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
    ) -> None:
        super().__init__(include=include, exclude=exclude)
        if isinstance(pruning_schedule, dict):
            pruning_schedule = _schedule_from_config(pruning_schedule)
        if pruning_schedule is None:
            _check_sparsity(sparsity)
            _check_steps(steps)
            pruning_schedule = tfmot().sparsity.keras.PolynomialDecay(
                initial_sparsity=0.0,
                final_sparsity=float(sparsity),
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

    @property
    def target_sparsity(self) -> float | None:
        """The share of zeros that the schedule ends with; None if it is one of your own."""
        config = self.schedule.get_config().get("config", {})
        return config.get("final_sparsity", config.get("target_sparsity"))

    def create(self, owner: Compressed, target: Target) -> WeightSlot:
        """Adds the mask and the threshold of one weight to the model."""
        return _PruneSlot(self, owner, target)

    def get_config(self) -> dict[str, Any]:
        """Returns the schedule and the globs."""
        return {**super().get_config(), "pruning_schedule": self.schedule.get_config()}


class _PruneSlot(WeightSlot):
    """Mask and threshold of one weight, moved by TF-MOT's `Pruning`."""

    def __init__(self, transform: Prune, owner: Compressed, target: Target) -> None:
        super().__init__(transform, target)
        self.mask = owner.add_state(target, "mask", shape=target.variable.shape, initial=1.0)
        self.threshold = owner.add_state(target, "threshold", shape=(), initial=0.0)
        # The schedule counts from here, and not from the first step of an earlier technique.
        self.start = owner.add_state(target, "start", shape=(), initial=0, dtype="int64")
        step, mask, threshold = owner.step.value, self.mask.value, self.threshold.value
        start = self.start.value
        self._pruning = _pruning_class()(
            training_step_fn=lambda: step - start,
            pruning_vars=[(self.weight, mask, threshold)],
            pruning_schedule=transform.schedule,
            block_size=[1, 1],
            block_pooling_type="AVG",
        )

    @property
    def state(self) -> dict[str, keras.Variable]:
        return {"mask": self.mask, "threshold": self.threshold, "start": self.start}

    def begin(self, step: keras.Variable) -> None:
        self.start.assign(step)

    def update(self) -> None:
        with tf.control_dependencies([self._pruning.conditional_mask_update()]):
            self._pruning.weight_mask_op()

    def remask(self) -> None:
        self.weight.assign(self.weight * self.mask)

    def __call__(self, value: tf.Tensor, *, training: bool) -> tf.Tensor:
        # While training the weight itself was masked in `update`: a mask in the graph would
        # take the gradient from pruned weights, and they could never come back.
        return value if training else value * tf.cast(self.mask, value.dtype)

    def shortfall(self) -> str | None:
        masked = self.weight.numpy() * self.mask.numpy()
        reached, promised = float(np.mean(masked == 0)), self.transform.target_sparsity
        # TF-MOT rounds to whole weights and keeps one; its last update may fall short of the end.
        if promised is None or reached >= promised - 1.0 / masked.size - 1e-3:
            return None
        return f"{self.target.path}: sparsity {reached:.3f} of {promised:.3f}"


def _check_sparsity(sparsity: object) -> None:
    if isinstance(sparsity, bool) or not isinstance(sparsity, numbers.Real):
        raise TypeError(
            f"`sparsity` must be a fraction in [0, 1). Received: sparsity={sparsity!r}."
        )
    if not 0.0 <= float(sparsity) < 1.0:
        percent = 1.0 < float(sparsity) < 100.0
        hint = f"Did you mean {float(sparsity) / 100:g}?" if percent else "0.5 is a safe start."
        raise ValueError(
            f"`sparsity` must be a fraction in [0, 1). Received: sparsity={sparsity!r}. {hint}"
        )


def _check_steps(steps: object) -> None:
    if isinstance(steps, bool) or not isinstance(steps, numbers.Integral) or steps < 1:
        raise ValueError(
            f"`steps` must be an int of at least 1. Received: steps={steps!r}. "
            "Epochs times batches per epoch is the number of training steps."
        )


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


def _pruning_class() -> type:
    tfmot()
    from tensorflow_model_optimization.python.core.sparsity.keras import pruning_impl

    return pruning_impl.Pruning
