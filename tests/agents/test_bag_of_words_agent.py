"""A bag of n-grams is a student like any other: saved, opened, pooled, compared and described."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shared_fixtures.agents_at_work import TOPICS, make_texts

import tfdistill as td
from tfdistill.agents import Agent, AgentPool, Classifier, HeadFile, NGrams, Tagger
from tfdistill.agents.team.member import Question
from tfdistill.files.records import record_of

LABELS = sorted(TOPICS)


@pytest.fixture(scope="session")
def ngrams() -> NGrams:
    texts, labels = make_texts(256, seed=1)
    return NGrams.fit(texts, num_rows=200, labels=labels)


@pytest.fixture(scope="session")
def bag_model(ngrams: NGrams) -> Any:
    import keras

    texts, labels = make_texts(256, seed=1)
    student = td.students.bag_of_words(
        num_rows=ngrams.num_rows,
        sequence_length=ngrams.sequence_length,
        embedding_dim=8,
        num_classes=3,
        seed=0,
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    student.compile(keras.optimizers.Adam(0.01), loss)
    y = np.array([LABELS.index(label) for label in labels])
    student.fit(ngrams.encode_batch(texts), y, batch_size=32, epochs=5, verbose=0)
    return student


@pytest.fixture(scope="session")
def bag_bundle(bag_model: Any, ngrams: NGrams, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bag") / "topics"
    return td.save_bundle(bag_model, path, tokenizer=ngrams, labels=LABELS).path


def with_tokenizer(bundle: Path, folder: Path, content: str) -> Path:
    """Copies a bundle and gives it another `tokenizer.json`, with the hash in order."""
    path = Path(shutil.copytree(bundle, folder / "changed"))
    (path / "tokenizer.json").write_text(content)
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["files"]["tokenizer.json"] = asdict(record_of(path / "tokenizer.json"))
    (path / "manifest.json").write_text(json.dumps(manifest))
    return path


def test_agent_answers_texts_that_were_not_trained_on(bag_bundle: Path):
    texts, labels = make_texts(60, seed=2)

    answers = Agent(bag_bundle).predict(texts)

    assert np.mean([a.label == label for a, label in zip(answers, labels, strict=True)]) >= 0.9


def test_agent_gives_the_logits_of_the_model(bag_bundle: Path, bag_model: Any, ngrams: NGrams):
    texts = make_texts(20, seed=3)[0]
    logits = np.asarray(bag_model(ngrams.encode_batch(texts)), np.float64)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)

    got = [answer.probabilities for answer in Agent(bag_bundle).predict(texts)]

    # The table and the kernel have 8 bits; a logit moves by some hundredths.
    np.testing.assert_allclose(got, expected, atol=0.03)


def test_text_without_a_known_ngram_is_an_error_of_its_own(bag_bundle: Path):
    answers = Agent(bag_bundle).predict(["wheat harvest", "☃"], return_exceptions=True)

    assert isinstance(answers[1], td.agents.UnusableTextError)
    assert "texts[1]" in str(answers[1])


def test_pool_on_threads_gives_the_agents_answers(bag_bundle: Path, texts: list[str]):
    with AgentPool(bag_bundle, executor="threads", num_agents=2) as pool:
        assert pool.predict(texts) == Agent(bag_bundle).predict(texts)


@pytest.mark.ray
def test_pool_on_ray_gives_the_agents_answers(bag_bundle: Path, texts: list[str], ray_session: Any):
    with AgentPool(bag_bundle, executor="ray", num_agents=1) as pool:
        assert pool.predict(texts) == Agent(bag_bundle).predict(texts)


def test_agent_has_a_text_to_measure_time_with(bag_bundle: Path):
    agent = Agent(bag_bundle)

    assert isinstance(agent.answer(agent.sample_text() or ""), td.agents.Prediction)


def test_file_agrees_with_the_model(bag_bundle: Path, bag_model: Any, ngrams: NGrams):
    texts, labels = make_texts(60, seed=2)
    y = np.array([LABELS.index(label) for label in labels])

    report = td.compare(bag_model, bag_bundle / "model.tflite", ngrams.encode_batch(texts), y)

    assert report.agreement >= 0.98


def test_card_can_be_written_anew(bag_bundle: Path, tmp_path: Path):
    path = Path(shutil.copytree(bag_bundle, tmp_path / "copy"))

    bundle = td.bundles.describe_bundle(path, about={"Data": "made up"})

    assert "* Data: made up" in (bundle.path / "card.md").read_text()
    assert Agent(path).predict(["wheat"])[0].label == "grain"


def test_classifier_of_a_team_reads_it(bag_bundle: Path):
    file = HeadFile(bag_bundle / "model.tflite", bag_bundle / "tokenizer.json")
    head = Classifier(file, name="topic", tier="small", signature="serving_default",
                      output="logits", classes=LABELS)  # fmt: skip

    answer = head.answer(Question("topic", "wheat harvest"))

    assert answer.value == Agent(bag_bundle).predict(["wheat harvest"])[0].label


def test_tagger_of_a_team_refuses_it(bag_bundle: Path):
    file = HeadFile(bag_bundle / "model.tflite", bag_bundle / "tokenizer.json")

    with pytest.raises(ValueError, match="`file` must have a tokenizer that says where words are"):
        Tagger(file, name="spans", tier="small", signature="serving_default",
               output="logits", classes=["O", "B-x", "I-x"])  # fmt: skip


def test_bundle_with_ngrams_that_are_damaged_is_refused(bag_bundle: Path, tmp_path: Path):
    path = with_tokenizer(bag_bundle, tmp_path, '{"tfdistill": "ngrams", "format": 1}')

    with pytest.raises(ValueError, match="must be n-grams as `NGrams.to_json` writes them"):
        Agent(path)


def test_bundle_with_ngrams_of_another_length_is_refused(
    bag_bundle: Path, ngrams: NGrams, tmp_path: Path
):
    other = NGrams(num_rows=200, sequence_length=ngrams.sequence_length + 1)
    path = with_tokenizer(bag_bundle, tmp_path, other.to_json())

    with pytest.raises(ValueError, match="Build the model with the `sequence_length`"):
        Agent(path)


def test_saving_refuses_ngrams_of_another_length(bag_model: Any, tmp_path: Path):
    other = NGrams(num_rows=9, sequence_length=3)

    with pytest.raises(ValueError, match="`tokenizer` must give the .* ids that the model takes"):
        td.save_bundle(bag_model, tmp_path / "topics", tokenizer=other, labels=LABELS)


def test_saving_refuses_more_ngrams_than_rows(bag_model: Any, ngrams: NGrams, tmp_path: Path):
    other = NGrams(num_rows=1000, sequence_length=ngrams.sequence_length)

    with pytest.raises(ValueError, match="must have no id beyond the model's vocabulary"):
        td.save_bundle(bag_model, tmp_path / "topics", tokenizer=other, labels=LABELS)
