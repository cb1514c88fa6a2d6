"""How state is moved inside a training step: under a strategy, and under a condition."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

__all__ = ["move_if", "move_once"]


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
