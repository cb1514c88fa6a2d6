"""Requests in a row under one budget of calls, as tensors: what a learner plays.

An episode is `requests` requests that share `calls` calls to the last tier. The first tier has
answered everything; in each of the `rounds` of a request every open sub-task accepts its answer
(0), asks tier 1, 2, … (1, 2, …), or abstains (the last action). Nothing can overspend: what a round
asks beyond what is left is refused in the order of the sub-tasks, and those stay open.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfdistill.arguments.numeric import check_int
from tfdistill.rl.budget.calibration import Calibration
from tfdistill.rl.budget.features import gains, resources, team_features
from tfdistill.rl.budget.record import TeamRecord

__all__ = ["BudgetGame", "Situation"]


class Situation(NamedTuple):
    """What is going on in B episodes.

    Attributes:
        request: Which request of the record, `[B]`.
        position: How many requests came before, `[B]`.
        round: Rounds before this one, `[B]`.
        left: Calls to the last tier that are left, `[B]`.
        tier: Which tier's answer each sub-task has, `[B, N]`.
        closed: 0 open, 1 accepted, 2 abstained, `[B, N]`.
    """

    request: tf.Tensor
    position: tf.Tensor
    round: tf.Tensor
    left: tf.Tensor
    tier: tf.Tensor
    closed: tf.Tensor


class BudgetGame:
    """Plays recorded answers under a hard budget, for many episodes at once.

    Args:
        record: The recorded answers.
        calls: Calls to the last tier that an episode may make; at least 1.
        requests: n, requests in an episode.
        rounds: Rounds of each request.
        reward: "all-right" pays 1 for a request whose every answer is right, "mean" the fraction.
        messages: Whether the agents know each other's confidences and tiers.
        calibration: What confidences mean; by default it is fitted to `record` itself.
        wrong_cost: What a request with a wrong answer costs under "all-right"; with 0 there is
            nothing to gain by abstaining, and it is not allowed.
        relative: Whether to pay what is gained over the first tier alone. It changes no policy's
            place among the others, and most of the luck in the rewards is gone.
        practice: Whether episodes start anywhere (request, calls left) and are cut off after one
            request: all situations are then seen equally often, however wasteful the player.

    Raises:
        ValueError: If a number is out of range, or the budget does not pay for one call.
    """

    def __init__(
        self,
        record: TeamRecord,
        *,
        calls: int,
        requests: int = 1,
        rounds: int = 2,
        reward: str = "all-right",
        messages: bool = True,
        calibration: Calibration | None = None,
        wrong_cost: float = 0.0,
        relative: bool = False,
        practice: bool = False,
    ) -> None:
        _check(record, {"calls": calls, "requests": requests, "rounds": rounds}, reward, wrong_cost)
        self.recorded, self.calls, self.requests, self.rounds = record, calls, requests, rounds
        self.reward, self.messages, self.wrong_cost = reward, messages, wrong_cost
        self.relative, self.practice = relative, practice
        self.calibration = calibration or Calibration.fit(record)
        self.possible_agents = list(record.fields)
        self.num_tiers = len(record.tiers)
        self.num_actions = self.num_tiers + 1
        p = self.calibration.probabilities(record)
        own = np.arange(self.num_tiers)
        following = np.minimum(own + 1, self.num_tiers - 1)
        # For each tier that may have spoken: is it right, would the next be, would the last be.
        self.chances = np.stack([p[..., own, own], p[..., own, following], p[..., own, -1]], -1)
        self._chances = tf.constant(self.chances)
        self._right, self._active = tf.constant(record.right), tf.constant(record.active)
        self._length = tf.constant(np.log1p(record.length).astype(np.float32) / 5)
        self.width = self.requests + 3 + 2 * len(self.possible_agents)
        shapes = [(None, self.width), (None, len(self.possible_agents))]
        self.advance = tf.function(
            self._advance, input_signature=[tf.TensorSpec(shape, tf.int32) for shape in shapes]
        )
        self._first = tf.constant(record.alone(0, reward=reward) * (1 + wrong_cost) - wrong_cost)

    def start(self, count: int, seed: tf.Tensor) -> tf.Tensor:
        """Starts episodes of requests drawn at random, int32 `[B, K]`."""
        drawn = tf.random.stateless_uniform(
            [count, self.requests], seed, minval=0, maxval=len(self.recorded), dtype=tf.int32
        )
        return self.of(drawn, seed=seed if self.practice else None)

    def of(self, requests: tf.Tensor, *, seed: tf.Tensor | None = None) -> tf.Tensor:
        """Starts episodes of given requests.

        Args:
            requests: Rows of the record, int32 `[B, n]`.
            seed: Draws where each episode starts and with how many calls; None starts it at its
                first request with all calls.

        Returns:
            int32 `[B, K]`.
        """
        requests = tf.cast(requests, tf.int32)
        count = tf.shape(requests)[0]
        position, left = tf.zeros(count, tf.int32), tf.fill([count], self.calls)
        if seed is not None:
            position, left = (
                tf.random.stateless_uniform([count], seed + add, 0, most, dtype=tf.int32)
                for add, most in ((1, self.requests), (2, self.calls + 1))
            )
        return self._request_begins(requests, position, left)

    def situation(self, episodes: tf.Tensor) -> Situation:
        """Reads what is going on."""
        n, agents = self.requests, len(self.possible_agents)
        position = episodes[:, n]
        at = tf.minimum(position, n - 1)
        request = tf.gather(episodes[:, :n], at, batch_dims=1)
        tier, closed = episodes[:, n + 3 : n + 3 + agents], episodes[:, n + 3 + agents :]
        return Situation(request, position, episodes[:, n + 1], episodes[:, n + 2], tier, closed)

    def look(self, episodes: tf.Tensor | np.ndarray) -> Situation:
        """Reads what is going on, as NumPy arrays."""
        table, n, agents = np.asarray(episodes), self.requests, len(self.possible_agents)
        position = table[:, n]
        request = table[np.arange(len(table)), np.minimum(position, n - 1)]
        tier, closed = table[:, n + 3 : n + 3 + agents], table[:, n + 3 + agents :]
        return Situation(request, position, table[:, n + 1], table[:, n + 2], tier, closed)

    def allowed(self, episodes: tf.Tensor) -> tf.Tensor:
        """Returns which actions are possible, bool `[B, N, A]`; accepting always is."""
        now = self.situation(episodes)
        is_open = now.closed == 0
        choices = [tf.ones_like(is_open)]
        for tier in range(1, self.num_tiers):
            affordable = now.left > 0 if tier == self.num_tiers - 1 else now.left >= 0
            choices.append(is_open & (now.tier < tier) & affordable[:, None])
        choices.append(is_open & (self.wrong_cost > 0))
        return tf.stack(choices, axis=-1)

    def outcome(self, episodes: tf.Tensor, actions: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Carries out one round.

        Args:
            episodes: int32 `[B, K]`.
            actions: int32 `[B, N]`; what is not allowed counts as accepting.

        Returns:
            Tier and closed after it, and which sub-tasks called the last tier, each `[B, N]`.
        """
        now = self.situation(episodes)
        possible = tf.gather(self.allowed(episodes), actions, batch_dims=2)
        actions = tf.where(possible, actions, 0)
        last = self.num_tiers - 1
        asked = tf.cast(actions == last, tf.int32)
        called = (asked > 0) & (tf.cumsum(asked, axis=1, exclusive=True) < now.left[:, None])
        climbed = (actions > 0) & (actions < last)
        tier = tf.where(called, last, tf.where(climbed, actions, now.tier))
        is_open = now.closed == 0
        closed = tf.where(is_open & (actions == 0), 1, now.closed)
        return tier, tf.where(is_open & (actions == last + 1), 2, closed), called

    def play(
        self, episodes: tf.Tensor, actions: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """Plays one round in each episode.

        Args:
            episodes: int32 `[B, K]`.
            actions: int32 `[B, N]`.

        Returns:
            The episodes after it; the rewards, float `[B]`, paid when a request is done; whether
            the last request is done, bool `[B]`; whether the episode is over, bool `[B]`.
        """
        now = self.situation(episodes)
        tier, closed, called = self.outcome(episodes, actions)
        left = now.left - tf.reduce_sum(tf.cast(called, tf.int32), axis=1)
        done = tf.reduce_all(closed > 0, axis=1) | (now.round + 1 >= self.rounds)
        rewards = tf.where(done, self._scores(now.request, tier, closed), 0.0)
        queue = episodes[:, : self.requests]
        same = tf.stack([now.position, now.round + 1, left], axis=1)
        same = tf.concat([queue, same, tier, closed], axis=1)
        fresh = self._request_begins(queue, now.position + 1, left)
        ended = done & (now.position + 1 >= self.requests)
        return (
            tf.where(done[:, None], fresh, same),
            rewards,
            ended,
            done if self.practice else ended,
        )

    def _advance(self, episodes: tf.Tensor, actions: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return *self.outcome(episodes, actions), self.play(episodes, actions)[0]

    def observe(self, episodes: tf.Tensor) -> tf.Tensor:
        """Returns what each agent sees, float `[B, N, O]` (see `team_features`)."""
        now = self.situation(episodes)
        return team_features(
            self._chances_of(now),
            now.tier,
            now.closed,
            tf.gather(self._length, now.request),
            self._resources(now),
            num_tiers=self.num_tiers,
            messages=self.messages,
            size=self._size(now),
        )

    @property
    def state_dim(self) -> int:
        """Number of features of `summary`."""
        return 4 * len(self.possible_agents) + 5

    def summary(self, episodes: tf.Tensor) -> tf.Tensor:
        """Returns what the whole team knows, float `[B, 4 N + 5]`."""
        now = self.situation(episodes)
        chances = self._chances_of(now)
        gain = gains(chances[..., 0], chances[..., 2], now.closed, size=self._size(now))
        tier = tf.cast(now.tier, tf.float32) / self.num_tiers
        is_open = tf.cast(now.closed == 0, tf.float32)
        parts = [chances[..., 0], gain, tier, is_open, self._resources(now)]
        return tf.concat(parts, axis=1)

    def _chances_of(self, now: Situation) -> tf.Tensor:
        """Gathers P(right) now, of the next tier and of the last one, float `[B, N, 3]`."""
        return tf.gather(tf.gather(self._chances, now.request), now.tier, batch_dims=2)

    def _size(self, now: Situation) -> tf.Tensor | None:
        if self.reward == "all-right":
            return None
        active = tf.gather(self._active, now.request)
        return tf.reduce_sum(tf.cast(active, tf.float32), axis=1)

    def _resources(self, now: Situation) -> tf.Tensor:
        return resources(
            tf.cast(now.left, tf.float32),
            tf.cast(self.requests - now.position, tf.float32),
            tf.cast(now.round, tf.float32) / self.rounds,
            agents=len(self.possible_agents),
            calls=self.calls,
            requests=self.requests,
        )

    def _request_begins(self, queue: tf.Tensor, position: tf.Tensor, left: tf.Tensor) -> tf.Tensor:
        at = tf.minimum(position, self.requests - 1)
        active = tf.gather(self._active, tf.gather(queue, at, batch_dims=1))
        counts = tf.stack([position, tf.zeros_like(position), left], axis=1)
        closed = 1 - tf.cast(active, tf.int32)
        return tf.concat([queue, counts, tf.zeros_like(closed), closed], axis=1)

    def _scores(self, request: tf.Tensor, tier: tf.Tensor, closed: tf.Tensor) -> tf.Tensor:
        active = tf.gather(self._active, request)
        right = tf.gather(tf.gather(self._right, request), tier, batch_dims=2) & (closed != 2)
        if self.reward == "all-right":
            whole = tf.reduce_all(right | ~active, axis=1)
            kept = tf.reduce_all(closed != 2, axis=1)
            score = tf.where(whole, 1.0, tf.where(kept, -self.wrong_cost, 0.0))
        else:
            hits = tf.reduce_sum(tf.cast(right & active, tf.float32), axis=1)
            score = hits / tf.reduce_sum(tf.cast(active, tf.float32), axis=1)
        return score - tf.gather(self._first, request) if self.relative else score


def _check(record: TeamRecord, counts: dict[str, int], reward: str, wrong_cost: float) -> None:
    hint = (
        f"`calls` is a number of calls to the last tier, {record.tiers[-1]!r} of {record.tiers}; "
        "a budget below one call leaves nothing to decide."
    )
    for name, value in counts.items():
        check_int(value, argument=name, at_least=1, hint=hint if name == "calls" else "")
    if reward not in ("all-right", "mean"):
        raise ValueError(f'`reward` must be "all-right" or "mean". Received: reward={reward!r}.')
    if len(record.tiers) < 2:
        raise ValueError(f"`record` must have two or more tiers. Received: tiers={record.tiers}.")
    if not 0.0 <= wrong_cost < float("inf"):
        raise ValueError(f"`wrong_cost` must be at least 0. Received: wrong_cost={wrong_cost}.")
