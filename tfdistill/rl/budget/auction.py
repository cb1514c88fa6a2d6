"""Spending by expected gain: an auction with a price, and the exact plan for a batch.

Both first climb to a better tier that is not rationed, where it is expected to be right more often.
Then a request's gain curve G(k) says what its k best calls are expected to add to its score, and

    auction:  k = argmax  G(k) − price · k
    planner:  k = argmax  G(k) + V(requests ahead, calls left − k)

V by dynamic programming backwards over the requests of a batch: V(0, ·) = 0 and
V(t, c) = mean over known requests of max_k G(k) + V(t − 1, c − k). With probabilities that are
right, and sub-tasks that are right or wrong independently, no policy does better than the planner.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tfdistill.rl.budget.evaluation import batches, evaluate
from tfdistill.rl.budget.game import BudgetGame, Situation

__all__ = ["Auction", "Planner", "future_values", "gain_curve"]


def gain_curve(
    now: np.ndarray, last: np.ndarray, biddable: np.ndarray, *, size: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Computes what the best k calls of each request are expected to add to its score.

    Args:
        now: P(right) of each answer, 1 where there is none, float `[B, N]`.
        last: P(right) of the last tier, likewise.
        biddable: Which sub-tasks may call, bool `[B, N]`.
        size: Number of sub-tasks if the score is their mean, `[B]`; None if it is all or nothing.

    Returns:
        G(0), G(1), …, G(N), float `[B, N + 1]`; and the rank of each sub-task among the best,
        int `[B, N]`.

    Example:
        >>> curve, rank = gain_curve(
        ...     np.array([[0.5, 0.8]]), np.array([[0.9, 0.9]]), np.array([[True, True]]))
        >>> curve.round(2).tolist(), rank.tolist()
        ([[0.0, 0.32, 0.41]], [[0, 1]])
    """
    now, last = now.astype(np.float64), last.astype(np.float64)
    if size is None:
        worth = np.where(biddable, np.log(np.maximum(last, 1e-9) / np.maximum(now, 1e-9)), -np.inf)
    else:
        worth = np.where(biddable, (last - now) / size[:, None], -np.inf)
    order = np.argsort(-worth, axis=1, kind="stable")
    sums = np.cumsum(np.take_along_axis(worth, order, 1), axis=1)
    sums = np.concatenate([np.zeros((len(sums), 1)), sums], axis=1)
    curve = sums if size is not None else np.prod(now, axis=1)[:, None] * (np.exp(sums) - 1)
    curve = np.where(np.isfinite(sums), curve, -np.inf)
    return curve, np.argsort(order, axis=1)


def future_values(curves: np.ndarray, *, requests: int, calls: int) -> np.ndarray:
    """Computes V by dynamic programming.

    Args:
        curves: Gain curves of known requests, float `[R, N + 1]`.
        requests: Requests in a batch.
        calls: Calls in a batch.

    Returns:
        V, float `[requests + 1, calls + 1]`: requests ahead, calls left.

    Example:
        >>> future_values(np.array([[0.0, 1.0], [0.0, 0.0]]), requests=2, calls=1)[:, 1].tolist()
        [0.0, 0.5, 0.75]
    """
    values = np.zeros((requests + 1, calls + 1))
    for ahead in range(1, requests + 1):
        for left in range(calls + 1):
            most = min(left, curves.shape[1] - 1)
            rest = values[ahead - 1, left - np.arange(most + 1)]
            values[ahead, left] = (curves[:, : most + 1] + rest).max(axis=1).mean()
    return values


@dataclass(frozen=True, eq=False)
class Auction:
    """Gives calls to the sub-tasks that are expected to gain most, at a price.

    Attributes:
        game: What is played; its calibration says what is expected.
        price: What a call must gain at least; or one for each episode, `[B]`.
    """

    game: BudgetGame
    price: float | np.ndarray = 0.0

    def __call__(self, episodes: tf.Tensor) -> np.ndarray:
        """Returns what each sub-task does, int `[B, N]`."""
        now = self.game.look(episodes)
        count = now.tier.shape[1] + 1
        worth = -np.reshape(self.price, (-1, 1)) * np.arange(count)
        return _spend(self.game, now, worth)

    def tuned(self, *, candidates: int = 24, seed: int = 0) -> Auction:
        """Returns the auction with the price that scores best on its own game."""
        dealt = batches(len(self.game.recorded), size=self.game.requests, seed=seed)
        tried = np.concatenate([[0.0], np.geomspace(1e-3, 0.8, candidates - 1)])
        rule = dataclasses.replace(self, price=np.repeat(tried, len(dealt)))
        result = evaluate(self.game, rule, requests=np.tile(dealt, (len(tried), 1)))
        found = result.scores.reshape(len(tried), -1).mean(axis=1)
        return dataclasses.replace(self, price=float(tried[found.argmax()]))


@dataclass(frozen=True, eq=False)
class Planner:
    """Spends a batch's calls as the dynamic programme says.

    Attributes:
        game: What is played.
        values: V, float `[n + 1, calls + 1]`.
    """

    game: BudgetGame
    values: np.ndarray

    @classmethod
    def fit(cls, game: BudgetGame, *, known: BudgetGame) -> Planner:
        """Makes the plan from the requests of another game with the same budget."""
        tier = np.zeros(known.recorded.active.shape, np.int64)
        for _ in range(known.rounds - 1):
            tier = np.where(_climbs(known, np.arange(len(tier)), tier), tier + 1, tier)
        active = known.recorded.active
        curves, _ = _curves(known, np.arange(len(tier)), tier, active)
        return cls(game, future_values(curves, requests=known.requests, calls=known.calls))

    def __call__(self, episodes: tf.Tensor) -> np.ndarray:
        """Returns what each sub-task does, int `[B, N]`."""
        now = self.game.look(episodes)
        ahead = np.maximum(self.game.requests - 1 - now.position, 0)[:, None]
        after = now.left[:, None] - np.arange(now.tier.shape[1] + 1)
        worth = np.where(after >= 0, self.values[ahead, np.maximum(after, 0)], -np.inf)
        return _spend(self.game, now, worth)


def _spend(game: BudgetGame, now: Situation, worth: np.ndarray) -> np.ndarray:
    """Climbs while that is expected to help and there is a round for it, then calls."""
    is_open, more = now.closed == 0, now.round + 1 < game.rounds
    climbs = is_open & more[:, None] & _climbs(game, now.request, now.tier)
    curves, rank = _curves(game, now.request, now.tier, is_open)
    affordable = np.arange(curves.shape[1]) <= now.left[:, None]
    count = np.where(affordable, curves + worth, -np.inf).argmax(axis=1)
    calls = is_open & (rank < count[:, None]) & ~climbs.any(axis=1, keepdims=True)
    return np.where(climbs, now.tier + 1, np.where(calls, game.num_tiers - 1, 0))


def _climbs(game: BudgetGame, rows: np.ndarray, tier: np.ndarray) -> np.ndarray:
    chances = _chances(game, rows, tier)
    return (tier < game.num_tiers - 2) & (chances[..., 1] > chances[..., 0])


def _curves(
    game: BudgetGame, rows: np.ndarray, tier: np.ndarray, is_open: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    chances = _chances(game, rows, tier)
    size = None if game.reward == "all-right" else game.recorded.active[rows].sum(axis=1)
    biddable = is_open & (tier < game.num_tiers - 1)
    return gain_curve(chances[..., 0], chances[..., 2], biddable, size=size)


def _chances(game: BudgetGame, rows: np.ndarray, tier: np.ndarray) -> np.ndarray:
    return np.take_along_axis(game.chances[rows], tier[..., None, None], 2)[:, :, 0]
