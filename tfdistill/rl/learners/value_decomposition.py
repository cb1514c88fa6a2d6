"""Learners for teams: independent (IQL), summed (VDN) and monotonically mixed (QMIX) values.

They differ in one thing: what is compared with the team's reward. IQL compares each agent's own
value, as if the others were weather; VDN the sum of the agents' values; QMIX a learned function of
them that knows the state.
"""

from __future__ import annotations

import itertools
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdistill.rl.learners.equations import (
    chosen,
    double_q_target,
    masked,
    q_target,
    squared_td_error,
)
from tfdistill.rl.learners.learner import Learner
from tfdistill.rl.learners.networks import AgentNetworks, MonotonicMixer, SumMixer
from tfdistill.rl.learners.replay import Replay

__all__ = ["IQL", "QMIX", "VDN"]


class IQL(Learner):
    """Independent Q-learning: each agent learns the team's reward by itself.

    For agent i: Qᵢ(oᵢ, aᵢ) → r + gamma · max Qᵢ(oᵢ′, ·). The other agents are part of what it
    cannot explain, so its values are averages over what they do.

    Args:
        game: What is played: a `TableGame`, a `BudgetGame`, or what has their methods.
        seed: Seed of the weights, the exploration and the replay.
        discount: gamma, in [0, 1].
        exploration: Probability of a random action as a function of the environment steps so far;
            1 always by default.
        num_episodes: Episodes that run side by side.
        hidden_dim: Width of the agents' networks.
        shared: Whether the agents share one network.
        learning_rate: Of Adam.
        updates: Gradient steps after each turn.
        replay_turns: Turns that are kept.
        batch_turns: Turns drawn for a gradient step.
        target_period: Gradient steps between two copies into the target network.
        double_q: Whether the learned network chooses the next action and the target network only
            judges it.

    Attributes:
        network: The agents' `AgentNetworks`, as learned so far.

    Example:
        >>> from tfdistill.rl import TwoStepGame
        >>> learner = IQL(TwoStepGame(), seed=0)
        >>> learner.train(steps=64)["steps"]
        64
        >>> learner.agent_values("2B").shape
        (2, 2)

    References:
        Tan. "Multi-Agent Reinforcement Learning: Independent vs. Cooperative Agents", 1993.
    """

    mixer_class: type[keras.layers.Layer] | None = None

    def __init__(
        self,
        game: Any,
        *,
        seed: int = 0,
        hidden_dim: int = 64,
        shared: bool = True,
        learning_rate: float = 2e-3,
        updates: int = 8,
        replay_turns: int = 512,
        batch_turns: int = 4,
        target_period: int = 50,
        double_q: bool = False,
        **loop: Any,
    ) -> None:
        super().__init__(game, seed=seed, **loop)
        self.updates, self.batch_turns = updates, batch_turns
        self.target_period, self.double_q = target_period, double_q
        observed = game.observe(self._episodes)
        agents = (None, *observed.shape[1:])
        settings: dict[str, Any] = {"hidden_dim": hidden_dim, "shared": shared, "seed": seed}
        self.network, self._target_network = (
            _built(AgentNetworks(game.num_actions, **settings), agents) for _ in range(2)
        )
        self._mixer = self._target_mixer = None
        if self.mixer_class is not None:
            shapes = ((None, self.num_agents), (None, game.state_dim))
            self._mixer, self._target_mixer = (
                _built(self.mixer_class(seed=seed), *shapes) for _ in range(2)
            )
        self._optimizer = keras.optimizers.Adam(learning_rate)
        self._weights = _trained(self.network, self._mixer)
        self._target_weights = _trained(self._target_network, self._target_mixer)
        self._optimizer.build(self._weights)
        self._copy_to_target()
        self._replay = Replay(
            capacity=replay_turns,
            episodes=self.num_episodes,
            agents=self.num_agents,
            width=self._episodes.shape[1],
        )

    def values(self, episodes: tf.Tensor) -> tf.Tensor:
        """Returns the value of each agent's actions, float `[B, N, A]`."""
        return self.network(self.game.observe(episodes))

    def joint_values(self, state: str) -> np.ndarray:
        """Returns the team's value of each joint action in a named state, float `[A, …, A]`.

        IQL has none; what is returned for it is the mean of the agents' own values.

        Args:
            state: One of the game's `state_names`.
        """
        episodes = self._named(state)
        values = self.values(episodes)[0].numpy()
        agents, actions = values.shape
        joint = list(itertools.product(range(actions), repeat=agents))
        picked = np.array([values[range(agents), each] for each in joint], np.float32)
        if self._mixer is None:
            team = picked.mean(axis=1)
        else:
            known = tf.repeat(self.game.summary(episodes), len(joint), axis=0)
            team = self._mixer(tf.constant(picked), known).numpy()
        return team.reshape((actions,) * agents)

    def learn(
        self, before: tf.Tensor, actions: tf.Tensor, result: tuple[tf.Tensor, ...]
    ) -> tf.Tensor:
        """Keeps the turn, then makes `updates` gradient steps on turns that are kept."""
        self._replay.add(self._turn, before, actions, result)
        total = tf.constant(0.0)
        for update in tf.range(self.updates):
            seed = self._draw(5) + tf.stack([update * 7919, 0])
            batch = self._replay.draw(self._turn, seed, turns=self.batch_turns)
            total += self._improve(*batch)
            if self._optimizer.iterations % self.target_period == 0:
                self._copy_to_target()
        return total / float(self.updates)

    def _improve(
        self,
        before: tf.Tensor,
        actions: tf.Tensor,
        after: tf.Tensor,
        rewards: tf.Tensor,
        ended: tf.Tensor,
    ) -> tf.Tensor:
        target = self._targets(after, rewards, self.discount * tf.cast(~ended, tf.float32))
        with tf.GradientTape() as tape:
            value = chosen(self.values(before), actions)
            if self._mixer is not None:
                value = self._mixer(value, self.game.summary(before))
            loss = tf.reduce_mean(squared_td_error(value, target))
        self._optimizer.apply(tape.gradient(loss, self._weights), self._weights)
        return loss

    def _targets(self, after: tf.Tensor, rewards: tf.Tensor, discount: tf.Tensor) -> tf.Tensor:
        """Returns what the values should be: `[B, N]` for IQL, `[B]` for a team's value."""
        allowed, seen = self.game.allowed(after), self.game.observe(after)
        judged = masked(self._target_network(seen), allowed)
        selector = masked(self.network(seen), allowed) if self.double_q else judged
        if self._target_mixer is None:
            rewards, discount = rewards[:, None], discount[:, None]
            return double_q_target(rewards, discount, judged, selector)
        best = tf.argmax(selector, axis=-1, output_type=tf.int32)
        team = self._target_mixer(chosen(judged, best), self.game.summary(after))
        return q_target(rewards, discount, team[:, None])

    def _copy_to_target(self) -> None:
        for target, weight in zip(self._target_weights, self._weights, strict=True):
            target.assign(weight)

    def _state(self) -> dict[str, Any]:
        kept = {**super()._state(), **self._replay.variables}
        groups = {
            "weight": self._weights,
            "target": self._target_weights,
            "optimizer": self._optimizer.variables,
        }
        for group, variables in groups.items():
            kept |= {f"{group}_{index}": variable for index, variable in enumerate(variables)}
        return kept


class VDN(IQL):
    """Value decomposition: the team's value is the sum of the agents' values.

    Σᵢ Qᵢ(oᵢ, aᵢ) → r + gamma · Σᵢ max Qᵢ(oᵢ′, ·). The arguments are those of `IQL`.

    Example:
        >>> from tfdistill.rl import TwoStepGame
        >>> VDN(TwoStepGame(), seed=0).joint_values("2B").shape
        (2, 2)

    References:
        Sunehag et al., 2017. https://arxiv.org/abs/1706.05296
    """

    mixer_class = SumMixer


class QMIX(IQL):
    """QMIX: the team's value is a monotonic function of the agents' values that knows the state.

    The arguments are those of `IQL`.

    Example:
        >>> from tfdistill.rl import TwoStepGame
        >>> QMIX(TwoStepGame(), seed=0).joint_values("1").shape
        (2, 2)

    References:
        Rashid et al., 2018. https://arxiv.org/abs/1803.11485
    """

    mixer_class = MonotonicMixer


def _built(layer: keras.layers.Layer, *shapes: tuple) -> keras.layers.Layer:
    layer.build(*shapes)
    return layer


def _trained(*layers: keras.layers.Layer | None) -> list[keras.Variable]:
    return [variable for layer in layers if layer for variable in layer.trainable_variables]
