"""A finite game as tables: a PettingZoo environment, and many episodes at once by look-up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from gymnasium import spaces
from pettingzoo import ParallelEnv

__all__ = ["TableGame"]


class TableGame(ParallelEnv):
    """Steps a team through tables of states, rewards and ends.

    Learners use the second half (`start` to `discount`): tensors for B episodes at once. The state
    of an episode is two numbers, which state it is in and how many steps it has taken.

    Args:
        state_names: Name of each of the S states.
        rewards: What the team gets for each joint action, float `[S, A, …, A]`, one A per agent.
        following: The next state, int `[S, A, …, A]`.
        ended: Whether the game is over then, bool `[S, A, …, A]`.
        max_steps: After how many steps an episode is cut off (which is not an end: what would
            have followed keeps its value).
        observations: What each agent sees in each state, float `[S, N, O]`; the state itself,
            one-hot, by default.
        start: The first state.

    Attributes:
        state_names: Name of each state.
        num_actions: A, the same for all agents.
        num_observations: How many different things an agent can see.
        rewards: The table given.
    """

    def __init__(
        self,
        *,
        state_names: Sequence[str],
        rewards: np.ndarray,
        following: np.ndarray,
        ended: np.ndarray,
        max_steps: int,
        observations: np.ndarray | None = None,
        start: int = 0,
    ) -> None:
        num_states, self.num_actions = rewards.shape[:2]
        num_agents = rewards.ndim - 1
        self.possible_agents = [f"agent_{index}" for index in range(num_agents)]
        self.agents: list[str] = []
        self.state_names, self.rewards = tuple(state_names), rewards
        self.following, self.ended, self.max_steps = following, ended, max_steps
        if observations is None:
            seen = np.eye(num_states, dtype=np.float32)
            observations = np.repeat(seen[:, None], num_agents, axis=1)
        self.observations, self._first = observations.astype(np.float32), start
        self._state, self._taken = start, 0
        flat = self.observations.reshape(num_states * num_agents, -1)
        distinct, numbers = np.unique(flat, axis=0, return_inverse=True)
        self.num_observations = len(distinct)
        self._observed = numbers.reshape(num_states, num_agents).astype(np.int32)
        self._powers = [self.num_actions**power for power in reversed(range(num_agents))]
        self._boxes = {
            name: spaces.Box(0.0, 1.0, observations.shape[2:], np.float32)
            for name in self.possible_agents
        }
        self._choices = {name: spaces.Discrete(self.num_actions) for name in self.possible_agents}

    # PettingZoo

    def observation_space(self, agent: str) -> spaces.Box:
        """Returns what an agent may see."""
        return self._boxes[agent]

    def action_space(self, agent: str) -> spaces.Discrete:
        """Returns what an agent may do."""
        return self._choices[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, dict]]:
        """Starts an episode; nothing is random, so `seed` changes nothing."""
        self.agents = list(self.possible_agents)
        self._state, self._taken = self._first, 0
        return self._seen(), {name: {} for name in self.agents}

    def step(self, actions: dict[str, int]) -> tuple[dict, dict, dict, dict, dict]:
        """Plays one joint action.

        Args:
            actions: Action of each agent, int in [0, A).

        Returns:
            Observations, rewards, ends, cut-offs and infos, by agent.
        """
        at = (self._state, *(int(actions[name]) for name in self.possible_agents))
        self._state, self._taken = int(self.following[at]), self._taken + 1
        over = bool(self.ended[at])
        cut = not over and self._taken >= self.max_steps
        names, seen = list(self.agents), self._seen()
        if over or cut:
            self.agents = []
        reward = float(self.rewards[at])
        return (
            seen,
            dict.fromkeys(names, reward),
            dict.fromkeys(names, over),
            dict.fromkeys(names, cut),
            {name: {} for name in names},
        )

    def state(self) -> np.ndarray:
        """Returns which state it is, one-hot float `[S]`."""
        return np.eye(len(self.state_names), dtype=np.float32)[self._state]

    def _seen(self) -> dict[str, np.ndarray]:
        rows = self.observations[self._state]
        return {name: row.copy() for name, row in zip(self.possible_agents, rows, strict=True)}

    # Many episodes at once

    @property
    def state_dim(self) -> int:
        """Number of features of `summary`."""
        return len(self.state_names)

    def start(self, count: int, seed: tf.Tensor) -> tf.Tensor:
        """Starts `count` episodes: int32 `[B, 2]`, state and steps taken."""
        return tf.tile([[self._first, 0]], (count, 1))

    def observe(self, episodes: tf.Tensor) -> tf.Tensor:
        """Returns what each agent sees, float `[B, N, O]`."""
        return tf.gather(self.observations, episodes[:, 0])

    def observation_ids(self, episodes: tf.Tensor) -> tf.Tensor:
        """Returns the number of what each agent sees, int32 `[B, N]`, below `num_observations`."""
        return tf.gather(self._observed, episodes[:, 0])

    def summary(self, episodes: tf.Tensor) -> tf.Tensor:
        """Returns what the whole team knows, float `[B, S]`."""
        return tf.one_hot(episodes[:, 0], self.state_dim)

    def allowed(self, episodes: tf.Tensor) -> tf.Tensor:
        """Returns which actions are possible, bool `[B, N, A]`: all of them."""
        shape = (tf.shape(episodes)[0], len(self.possible_agents), self.num_actions)
        return tf.ones(shape, tf.bool)

    def strata(self, episodes: tf.Tensor) -> tf.Tensor:
        """Returns which episodes are alike, int32 `[B]`, for exploration without luck."""
        return episodes[:, 0]

    def play(
        self, episodes: tf.Tensor, actions: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """Plays a joint action in each episode.

        Args:
            episodes: int32 `[B, 2]`.
            actions: int32 `[B, N]`.

        Returns:
            The episodes after it; the rewards, float `[B]`; whether the game ended, bool `[B]`;
            whether it ended or was cut off, bool `[B]`.
        """
        joint = tf.reduce_sum(actions * self._powers, axis=1)
        at = tf.stack([episodes[:, 0], joint], axis=1)
        rewards, following, ended = (
            tf.gather_nd(tf.reshape(table, (len(self.state_names), -1)), at)
            for table in (self.rewards, self.following, self.ended)
        )
        taken = episodes[:, 1] + 1
        after = tf.stack([following, taken], axis=1)
        return after, rewards, ended, ended | (taken >= self.max_steps)
