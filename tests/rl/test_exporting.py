"""A learned policy as a file: the same values, the same decisions live, the budget kept."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tfdistill import rl
from tfdistill.agents import (
    Answer,
    Budget,
    LearnedPolicy,
    Plan,
    Question,
    Step,
    Team,
    ThresholdPolicy,
    open_policy,
)

FIELDS, LENGTH = ("topic", "tone", "place"), 12


def flat(record: rl.TeamRecord) -> rl.TeamRecord:
    """Three labels of one level, always there, all of the confidences different."""
    columns = [0, 1, 3]
    kept = {
        name: getattr(record, name)[:, columns]
        for name in "active right confidence margin cost_ms answers length".split()
    }
    kept["active"] = np.ones_like(kept["active"])
    whole = record.active[:, columns].all(axis=1)
    chosen = {name: value[whole] for name, value in kept.items()}
    chosen["length"][:] = LENGTH  # all three read the same text
    sources = tuple((row,) for row in range(int(whole.sum())))
    own = {"fields": FIELDS, "sources": sources, "shares_passes": False}
    return dataclasses.replace(record, **own, **chosen)


@pytest.fixture(scope="module")
def labels(record: rl.TeamRecord) -> rl.TeamRecord:
    return flat(record)


@pytest.fixture(scope="module")
def learner(labels: rl.TeamRecord) -> rl.QMIX:
    game = rl.BudgetGame(labels, calls=5, requests=10)
    learner = rl.QMIX(game, seed=0, discount=1.0, num_episodes=16)
    learner.train(steps=640)
    return learner


@pytest.fixture(scope="module")
def folder(learner: rl.QMIX, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("policy") / "policy"
    return rl.export_policy(learner, path, thresholds={"topic": 0.5, "tone": 0.5, "place": 0.5})


class Recorded:
    """An agent that answers what is recorded; the text is the number of the request."""

    kind = "label"

    def __init__(self, record: rl.TeamRecord, column: int, place: int) -> None:
        self.tier = record.tiers[place]
        self.name = f"{self.tier}_{FIELDS[column]}"
        self._record, self._at = record, (column, place)

    def answer(self, question: Question) -> Answer:
        at = int(question.text), *self._at
        right = "right" if self._record.right[at] else "wrong"
        margin = float(self._record.margin[at])
        return Answer(right, float(self._record.confidence[at]), margin)


def team_of(record: rl.TeamRecord, policy: Any, budget: Budget) -> Team:
    agents = {
        field: [Recorded(record, column, place) for place in range(len(record.tiers))]
        for column, field in enumerate(FIELDS)
    }
    plan = Plan(steps=tuple(Step(field, kind="label") for field in FIELDS), result=FIELDS)
    return Team(agents=agents, plan=plan, policy=policy, budget=budget, max_rounds=2)


def texts(numbers: Iterable[int]) -> list[str]:
    return [f"{number:0{LENGTH}d}" for number in numbers]


def calls_of(results: list) -> np.ndarray:
    """Counts the teacher's answers to each request."""
    tiers = [[message.tier for message in result.trace.messages] for result in results]
    return np.array([each.count("teacher") for each in tiers])


def test_the_file_values_what_the_learner_values(learner: rl.QMIX, folder: Path):
    game, record = learner.game, learner.game.recorded
    states = game.start(32, tf.constant([1, 2]))
    actions = tf.random.stateless_uniform((32, 3), [3, 4], 0, 3, dtype=tf.int32)
    states = tf.concat([states, game.play(states, actions)[0]], axis=0)
    expected, now = learner.values(states).numpy(), game.look(states)
    file = LearnedPolicy(folder)._file
    for row in range(len(expected)):
        request, tier = now.request[row], now.tier[row]
        inputs = {
            "confidence": record.confidence[request, np.arange(3), tier][None],
            "tier": tier[None].astype(np.int32),
            "open": (now.closed[row] == 0).astype(np.int32)[None],
            "active": np.ones((1, 3), np.int32),
            # A closed field has no text any more at run time; its length is not looked at.
            "length": record.length[request][None],
            "left": np.int32([[now.left[row]]]),
            "ahead": np.int32([[game.requests - now.position[row]]]),
            "turn": np.int32([[now.round[row]]]),
        }
        (values,) = file.run(inputs).values()
        # Three matrix products in float32, summed in another order.
        np.testing.assert_allclose(values[0], expected[row], atol=1e-4)


def test_a_live_team_scores_what_was_simulated_and_keeps_to_the_budget(
    learner: rl.QMIX, folder: Path, labels: rl.TeamRecord
):
    policy = LearnedPolicy(folder)
    assert policy.budget == Budget(calls={"teacher": 5}, requests=10)
    requests = np.arange(len(labels) // 10 * 10).reshape(-1, 10)
    simulated = rl.evaluate(learner.game, learner.greedy, requests=requests)

    results = team_of(labels, policy, policy.budget).predict(texts(requests.ravel()))

    live = np.array([set(result.values.values()) == {"right"} for result in results])
    calls = calls_of(results).reshape(-1, 10).sum(axis=1)
    np.testing.assert_array_equal(live.reshape(-1, 10), simulated.scores == 1)
    np.testing.assert_array_equal(calls, simulated.calls)
    assert calls.max() <= 5 and calls.sum() > 0


def test_whoever_always_asks_the_teacher_gets_the_calls_of_the_batch_and_no_more(labels):
    class Greedy:
        def decide(self, views, *, board, budget):
            wanted = "escalate:teacher"
            return [wanted if wanted in view.choices else "accept" for view in views]

    team = team_of(labels, Greedy(), Budget(calls={"teacher": 7}, requests=10))
    calls = calls_of(team.predict(texts(range(40)))).reshape(-1, 10)
    # Three for each of two requests and one for the third, then nothing; each batch anew.
    np.testing.assert_array_equal(calls, [[3, 3, 1] + [0] * 7] * 4)


def test_a_trace_says_what_its_own_request_had_left(labels: rl.TeamRecord):
    team = team_of(labels, ThresholdPolicy(1.0), Budget(calls={"teacher": 4}, requests=3))
    results = team.predict(texts(range(4)))
    left = [result.trace.team["budget"]["calls"]["teacher"] for result in results]
    spent = calls_of(results)
    assert left == [4, 4 - spent[0], 4 - spent[0] - spent[1], 4]


def test_a_field_that_was_not_learned_is_decided_by_the_thresholds(folder: Path, labels):
    policy = LearnedPolicy(folder)
    plan = Plan(steps=(Step("mood", kind="label"),), result=("mood",))
    agents = {"mood": [Recorded(labels, 0, place) for place in range(3)]}
    (result,) = Team(agents=agents, plan=plan, policy=policy).predict(texts([0]))
    assert result.values["mood"] in ("right", "wrong")


def damage(path: Path, **changes: Any) -> None:
    content = json.loads((path / "policy.json").read_text()) | changes
    (path / "policy.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda path: (path / "policy.tflite").write_bytes(b"x"), "must have the hash"),
        (lambda path: (path / "policy.json").write_text("[]"), "policy.json must be JSON"),
        (lambda path: damage(path, format=9), "must be a policy of format 1"),
        (lambda path: damage(path, prior=[0.5]), "must be a policy that tfdistill wrote"),
        (lambda path: damage(path, tiers=["a", "b"]), "must be a policy that tfdistill wrote"),
        (lambda path: (path / "policy.tflite").unlink(), "without policy.tflite"),
    ],
)
def test_thresholds_decide_where_the_policy_is_damaged(
    break_it: Any, message: str, learner: rl.QMIX, tmp_path: Path
):
    path = rl.export_policy(learner, tmp_path / "policy")
    break_it(path)
    with pytest.warns(RuntimeWarning, match=f"{message}.*Thresholds decide instead"):
        policy = open_policy(path)
    assert policy == ThresholdPolicy()


def test_a_learner_of_another_game_is_refused(tmp_path: Path):
    with pytest.raises(TypeError, match="must have been trained on a BudgetGame. Received: TwoS"):
        rl.export_policy(rl.IQL(rl.TwoStepGame(), seed=0), tmp_path / "policy")
    assert not (tmp_path / "policy").exists()


@pytest.mark.parametrize("requests", [0, 1.5, True])
def test_a_budget_is_shared_by_whole_requests(requests: Any):
    with pytest.raises(ValueError, match="`requests` must be an int of at least 1. Received: req"):
        Budget(requests=requests)
