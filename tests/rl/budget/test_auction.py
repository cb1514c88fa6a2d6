"""When the auction climbs to a better tier, and when it calls the last one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from tfdistill.rl.budget.auction import Auction
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
