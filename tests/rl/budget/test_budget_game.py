from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from pettingzoo.test import parallel_api_test, parallel_seed_test

from tfdistill.rl.budget.env import TeamEnv
from tfdistill.rl.budget.evaluation import evaluate
from tfdistill.rl.budget.features import gains
from tfdistill.rl.budget.game import BudgetGame
from tfdistill.rl.budget.record import TeamRecord


def by_hand(**settings: Any) -> TeamEnv:
    """Two requests of two sub-tasks; tiny is always wrong, the teacher always right."""
    shape = (2, 2, 2)
    right = np.broadcast_to([False, True], shape).copy()
    record = TeamRecord(
        tiers=("tiny", "teacher"),
        fields=("intent[0]", "slots[0]"),
        active=np.array([[True, True], [True, False]]),
        right=right,
        confidence=np.full(shape, 0.5, np.float32),
        margin=np.zeros(shape, np.float32),
        cost_ms=np.broadcast_to(np.float32([1.0, 8.0]), shape).copy(),
        answers=np.zeros(shape, np.int32),
        length=np.ones((2, 2), np.int32),
        sources=((0,), (1,)),
        shares_passes=True,
    )
    return TeamEnv(record, **settings)


def act(env: TeamEnv, first: int, second: int) -> tuple[float, bool]:
    _, rewards, ended, _, _ = env.step({"intent[0]": first, "slots[0]": second})
    return rewards["intent[0]"], ended["intent[0]"]


def test_calls_are_granted_in_the_order_of_the_sub_tasks():
    env = by_hand(calls=1)
    env.reset(options={"requests": [0]})
    _, _, _, _, infos = env.step({"intent[0]": 1, "slots[0]": 1})
    now = env.look(env._episode)

    assert now.tier.tolist() == [[1, 0]]  # intent has its call; slots was refused and stays open
    assert now.closed.tolist() == [[0, 0]]
    assert now.left.tolist() == [0]
    assert infos["slots[0]"]["action_mask"].tolist() == [1, 0, 0]
    assert act(env, 0, 1) == (0.0, True)  # asking again changes nothing: slots is still wrong


def test_a_request_is_paid_when_all_of_it_is_right_and_the_next_one_begins():
    env = by_hand(calls=2, requests=2)
    env.reset(options={"requests": [0, 1]})

    assert act(env, 1, 1) == (0.0, False)
    assert act(env, 0, 0) == (1.0, False)
    now = env.look(env._episode)
    assert (now.request[0], now.position[0], now.left[0]) == (1, 1, 0)
    assert now.closed.tolist() == [[0, 1]]  # the second request has no slots
    assert act(env, 0, 0) == (0.0, True)


def test_a_mean_pays_the_fraction_and_relative_pays_the_difference_to_the_first_tier():
    mean = by_hand(calls=1, reward="mean", rounds=1)
    mean.reset(options={"requests": [0]})
    assert act(mean, 1, 0) == (0.5, True)

    relative = by_hand(calls=1, reward="mean", rounds=1, relative=True)
    relative.reset(options={"requests": [0]})
    assert act(relative, 0, 0) == (0.0, True)


def test_abstaining_is_allowed_only_where_being_wrong_costs_something():
    for action, reward in ((2, 0.0), (0, -0.5)):
        env = by_hand(calls=1, wrong_cost=0.5)
        _, infos = env.reset(options={"requests": [0]})
        assert infos["slots[0]"]["action_mask"].tolist() == [1, 1, 1]
        assert act(env, action, action) == (reward, True)
    _, infos = by_hand(calls=1).reset(seed=0)
    assert infos["intent[0]"]["action_mask"].tolist() == [1, 1, 0]


def test_practice_is_cut_off_after_a_request_and_starts_everywhere():
    env = by_hand(calls=3, requests=4, practice=True)
    episodes = env.start(200, tf.constant([0, 1]))
    now = env.look(episodes)

    assert set(now.position) == {0, 1, 2, 3}
    assert set(now.left) == {0, 1, 2, 3}
    _, _, ended, over = env.play(episodes, tf.zeros((200, 2), tf.int32))
    assert over.numpy().all()
    np.testing.assert_array_equal(ended, now.position == 3)


def test_no_policy_can_pass_the_budget_and_rewards_agree_with_a_count_by_hand(record: TeamRecord):
    game = BudgetGame(record, calls=3, requests=5, rounds=3)
    random = np.random.default_rng(0)
    paid = []

    def greedy_for_calls(episodes: tf.Tensor) -> np.ndarray:
        actions = random.integers(0, 9, (len(episodes), 5)).clip(0, 3)  # most want the teacher
        actions = np.where(actions == 3, 2, actions)
        rewards = game.play(episodes, tf.constant(actions, tf.int32))[1].numpy()
        paid.append(rewards * (game.look(episodes).position < 5))
        return actions

    result = evaluate(game, greedy_for_calls)

    assert result.violations == 0
    assert result.calls.tolist() == [3] * 80
    assert sum(map(np.sum, paid)) == result.scores.sum()


def test_shared_passes_are_paid_once(record: TeamRecord):
    game = BudgetGame(record, calls=1)
    result = evaluate(game, lambda e: np.full((len(e), 5), 1))  # all to the small tier

    parts = 1 + record.active[result.requests[:, 0]][:, 1:3].sum(axis=1)  # the whole, each part
    np.testing.assert_allclose(result.cost_ms[:, 0], 0.4 * parts, rtol=1e-6)  # 0.1 + 0.3 each


def test_the_expected_gain_is_what_a_call_adds_to_the_chance_of_the_whole():
    now, last = tf.constant([[0.5, 0.8, 1.0]]), tf.constant([[0.9, 0.9, 1.0]])
    closed = tf.constant([[0, 0, 1]])

    whole = gains(now, last, closed).numpy()
    np.testing.assert_allclose(whole, [[0.9 * 0.8 - 0.4, 0.5 * 0.9 - 0.4, 0.0]], atol=1e-6)
    mean = gains(now, last, closed, size=tf.constant([2.0])).numpy()
    np.testing.assert_allclose(mean, [[0.2, 0.05, 0.0]], atol=1e-6)


def test_without_messages_an_agent_sees_nothing_of_its_peers(make_record: Callable):
    one, other = make_record(40, seed=0), make_record(40, seed=0)
    other.confidence[:, 0] = 0.01
    kept = [0, *range(1, 40)]
    for messages, same in ((False, True), (True, False)):
        calibration = BudgetGame(one, calls=1).calibration
        seen = [
            BudgetGame(r, calls=1, messages=messages, calibration=calibration)
            for r in (one.take(kept), other.take(kept))
        ]
        views = [g.observe(g.of(tf.range(40)[:, None])).numpy()[:, 1:] for g in seen]
        assert (views[0] == views[1]).all() == same


def test_the_environment_passes_pettingzoos_tests(record: TeamRecord):
    parallel_api_test(TeamEnv(record, calls=2, requests=2), num_cycles=12)
    parallel_seed_test(lambda: TeamEnv(record.take(range(30)), calls=2, requests=2), num_cycles=8)


def test_a_budget_by_tiers_is_refused_with_the_records_tiers(record: TeamRecord):
    message = r"calls={'large': 0} \(dict\). .*'teacher' of \('tiny', 'small', 'teacher'\)"
    for made in (BudgetGame, TeamEnv):
        with pytest.raises(TypeError, match=message):
            made(record, calls={"large": 0})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"calls": 0},
            "`calls` must be an int of at least 1.*'teacher' of .*a budget below one call",
        ),
        ({"calls": 1, "requests": 0}, "`requests` must be an int of at least 1"),
        ({"calls": 1, "reward": "some"}, '`reward` must be "all-right" or "mean"'),
        ({"calls": 1, "wrong_cost": -1.0}, "`wrong_cost` must be at least 0"),
    ],
)
def test_a_wrong_setting_is_refused(settings: dict, message: str, record: TeamRecord):
    with pytest.raises(ValueError, match=message):
        BudgetGame(record, **settings)


def test_an_agent_that_is_not_in_the_team_is_refused():
    env = by_hand(calls=1)
    env.reset(seed=0)

    with pytest.raises(ValueError, match="`actions` must have one for each of .*'nobody'"):
        env.step({"intent[0]": 0, "nobody": 0})
