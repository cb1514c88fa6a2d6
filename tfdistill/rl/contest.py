"""Who a learned policy is compared with, each at its best; and whom it had better start from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from tfdistill.rl.auction import Auction, Planner
from tfdistill.rl.baselines import (
    Oracle,
    agreement,
    fixed_tier,
    knn,
    random_mix,
    thresholds,
)
from tfdistill.rl.budget_game import BudgetGame
from tfdistill.rl.evaluation import evaluate

__all__ = ["best_guide", "rules"]


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


def best_guide(train: BudgetGame, *, held_out: BudgetGame) -> tuple[str, Callable[[Any], Any]]:
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
