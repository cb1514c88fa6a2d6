"""Baselines of a learned policy: rules that compare one number with a threshold.

Every rule is a table of scores (what a call to the last tier is worth, as the rule sees it, after
each tier has spoken) and a threshold for each kind of sub-task. All first climb to the tier before
the last where that is right more often than the first, since only the last tier is rationed.

=============  ==================================================================
rule           score
=============  ==================================================================
`thresholds`   1 − confidence
`knn`          mean gain of the nearest requests that are known
`agreement`    whether the two cheaper tiers disagree
`random_mix`   drawn
=============  ==================================================================

`rules` makes all of them, each at its best, for a comparison with a learned policy;
`best_behavior_policy` finds the one that learning had better start from.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfdistill.rl.budget.auction import Auction, Planner
from tfdistill.rl.budget.calibration import logits
from tfdistill.rl.budget.evaluation import batches, evaluate
from tfdistill.rl.budget.game import BudgetGame
from tfdistill.rl.budget.record import TeamRecord

__all__ = [
    "Oracle",
    "Rule",
    "agreement",
    "best_behavior_policy",
    "fixed_tier",
    "knn",
    "random_mix",
    "rules",
    "thresholds",
]


@dataclass(frozen=True, eq=False)
class Rule:
    """Calls the last tier where a score is above a threshold.

    Attributes:
        game: What is played.
        scores: float `[R, N, M]`.
        limits: Threshold of each kind of sub-task, in the order of their first sub-tasks, float
            `[S]`; or a row for each episode, `[B, S]`.
        climbs: Which sub-tasks go to the tier before the last first, bool `[N]`.
        shared: Whether all kinds have one threshold when it is tuned.
    """

    game: BudgetGame
    scores: np.ndarray
    limits: np.ndarray
    climbs: np.ndarray
    shared: bool = False

    def __call__(self, episodes: tf.Tensor) -> np.ndarray:
        """Returns what each sub-task does, int `[B, N]`."""
        now = self.game.look(episodes)
        last = self.game.num_tiers - 1
        score = np.take_along_axis(self.scores[now.request], now.tier[..., None], 2)[..., 0]
        calls = score > np.atleast_2d(self.limits)[:, _kinds(self.game.recorded)]
        more = now.round[:, None] + 1 < self.game.rounds
        climbs = self.climbs & (now.tier < last - 1) & more
        return np.where(now.closed > 0, 0, np.where(climbs, last - 1, np.where(calls, last, 0)))

    def on(self, game: BudgetGame, scores: np.ndarray) -> Rule:
        """Returns the rule with its thresholds for other requests."""
        return dataclasses.replace(self, game=game, scores=scores)

    def tuned(self, *, candidates: int = 12, sweeps: int = 2, seed: int = 0) -> Rule:
        """Returns the rule with the thresholds that score best on its own game.

        One kind of sub-task at a time, the others held; quantiles of its scores are tried, all of
        them in one go.

        Args:
            candidates: Thresholds to try for each kind.
            sweeps: How often to go through the kinds.
            seed: Seed of the batches.
        """
        dealt = batches(len(self.game.recorded), size=self.game.requests, seed=seed)
        kinds = _kinds(self.game.recorded)
        count = kinds.max() + 1
        groups = [np.arange(count)] if self.shared else [np.array([k]) for k in range(count)]
        best = np.array(self.limits, np.float64)
        for _ in range(1 if self.shared else sweeps):
            for group in groups:
                here = self.game.recorded.active[:, np.isin(kinds, group)]
                seen = self.scores[:, np.isin(kinds, group)][here]
                seen = seen[np.isfinite(seen)]
                tried = np.quantile(seen, np.linspace(0, 1, candidates)) if len(seen) else [0.0]
                tried = np.concatenate([best[group[:1]], tried, [-np.inf, np.inf]])
                limits = np.repeat(best[None], len(tried), axis=0)
                limits[:, group] = tried[:, None]
                rows = np.repeat(limits, len(dealt), axis=0)
                rule = dataclasses.replace(self, limits=rows)
                result = evaluate(self.game, rule, requests=np.tile(dealt, (len(tried), 1)))
                found = result.scores.reshape(len(tried), -1).mean(axis=1)
                best = limits[found.argmax()]
        return dataclasses.replace(self, limits=best)


def thresholds(game: BudgetGame, *, fitted: TeamRecord | None = None) -> Rule:
    """Makes the rule that distrusts low confidence, to be `tuned`.

    Args:
        game: What is played.
        fitted: Record that tells which sub-tasks climb; the game's own by default.
    """
    return _rule(game, 1.0 - game.recorded.confidence, fitted)


def random_mix(game: BudgetGame, *, fitted: TeamRecord | None = None, seed: int = 0) -> Rule:
    """Makes the rule that calls at random, to be `tuned`."""
    drawn = np.random.default_rng(seed).random(game.recorded.right.shape)
    return dataclasses.replace(_rule(game, drawn, fitted), shared=True)


def agreement(game: BudgetGame, *, fitted: TeamRecord | None = None) -> Rule:
    """Makes the rule that calls the last tier where the two tiers before it disagree.

    References:
        Kolawole et al. "Agreement-Based Cascading", 2024. https://arxiv.org/abs/2407.02348
    """
    answers, middle = game.recorded.answers, game.num_tiers - 2
    scores = np.zeros(answers.shape)
    differ = answers[..., middle] != answers[..., max(middle - 1, 0)]
    scores[..., middle] = differ & (answers[..., middle] >= 0)
    rule = _rule(game, scores, fitted)
    half = np.full_like(rule.limits, 0.5)
    return dataclasses.replace(rule, limits=half, climbs=rule.climbs | True)


def knn(game: BudgetGame, *, fitted: TeamRecord, neighbors: int = 40) -> Rule:
    """Makes the rule that asks the nearest known sub-tasks what the call brought, to be `tuned`.

    Near is near in logit confidence, logit margin and log length, each scaled to deviation 1,
    among sub-tasks of the same kind after the same tier. A game's own requests, if they are the
    known ones, are not asked about themselves.

    Args:
        game: What is played.
        fitted: The known requests.
        neighbors: How many of them are asked.

    References:
        Li. "Rethinking Predictive Modeling for LLM Routing: When Simple kNN Beats Complex Learned
        Routers", 2025. https://arxiv.org/abs/2505.12601
    """
    record, scores = game.recorded, np.zeros(game.recorded.right.shape)
    for step in dict.fromkeys(record.steps):
        here, there = (np.array(r.steps) == step for r in (record, fitted))
        known, asking = fitted.active & there, record.active & here
        for tier in range(game.num_tiers - 1):
            gain = fitted.right[known, -1].astype(float) - fitted.right[known, tier]
            old, new = _points(fitted, known, tier), _points(record, asking, tier)
            center, scale = old.mean(axis=0), old.std(axis=0) + 1e-6
            nearest = _nearest(
                (old - center) / scale,
                (new - center) / scale,
                neighbors,
                same=record is fitted,
            )
            scores[asking, tier] = gain[nearest].mean(axis=1)
    return dataclasses.replace(_rule(game, scores, fitted), shared=True)


def fixed_tier(game: BudgetGame, tier: int) -> Rule:
    """Makes the rule that always ends with a tier: the first, or the one before the last."""
    rule = _rule(game, np.zeros(game.recorded.right.shape), None)
    return dataclasses.replace(rule, climbs=np.full(len(game.recorded.fields), tier > 0))


@dataclass(frozen=True, eq=False)
class Oracle:
    """Knows what is right: the most that any policy could reach under the budget.

    Attributes:
        game: What is played.
    """

    game: BudgetGame

    def __call__(self, episodes: tf.Tensor) -> np.ndarray:
        """Returns what each sub-task does, int `[B, N]`."""
        game, now = self.game, self.game.look(episodes)
        queue = np.asarray(episodes)[:, : game.requests]
        right, active = game.recorded.right[queue], game.recorded.active[queue]
        cheap = right[..., :-1].any(axis=-1)
        useful = active & ~cheap & right[..., -1]  # [B, n, N]: a call makes it right
        if game.reward == "all-right":
            possible = (~active | cheap | right[..., -1]).all(axis=-1)
            need = useful.sum(axis=-1)
            order = np.argsort(np.where(possible, need, 99), axis=1, kind="stable")
            spent = np.cumsum(np.take_along_axis(need, order, 1), axis=1)
            paid = np.take_along_axis(possible, order, 1) & (spent <= game.calls)
            bought = np.zeros_like(possible)
            np.put_along_axis(bought, order, paid, 1)
            calls = useful & bought[..., None]
        else:
            worth = np.where(useful, 1.0 / active.sum(axis=-1, keepdims=True), 0.0)
            flat = worth.reshape(len(worth), -1)
            rank = np.argsort(np.argsort(-flat, axis=1, kind="stable"), axis=1)
            calls = ((rank < game.calls) & (flat > 0)).reshape(worth.shape)
        at = np.arange(len(queue)), np.minimum(now.position, game.requests - 1)
        tier = np.where(calls[at], game.num_tiers - 1, right[at][..., :-1].argmax(axis=-1))
        return np.where((now.closed > 0) | (tier <= now.tier), 0, tier)


def _rule(game: BudgetGame, scores: np.ndarray, fitted: TeamRecord | None) -> Rule:
    record = fitted or game.recorded
    kinds, middle = _kinds(record), game.num_tiers - 2
    climbs = np.zeros(len(game.recorded.fields), bool)
    for kind in np.unique(kinds):
        here = record.right[:, kinds == kind][record.active[:, kinds == kind]]
        climbs[_kinds(game.recorded) == kind] = here[:, middle].mean() > here[:, 0].mean()
    return Rule(game, scores, np.full(kinds.max() + 1, np.inf), climbs)


def _kinds(record: TeamRecord) -> np.ndarray:
    names = list(dict.fromkeys(record.steps))
    return np.array([names.index(step) for step in record.steps])


def _points(record: TeamRecord, rows: np.ndarray, tier: int) -> np.ndarray:
    sure, ahead = record.confidence[rows, tier], record.margin[rows, tier]
    return np.stack([logits(sure), logits(ahead), np.log1p(record.length[rows])], axis=1)


def _nearest(old: np.ndarray, new: np.ndarray, count: int, *, same: bool) -> np.ndarray:
    """Returns the rows of the nearest old points; with `same` a point is not its own neighbor."""
    count = max(min(count, len(old) - same), 1)
    found = []
    for rows in np.array_split(np.arange(len(new)), len(new) // 256 + 1):
        distance = ((new[rows, None] - old[None]) ** 2).sum(axis=-1)
        if same:
            distance[np.arange(len(rows)), rows] = np.inf
        found.append(np.argpartition(distance, count - 1, axis=1)[:, :count])
    return np.concatenate(found)


def rules(game: BudgetGame, *, known: BudgetGame) -> dict[str, Callable[[Any], Any]]:
    """Makes every rule for a game, fitted and tuned on the requests of another.

    Args:
        game: What is played.
        known: Other requests under the same budget, whose answers are known.

    Returns:
        The rules by name: the first tier, the one before the last, then the rules of `baselines`
        and `auction`, and last the oracle, which no policy can beat.
    """
    tiers, fitted = game.recorded.tiers, known.recorded
    near = knn(known, fitted=fitted).tuned()
    found: dict[str, Callable[[Any], Any]] = {tiers[0]: fixed_tier(game, 0)}
    if len(tiers) > 2:
        found[tiers[-2]] = fixed_tier(game, len(tiers) - 2)
    return found | {
        "random": random_mix(known).tuned().on(game, random_mix(game).scores),
        "thresholds": thresholds(known).tuned().on(game, thresholds(game).scores),
        "knn": near.on(game, knn(game, fitted=fitted).scores),
        "agreement": agreement(game, fitted=fitted),
        "auction": dataclasses.replace(Auction(known).tuned(), game=game),
        "planner": Planner.fit(game, known=known),
        "oracle": Oracle(game),
    }


def best_behavior_policy(
    train: BudgetGame, *, held_out: BudgetGame
) -> tuple[str, Callable[[Any], Any]]:
    """Finds the rule that does best on requests that it was not tuned on.

    Args:
        train: The requests that a learner will learn from; the rules are tuned on them.
        held_out: Other requests under the same budget.

    Returns:
        The name of the rule, and the rule for `train`.
    """
    known = train.recorded
    cut, near = thresholds(train).tuned(), knn(train, fitted=known).tuned()
    price, plan = Auction(train).tuned(), Planner.fit(train, known=train)
    here: dict[str, Callable[[Any], Any]] = {
        "thresholds": cut,
        "knn": near,
        "auction": price,
        "planner": plan,
    }
    there: dict[str, Callable[[Any], Any]] = {
        "thresholds": cut.on(held_out, thresholds(held_out).scores),
        "knn": near.on(held_out, knn(held_out, fitted=known).scores),
        "auction": dataclasses.replace(price, game=held_out),
        "planner": dataclasses.replace(plan, game=held_out),
    }
    scores = {name: evaluate(held_out, rule).score for name, rule in there.items()}
    best = max(scores, key=lambda name: scores[name])
    return best, here[best]
