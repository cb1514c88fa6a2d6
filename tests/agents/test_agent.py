from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfdistill.agents import Agent, Prediction, UnusableTextError
from tfdistill.agents.agent import softmax


@pytest.fixture(scope="module")
def agent(bundle: Path) -> Agent:
    return Agent(bundle)


def test_trained_topics_are_recognised(agent: Agent):
    texts = ["wheat harvest fell", "opec said crude prices rose", "the tariff dispute"]

    assert [each.label for each in agent.predict(texts)] == ["grain", "oil", "trade"]


def test_probabilities_are_the_softmax_of_the_keras_models_logits(
    agent: Agent, keras_model: Any, tokenizer: Any, texts: list[str]
):
    from tfdistill.students.text_rows import encode

    logits = keras_model(encode(tokenizer, texts, sequence_length=12)).numpy()
    powers = np.exp(logits.astype(np.float64))
    wanted = powers / powers.sum(axis=1, keepdims=True)

    got = np.array([each.probabilities for each in agent.predict(texts)])

    # A table of fewer than 1,024 numbers stays float in the file, so only sums differ in order.
    np.testing.assert_allclose(got, wanted, atol=1e-6)


def test_prediction_is_consistent_in_itself(agent: Agent, texts: list[str]):
    for each in agent.predict(texts):
        assert each.confidence == max(each.probabilities)
        assert each.label == agent.labels[each.probabilities.index(each.confidence)]
        # The sum of three float64 numbers that were divided by their sum.
        assert math.fsum(each.probabilities) == pytest.approx(1.0, abs=1e-15)


def test_prediction_has_the_promised_fields_and_is_frozen(agent: Agent):
    (prediction,) = agent.predict(["wheat"])

    fields = ["label", "confidence", "probabilities", "in_scope", "score"]
    assert list(prediction.__dataclass_fields__) == fields
    assert (prediction.in_scope, prediction.score) == (None, None)  # the bundle states nothing
    assert type(prediction.confidence) is float
    assert {type(value) for value in prediction.probabilities} == {float}
    with pytest.raises(AttributeError, match="cannot assign"):
        prediction.label = "oil"  # type: ignore[misc]


def test_answer_does_not_depend_on_the_neighbours(agent: Agent, texts: list[str]):
    together = agent.predict(texts)

    assert [agent.predict([text])[0] for text in reversed(texts)] == together[::-1]


def test_two_agents_of_one_bundle_agree_exactly(agent: Agent, bundle: Path, texts: list[str]):
    assert Agent(str(bundle), threads=2).predict(texts) == agent.predict(texts)


def test_unusable_text_is_named_with_its_position(agent: Agent):
    with pytest.raises(UnusableTextError, match=r"`texts\[1\]` must have .*texts\[1\]='zebra'"):
        agent.predict(["wheat", "zebra", "oil"])


def test_unusable_text_leaves_its_neighbours_alone_on_request(agent: Agent):
    good, bad, last = agent.predict(["wheat", "", "brent"], return_exceptions=True)

    assert isinstance(good, Prediction) and good.label == "grain"
    assert isinstance(last, Prediction) and last.label == "oil"
    assert isinstance(bad, UnusableTextError)
    assert bad.argument == "texts[1]"


@pytest.mark.parametrize(
    ("texts", "kind", "message"),
    [
        ([], ValueError, "at least one text"),
        ("wheat", TypeError, "Put a single text in a list"),
        (["wheat", 3], TypeError, r"`texts\[1\]` must be a str"),
    ],
)
def test_wrong_kind_of_input_is_refused(
    agent: Agent, texts: Any, kind: type[Exception], message: str
):
    for return_exceptions in (False, True):
        with pytest.raises(kind, match=message):
            agent.predict(texts, return_exceptions=return_exceptions)


def test_model_that_answers_nan_is_an_error(tokenizer: Any, tmp_path: Path):
    import keras

    from tfdistill.export import save_bundle

    ids = keras.Input((4,), dtype="int32")
    table = keras.layers.Embedding(tokenizer.get_vocab_size(), 2, embeddings_initializer="ones")
    model = keras.Model(ids, keras.layers.GlobalAveragePooling1D()(table(ids)))
    weights = table.get_weights()[0]
    weights[tokenizer.token_to_id("crude")] = np.nan
    table.set_weights([weights])
    agent = Agent(save_bundle(model, tmp_path / "b", tokenizer=tokenizer, labels=["a", "b"]).path)

    with pytest.raises(RuntimeError, match=r"logits that are not finite: \[nan, nan\]"):
        agent.predict(["wheat", "crude"])
    assert agent.predict(["wheat"])[0].probabilities == (0.5, 0.5)


def test_tokenizer_that_vouches_for_itself_but_is_damaged_is_refused(bundle: Path, tmp_path: Path):
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    _vouch(copy, "tokenizer.json", b"{}")

    with pytest.raises(ValueError, match="tokenizer that `tokenizers` .* reads"):
        Agent(copy)


def test_manifest_that_does_not_fit_the_model_is_refused(bundle: Path, tmp_path: Path):
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    _vouch(copy, "labels.json", b'["a", "b"]')

    with pytest.raises(ValueError, match="fits its manifest: 12 token ids in, 2 logits out"):
        Agent(copy)


def test_repr_says_what_it_is(agent: Agent, bundle: Path):
    assert repr(agent) == f"Agent({str(bundle)!r}, classes=3, sequence_length=12)"


def test_relative_path_is_taken(bundle: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(bundle.parent)

    assert Agent(bundle.name + "/").predict(["wheat"])[0].label == "grain"


@pytest.mark.parametrize(
    ("logits", "wanted"),
    [
        ([0.0, 0.0], [0.5, 0.5]),
        ([0.0, math.log(3.0)], [0.25, 0.75]),
        ([1000.0, 1000.0], [0.5, 0.5]),
        ([-1e308, 1e308], [0.0, 1.0]),
    ],
)
def test_softmax_equals_hand_computed_values(logits: list[float], wanted: list[float]):
    with np.errstate(over="ignore"):
        got = softmax(np.array(logits))

    np.testing.assert_allclose(got, wanted, atol=1e-15)


def test_adding_a_constant_changes_no_probability(rng: np.random.Generator):
    logits = rng.normal(size=7)

    # The shifted logits carry rounding of 1e3 · 2⁻⁵³.
    np.testing.assert_allclose(softmax(logits + 1e3), softmax(logits), rtol=1e-12)


def test_answering_loads_no_tensorflow_and_no_ray(bundle: Path):
    code = (
        "import sys, json; from tfdistill.agents import Agent, AgentPool\n"
        "with AgentPool(sys.argv[1], executor='threads') as pool: pool.predict(['wheat'])\n"
        "print(json.dumps([m for m in sys.modules if '.' not in m]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(bundle)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert "tfdistill" in loaded
    heavy = {"tensorflow", "keras", "tf_keras", "tensorflow_model_optimization", "ray"}
    assert loaded & heavy == set()


def _vouch(bundle: Path, name: str, content: bytes) -> None:
    """Replaces a file and its hash in the manifest, as a stranger could."""
    import hashlib

    (bundle / name).write_bytes(content)
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"][name] = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "size_bytes": len(content),
    }
    (bundle / "manifest.json").write_text(json.dumps(manifest))
