"""Q-learning in a table: one row for each thing an agent can see."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfdistill.rl.learners.equations import chosen, masked, q_target
from tfdistill.rl.learners.learner import Learner

__all__ = ["TabularQ"]


class TabularQ(Learner):
    """Each agent keeps a table of what it saw and did, and learns by itself.

    Q(o, a) ← Q(o, a) + n^−0.6 · mean(r + gamma · max Q(o′, ·) − Q(o, a)), the mean over the turn's
    episodes that were there, n the number of turns that were: large steps first, ever smaller ones
    later, so that the average settles.

    Args:
        game: What is played; its `observation_ids` number what an agent can see.
        seed: Seed of the exploration.
        loop: `discount`, `exploration` and `num_episodes` as in `IQL`.

    Example:
        >>> from tfdistill.rl import TwoStepGame
        >>> learner = TabularQ(TwoStepGame(), seed=0)
        >>> _ = learner.train(steps=640)
        >>> learner.agent_values("2B").tolist()  # the mean over what the other one does
        [[0.5, 4.5], [0.5, 4.5]]

    References:
        Watkins, Dayan, 1992.
    """

    def __init__(self, game: Any, *, seed: int = 0, **loop: Any) -> None:
        super().__init__(game, seed=seed, **loop)
        shape = (self.num_agents, game.num_observations, game.num_actions)
        self._table = tf.Variable(tf.zeros(shape), name="table")
        self._turns_there = tf.Variable(tf.zeros(shape), name="turns_there")

    def values(self, episodes: tf.Tensor) -> tf.Tensor:
        """Returns the value of each agent's actions, float `[B, N, A]`."""
        return tf.gather_nd(self._table, self._rows(episodes))

    def joint_values(self, state: str) -> np.ndarray:
        """Returns the mean of the agents' own values of each joint action, float `[A, …, A]`."""
        values = self.agent_values(state)
        parts = np.meshgrid(*values, indexing="ij")
        return np.mean(parts, axis=0)

    def learn(
        self, before: tf.Tensor, actions: tf.Tensor, result: tuple[tf.Tensor, ...]
    ) -> tf.Tensor:
        """Moves the cells that the turn visited."""
        after, rewards, ended, _ = result
        discount = self.discount * tf.cast(~ended, tf.float32)
        following = masked(self.values(after), self.game.allowed(after))
        target = q_target(rewards[:, None], discount[:, None], following)
        error = target - chosen(self.values(before), actions)
        cells = tf.concat([self._rows(before), actions[..., None]], axis=-1)
        shape = self._table.shape
        visits = tf.scatter_nd(cells, tf.ones_like(error), shape)
        mean = tf.math.divide_no_nan(tf.scatter_nd(cells, error, shape), visits)
        self._turns_there.assign_add(tf.cast(visits > 0, tf.float32))
        self._table.assign_add(mean * tf.maximum(self._turns_there, 1.0) ** -0.6)
        return 0.5 * tf.reduce_mean(tf.square(error))

    def _rows(self, episodes: tf.Tensor) -> tf.Tensor:
        seen = self.game.observation_ids(episodes)
        agents = tf.broadcast_to(tf.range(self.num_agents)[None], tf.shape(seen))
        return tf.stack([agents, seen], axis=-1)

    def _state(self) -> dict[str, Any]:
        return {**super()._state(), "table": self._table, "turns_there": self._turns_there}
