"""What every technique is made of: a transform in a recipe, and its state for each weight.

A transform lists its `guarantees` about a weight and answers, for any guarantee of an earlier
transform, whether it `preserves` it. A recipe is checked by asking each transform about those that
come before it on the same weight. So no list of techniques is kept anywhere, and one of your own
joins a recipe like those of this package::

    @keras.saving.register_keras_serializable(package="mine")
    class Binarize(WeightTransform):
        guarantees = (BINARY,)                      # a `Guarantee`: how it is measured

        def preserves(self, guarantee):
            return "sharing" in guarantee.survives  # True if it leaves the guarantee as it is

        def create(self, owner, target):
            return BinaryState(self, target)        # a `WeightState`: what the forward pass sees

Two functions assign variables inside a training step: across replicas, and under a condition.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import keras
import tensorflow as tf

from tfdistill.arguments import check_int
from tfdistill.compress.guarantees import Guarantee
from tfdistill.introspection.weights import Patterns, Target

__all__ = [
    "StateOwner",
    "WeightState",
    "WeightTransform",
    "assign_across_replicas",
    "conditional_assign",
]


class StateOwner(Protocol):
    """The model that stores the state of all techniques, as far as a technique knows it.

    Attributes:
        student: The model whose weights are transformed.
        step: Training steps so far, an int64 scalar.
    """

    student: keras.Model
    step: keras.Variable

    def add_state(
        self,
        target: Target,
        name: str,
        *,
        shape: tuple[int, ...],
        initial: float,
        dtype: str | None = None,
        aggregation: str = "none",
        trainable: bool = False,
    ) -> keras.Variable:
        """Adds a variable that belongs to one weight and is saved with the model."""

    def guarantees_before(self, target: Target) -> tuple[Guarantee, ...]:
        """Lists what earlier transforms of the recipe guarantee about a weight."""


class WeightTransform:
    """One technique in a recipe: says what it applies to and makes a state for each weight.

    A subclass defines `create`, and `get_config` if it has arguments of its own. Registered with
    `keras.saving.register_keras_serializable`, it is stored in `.keras` files.

    Args:
        include: Globs over layer paths; None takes all kernels and embeddings.
        exclude: Globs over layer paths to leave alone.
        begin_step: Training steps of the model before the technique begins, an int of at least
            0. Until then the weights pass through it as they are.

    Attributes:
        guarantees: What holds for a weight after this technique. May be set on the instance,
            where it depends on the arguments. Empty for a technique that guarantees nothing.

    Raises:
        TypeError: If `begin_step` is no int.
        ValueError: If it is negative.
    """

    guarantees: tuple[Guarantee, ...] = ()
    include: Patterns
    exclude: Patterns
    begin_step: int

    def __init__(
        self, *, include: Patterns = None, exclude: Patterns = None, begin_step: int = 0
    ) -> None:
        self.include = include
        self.exclude = exclude
        self.begin_step = check_int(
            begin_step,
            argument="begin_step",
            at_least=0,
            hint="It counts the training steps of the whole model; 0 begins with the first.",
        )

    def preserves(self, guarantee: Guarantee) -> bool:
        """Says whether a guarantee of an earlier technique still holds after this one.

        Args:
            guarantee: What the earlier technique guarantees. `guarantee.survives` says which
                operations leave it as it is.

        Returns:
            False here: a technique that does not answer stands before those that guarantee
            something.
        """
        return False

    @property
    def end_step(self) -> int | None:
        """The step of the model after which the state moves no more; None if it always does."""
        return None

    def create(self, owner: StateOwner, target: Target) -> WeightState:
        """Makes the state of this technique for one weight."""
        raise NotImplementedError(f"{type(self).__name__} has to define `create`.")

    def create_all(self, owner: StateOwner, targets: Sequence[Target]) -> list[WeightState]:
        """Makes the states of all its weights; to override where they have something in common."""
        return [self.create(owner, target) for target in targets]

    def delayed(self, steps: int) -> WeightTransform:
        """Returns the same technique, beginning so many steps later."""
        later = copy.copy(self)
        later.begin_step = self.begin_step + int(steps)
        return later

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments, for `.keras` files."""
        config = {"include": self.include, "exclude": self.exclude}
        return {**config, "begin_step": self.begin_step} if self.begin_step else config

    def __repr__(self) -> str:
        """Shows the settings that are not the defaults, for recipes in tables and errors."""
        defaults = {
            **inspect.signature(WeightTransform).parameters,
            **inspect.signature(type(self)).parameters,
        }
        own = [
            f"{name}={value!r}"
            for name, value in self.get_config().items()
            if name not in defaults or value != defaults[name].default
        ]
        return f"{type(self).__name__}({', '.join(own)})"

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> WeightTransform:
        """Rebuilds the transform from its config."""
        return cls(**config)


class WeightState:
    """What one technique does to one weight, and the variables it keeps for that.

    A subclass overrides `__call__`, which is all that a technique without variables needs.
    Variables come from `owner.add_state` in the constructor, and `variables` lists them.

    Args:
        transform: The technique.
        target: The weight.

    Attributes:
        weight: The TensorFlow variable of the weight.
        supports_jit: Whether a training step with it can be compiled by XLA.
    """

    supports_jit: bool = True

    def __init__(self, transform: Any, target: Target) -> None:
        self.transform = transform
        self.target = target
        # Taken here, where no autocast scope can hide the variable behind a half-precision copy.
        self.weight: tf.Variable = target.variable.value

    @property
    def variables(self) -> dict[str, keras.Variable]:
        """The variables by name; they are kept where a technique is added to a recipe later."""
        return {}

    def update(self) -> None:
        """Moves the variables, once at the start of a training step after `begin_step`."""

    def after_update(self) -> None:
        """Follows the optimizer, once at the end of such a step."""

    def reapply_mask(self) -> None:
        """Brings the weight itself back to its mask, at the end of an epoch."""

    def __call__(self, value: tf.Tensor, *, training: bool) -> tf.Tensor:
        """Returns the value that the forward pass sees.

        Args:
            value: What the transforms before this one made of the weight, in its shape.
            training: Whether this is a training step.

        Returns:
            Tensor of the same shape and dtype, with the gradient that the weight is to have.
        """
        return value

    def around_call(
        self, *, training: bool, begun: tf.Tensor | bool
    ) -> contextlib.AbstractContextManager[None]:
        """Wraps the student's forward pass, for what is done to more than weights."""
        return contextlib.nullcontext()

    def unmet_target(self) -> str | None:
        """Says what the technique is to reach and has not reached yet, or None."""
        return None


def assign_across_replicas(assign: Callable[[], None]) -> None:
    """Assigns once for all replicas; a condition around an assignment needs that.

    Args:
        assign: Assigns variables; called now.
    """
    context = tf.distribute.get_replica_context()
    if context is None:
        assign()
    else:
        context.merge_call(lambda strategy: assign())


def conditional_assign(condition: tf.Tensor, assign: Callable[[], None]) -> None:
    """Assigns if a condition holds when the step runs.

    Args:
        condition: Boolean scalar.
        assign: Assigns variables.

    Example:
        >>> number = tf.Variable(1)
        >>> conditional_assign(number > 1, lambda: number.assign(0))
        >>> conditional_assign(number < 2, lambda: number.assign(5))
        >>> int(number)
        5
    """

    def assigned() -> tf.Tensor:
        assign()
        return tf.constant(True)

    tf.cond(condition, assigned, lambda: tf.constant(False))
