"""One way to judge every policy: play all requests, count the calls, keep the scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfdistill.rl.budget.game import BudgetGame
from tfdistill.rl.budget.record import TeamRecord

__all__ = ["Evaluation", "batches", "cluster_interval", "evaluate"]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Is how a policy did.

    Attributes:
        requests: Which requests were played, in batches that share a budget, int `[E, n]`.
        scores: Their scores, float `[E, n]`.
        cost_ms: What their answers took, float `[E, n]`.
        calls: Calls to the last tier in each batch, int `[E]`.
        violations: Batches that called more often than they may.
    """

    requests: np.ndarray
    scores: np.ndarray
    cost_ms: np.ndarray
    calls: np.ndarray
    violations: int

    @property
    def score(self) -> float:
        """The mean score."""
        return float(self.scores.mean())

    def by_request(self, count: int) -> np.ndarray:
        """Returns the score of each request of a record of `count`, NaN if it was not played."""
        table = np.full(count, np.nan)
        table[self.requests] = self.scores
        return table


def batches(count: int, *, size: int, seed: int = 0) -> np.ndarray:
    """Puts requests into batches at random; what is left over is left out.

    Example:
        >>> batches(7, size=3).shape
        (2, 3)
    """
    order = np.random.default_rng(seed).permutation(count)
    return order[: count // size * size].reshape(-1, size)


def evaluate(
    game: BudgetGame,
    policy: Callable[[tf.Tensor], Any],
    *,
    requests: np.ndarray | None = None,
    seed: int = 0,
) -> Evaluation:
    """Plays every request once, and keeps count apart from the game.

    Args:
        game: The requests and their budget.
        policy: From episodes, int32 `[B, K]`, to actions, int `[B, N]`: a baseline, or a learner's
            `greedy`.
        requests: Batches of requests, int `[E, n]`; all requests, by default, dealt by `seed`.
        seed: Seed of the batches.

    Returns:
        What came out of it.
    """
    record = game.recorded
    if requests is None:
        requests = batches(len(record), size=game.requests, seed=seed)
    scores, cost = np.zeros(requests.shape), np.zeros(requests.shape)
    calls = np.zeros(len(requests), np.int64)
    episodes = game.of(tf.constant(requests, tf.int32))
    asked = np.zeros((len(requests), *record.right.shape[1:]), bool)
    while True:
        now = game.look(episodes)
        rows, position, before = now.request, now.position, now.tier
        running = position < game.requests
        if not running.any():
            over = int((calls > game.calls).sum())
            return Evaluation(requests, scores, cost, calls, over)
        actions = tf.cast(policy(episodes), tf.int32)
        tier, closed, called, episodes = (part.numpy() for part in game.advance(episodes, actions))
        episodes = tf.constant(episodes)
        calls += called.sum(axis=1) * running
        asked[..., 0] |= record.active[rows]
        batch, column = np.nonzero(tier != before)
        asked[batch, column, tier[batch, column]] = True
        done = running & (game.look(episodes).position > position)
        if done.any():
            at = np.flatnonzero(done), position[done]
            right = np.take_along_axis(record.right[rows], tier[..., None], 2)[..., 0]
            part = record.take(rows[done])
            given_up = (closed[done] == 2).any(axis=1)
            scores[at] = part.scores(right[done] & (closed[done] != 2), reward=game.reward)
            if game.reward == "all-right":
                scores[at] -= game.wrong_cost * ((scores[at] == 0) & ~given_up)
            cost[at] = _cost(part, asked[done])
            asked[done] = False


def _cost(record: TeamRecord, asked: np.ndarray) -> np.ndarray:
    """Adds up the milliseconds of the answers that were asked for, `[R]`; shared passes once."""
    paid = np.where(asked, record.cost_ms, 0.0)
    parts = record.parts
    return sum(paid[:, parts == part].max(axis=1).sum(axis=1) for part in np.unique(parts))


def cluster_interval(
    values: np.ndarray,
    sources: Sequence[Sequence[int]],
    *,
    draws: int = 1000,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Computes a mean and its 95 % interval when requests share sources.

    Sources are drawn with replacement; a request counts as often as its sources do together (the
    product), so that two requests made of one utterance are not taken for two witnesses.

    Args:
        values: One value per request, float `[R]`; NaN is left out.
        sources: What each request was made of.
        draws: Number of draws.
        seed: Seed of the draws.

    Returns:
        The mean and the ends of the interval.

    References:
        Davezies, D'Haultfoeuille, Guyonvarch, 2021 (product weights for multiway clusters).
        Efron, 1979.
    """
    kept = np.flatnonzero(np.isfinite(values)).tolist()
    numbers = {source: k for k, source in enumerate(sorted({s for r in kept for s in sources[r]}))}
    most = max(len(sources[row]) for row in kept)
    table = np.full((len(kept), most), len(numbers))
    for place, row in enumerate(kept):
        table[place, : len(sources[row])] = [numbers[s] for s in sources[row]]
    random, means = np.random.default_rng(seed), np.empty(draws)
    chosen = values[kept]
    for draw in range(draws):
        drawn = random.integers(len(numbers), size=len(numbers))
        times = np.bincount(drawn, minlength=len(numbers))
        weight = np.append(times, 1)[table].prod(axis=1)
        means[draw] = weight @ chosen / max(weight.sum(), 1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(chosen.mean()), float(low), float(high)
