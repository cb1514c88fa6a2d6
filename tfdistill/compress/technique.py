"""What every technique is made of: a transform in a recipe, and its slot at each weight."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from tfdistill.compress.targets import Patterns, Target

if TYPE_CHECKING:
    from tfdistill.compress.transform import Compressed

__all__ = ["WeightSlot", "WeightTransform"]


class WeightTransform:
    """One technique in a recipe: says what it applies to and makes a slot for each weight.

    Args:
        include: Globs over layer paths; None takes all kernels and embeddings.
        exclude: Globs over layer paths to leave alone.
    """

    def __init__(self, *, include: Patterns = None, exclude: Patterns = None) -> None:
        self.include = include
        self.exclude = exclude

    def create(self, owner: Compressed, target: Target) -> WeightSlot:
        """Makes the slot that holds this technique's state for one weight."""
        raise NotImplementedError(f"{type(self).__name__} has to define `create`.")

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments, for `.keras` files."""
        return {"include": self.include, "exclude": self.exclude}

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

    def begin(self, step: keras.Variable) -> None:
        """Learns how many training steps the model had made when the technique was added."""

    def update(self) -> None:
        """Moves the state, once at the start of a training step."""

    def remask(self) -> None:
        """Brings the weight itself back to what was promised, after the optimizer moved it."""

    def __call__(self, value: tf.Tensor, *, training: bool) -> tf.Tensor:
        """Returns the value that the forward pass sees."""
        return value

    def shortfall(self) -> str | None:
        """Says what was promised and not reached yet, or None."""
        return None
