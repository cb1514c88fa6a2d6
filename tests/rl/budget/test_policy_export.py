from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tfdistill.agents import Answer, Budget, Plan, Question, Step, Team, ThresholdPolicy
from tfdistill.agents.team.learned_policy import LearnedPolicy, open_policy
from tfdistill.rl import VDN, BudgetGame, TeamRecord, TwoStepGame, evaluate
from tfdistill.rl.budget.policy_export import export_policy
from tfdistill.rl.budget.training import policy_on

TIERS = ("tiny", "small", "teacher")
PLAN = Plan(
    steps=(Step("intent", kind="label"), Step("slots", kind="label")), result=("intent", "slots")
)


class Recorded:
    """Answers what a record says; the request's text is its number in the record."""

    kind = "label"

    def __init__(self, record: TeamRecord, step: str, tier: int) -> None:
        self.name, self.tier = f"{record.tiers[tier]}_{step}", record.tiers[tier]
        self.record, self.at = record, (record.fields.index(step), tier)

    def answer(self, question: Question) -> Answer:
        row = int(question.text.partition(" ")[0]), *self.at
        value = "right" if self.record.right[row] else "wrong"
        return Answer(value, float(self.record.confidence[row]), cost_ms=1.0)


def flat(record: TeamRecord) -> TeamRecord:
    """Keeps intent and slots of the first part, asked about requests of 11 characters."""
    columns = [record.fields.index(name) for name in ("intent[0]", "slots[0]")]
    cut = {
        name: getattr(record, name)[:, columns]
        for name in ("active", "right", "confidence", "margin", "cost_ms", "answers")
    }
    return TeamRecord(
        tiers=TIERS,
        fields=("intent", "slots"),
        length=np.full(cut["active"].shape, len("007 is here"), np.int32),
        sources=record.sources,
        **cut,
    )


def crew(record: TeamRecord, **settings: Any) -> Team:
    agents = {s: [Recorded(record, s, k) for k in range(3)] for s in ("intent", "slots")}
    return Team(agents=agents, plan=PLAN, max_rounds=2, **settings)


@pytest.fixture(scope="module")
def trained(make_record: Callable, tmp_path_factory: pytest.TempPathFactory) -> Any:
    record = flat(make_record(200, seed=3))
    game = BudgetGame(record, calls=5, requests=10)
    learner = VDN(game, seed=0, hidden_dim=16)
    learner.train(6400)
    path = tmp_path_factory.mktemp("learned") / "policy"
    export_policy(learner, path, thresholds={"intent": 0.8, "slots": 0.6})
    return record, game, learner, path


def test_the_exported_policy_does_on_the_live_team_what_was_simulated(trained: Any):
    record, game, learner, path = trained
    dealt = np.arange(200).reshape(20, 10)
    simulated = evaluate(game, policy_on(learner, game), requests=dealt)
    team = crew(
        record, policy=LearnedPolicy(path), budget=Budget(calls={"teacher": 5}, requests=10)
    )

    scores, calls = np.zeros((20, 10)), np.zeros((20, 10), int)
    for batch, place in np.ndindex(20, 10):
        result = team.predict([f"{dealt[batch, place]:03d} is here"])[0]
        scores[batch, place] = set(result.values.values()) == {"right"}
        calls[batch, place] = sum(m.tier == "teacher" for m in result.trace.messages)

    np.testing.assert_array_equal(scores, simulated.scores)
    np.testing.assert_array_equal(calls.sum(axis=1), simulated.calls)
    assert 0 < simulated.calls.sum() <= 100  # it does spend


def test_the_file_values_what_the_learner_values(trained: Any):
    record, game, learner, path = trained
    values = learner.values(game.of(tf.constant([[7] * 10])))[0].numpy()
    seen = {}

    class Spy(LearnedPolicy):
        def decide(self, views, *, board, budget):  # type: ignore[no-untyped-def]
            seen.setdefault("values", self.values(views, board=board, budget=budget))
            return super().decide(views, board=board, budget=budget)

    crew(record, policy=Spy(path), budget=Budget(calls={"teacher": 5}, requests=10)).predict(
        ["007 is here"]
    )
    # Both compute in float32; TFLite sums in another order.
    np.testing.assert_allclose(seen["values"], values, atol=1e-5)


class Greedy:
    """Wants the teacher for everything, always."""

    def decide(self, views: Any, **known: Any) -> list[str]:
        wanted = "escalate:teacher"
        return [wanted if wanted in view.choices else "accept" for view in views]


@pytest.mark.parametrize(("calls", "requests"), [(1, 1), (3, 4)])
def test_a_policy_that_always_asks_for_the_teacher_never_passes_the_budget(
    calls: int, requests: int, trained: Any
):
    team = crew(
        trained[0], policy=Greedy(), budget=Budget(calls={"teacher": calls}, requests=requests)
    )
    spent = [
        sum(m.tier == "teacher" for m in result.trace.messages)
        for result in team.predict([f"{row:03d} is here" for row in range(40)])
    ]
    by_batch = np.reshape(spent, (-1, requests)).sum(axis=1)

    assert (by_batch == calls).all()  # all of it is spent, and never more


def test_a_bad_file_leaves_thresholds_and_says_so(trained: Any, tmp_path: Path):
    content = {f.name: f.read_bytes() for f in trained[3].iterdir()}
    for name, reason in (("policy.tflite", "another hash"), ("policy.json", "Export it again")):
        folder = tmp_path / name
        folder.mkdir()
        for file, kept in content.items():
            (folder / file).write_bytes(kept)
        (folder / name).write_bytes(content[name][:-40])
        with pytest.warns(UserWarning, match=f"decides by thresholds.*{reason}"):
            policy = open_policy(folder)
        assert isinstance(policy, ThresholdPolicy)
    assert policy == ThresholdPolicy()  # policy.json could not be read
    with pytest.warns(UserWarning, match=r"\{'intent': 0.8, 'slots': 0.6\}"):
        open_policy(tmp_path / "policy.tflite")
    with pytest.warns(UserWarning, match="must hold policy.json"):
        open_policy(tmp_path / "nothing")


def test_a_policy_refuses_a_team_it_does_not_know(trained: Any):
    record, _, _, path = trained
    agents = {s: [Recorded(record, s, k) for k in (0, 2)] for s in ("intent", "slots")}

    with pytest.raises(ValueError, match="`policy` must know the team's agents"):
        Team(agents=agents, plan=PLAN, policy=LearnedPolicy(path))
    with pytest.warns(UserWarning, match="must know the team's agents"):
        open_policy(path, members=Team(agents=agents, plan=PLAN).members)


def test_only_a_team_under_a_budget_is_exported(tmp_path: Path):
    with pytest.raises(ValueError, match="must have learned a BudgetGame"):
        export_policy(VDN(TwoStepGame()), tmp_path / "policy")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    "policy", [{}, {"format": 1, "who": "may read"}, {"kind": "policy"}, {"kind": "team"}]
)
def test_a_folder_with_somebody_elses_policy_json_is_left_as_it_is(
    policy: dict[str, Any], trained: Any, tmp_path: Path
):
    target = tmp_path / "service"
    target.mkdir()
    (target / "policy.json").write_text(json.dumps(policy))
    (target / "secrets.env").write_text("TOKEN=1")
    before = contents(target)

    with pytest.raises(FileExistsError, match=r"'secrets.env'\], which is none"):
        export_policy(trained[2], target)
    assert contents(target) == before
    assert [path.name for path in tmp_path.iterdir()] == ["service"]


@pytest.mark.parametrize("kind", ["policy", None])
def test_a_policy_is_replaced_and_a_users_file_in_it_is_named_and_kept(
    kind: str | None, trained: Any, tmp_path: Path
):
    target = Path(shutil.copytree(trained[3], tmp_path / "policy"))
    content = json.loads((target / "policy.json").read_text())
    assert content.pop("kind") == "policy"
    if kind is None:  # as policies were written before they stated a kind
        (target / "policy.json").write_text(json.dumps(content))
        LearnedPolicy(target)
    export_policy(trained[2], target, thresholds={"intent": 0.5})
    assert LearnedPolicy(target).fallback == ThresholdPolicy({"intent": 0.5, "slots": 0.9})

    (target / "notes.txt").write_text("mine")
    before = contents(target)
    with pytest.raises(FileExistsError, match=r"\['notes.txt'\] besides, which tfdistill did not"):
        export_policy(trained[2], target)
    assert contents(target) == before


def test_a_policy_that_cannot_be_opened_again_leaves_the_old_one(trained: Any, tmp_path: Path):
    target = Path(shutil.copytree(trained[3], tmp_path / "policy"))
    before = contents(target)
    with pytest.raises(ValueError, match="must be at most 1048576 bytes"):
        export_policy(trained[2], target, thresholds={"x" * 2**20: 0.5})
    assert contents(target) == before


def test_a_policy_of_another_kind_is_refused(trained: Any, tmp_path: Path):
    target = Path(shutil.copytree(trained[3], tmp_path / "policy"))
    content = json.loads((target / "policy.json").read_text())
    (target / "policy.json").write_text(json.dumps({**content, "kind": "team"}))
    with pytest.raises(ValueError, match="`path` must be a policy .*of kind 'team'"):
        LearnedPolicy(target)
