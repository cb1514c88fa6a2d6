"""An agent answers with what its bundle is for: several labels by their thresholds, or a number."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shared_fixtures.typed_bundles import MOODS

from tfdistill.agents import (
    Agent,
    AgentPool,
    LabelsPrediction,
    NumberPrediction,
    UnusableTextError,
    calibrate_bundle,
    calibrate_thresholds,
)
from tfdistill.bundles import Bundle, Confidence, open_bundle, state_confidence, state_thresholds
from tfdistill.export import save_bundle
from tfdistill.serving.app import to_plain
from tfdistill.students import bag_of_words, text_encoder


def test_each_label_is_given_from_its_own_threshold_on(moods_bundle: Path):
    fun, loud, dark = Agent(moods_bundle).predict(["fun", "loud", "dark dark"])

    # Probabilities 0.75, 0.5, 0.5: joy reaches 0.5, fear not 0.8, anger not 0.7.
    assert fun.labels == ("joy",)
    np.testing.assert_allclose(fun.probabilities, (0.75, 0.5, 0.5), rtol=1e-6)
    # 0.5 is a yes for joy; anger has 0.75; fear stays below 0.8.
    assert loud.labels == ("joy", "anger")
    # Two times log 3 is a probability of 0.9.
    assert dark.labels == ("joy", "fear")
    np.testing.assert_allclose(dark.probabilities[1], 0.9, rtol=1e-6)


def test_a_text_may_have_no_label(moods_bundle: Path):
    (answer,) = Agent(moods_bundle).predict(["plain"])

    assert answer == LabelsPrediction((), answer.probabilities)
    np.testing.assert_allclose(answer.probabilities, (0.25, 0.25, 0.25), rtol=1e-6)


def test_a_number_is_told_in_units(stars_bundle: Path):
    good, bad, both = Agent(stars_bundle).predict(["good", "bad bad", "good bad plain"])

    # 3 + 2 · 0.5, 3 - 2 · 3, 3 - 2 · 1
    assert (good, bad, both) == tuple(map(NumberPrediction, (4.0, -3.0, 1.0)))


@pytest.mark.parametrize("executor", ["inline", "threads"])
@pytest.mark.parametrize("name", ["moods_bundle", "stars_bundle"])
def test_pools_give_the_same_answers(name: str, executor: str, request: pytest.FixtureRequest):
    bundle = request.getfixturevalue(name)
    texts = ["plain", "plain plain", "zebra"]
    wanted = Agent(bundle).predict(texts, return_exceptions=True)
    assert isinstance(wanted[2], UnusableTextError)

    with AgentPool(bundle, executor=executor, num_agents=2) as pool:
        found = pool.predict(texts, return_exceptions=True)
    assert found[:2] == wanted[:2] and isinstance(found[2], UnusableTextError)


@pytest.mark.ray
@pytest.mark.xdist_group("ray")
def test_a_pool_on_ray_gives_the_same_answers(
    moods_bundle: Path, stars_bundle: Path, ray_session: Any
):
    for bundle in (moods_bundle, stars_bundle):
        with AgentPool(bundle, executor="ray", num_agents=1) as pool:
            assert pool.predict(["plain"]) == Agent(bundle).predict(["plain"])


def test_answers_are_served_as_json(moods_bundle: Path, stars_bundle: Path):
    (moods,) = Agent(moods_bundle).predict(["fun"])
    (stars,) = Agent(stars_bundle).predict(["good"])

    assert to_plain(moods) == {"labels": ["joy"], "probabilities": list(moods.probabilities)}
    assert to_plain(stars) == {"value": 4.0}


def test_agents_say_what_they_are(moods_bundle: Path, stars_bundle: Path):
    assert "labels=3" in repr(Agent(moods_bundle)) and Agent(moods_bundle).task == "labels"
    assert "a number" in repr(Agent(stars_bundle)) and Agent(stars_bundle).task == "number"


def student(kind: str, outputs: int) -> Any:
    if kind == "bag":
        return bag_of_words(num_rows=300, sequence_length=6, embedding_dim=8, num_classes=outputs)
    return text_encoder(
        vocabulary_size=6, sequence_length=6, num_layers=1, hidden_dim=8, num_heads=2,
        intermediate_dim=8, num_classes=outputs, dropout=0.0,
    )  # fmt: skip


@pytest.mark.parametrize("quantize", [None, "dynamic", "int4"])
@pytest.mark.parametrize("kind", ["encoder", "bag"])
def test_a_student_of_one_output_is_exported_and_answers(
    kind: str, quantize: str | None, stars_bundle: Path, tmp_path: Path
):
    from tokenizers import Tokenizer

    model = student(kind, 1)
    tokenizer = Tokenizer.from_file(str(stars_bundle / "tokenizer.json"))
    bundle = save_bundle(
        model, tmp_path / "stars", tokenizer=tokenizer, labels=["stars"], quantize=quantize,
        task="number",
    )  # fmt: skip
    (answer,) = Agent(bundle.path).predict(["good bad"])

    ids = np.array([[2, 3, 0, 0, 0, 0]])
    wanted = float(np.asarray(model(ids))[0, 0])
    # 4 bits are 15 steps for each row of a table.
    allowed = {None: 1e-5, "dynamic": 0.05, "int4": 0.5}[quantize]
    assert answer.value == pytest.approx(wanted, abs=allowed)


@pytest.fixture
def copy(moods_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(moods_bundle, tmp_path / "moods"))


def test_thresholds_are_found_on_held_out_texts(copy: Path):
    # Probabilities of joy: 0.9, 0.75 twice, 0.25; the two of 0.75 have it and the one of 0.9, too.
    texts = ["fun fun", "fun", "fun", "plain", "dark", "dark dark", "zebra"]
    labels = [["joy"], ["joy"], ["joy"], [], ["fear"], ["fear"], ["anger"]]
    bundle = calibrate_thresholds(copy, texts, labels)

    # Joy: F1 is 1 between 0.5 and 0.75. Fear: 0.5 would take in joy's texts, 0.75 and 0.9 are
    # right. Anger is said of no text that can be read, and keeps 0.5.
    np.testing.assert_allclose(bundle.thresholds, (0.625, 0.625, 0.5), rtol=1e-6)
    assert open_bundle(copy).thresholds == bundle.thresholds
    assert "0.500 to 0.625, each label its own" in (copy / "card.md").read_text()
    answers = Agent(copy).predict(texts[:6])
    assert [list(answer.labels) for answer in answers[:3]] == [["joy", "anger"]] * 3


@pytest.mark.parametrize(
    ("texts", "labels", "error", "message"),
    [
        ("fun", [["joy"]], TypeError, "Put a single text in a list"),
        (["fun"], ["joy"], TypeError, "must be lists of names. Received: labels[0]='joy' (str)"),
        (["fun"], [], ValueError, "`labels` must be one for each text. Received: 0 labels for 1"),
        (["fun"], [["awe"]], ValueError, "of the bundle. Received: labels[0] with ['awe']"),
        (["zebra"], [["joy"]], ValueError, "`texts` must have words that the tokenizer knows"),
    ],
)
def test_held_out_rows_are_checked(
    copy: Path, texts: Any, labels: Any, error: type[Exception], message: str
):
    with pytest.raises(error, match=re.escape(message)):
        calibrate_thresholds(copy, texts, labels)
    assert open_bundle(copy).thresholds == (0.5, 0.8, 0.7)


def test_what_belongs_to_another_task_is_refused(copy: Path, stars_bundle: Path, bundle: Path):
    with pytest.raises(ValueError, match="task='class'. Received.*Call `calibrate_thresholds`"):
        calibrate_bundle(copy, ["fun"], ["joy"])
    with pytest.raises(ValueError, match="task='labels'. Received.*Call `calibrate_bundle`"):
        calibrate_thresholds(bundle, ["wheat"], [["grain"]])
    with pytest.raises(ValueError, match=r"task='class'. Received.*A number has nothing to cal"):
        calibrate_bundle(stars_bundle, ["good"], ["stars"])
    with pytest.raises(ValueError, match="`confidence` must be None for task='labels'"):
        state_confidence(copy, Confidence())
    with pytest.raises(ValueError, match="`path` must be a bundle of several labels. Received"):
        state_thresholds(stars_bundle, [0.5])


def test_a_bundle_keeps_its_task_when_the_card_is_written_anew(copy: Path):
    from tfdistill.bundles import describe_bundle

    described: Bundle = describe_bundle(copy, about={"Data": "7 texts"})
    assert described.task == "labels" and described.thresholds == (0.5, 0.8, 0.7)
    card = (copy / "card.md").read_text()
    assert "A model of several labels a text" in card and f"Labels (3): {', '.join(MOODS)}" in card
