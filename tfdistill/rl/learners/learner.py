"""The loop that all learners share: play many episodes at once, learn, repeat; compiled."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm.auto import tqdm

from tfdistill.rl.learners.equations import masked, stratified_actions, uniform_actions
from tfdistill.rl.learners.replay import read_state, write_state

__all__ = ["Learner"]

CHUNK = 25


class Learner:
    """Plays and learns by turns; what is learned is for the classes that build on this one.

    A turn is one step in each of `num_episodes` episodes that run side by side, all of it one
    compiled graph, followed by what the learner learns of it. Everything random comes from
    (`seed`, number of the turn), so a learner that is saved and loaded goes on to the bit.

    Args:
        game: What is played: a `TableGame`, a `BudgetGame`, or what has their methods.
        seed: Seed of the weights, the exploration and the replay.
        discount: gamma, in [0, 1].
        exploration: Probability of a random action as a function of the environment steps so far;
            1 always by default, which learns the values of the best policy all the same.
        num_episodes: B, the episodes that run side by side.

    Attributes:
        steps: Environment steps taken so far.
    """

    def __init__(
        self,
        game: Any,
        *,
        seed: int = 0,
        discount: float = 0.99,
        exploration: Callable[[int], float] | None = None,
        num_episodes: int = 32,
    ) -> None:
        if not 0.0 <= discount <= 1.0:
            raise ValueError(f"`discount` must be in [0, 1]. Received: discount={discount!r}.")
        if not isinstance(num_episodes, int) or num_episodes < 1:
            raise ValueError(
                f"`num_episodes` must be a positive int. Received: num_episodes={num_episodes!r}."
            )
        self.game, self.seed, self.discount = game, seed, discount
        self.exploration = exploration or (lambda steps: 1.0)
        self.num_episodes, self.num_agents = num_episodes, len(game.possible_agents)
        self._turn = tf.Variable(0, dtype=tf.int32, name="turn")
        self._episodes = tf.Variable(game.start(num_episodes, self._draw(0)), name="episodes")
        self._advance = tf.function(self._turns, jit_compile=False)

    @property
    def steps(self) -> int:
        """Environment steps taken so far."""
        return int(self._turn) * self.num_episodes

    def values(self, episodes: tf.Tensor) -> tf.Tensor:
        """Returns the value of each agent's actions, float `[B, N, A]`."""
        raise TypeError(f"{type(self).__name__} learns nothing by itself. Use IQL, VDN or QMIX.")

    def learn(
        self, before: tf.Tensor, actions: tf.Tensor, result: tuple[tf.Tensor, ...]
    ) -> tf.Tensor:
        """Learns from one turn and returns the loss, a scalar."""
        raise TypeError(f"{type(self).__name__} learns nothing by itself. Use IQL, VDN or QMIX.")

    def iterate(self, steps: int) -> Iterator[dict[str, float]]:
        """Trains for a number of environment steps and reports now and then.

        Args:
            steps: Environment steps, all episodes counted; rounded up to whole turns.

        Yields:
            `steps` so far, mean `loss` and mean `reward` per step since the last report.

        Raises:
            ValueError: If `steps` is not positive, or the values are no longer finite.
        """
        if not isinstance(steps, int) or steps < 1:
            raise ValueError(f"`steps` must be a positive int. Received: steps={steps!r}.")
        left = math.ceil(steps / self.num_episodes)
        while left:
            turns = min(CHUNK, left)
            epsilon = _probability(self.exploration(self.steps))
            loss, reward = self._advance(tf.constant(turns), tf.constant(epsilon, tf.float32))
            left -= turns
            report = {"steps": self.steps, "loss": float(loss), "reward": float(reward)}
            if not math.isfinite(report["loss"]):
                raise ValueError(
                    "The loss must be finite. Received: "
                    f"loss={report['loss']} after {self.steps} steps. Lower `learning_rate`, or "
                    "look for rewards that are not finite."
                )
            yield report

    def train(self, steps: int, *, progress: bool = False) -> dict[str, float]:
        """Trains for a number of environment steps.

        Args:
            steps: Environment steps, all episodes counted.
            progress: Whether to show a bar.

        Returns:
            The last report of `iterate`.
        """
        report: dict[str, float] = {}
        before = self.steps
        with tqdm(total=steps, disable=not progress, unit="step", desc="learning") as bar:
            for report in self.iterate(steps):
                bar.update(int(report["steps"]) - before - bar.n)
        return report

    def greedy_return(self, *, episodes: int = 1, seed: int = 0) -> float:
        """Plays without exploration.

        Args:
            episodes: How many episodes, from as many starts.
            seed: Seed of the starts.

        Returns:
            Sum of the rewards of an episode, not discounted, mean over the episodes.
        """
        state = self.game.start(episodes, tf.constant([seed, -1]))
        running, total = tf.ones(episodes, tf.bool), tf.zeros(episodes)
        while tf.reduce_any(running):
            state, rewards, _, over = self.game.play(state, self.greedy(state))
            total += tf.where(running, rewards, 0.0)
            running &= ~over
        return float(tf.reduce_mean(total))

    def greedy(self, episodes: tf.Tensor) -> tf.Tensor:
        """Returns the action that each agent values most, int32 `[B, N]`."""
        values = masked(self.values(episodes), self.game.allowed(episodes))
        return tf.argmax(values, axis=-1, output_type=tf.int32)

    def agent_values(self, state: str) -> np.ndarray:
        """Returns the value of each agent's actions in a named state, float `[N, A]`."""
        return self.values(self._named(state))[0].numpy()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes all that is needed to go on exactly: weights, optimizer, replay, episodes.

        Args:
            path: File to write, `.npz`; whole or not at all.
        """
        write_state(path, self._state(), kind=type(self).__name__)

    def load(self, path: str | os.PathLike[str]) -> None:
        """Goes on where `save` left off.

        Args:
            path: File that a learner of the same class, game and settings wrote.

        Raises:
            ValueError: If it is no such file; the learner stays as it was.
        """
        state = self._state()
        for variable, value in zip(
            state.values(), read_state(path, state, kind=type(self).__name__), strict=True
        ):
            variable.assign(value)

    def _state(self) -> dict[str, Any]:
        return {"turn": self._turn, "episodes": self._episodes}

    def _named(self, state: str) -> tf.Tensor:
        names = getattr(self.game, "state_names", ())
        if state not in names:
            raise ValueError(
                f"`state` must be one of {list(names)[:20]}. Received: state={state!r}."
            )
        return tf.constant([[names.index(state), 0]])

    def _draw(self, purpose: int) -> tf.Tensor:
        return tf.stack([self.seed, self._turn * 8 + purpose])

    def _turns(self, turns: tf.Tensor, epsilon: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        losses = rewarded = tf.constant(0.0)
        for _ in tf.range(turns):
            before = self._episodes.read_value()
            actions = self._explore(before, epsilon)
            result = self.game.play(before, actions)
            fresh = self.game.start(self.num_episodes, self._draw(3))
            self._episodes.assign(tf.where(result[3][:, None], fresh, result[0]))
            losses += self.learn(before, actions, result)
            rewarded += tf.reduce_mean(result[1])
            self._turn.assign_add(1)
        count = tf.cast(turns, tf.float32)
        return losses / count, rewarded / count

    def _explore(self, episodes: tf.Tensor, epsilon: tf.Tensor) -> tf.Tensor:
        joint_actions = self.game.num_actions**self.num_agents
        if hasattr(self.game, "strata") and joint_actions <= self.num_episodes:
            drawn = stratified_actions(
                self.game.strata(episodes),
                self._draw(1),
                num_agents=self.num_agents,
                num_actions=self.game.num_actions,
            )
        else:
            drawn = uniform_actions(self.game.allowed(episodes), self._draw(1))
        if epsilon < 1.0:
            at_random = tf.random.stateless_uniform(tf.shape(drawn), self._draw(4)) < epsilon
            drawn = tf.where(at_random, drawn, self.greedy(episodes))
        return drawn


def _probability(value: float) -> float:
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"`exploration` must return a probability in [0, 1]. Received: {value!r}.")
    return float(value)
