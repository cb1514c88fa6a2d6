"""What happened, kept for learning again: a ring of whole turns."""

from __future__ import annotations

import tensorflow as tf

__all__ = ["Replay"]


class Replay:
    """Keeps the last turns of all episodes, and draws whole turns.

    A turn is kept and drawn as a whole, because its exploration is balanced (see
    `exploration.stratified_actions`): a random part of it would bring the luck back.

    Args:
        capacity: How many turns are kept; the oldest goes first.
        episodes: B, episodes in a turn.
        agents: N.
        width: Numbers that describe an episode.
    """

    def __init__(self, *, capacity: int, episodes: int, agents: int, width: int) -> None:
        self.capacity = capacity

        def ring(*shape: int, dtype: tf.DType) -> tf.Variable:
            return tf.Variable(tf.zeros((capacity, episodes, *shape), dtype), trainable=False)

        self.before = ring(width, dtype=tf.int32)
        self.after = ring(width, dtype=tf.int32)
        self.actions = ring(agents, dtype=tf.int32)
        self.rewards = ring(dtype=tf.float32)
        self.ended = ring(dtype=tf.bool)

    @property
    def variables(self) -> dict[str, tf.Variable]:
        """The rings by name."""
        names = ("before", "after", "actions", "rewards", "ended")
        return {f"replay_{name}": getattr(self, name) for name in names}

    def add(
        self,
        turn: tf.Tensor,
        before: tf.Tensor,
        actions: tf.Tensor,
        result: tuple[tf.Tensor, ...],
    ) -> None:
        """Keeps a turn in the place of the one `capacity` turns ago."""
        place = turn % self.capacity
        self.before[place].assign(before)
        self.actions[place].assign(actions)
        self.after[place].assign(result[0])
        self.rewards[place].assign(result[1])
        self.ended[place].assign(result[2])

    def draw(self, turn: tf.Tensor, seed: tf.Tensor, *, turns: int) -> tuple[tf.Tensor, ...]:
        """Draws whole turns with replacement.

        Args:
            turn: Number of the newest turn, int32 scalar.
            seed: Two int32 numbers.
            turns: How many.

        Returns:
            Before, actions, after, rewards and ended of `turns · B` steps.
        """
        kept = tf.minimum(turn + 1, self.capacity)
        places = tf.random.stateless_uniform([turns], seed, minval=0, maxval=kept, dtype=tf.int32)
        rings = (self.before, self.actions, self.after, self.rewards, self.ended)
        drawn = [tf.gather(ring, places) for ring in rings]
        return tuple(tf.reshape(part, (-1, *part.shape[2:])) for part in drawn)
