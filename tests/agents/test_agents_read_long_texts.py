"""A long text gets the same answer in training, from an agent and from a pool."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfdistill.agents import Agent, AgentPool, NGrams
from tfdistill.agents.calibration import calibrate_bundle
from tfdistill.export import save_bundle
from tfdistill.students import bag_of_words, encode_rows, mean_by_text

LENGTH = 12
LONG = [
    "wheat corn harvest crop barley soybean " + "the of and " * 6 + "crude barrel opec refinery",
    "crude " + "the of and " * 40 + "tariff deficit import",
    "wheat fell",
]


@pytest.fixture(scope="module", params=["head", "head+tail", "windows"])
def way(request: Any) -> str:
    return request.param


@pytest.fixture(scope="module")
def long_bundle(
    way: str, keras_model: Any, tokenizer: Any, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    return save_bundle(
        keras_model, tmp_path_factory.mktemp("long") / "topics", tokenizer=tokenizer,
        labels=["grain", "oil", "trade"], quantize=None, long_texts=way,
    ).path  # fmt: skip


def test_an_agent_averages_the_logits_of_what_training_read(
    way: str, long_bundle: Path, keras_model: Any, tokenizer: Any
):
    ids, text_of_row = encode_rows(tokenizer, LONG, sequence_length=LENGTH, long_texts=way)
    expected = mean_by_text(keras_model.predict(ids, verbose=0), text_of_row)
    agent = Agent(long_bundle)
    logits = np.array([agent.evidence(text)[0] for text in LONG])
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    assert len(ids) == {"head": 3, "head+tail": 3, "windows": 4 + 8 + 1}[way]


def test_a_pool_gives_the_same_answers(long_bundle: Path):
    expected = Agent(long_bundle).predict(LONG)
    with AgentPool(long_bundle, executor="threads", num_agents=2) as pool:
        assert pool.predict(LONG) == expected


@pytest.mark.slow
def test_ray_gives_the_same_answers(long_bundle: Path, ray_session: None):
    expected = Agent(long_bundle).predict(LONG)
    with AgentPool(long_bundle, executor="ray", num_agents=1) as pool:
        assert pool.predict(LONG) == expected


def test_calibration_keeps_what_the_bundle_states(way: str, long_bundle: Path):
    calibrated = calibrate_bundle(
        long_bundle, [*LONG, "crude opec"], ["oil", "trade", "grain", "oil"]
    )
    assert calibrated.long_texts == way


def test_a_bag_of_words_reads_the_tail_too(tmp_path: Path):
    ngrams = NGrams(
        vocabulary=["=wheat", "=crude", "=tariff"], sequence_length=2, words=1,
        long_texts="head+tail",
    )  # fmt: skip
    model = bag_of_words(num_rows=4, sequence_length=2, embedding_dim=4, num_classes=2, seed=0)
    bundle = save_bundle(
        model, tmp_path / "bag", tokenizer=ngrams, labels=["a", "b"], quantize=None,
        long_texts="head+tail",
    )  # fmt: skip
    expected = model.predict(np.array([[1, 3]]), verbose=0)[0]
    logits, _ = Agent(bundle.path).evidence("wheat crude crude tariff")
    np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_n_grams_that_read_otherwise_than_the_bundle_are_refused(tmp_path: Path):
    ngrams = NGrams(num_rows=4, sequence_length=2, long_texts="windows")
    model = bag_of_words(num_rows=4, sequence_length=2, embedding_dim=4, num_classes=2, seed=0)
    with pytest.raises(
        ValueError, match=r"`long_texts` must be that of the n-grams\. Received: lon"
    ):
        save_bundle(model, tmp_path / "bag", tokenizer=ngrams, labels=["a", "b"])
