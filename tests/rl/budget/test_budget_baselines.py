from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable

import numpy as np
import pytest

from tfdistill.rl.budget import baselines
from tfdistill.rl.budget.auction import Auction, Planner, future_values, gain_curve
from tfdistill.rl.budget.calibration import Calibration
from tfdistill.rl.budget.evaluation import Evaluation, batches, cluster_interval, evaluate
from tfdistill.rl.budget.game import BudgetGame
from tfdistill.rl.budget.record import TeamRecord

# Chance of being right in each of five equally likely bins of confidence.
STUDENT = np.array([0.35, 0.60, 0.80, 0.92, 0.98])
TEACHER = np.array([0.60, 0.75, 0.88, 0.95, 0.99])


def enumerate_gain(
    *, whole: bool, cost: float = 0.0, cap: int | None = None
) -> tuple[float, float]:
    """Returns what the best thresholds and the best coordinated policy reach: 3 sub-tasks.

    All 125 combinations of bins, all 6³ combinations of thresholds; a cap grants in order.
    """
    bins = np.array(list(itertools.product(range(5), repeat=3)))
    now, last = STUDENT[bins], TEACHER[bins]

    def value(calls: np.ndarray) -> np.ndarray:
        p = np.where(calls, last, now)
        return (p.prod(axis=-1) if whole else p.mean(axis=-1)) - cost * calls.sum(axis=-1)

    limits = np.array(list(itertools.product(range(6), repeat=3)))
    calls = bins[None] < limits[:, None]
    if cap is not None:
        calls &= np.cumsum(calls, axis=-1) <= cap
    thresholds = value(calls).mean(axis=1).max()
    subsets = np.array(list(itertools.product([False, True], repeat=3)))
    if cap is not None:
        subsets = subsets[subsets.sum(axis=1) <= cap]
    best = np.max([value(np.broadcast_to(s, bins.shape)) for s in subsets], axis=0).mean()
    size = None if whole else np.full(125, 3)
    curve, _ = gain_curve(now, last, np.ones_like(bins, bool), size=size)
    most = (curve - cost * np.arange(4))[:, : (3 if cap is None else cap) + 1]
    start = now.prod(axis=1) if whole else now.mean(axis=1)
    assert (start + most.max(axis=1)).mean() == pytest.approx(best, abs=1e-12)  # the auction
    return float(thresholds), float(best)


@pytest.mark.parametrize("cost", [0.02, 0.05, 0.10])
def test_coordination_is_worth_nothing_when_sub_tasks_are_paid_apart(cost: float):
    thresholds, best = enumerate_gain(whole=False, cost=cost)

    assert best - thresholds == pytest.approx(0.0, abs=1e-12)


def test_coordination_is_worth_points_under_a_hard_cap_and_all_or_nothing():
    thresholds, best = enumerate_gain(whole=True, cap=1)
    # With the bins above; no other numbers are behind it than those of the enumeration.
    assert thresholds == pytest.approx(0.4935114, abs=1e-7)
    assert best == pytest.approx(0.5059198, abs=1e-7)
    apart = enumerate_gain(whole=False, cap=1)
    assert apart[1] > apart[0]  # a shared cap couples sub-tasks that are paid apart


def test_dynamic_programming_equals_enumeration_of_all_plans():
    curves = np.array([[0.0, 0.30, 0.35], [0.0, 0.05, 0.50], [0.0, 0.0, 0.0]])
    values = future_values(curves, requests=2, calls=2)

    # With one request ahead and c calls: the mean of the best of each; with two, for each first
    # request the best number of calls by hand.
    one = [0.0, (0.30 + 0.05) / 3, (0.35 + 0.50) / 3]
    np.testing.assert_allclose(values[1], one)
    first = [max(one[2], 0.30 + one[1], 0.35), max(one[2], 0.05 + one[1], 0.50), one[2]]
    np.testing.assert_allclose(values[2, 2], np.mean(first))


@pytest.fixture(scope="module")
def games(make_record: Callable) -> dict[str, BudgetGame]:
    known, asked = make_record(1000, seed=1), make_record(800, seed=2)
    settings = {"calls": 8, "requests": 20, "calibration": Calibration.fit(known)}
    return {"known": BudgetGame(known, **settings), "asked": BudgetGame(asked, **settings)}


@pytest.fixture(scope="module")
def results(games: dict[str, BudgetGame]) -> dict[str, Evaluation]:
    known, asked = games["known"], games["asked"]
    thresholds = baselines.thresholds(known).tuned(candidates=8, sweeps=1)
    nearest = baselines.knn(known, fitted=known.recorded).tuned(candidates=8)
    fixed = baselines.knn(asked, fitted=known.recorded)
    policies = {
        "tiny": baselines.fixed_tier(asked, 0),
        "small": baselines.fixed_tier(asked, 1),
        "random": baselines.random_mix(known).tuned().on(asked, baselines.random_mix(asked).scores),
        "thresholds": thresholds.on(asked, baselines.thresholds(asked).scores),
        "knn": nearest.on(asked, fixed.scores),
        "agreement": baselines.agreement(asked),
        "auction": dataclasses.replace(Auction(known).tuned(), game=asked),
        "planner": Planner.fit(asked, known=known),
        "oracle": baselines.Oracle(asked),
    }
    return {name: evaluate(asked, policy) for name, policy in policies.items()}


def test_no_baseline_passes_the_budget(results: dict[str, Evaluation]):
    assert {name: result.violations for name, result in results.items()} == dict.fromkeys(
        results, 0
    )
    assert results["tiny"].calls.sum() == results["small"].calls.sum() == 0
    assert max(result.calls.max() for result in results.values()) == 8


def test_fixed_tiers_score_what_is_recorded(
    games: dict[str, BudgetGame], results: dict[str, Evaluation]
):
    for tier, name in enumerate(["tiny", "small"]):
        assert results[name].score == pytest.approx(games["asked"].recorded.alone(tier).mean())


def test_rules_stand_in_the_order_that_calibrated_confidences_imply(
    results: dict[str, Evaluation],
):
    score = {name: result.score for name, result in results.items()}

    assert score["tiny"] < score["small"] < score["random"] + 0.01  # a random call seldom hits
    assert score["random"] < score["thresholds"]
    assert score["agreement"] > score["small"]
    # The planner knows what the auction knows and more; 0.01 is half a standard error of 800.
    assert score["planner"] > score["auction"] - 0.01
    assert score["planner"] > score["thresholds"]
    assert score["oracle"] > max(s for name, s in score.items() if name != "oracle") + 0.1


@pytest.mark.parametrize("reward", ["all-right", "mean"])
def test_the_oracle_reaches_the_best_of_all_allocations(make_record: Callable, reward: str):
    record: TeamRecord = make_record(12, seed=5, parts=1)
    game = BudgetGame(record, calls=2, requests=3, reward=reward)
    result = evaluate(game, baselines.Oracle(game))

    cheap, last = record.right[..., :2].any(axis=-1), record.right[..., 2]
    best = []
    for batch in result.requests:
        spots = [(r, c) for r in batch for c in range(3)]
        found = []
        for count in range(3):
            for chosen in itertools.combinations(spots, count):
                right = cheap.copy()
                for spot in chosen:
                    right[spot] |= last[spot]
                found.append(record.scores(right, reward=reward)[batch].sum())
        best.append(max(found))
    np.testing.assert_allclose(result.scores.sum(axis=1), best, rtol=1e-6)


def test_an_interval_by_sources_is_as_wide_as_the_number_of_sources_says():
    random = np.random.default_rng(0)
    effect = random.normal(size=100)
    repeated = np.repeat(effect, 10)
    mean, low, high = cluster_interval(repeated, [(k,) for k in np.repeat(range(100), 10)])

    # 1.96 standard errors of 100 sources, not of 1,000 requests; 15 % for 1,000 draws of 100.
    half = 1.96 * effect.std() / 10
    assert mean == pytest.approx(repeated.mean())
    assert (high - low) / 2 == pytest.approx(half, rel=0.15)


def test_batches_use_each_request_once():
    assert sorted(batches(40, size=20, seed=1).ravel()) == list(range(40))


def test_known_requests_are_not_their_own_neighbors(make_record: Callable):
    record = make_record(60, parts=1)
    game = BudgetGame(record, calls=1)
    kept = baselines.knn(game, fitted=record, neighbors=1).scores
    copy = dataclasses.replace(record)
    leaked = baselines.knn(game, fitted=copy, neighbors=1).scores

    own = (record.right[..., 2].astype(float) - record.right[..., 0])[:, 1]
    np.testing.assert_array_equal(leaked[:, 1, 0], own)  # one neighbor: the request itself
    assert (kept[:, 1, 0] != own).any()
