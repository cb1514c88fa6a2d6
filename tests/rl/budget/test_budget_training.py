from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tfdistill.agents import Answer, Plan, Question, Span, Step, Team
from tfdistill.rl import VDN, Auction, BudgetGame, LabeledRequest, TeamEnv, evaluate
from tfdistill.rl.budget.recording import team_fingerprint
from tfdistill.rl.budget.training import imitation_loss, learn_policy, policy_on

PLAN = Plan(
    steps=(
        Step("parts", kind="spans"),
        Step("intent", kind="label", reads={"parts": "spans"}, each="parts"),
    ),
    result=("parts", "intent"),
)


class Scripted:
    """Answers by a function of the text."""

    def __init__(self, name: str, kind: str, tier: str, act: Callable[[str], object]) -> None:
        self.name, self.kind, self.tier, self.act = name, kind, tier, act

    def answer(self, question: Question) -> Answer:
        return Answer(self.act(question.text), 0.75, margin=0.5, cost_ms=2.0)


def team() -> Team:
    def whole(text: str) -> tuple[Span, ...]:
        middle = text.index(" and ")
        return Span(0, middle, "part"), Span(middle + 5, len(text), "part")

    def fails(text: str) -> str:
        raise RuntimeError("broken")

    return Team(
        agents={
            "parts": [Scripted(f"{t}_parts", "spans", t, whole) for t in ("tiny", "teacher")],
            "intent": [
                Scripted("tiny_intent", "label", "tiny", fails),
                Scripted("teacher_intent", "label", "teacher", lambda text: text.split()[0]),
            ],
        },
        plan=PLAN,
    )


REQUEST = LabeledRequest(
    "play jazz and book rome",
    {
        "parts": (Span(0, 9, "part"), Span(14, 23, "part")),
        "intent[0]": "play",
        "intent[1]": "reserve",
    },
    sources=(4, 5),
)


def test_a_live_team_is_recorded_tier_by_tier(tmp_path: Path):
    crew = team()
    record = TeamEnv.record(crew, [REQUEST], tmp_path / "r.jsonl")

    assert record.fields == ("parts", "intent[0]", "intent[1]")
    assert record.right[0].tolist() == [[True, True], [False, True], [False, False]]
    assert record.confidence[0, 1].tolist() == [0.0, 0.75]  # who fails is not sure of anything
    assert record.cost_ms[0, :, 1].tolist() == [2.0, 2.0, 2.0]
    assert record.length[0].tolist() == [23, 9, 9]
    assert record.sources == ((4, 5),)
    assert record.team == team_fingerprint(team()) != team_fingerprint(other())


def other() -> Team:
    agents = dict(team().members)
    return Team(agents={**agents, "parts": agents["parts"][:1]}, plan=PLAN)


def test_a_team_that_cannot_be_recorded_is_refused_and_no_file_is_left(tmp_path: Path):
    path = tmp_path / "r.jsonl"
    with pytest.raises(ValueError, match="`team` must have the same tiers in all steps"):
        TeamEnv.record(other(), [REQUEST], path)
    with pytest.raises(ValueError, match="`requests` must have at least one request"):
        TeamEnv.record(team(), [], path)
    with pytest.raises(ValueError, match="right value of every field. Received: none for 'intent"):
        TeamEnv.record(
            team(), [LabeledRequest(REQUEST.text, {"parts": REQUEST.values["parts"]})], path
        )
    assert list(tmp_path.iterdir()) == []


def test_imitation_loss_is_the_cross_entropy_over_what_is_allowed():
    values = tf.constant([[[0.0, 0.1, 5.0]]])
    allowed = tf.constant([[[True, True, False]]])
    loss = imitation_loss(values, allowed, tf.constant([[0]]), margin=0.1)

    np.testing.assert_allclose(loss, [[np.log(1 + np.e)]], rtol=1e-6)  # logits 0 and 1


@pytest.mark.slow
def test_a_learner_keeps_at_least_what_its_behavior_policy_taught_it(make_record: Callable):
    record = make_record(500, seed=1)
    train, validation = record.split(fraction=0.6)
    settings = {"calls": 1, "requests": 1}
    drill = BudgetGame(train, practice=True, relative=True, **settings)
    judged = BudgetGame(validation, calibration=drill.calibration, **settings)
    learner, report = learn_policy(
        VDN,
        drill,
        validation=judged,
        behavior_policy=Auction(drill),
        steps=1280,
        checks=1,
        hidden_dim=32,
    )

    result = evaluate(judged, policy_on(learner, judged))
    assert result.violations == 0
    assert result.score == pytest.approx(report["validation"])
    assert report["imitated"] > 0.85
    rule = evaluate(judged, Auction(judged))
    # Of 200 requests no more than 10 differ from what the rule gets right.
    assert result.score > rule.score - 0.05


def test_a_policy_that_does_not_know_a_sub_task_is_refused(make_record: Callable):
    learner = VDN(BudgetGame(make_record(20, parts=1), calls=1))

    with pytest.raises(ValueError, match="must have the sub-tasks that the learner knows"):
        policy_on(learner, BudgetGame(make_record(20, parts=2), calls=1))
