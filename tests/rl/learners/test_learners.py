"""The learners find the values that the literature and closed forms give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tfdistill import rl
from tfdistill.rl.learners.learner import Learner

# What value learning must come to under uniform exploration with gamma 0.99 (the two-step game's
# table 1 and its closed forms): state 1 is 0.99 times what the best action earns afterwards.
GOLDEN = {
    "QMIX": {
        "1": [[6.93, 6.93], [7.92, 7.92]],
        "2A": [[7.0, 7.0], [7.0, 7.0]],
        "2B": [[0.0, 1.0], [1.0, 8.0]],
    },
    # The best sum: −1.5, 2.5, 2.5, 6.5; so 2B is worth 6.5 and 7 looks better.
    "VDN": {
        "1": [[6.93, 6.93], [6.435, 6.435]],
        "2A": [[7.0, 7.0], [7.0, 7.0]],
        "2B": [[-1.5, 2.5], [2.5, 6.5]],
    },
}
RETURNS = {"QMIX": 8.0, "VDN": 7.0, "IQL": 7.0, "TabularQ": 7.0}


@pytest.fixture(scope="module")
def learned() -> dict[str, Learner]:
    made = {}
    for name in RETURNS:
        made[name] = getattr(rl, name)(rl.TwoStepGame(), seed=0)
        made[name].train(steps=4000)
    return made


@pytest.mark.parametrize("name", GOLDEN)
@pytest.mark.parametrize("state", ["1", "2A", "2B"])
def test_the_team_values_of_the_two_step_game_are_the_golden_ones(learned, name: str, state: str):
    # Balanced exploration leaves no sampling error: what is left is Adam's last step.
    np.testing.assert_allclose(learned[name].joint_values(state), GOLDEN[name][state], atol=0.01)


@pytest.mark.parametrize("name", ["IQL", "TabularQ"])
def test_an_independent_agent_learns_the_mean_over_what_the_other_does(learned, name: str):
    for values in learned[name].agent_values("2B"):
        np.testing.assert_allclose(values, [0.5, 4.5], atol=0.01)


@pytest.mark.parametrize("name", RETURNS)
def test_the_greedy_team_earns_what_its_values_allow(learned, name: str):
    assert learned[name].greedy_return() == RETURNS[name]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", GOLDEN)
def test_the_golden_values_do_not_depend_on_the_seed(name: str, seed: int):
    learner = getattr(rl, name)(rl.TwoStepGame(), seed=seed)
    learner.train(steps=4000)
    for state, values in GOLDEN[name].items():
        np.testing.assert_allclose(learner.joint_values(state), values, atol=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("shared", [True, False])
def test_double_q_and_networks_of_their_own_learn_the_same_game(shared: bool):
    learner = rl.QMIX(rl.TwoStepGame(), seed=0, double_q=True, shared=shared)
    learner.train(steps=4000)

    assert learner.greedy_return() == 8.0


@pytest.mark.parametrize(
    ("game", "exploration", "expected"),
    [
        # Averages over a random partner prefer the 5; 11 is hidden behind −30.
        (rl.ClimbingGame(), None, 5.0),
        # Two equally good rows: only a partner who explores less and less tells which one.
        (rl.PenaltyGame(penalty=0), lambda steps: max(0.1, 1 - steps / 1800), 10.0),
        (rl.PenaltyGame(penalty=25), None, 2.0),
    ],
)
def test_independent_agents_reach_what_the_literature_says_of_matrix_games(
    game, exploration, expected: float
):
    learner = rl.TabularQ(game, seed=0, num_episodes=36, exploration=exploration)
    learner.train(steps=3600)

    assert learner.greedy_return() == expected


def test_a_summed_value_is_the_best_additive_fit_of_the_climbing_game():
    payoffs = np.array([[11, -30, 0], [-30, 7, 0], [0, 6, 5]], float)
    rows, columns = payoffs.mean(1), payoffs.mean(0)
    fit = rows[:, None] + columns[None] - payoffs.mean()

    assert np.unravel_index(fit.argmax(), fit.shape) == (2, 2)  # the cell that pays 5


@pytest.mark.slow
def test_vdn_reaches_that_fit():
    payoffs = np.array([[11, -30, 0], [-30, 7, 0], [0, 6, 5]], float)
    fit = payoffs.mean(1)[:, None] + payoffs.mean(0)[None] - payoffs.mean()
    learner = rl.VDN(rl.ClimbingGame(), seed=0, num_episodes=36)
    learner.train(steps=9000)

    # Of payoffs from −30 to 11.
    np.testing.assert_allclose(learner.joint_values("1"), fit, atol=0.1)
    assert learner.greedy_return() == 5.0


@pytest.mark.slow
def test_a_learner_that_was_saved_goes_on_to_the_bit(tmp_path: Path):
    whole, first, second = (rl.VDN(rl.TwoStepGame(), seed=3, updates=2) for _ in range(3))
    whole.train(steps=640)
    first.train(steps=320)
    first.save(tmp_path / "learner.npz")
    second.load(tmp_path / "learner.npz")
    second.train(steps=320)

    for name, variable in whole._state().items():
        np.testing.assert_array_equal(variable, second._state()[name], err_msg=name)
    assert second.steps == 640


def test_a_learner_of_another_kind_does_not_load(tmp_path: Path):
    table = rl.TabularQ(rl.TwoStepGame(), seed=0)
    table.save(tmp_path / "table.npz")
    other = rl.TabularQ(rl.ClimbingGame(), seed=0)

    with pytest.raises(ValueError, match="`path` must be a file of a TabularQ with the same game"):
        other.load(tmp_path / "table.npz")
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(ValueError, match="`path` must be a file that `save` wrote"):
        other.load(tmp_path / "broken.npz")
    with pytest.raises(ValueError, match=r"`path` must end in \.npz"):
        table.save(tmp_path / "table.bin")


def test_training_reports_and_counts_environment_steps():
    learner = rl.TabularQ(rl.TwoStepGame(), seed=0, num_episodes=10)
    reports = list(learner.iterate(1001))

    # 101 turns of ten episodes, reported every 25 turns.
    assert [report["steps"] for report in reports] == [250, 500, 750, 1000, 1010]
    assert learner.train(steps=1)["steps"] == learner.steps == 1020


def test_exploration_may_fade_to_the_greedy_policy():
    learner = rl.TabularQ(rl.TwoStepGame(), seed=0, exploration=lambda steps: float(steps < 2000))
    reports = list(learner.iterate(4000))

    # 7 in two steps, every time: 12 times in the 25 turns of a report.
    assert reports[-1]["reward"] == pytest.approx(7 * 12 / 25)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: rl.IQL(rl.TwoStepGame(), discount=1.2), r"`discount` must be in \[0, 1\]"),
        (lambda: rl.TabularQ(rl.TwoStepGame(), num_episodes=0), "`num_episodes` must be a pos"),
        (lambda: rl.TabularQ(rl.TwoStepGame()).train(0), "`steps` must be a positive int"),
        (lambda: rl.TabularQ(rl.TwoStepGame()).agent_values("3"), "`state` must be one of"),
        (
            lambda: rl.TabularQ(rl.TwoStepGame(), exploration=lambda steps: 2.0).train(32),
            "`exploration` must return a probability",
        ),
    ],
)
def test_bad_settings_are_refused(make, message: str):
    with pytest.raises(ValueError, match=message):
        make()


def test_rewards_that_are_not_finite_stop_the_training():
    game = rl.TwoStepGame()
    game.rewards[1] = np.nan

    with pytest.raises(ValueError, match="The loss must be finite. Received: loss=nan"):
        rl.TabularQ(game, seed=0).train(steps=640)


def test_the_class_that_only_plays_says_so():
    with pytest.raises(TypeError, match="Learner learns nothing by itself"):
        Learner(rl.TwoStepGame()).values(tf.constant([[0, 0]]))


def test_the_bar_counts_the_steps_of_this_training_alone(capsys):
    learner = rl.TabularQ(rl.TwoStepGame(), seed=0)
    learner.train(steps=320)
    learner.train(steps=640, progress=True)

    assert "640/640" in capsys.readouterr().err
