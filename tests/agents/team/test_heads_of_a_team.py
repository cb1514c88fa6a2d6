"""A real team in a folder: one file with several heads, a classifier, two taggers, a verifier."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfdistill.agents import AgentPool, Budget, Plan, Span, Step, Trace, UnusableTextError, replay
from tfdistill.agents.team.folder import open_team, save_team
from tfdistill.agents.team.heads import Classifier, HeadFile
from tfdistill.agents.team.member import Question
from tfdistill.agents.team.messages import Message
from tfdistill.bundles import Confidence
from tfdistill.files.records import record_of

LENGTH = 12
TAGS = ("O", "B-crop", "I-crop", "B-fuel", "I-fuel")
COMPATIBLE = {"grain": ["crop"], "oil": ["fuel"]}
PLAN = Plan(
    steps=(
        Step("topic", kind="label"),
        Step("things", kind="spans"),
        Step("verdict", kind="verdict", reads={"topic": "label", "things": "spans"}),
    ),
    result=("topic", "things"),
)
CROPS, FUELS = ("wheat", "corn", "barley"), ("crude", "fuel", "petroleum")


@pytest.fixture(scope="module")
def two_heads(tokenizer: Any) -> Any:
    """A model whose weights are set by hand: a word's topic and tag are read from its id."""
    import keras

    size = tokenizer.get_vocab_size()
    table = np.zeros((size, 2), "float32")
    table[[tokenizer.token_to_id(word) for word in CROPS], 0] = 1.0
    table[[tokenizer.token_to_id(word) for word in FUELS], 1] = 1.0
    ids = keras.Input((LENGTH,), dtype="int32", name="ids")
    vectors = keras.layers.Embedding(size, 2, name="table")(ids)
    tags = keras.layers.Dense(5, name="things")(vectors)
    topic = keras.layers.Dense(2, name="topic")(keras.ops.max(vectors, axis=1))
    model = keras.Model(ids, {"topic": topic, "things": tags})
    model.get_layer("table").set_weights([table])
    kernel = np.array([[0, 9, 0, 0, 0], [0, 0, 0, 9, 0]], "float32")
    model.get_layer("things").set_weights([kernel, np.array([4, 0, 0, 0, 0], "float32")])
    model.get_layer("topic").set_weights([6 * np.eye(2, dtype="float32"), np.zeros(2, "float32")])
    return model


@pytest.fixture(scope="module")
def team_folder(two_heads: Any, tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tfdistill.export import to_tflite

    scratch = tmp_path_factory.mktemp("team")
    to_tflite({"all": two_heads}, scratch / "model.tflite", quantize=None)
    tokenizer.save(str(scratch / "tokenizer.json"))
    common = {"file": "small", "tier": "small", "signature": "all", "compatible": COMPATIBLE}
    team = save_team(
        scratch / "crew",
        plan=PLAN,
        files={"small": (scratch / "model.tflite", scratch / "tokenizer.json")},
        agents={
            "topic": [
                {"agent": "classifier", "name": "topics", "output": "topic", "peer": "things"}
                | {"classes": ["grain", "oil"], **common}
            ],
            "things": [
                {"agent": "tagger", "name": "tags", "output": "things", "peer": "topic"}
                | {"classes": TAGS, **common}
            ],
            "verdict": [
                {"agent": "verifier", "compatible": COMPATIBLE, "label": "topic"}
                | {"spans": "things"}
            ],
        },
        sample_text="the price of wheat",
    )
    assert team.path is not None
    return team.path


def values_of(pool: Any, texts: list[str]) -> list[Any]:
    return [result.values for result in pool.predict(texts)]


def test_a_pool_of_teams_on_threads_answers_as_one_team_does(team_folder: Path):
    texts = ["wheat prices", "crude or fuel", "corn corn barley"] * 5

    with AgentPool(team_folder, executor="threads", num_agents=2) as pool:
        assert values_of(pool, texts) == values_of(open_team(team_folder), texts)


@pytest.mark.ray
def test_a_ray_pool_of_teams_answers_as_one_team_does(ray_session: Any, team_folder: Path):
    texts = ["wheat prices", "crude or fuel", "corn corn barley"] * 5

    with AgentPool(team_folder, executor="ray", num_agents=2) as pool:
        assert values_of(pool, texts) == values_of(open_team(team_folder), texts)


@pytest.fixture
def copied(team_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(team_folder, tmp_path / "crew"))


def test_a_team_from_a_folder_answers_with_characters_of_the_raw_text(team_folder: Path):
    (result,) = open_team(team_folder).predict(["Prices:  WHEAT, barley"])

    assert result.values["topic"] == "grain"
    assert result.values["things"] == (Span(9, 14, "crop"), Span(16, 22, "crop"))
    assert result.to_json()["answer"]["things"] == [[9, 14, "crop"], [16, 22, "crop"]]
    assert replay(Trace.from_json(result.trace.to_json())) == result


def test_heads_of_one_file_read_a_text_once(team_folder: Path, monkeypatch: pytest.MonkeyPatch):
    team = open_team(team_folder)
    file = team.members["topic"][0].file
    runs = []
    run = file._interpreter.run
    monkeypatch.setattr(
        file._interpreter, "run", lambda *a, **k: (runs.append(k["signature"]), run(*a, **k))[1]
    )
    team.predict(["wheat prices", "crude prices"])

    assert runs == ["all", "all"]


def test_a_verifier_vetoes_what_does_not_go_together(team_folder: Path):
    # As much of one topic as of the other: a tie, so "grain", and one span does not go with it.
    result = open_team(team_folder, budget=Budget()).answer("wheat and crude")

    assert result.abstained == ("topic", "things")
    assert result.trace.messages[-1].value == ("topic", "things")


@pytest.mark.parametrize("text", ["", "\x00\x01", "Ω Ω Ω", "a" * 30_000])
def test_a_text_without_a_known_word_is_unusable(team_folder: Path, text: str):
    assert isinstance(open_team(team_folder).answer(text), UnusableTextError)


def test_a_tagger_that_is_told_the_label_leaves_out_what_does_not_go_with_it(team_folder: Path):
    team = open_team(team_folder)
    tagger, classifier = team.members["things"][0], team.members["topic"][0]
    hint = Message("topic", "oil", 0.9, "small", 0.1, "topics", None)
    spans = Message("things", (Span(0, 5, "fuel"),), 0.9, "small", 0.1, "tags", None)

    told = tagger.answer(Question("things", "wheat and crude", 0, {}, {"topic": hint}))
    assert told.value == (Span(10, 15, "fuel"),)
    told = classifier.answer(Question("topic", "wheat", 0, {}, {"things": spans}))
    assert (told.value, told.confidence) == ("oil", 1.0)


def test_a_calibrated_classifier_is_as_sure_as_it_was_fitted(team_folder: Path):
    file = HeadFile(team_folder / "small/model.tflite", team_folder / "small/tokenizer.json")
    settings: dict[str, Any] = {"name": "t", "tier": "small", "signature": "all"}
    settings |= {"output": "topic", "classes": ["grain", "oil"]}
    plain = Classifier(file, **settings)
    stated = Confidence(temperature=3.0, usual_unknown_share=0.2)
    told = Classifier(file, **settings, calibration=stated.to_dict())

    # Logits 6 and 0, at T = 3: 2 and 0. Of "wheat zebra" half is unknown, 0.3 more than usual.
    sure = 1 / (1 + np.exp(-2))
    answer = told.answer(Question("topic", "wheat", 0))
    assert answer.confidence == pytest.approx(sure, rel=1e-6)
    assert answer.margin == pytest.approx(2 * sure - 1, rel=1e-6)
    answer = told.answer(Question("topic", "wheat zebra", 0))
    assert answer.confidence == pytest.approx(0.625 * sure + 0.375 / 2, rel=1e-6)
    assert answer.margin == pytest.approx(0.625 * (2 * sure - 1), rel=1e-6)
    untold = plain.answer(Question("topic", "wheat zebra", 0))
    assert (untold.value, untold.confidence) == ("grain", pytest.approx(1 / (1 + np.exp(-6))))


@pytest.mark.parametrize(
    ("calibration", "error", "message"),
    [
        (1.3, TypeError, "`calibration` must be a Confidence or None. Received: calibration=1.3"),
        ({"temperature": 0}, ValueError, "`confidence` must have exactly the parts"),
    ],
)
def test_a_calibration_that_is_none_is_refused(
    team_folder: Path, calibration: Any, error: type[Exception], message: str
):
    file = HeadFile(team_folder / "small/model.tflite", team_folder / "small/tokenizer.json")
    settings: dict[str, Any] = {"name": "t", "tier": "small", "signature": "all"}
    settings |= {"output": "topic", "classes": ["grain", "oil"]}

    with pytest.raises(error, match=message):
        Classifier(file, **settings, calibration=calibration)


def test_the_confidence_of_a_tagger_is_the_product_over_the_words(team_folder: Path):
    answer = open_team(team_folder).members["things"][0].answer(Question("things", "wheat of", 0))

    wheat = np.exp(9) / (np.exp(9) + np.exp(4) + 3)
    of = np.exp(4) / (np.exp(4) + 4)
    # The file computes in float32.
    assert answer.confidence == pytest.approx(wheat * of, rel=1e-5)
    assert answer.margin == pytest.approx((np.exp(4) - 1) / (np.exp(4) + 4), rel=1e-5)


def change(folder: Path, edit: Any) -> None:
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c: c.update(kind="bundle"), "must describe a team of format 1.*'bundle'"),
        (lambda c: c.update(format=2), "must describe a team of format 1.*format 2"),
        (lambda c: c.pop("agents"), "must describe a team.*KeyError: 'agents'"),
        (lambda c: c["agents"]["topic"][0].update(agent="code"), "no agent is a 'code'"),
        (lambda c: c["agents"]["topic"][0].update(extra=1), "unexpected keyword"),
        (lambda c: c["agents"]["topic"][0].update(output="x"), "must be one of the file's outputs"),
        (lambda c: c["agents"]["topic"][0].update(classes=["a"]), "1 names for 2 classes"),
        (lambda c: c["agents"]["things"][0].update(classes=list("abcde")), "`tags` must be 'O'"),
        (lambda c: c["plan"]["steps"].pop(0), "no step produces|result must name"),
        (lambda c: c["files"].update({"../x/model.tflite": {}}), "must describe a team"),
        (lambda c: c["files"]["small/model.tflite"].update(sha256="0"), "must have the hash"),
    ],
)
def test_a_folder_that_is_no_whole_team_is_refused(copied: Path, edit: Any, message: str):
    change(copied, edit)

    with pytest.raises(ValueError, match=message):
        open_team(copied)


def test_a_file_outside_of_the_folder_is_never_opened(copied: Path, tmp_path: Path):
    outside = tmp_path / "outside.json"
    shutil.move(copied / "small" / "tokenizer.json", outside)
    (copied / "small" / "tokenizer.json").symlink_to(outside)

    with pytest.raises(ValueError, match="as a regular file .* and no link"):
        open_team(copied)


def test_a_changed_tokenizer_with_its_own_hash_is_still_only_a_tokenizer(copied: Path):
    path = copied / "small" / "tokenizer.json"
    path.write_text("{}")
    record = asdict(record_of(path))
    change(copied, lambda c: c["files"].update({"small/tokenizer.json": record}))

    with pytest.raises(ValueError, match="must be a tokenizer that"):
        open_team(copied)


def test_a_head_file_refuses_a_model_that_reads_no_token_ids(
    team_folder: Path, tmp_path: Path, tokenizer: Any
):
    import keras

    from tfdistill.export import to_tflite

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    to_tflite(model, tmp_path / "model.tflite", quantize=None)
    with pytest.raises(ValueError, match="must have a signature that reads token ids"):
        HeadFile(tmp_path / "model.tflite", team_folder / "small" / "tokenizer.json")


def test_a_saved_team_replaces_only_a_team(team_folder: Path, tmp_path: Path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "todo.txt").write_text("mine")
    agents = {"topic": []}

    with pytest.raises(FileExistsError, match="with \\['todo.txt'\\]"):
        save_team(tmp_path / "notes", plan=PLAN, files={}, agents=agents)
    with pytest.raises(ValueError, match="names of lower-case letters"):
        save_team(tmp_path / "new", plan=PLAN, files={"../x": ("a", "b")}, agents=agents)


def test_a_team_is_replaced_by_a_team(copied: Path):
    content = json.loads((copied / "manifest.json").read_text())
    pair = copied / "small" / "model.tflite", copied / "small" / "tokenizer.json"
    (copied / "old").mkdir()
    agents = content["agents"]

    team = save_team(copied, plan=PLAN, files={"small": pair}, agents=agents, sample_text="corn")
    assert team.sample_text() == "corn"
    assert sorted(path.name for path in copied.iterdir()) == ["manifest.json", "small"]


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("name", ["model.tflite", "tokenizer.json"])
def test_a_manifest_that_lists_a_file_less_is_refused(copied: Path, name: str):
    change(copied, lambda c: c["files"].pop(f"small/{name}"))
    with pytest.raises(ValueError, match=r"must describe a team of format 1.*files \["):
        open_team(copied)


def test_a_team_that_cannot_be_opened_again_leaves_the_old_one(copied: Path):
    before = contents(copied)
    content = json.loads((copied / "manifest.json").read_text())
    pair = copied / "small" / "model.tflite", copied / "small" / "tokenizer.json"
    saved = {"plan": PLAN, "files": {"small": pair}, "agents": content["agents"]}

    with pytest.raises(ValueError, match="must be at most 16777216 bytes"):
        save_team(copied, **saved, sample_text="corn" * 2**22)  # 16 MiB
    assert contents(copied) == before
    assert [path.name for path in copied.parent.iterdir()] == [copied.name]


def test_a_users_file_in_a_team_is_named_and_kept(copied: Path):
    content = json.loads((copied / "manifest.json").read_text())
    pair = copied / "small" / "model.tflite", copied / "small" / "tokenizer.json"
    (copied / "small" / "notes.txt").write_text("mine")
    before = contents(copied)

    with pytest.raises(FileExistsError, match=r"\['small/notes.txt'\] besides, which tfdistill di"):
        save_team(copied, plan=PLAN, files={"small": pair}, agents=content["agents"])
    assert contents(copied) == before


def test_a_team_does_not_replace_a_bundle(copied: Path, bundle: Path, tmp_path: Path):
    target = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    before = contents(target)
    with pytest.raises(FileExistsError, match="an existing team folder.*none that tfdistill wrote"):
        save_team(target, plan=PLAN, files={}, agents={})
    assert contents(target) == before
