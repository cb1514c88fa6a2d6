"""`learn-policy` on a real small team: a model that reads words, and a better one above it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from tfdistill.agents import AgentPool, Budget, Plan, Step, ThresholdPolicy
from tfdistill.agents.team.folder import deploy_policy, open_team, save_team
from tfdistill.agents.team.learned_policy import LearnedPolicy
from tfdistill.cli.application import main

PLAN = Plan(steps=(Step("topic", kind="label"),), result=("topic",))
WORDS = [f"w{i}" for i in range(40)]


def run(*arguments: object):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def crew(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model knows words 0 to 29 and is unsure of the rest; the teacher knows all."""
    import keras
    import tokenizers

    from tfdistill.export import to_tflite

    folder = tmp_path_factory.mktemp("crew")
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    for name, known in (("tiny", 30), ("teacher", 40)):
        table = np.zeros((44, 2), "float32")
        for word in range(known):
            table[word + 4, word % 2] = 6.0
        table[4 + known :, 0] = 0.4  # half of what it does not know it gets wrong
        ids = keras.Input((4,), dtype="int32", name="ids")
        layer = keras.layers.Embedding(44, 2)
        model = keras.Model(ids, {"topic": keras.ops.max(layer(ids), axis=1)})
        layer.set_weights([table])
        to_tflite({"all": model}, folder / f"{name}.tflite", quantize=None)
    tiers = ("tiny", "teacher")
    common = {"agent": "classifier", "output": "topic", "signature": "all"}
    team = save_team(
        folder / "team",
        plan=PLAN,
        files={tier: (folder / f"{tier}.tflite", folder / "tokenizer.json") for tier in tiers},
        agents={
            "topic": [
                {**common, "name": tier, "tier": tier, "file": tier, "classes": ["even", "odd"]}
                for tier in tiers
            ]
        },
    )
    requests = [
        {"text": word, "values": {"topic": ("even", "odd")[i % 2]}, "sources": [i]}
        for i, word in enumerate(WORDS * 5)
    ]
    (folder / "labeled.jsonl").write_text("".join(json.dumps(r) + "\n" for r in requests))
    assert team.path is not None
    return team.path


@pytest.fixture(scope="module")
def learned(crew: Path) -> Path:
    out = crew.parent / "run"
    arguments = ("--requests", crew.parent / "labeled.jsonl", "--requests-per-budget", 10)
    arguments += ("--steps", 640)
    result = run("learn-policy", crew, *arguments, "--budget", 0.3, "--out", out)
    assert result.exit_code == 0, result.output
    return out


def test_a_policy_is_learned_compared_and_written(learned: Path):
    rows = {row["policy"]: row for row in json.loads((learned / "budget.json").read_text())["rows"]}
    mine = next(row for name, row in rows.items() if name.startswith("learned"))

    assert rows["tiny"]["score"] < mine["score"] <= rows["oracle"]["score"]
    assert all(row["violations"] == 0 and row["calls"] <= 0.3 for row in rows.values())
    assert (learned / "budget.png").read_bytes()[:4] == b"\x89PNG"
    assert LearnedPolicy(learned / "policy_0.3").tiers == ("tiny", "teacher")


def test_report_shows_what_the_budget_bought(learned: Path):
    result = run("report", learned)

    assert result.exit_code == 0
    assert "| 0.3 | thresholds |" in result.output
    assert "With 0.3 calls a request Q-learning is" in result.output
    assert json.loads(run("report", learned, "--json").output)["rows"][0]["budget"] == 0.3


@pytest.fixture(scope="module")
def deployed(crew: Path, learned: Path) -> Path:
    path = crew.parent / "deployed"
    budget = Budget(calls={"teacher": 3}, requests=10)
    deploy_policy(crew, learned / "policy_0.3", path, budget=budget)
    return path


def test_a_budget_for_a_tier_that_the_team_has_not_is_refused_and_nothing_is_written(
    crew: Path, learned: Path, deployed: Path, tmp_path: Path
):
    message = r"which are \('tiny', 'teacher'\).*no agent is of the tier 'expert'"
    wrong = Budget(calls={"expert": 0}, requests=10)
    with pytest.raises(ValueError, match=message):
        deploy_policy(crew, learned / "policy_0.3", tmp_path / "new", budget=wrong)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match=message):
        open_team(crew, budget=wrong)
    folder = Path(shutil.copytree(deployed, tmp_path / "team"))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["budget"]["calls"] = {"expert": 0}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=message):
        AgentPool(folder, executor="threads", num_agents=1)


def calls_of(path: Path, executor: str) -> list[int]:
    with AgentPool(path, executor=executor, num_agents=1) as pool:
        results = pool.predict(WORDS)
    return [sum(m.tier == "teacher" for m in result.trace.messages) for result in results]


def test_a_pool_on_threads_decides_as_the_team_does_and_counts(deployed: Path):
    team = open_team(deployed)
    assert isinstance(team.policy, LearnedPolicy)
    alone = [
        sum(m.tier == "teacher" for m in result.trace.messages) for result in team.predict(WORDS)
    ]

    assert calls_of(deployed, "threads") == alone
    assert np.reshape(alone, (4, 10)).sum(axis=1).tolist() == [0, 0, 0, 3]  # words 30 to 39 are new


@pytest.mark.ray
@pytest.mark.slow
def test_a_pool_in_ray_decides_as_the_team_does(ray_session: object, deployed: Path):
    assert calls_of(deployed, "ray") == calls_of(deployed, "threads")


def test_a_team_whose_policy_is_damaged_opens_with_thresholds_and_its_budget(
    deployed: Path, tmp_path: Path
):
    folder = Path(shutil.copytree(deployed, tmp_path / "team"))
    (folder / "policy" / "policy.tflite").write_bytes(b"nothing")

    with pytest.warns(UserWarning, match="decides by thresholds .*The budget holds as before"):
        team = open_team(folder)
    assert isinstance(team.policy, ThresholdPolicy)
    assert team.budget == Budget(calls={"teacher": 3}, requests=10)


def test_a_record_of_another_team_and_two_sources_of_requests_are_refused(
    crew: Path, learned: Path, tmp_path: Path
):
    path = tmp_path / "record.jsonl"
    lines = (learned / "record.jsonl").read_text().splitlines()
    path.write_text("\n".join([json.dumps(json.loads(lines[0]) | {"team": "other"}), *lines[1:]]))
    other = run("learn-policy", crew, "--record", path, "--budget", 1, "--out", tmp_path / "o")
    assert other.exit_code == 1
    assert "must be a record of this team" in other.output

    neither = run("learn-policy", crew, "--budget", 1, "--out", tmp_path / "o")
    assert neither.exit_code == 1
    assert "One of --requests and --record must be given" in neither.output
    few = run(
        "learn-policy",
        crew,
        "--record",
        learned / "record.jsonl",
        "--budget",
        0.01,
        "--out",
        tmp_path,
    )
    assert few.exit_code == 1
    assert "`calls` must be an int of at least 1" in few.output
    path.write_text('{"text": "w1"}\n')
    bad = run("learn-policy", crew, "--requests", path, "--budget", 1, "--out", tmp_path)
    assert "Received: line 1 of" in bad.output


def test_deploying_replaces_nothing_and_its_team_is_replaced_by_a_saved_one(
    crew: Path, learned: Path, deployed: Path, tmp_path: Path
):
    folder = Path(shutil.copytree(deployed, tmp_path / "team"))
    with pytest.raises(FileExistsError, match="`path` must be free or an empty folder"):
        deploy_policy(crew, learned / "policy_0.3", folder, budget=Budget(calls={"teacher": 3}))
    assert open_team(folder).budget.calls == {"teacher": 3}

    content = json.loads((folder / "manifest.json").read_text())
    files = {
        t: (crew / t / "model.tflite", crew / t / "tokenizer.json") for t in ("tiny", "teacher")
    }
    save_team(folder, plan=PLAN, files=files, agents=content["agents"])
    assert sorted(path.name for path in folder.iterdir()) == ["manifest.json", "teacher", "tiny"]


def test_a_deployed_team_that_cannot_be_opened_again_is_not_put_in_place(
    crew: Path, learned: Path, tmp_path: Path
):
    policy = Path(shutil.copytree(learned / "policy_0.3", tmp_path / "policy"))
    budget = Budget(calls={"teacher": 3})
    object.__setattr__(budget, "requests", "ten")  # a manifest with it does not open
    with pytest.raises(ValueError, match=r"must describe a team.*budget"):
        deploy_policy(crew, policy, tmp_path / "deployed", budget=budget)
    assert [path.name for path in tmp_path.iterdir()] == ["policy"]
