"""What every technique is made of: a transform in a recipe, and its slot at each weight.

A transform says what it `promises` about a weight and which earlier promises it `keeps`. That
is all a recipe needs to be checked: a later transform has to keep what an earlier one promised
about the same weight.

    Prune      promises "sparsity"
    Cluster    promises "clusters" or, if zero stays a centroid, "clusters_with_zero"
    Quantize   promises "grid"

A technique of your own that promises nothing may stand before every other, and one that keeps
nothing may stand after none that promises.

How state is moved inside a training step: under a strategy, and under a condition.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
import numbers
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from tfdistill.introspection.weights import Patterns, Target

if TYPE_CHECKING:
    from tfdistill.compress.compressed_model import Compressed

__all__ = ["WeightSlot", "WeightTransform", "move_if", "move_once"]


class WeightTransform:
    """One technique in a recipe: says what it applies to and makes a slot for each weight.

    Args:
        include: Globs over layer paths; None takes all kernels and embeddings.
        exclude: Globs over layer paths to leave alone.
        begin_step: Training steps of the model before the technique begins, an int of at least
            0. Until then the weights pass through it as they are.

    Attributes:
        promises: What holds for a weight after this technique, or "" for nothing.
        keeps: Promises of earlier techniques that still hold after this one. Both may be set on
            the instance, where they depend on the arguments.

    Raises:
        ValueError: If `begin_step` is no int of at least 0.
    """

    promises: str = ""
    keeps: frozenset[str] = frozenset()
    include: Patterns
    exclude: Patterns
    begin_step: int

    def __init__(
        self, *, include: Patterns = None, exclude: Patterns = None, begin_step: int = 0
    ) -> None:
        if (
            isinstance(begin_step, bool)
            or not isinstance(begin_step, numbers.Integral)
            or begin_step < 0
        ):
            raise ValueError(
                f"`begin_step` must be an int of at least 0. Received: begin_step={begin_step!r}. "
                "It counts the training steps of the whole model; 0 begins with the first."
            )
        self.include = include
        self.exclude = exclude
        self.begin_step = int(begin_step)

    @property
    def end_step(self) -> int | None:
        """The step of the model after which the state moves no more; None if it always does."""
        return None

    def create(self, owner: Compressed, target: Target) -> WeightSlot:
        """Makes the slot that holds this technique's state for one weight."""
        raise NotImplementedError(f"{type(self).__name__} has to define `create`.")

    def create_all(self, owner: Compressed, targets: Sequence[Target]) -> list[WeightSlot]:
        """Makes the slots of all its weights; to override where they have something in common."""
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
        defaults = inspect.signature(type(self)).parameters
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


class WeightSlot:
    """What one technique does to one weight, and the state it keeps for that.

    Args:
        transform: The technique.
        target: The weight.
    """

    def __init__(self, transform: Any, target: Target) -> None:
        self.transform = transform
        self.target = target
        # Taken here, where no autocast scope can hide the variable behind a half-precision copy.
        self.weight: tf.Variable = target.variable.value

    @property
    def state(self) -> dict[str, keras.Variable]:
        """The slot's variables by name."""
        return {}

    def update(self) -> None:
        """Moves the state, once at the start of a training step that comes after `begin_step`."""

    def after_update(self) -> None:
        """Follows the optimizer, once at the end of such a step."""

    def remask(self) -> None:
        """Brings the weight itself back to what was promised, after the optimizer moved it."""

    def __call__(self, value: tf.Tensor, *, training: bool) -> tf.Tensor:
        """Returns the value that the forward pass sees."""
        return value

    def around_call(
        self, *, training: bool, begun: tf.Tensor | bool
    ) -> contextlib.AbstractContextManager[None]:
        """Wraps the student's forward pass, for what is done to more than weights."""
        return contextlib.nullcontext()

    def shortfall(self) -> str | None:
        """Says what was promised and not reached yet, or None."""
        return None


def move_once(move: Callable[[], None]) -> None:
    """Moves state once for all replicas; a condition around an assignment needs that.

    Args:
        move: Assigns variables; called now.
    """
    context = tf.distribute.get_replica_context()
    if context is None:
        move()
    else:
        context.merge_call(lambda strategy: move())


def move_if(condition: tf.Tensor, move: Callable[[], None]) -> None:
    """Moves state if a condition holds when the step runs.

    Args:
        condition: Boolean scalar.
        move: Assigns variables.

    Example:
        >>> number = tf.Variable(1)
        >>> move_if(number > 1, lambda: number.assign(0))
        >>> move_if(number < 2, lambda: number.assign(5))
        >>> int(number)
        5
    """

    def moved() -> tf.Tensor:
        move()
        return tf.constant(True)

    tf.cond(condition, moved, lambda: tf.constant(False))
