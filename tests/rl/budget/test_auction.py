"""When the auction climbs to a better tier, and when it calls the last one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from tfdistill.rl.budget.auction import Auction, Planner, gain_curve
from tfdistill.rl.budget.game import BudgetGame

CLIMB, CALL = 1, 2  # the tier before the last, and the last one, of three


def first_actions(make_record: Callable, *, rounds: int) -> np.ndarray:
    """Plays the first round of 200 requests that could pay for every call."""
    game = BudgetGame(make_record(200, seed=3), calls=5, requests=1, rounds=rounds)
    return np.asarray(Auction(game)(game.of(tf.range(200)[:, None])))


def test_in_the_last_round_nobody_climbs_because_nothing_could_follow(make_record: Callable):
    actions = first_actions(make_record, rounds=1)

    assert set(np.unique(actions)) == {0, CALL}


def test_before_the_last_round_a_request_that_climbs_does_not_call(make_record: Callable):
    actions = first_actions(make_record, rounds=2)
    climbs, calls = (actions == CLIMB).any(axis=1), (actions == CALL).any(axis=1)

    assert climbs.sum() > 100
    assert not (climbs & calls).any()


@pytest.mark.parametrize("rounds", [1, 2])
def test_a_price_above_any_gain_ends_all_calls(make_record: Callable, rounds: int):
    game = BudgetGame(make_record(50, seed=3), calls=5, requests=1, rounds=rounds)
    actions = np.asarray(Auction(game, price=1.0)(game.of(tf.range(50)[:, None])))

    assert not (actions == CALL).any()


def test_a_sub_task_that_is_closed_gets_no_call(make_record: Callable):
    game = BudgetGame(make_record(200, seed=3), calls=5, requests=1, rounds=1)
    table = np.array(game.of(tf.range(200)[:, None]))
    before = Auction(game)(table)
    table[:, -1] = 1  # the last column says whether the last sub-task is closed
    after = Auction(game)(table)

    assert (before[:, -1] == CALL).sum() > 50
    assert not after[:, -1].any()
    assert (after[:, :-1] == CALL).any()


@pytest.mark.parametrize(("size", "gain"), [(None, 0.5 * 0.8 * (0.9 / 0.8 - 1)), ([2], 0.1 / 2)])
def test_the_curve_ends_behind_the_sub_tasks_that_may_call(size: list[int] | None, gain: float):
    curve, rank = gain_curve(
        np.array([[0.5, 0.8]]),
        np.array([[0.9, 0.9]]),
        np.array([[False, True]]),
        size=None if size is None else np.array(size),
    )

    assert curve[0].tolist() == pytest.approx([0.0, gain, -np.inf])
    assert rank.tolist() == [[1, 0]]


def test_in_the_last_request_of_a_batch_the_planner_saves_nothing(make_record: Callable):
    record = make_record(200, seed=3)
    one = BudgetGame(record, calls=5, requests=1, rounds=1)
    two = BudgetGame(record, calls=5, requests=2, rounds=1)
    dear = np.array([np.zeros(6), 10.0 * np.arange(6), 20.0 * np.arange(6)])  # V of a call: 10
    first = two.of(tf.stack([tf.range(200)] * 2, axis=1))

    np.testing.assert_array_equal(
        Planner(one, dear[:2])(one.of(tf.range(200)[:, None])),
        Auction(one)(one.of(tf.range(200)[:, None])),
    )
    assert not (Planner(two, dear)(first) == CALL).any()
