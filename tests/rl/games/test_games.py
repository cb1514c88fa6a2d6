"""The games are what their papers say, and what PettingZoo expects."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf
from pettingzoo.test import parallel_api_test, parallel_seed_test

from tfdistill import rl

GAMES = {
    "two_step": rl.TwoStepGame,
    "climbing": lambda: rl.ClimbingGame(rounds=3),
    "penalty": lambda: rl.PenaltyGame(penalty=25, rounds=2),
    "switch": rl.SwitchGame,
    "three_agents": lambda: rl.MatrixGame(np.arange(8.0).reshape(2, 2, 2)),
}


@pytest.mark.parametrize("name", GAMES)
@pytest.mark.filterwarnings("ignore::UserWarning")  # the test warns of what it cannot check
def test_pettingzoo_accepts_the_game(name: str, capsys):
    parallel_api_test(GAMES[name](), num_cycles=50)
    parallel_seed_test(GAMES[name])

    assert "Passed Parallel API test" in capsys.readouterr().out


@pytest.mark.parametrize("name", GAMES)
def test_many_episodes_at_once_equal_one_at_a_time(name: str, rng):
    game, batch = GAMES[name](), GAMES[name]()
    agents = game.possible_agents
    episodes = batch.start(1, tf.constant([0, 0]))
    game.reset(seed=0)
    for _ in range(8):
        actions = rng.integers(0, game.num_actions, len(agents))
        seen, rewards, ended, cut, _ = game.step(dict(zip(agents, actions.tolist(), strict=True)))
        episodes, reward, over, stopped = batch.play(episodes, tf.constant(actions[None], tf.int32))
        assert rewards[agents[0]] == pytest.approx(float(reward[0]))
        assert (ended[agents[0]], cut[agents[0]]) == (bool(over[0]), bool(stopped[0] & ~over[0]))
        np.testing.assert_array_equal(np.stack(list(seen.values())), batch.observe(episodes)[0])
        np.testing.assert_array_equal(game.state(), batch.summary(episodes)[0])
        if not game.agents:
            break


def test_the_two_step_game_pays_what_the_paper_says():
    game = rl.TwoStepGame()

    assert game.rewards[1].tolist() == [[7, 7], [7, 7]]
    assert game.rewards[2].tolist() == [[0, 1], [1, 8]]
    assert not game.rewards[0].any() and game.following[0].tolist() == [[1, 1], [2, 2]]


def test_a_game_cut_off_is_not_ended():
    game = rl.ClimbingGame(rounds=2)
    game.reset()
    first = game.step({"agent_0": 0, "agent_1": 0})
    second = game.step({"agent_0": 0, "agent_1": 0})

    assert first[1]["agent_0"] == 11 and not first[2]["agent_0"] and not first[3]["agent_0"]
    assert not second[2]["agent_0"] and second[3]["agent_0"] and game.agents == []


def test_the_agents_can_swap_only_one_after_the_other():
    game = rl.SwitchGame(corridor=1)
    left, right, up, down, stay = range(5)
    game.reset()
    before = game.state()
    game.step({"agent_0": right, "agent_1": left})  # both want the corridor's only cell
    np.testing.assert_array_equal(before, game.state())
    # One steps aside and waits, the other passes: three steps home, and three more.
    plan = [(down, left), (stay, left), (up, up), (right, stay), (right, stay), (up, stay)]
    steps = [game.step({"agent_0": one, "agent_1": two}) for one, two in plan]

    assert [step[2]["agent_0"] for step in steps] == [False] * 5 + [True]
    assert shortest(game) == len(plan)
    # −0.1 for each agent that is not home, 5 for each that arrives.
    paid = [step[1]["agent_0"] for step in steps]
    np.testing.assert_allclose(paid, [-0.2, -0.2, 4.9, -0.1, -0.1, 5.0], atol=1e-6)


def shortest(game) -> int:
    """Breadth-first search for the least number of steps to the end."""
    layer, seen = {game._first}, set()
    for steps in itertools.count(1):
        assert layer, "there is no way"
        following = set()
        for state in layer:
            if game.ended[state].any():
                return steps
            following |= set(game.following[state].ravel().tolist())
        seen |= layer
        layer = following - seen


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: rl.MatrixGame([[1, 2, 3], [4, 5, 6]]), "`payoffs` must be a finite array"),
        (lambda: rl.MatrixGame([[1, float("nan")], [0, 0]]), "`payoffs` must be a finite array"),
        (lambda: rl.MatrixGame([[1, 0], [0, 1]], rounds=0), "`rounds` must be a positive int"),
        (lambda: rl.PenaltyGame(penalty=-1), "`penalty` must be at least 0"),
        (lambda: rl.SwitchGame(corridor=0), "`corridor` must be a positive int"),
    ],
)
def test_what_makes_no_game_is_refused(make, message: str):
    with pytest.raises(ValueError, match=message):
        make()
