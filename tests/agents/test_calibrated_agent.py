"""A bundle that was calibrated: its agents say how sure they are, and when a text is no class's."""

from __future__ import annotations

import random
import shutil
import string
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shared_fixtures.agents_at_work import COMMON, TOPICS, make_texts

from tfdistill.agents import Agent, AgentPool, Prediction, calibrate_bundle, class_probabilities
from tfdistill.bundles import Bundle, Confidence, OutOfScope, open_bundle, state_confidence
from tfdistill.reports import expected_calibration_error

LETTERS = [f"{mark}{letter}" for letter in string.ascii_lowercase for mark in ("", "##")]


def held_out(count: int, seed: int) -> tuple[list[str], list[str]]:
    """Texts of a topic in which one word in four is of another one, so that mistakes happen."""
    generator = random.Random(seed)
    texts, labels = make_texts(count, seed=seed)
    others = [word for words in TOPICS.values() for word in words]
    mixed = [
        " ".join(
            generator.choice(others) if generator.random() < 0.25 else word for word in text.split()
        )
        for text in texts
    ]
    return mixed, labels


def gibberish(count: int, seed: int) -> list[str]:
    generator = random.Random(seed)

    def word() -> str:
        return "".join(generator.choices(string.ascii_lowercase, k=generator.randint(3, 9)))

    return [" ".join(word() for _ in range(generator.randint(1, 6))) for _ in range(count)]


@pytest.fixture(scope="module")
def spelling(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that knows the three topics and all letters, and is surer than it is right.

    The weights are set by hand: a word counts 5 for its topic, and each letter 2 for one topic, as
    though the training had left noise there. So random letters add up to any answer.
    """
    import keras
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    from tfdistill.export import save_bundle

    words = ["[PAD]", "[UNK]", *COMMON, *(w for topic in TOPICS.values() for w in topic), *LETTERS]
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys(words))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    table = np.zeros((len(vocabulary), 3), "float32")
    for number, topic in enumerate(sorted(TOPICS)):
        table[[vocabulary[word] for word in TOPICS[topic]], number] = 5.0
    for place, letter in enumerate(LETTERS):
        table[vocabulary[letter], place % 3] = 2.0
    ids = keras.Input((16,), dtype="int32", name="ids")
    vectors = keras.layers.Embedding(len(vocabulary), 3, name="table")(ids)
    model = keras.Model(ids, keras.ops.sum(vectors, axis=1))
    model.get_layer("table").set_weights([table])
    path = tmp_path_factory.mktemp("spelling") / "topics"
    labels = sorted(TOPICS)
    return save_bundle(model, path, tokenizer=tokenizer, labels=labels, quantize=None).path


@pytest.fixture(scope="module")
def calibrated(spelling: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    copy = shutil.copytree(spelling, tmp_path_factory.mktemp("calibrated") / "topics")
    return calibrate_bundle(copy, *held_out(600, seed=5))


def rows(agent: Agent, texts: list[str]) -> np.ndarray:
    return np.array([each.probabilities for each in agent.predict(texts)])


def test_the_temperature_mends_the_calibration_error(spelling: Path, calibrated: Bundle):
    texts, names = held_out(600, seed=6)
    labels = np.array([sorted(TOPICS).index(name) for name in names])

    before = expected_calibration_error(labels, rows(Agent(spelling), texts))
    after = expected_calibration_error(labels, rows(Agent(calibrated.path), texts))
    assert calibrated.confidence is not None and calibrated.confidence.temperature > 1.5
    assert before > 0.08
    assert after < 0.6 * before


def test_the_labels_stay_the_same(spelling: Path, calibrated: Bundle):
    texts = [*held_out(100, seed=7)[0], *gibberish(50, seed=7)]
    old, new = Agent(spelling).predict(texts), Agent(calibrated.path).predict(texts)

    assert [each.label for each in new] == [each.label for each in old]
    assert {(each.in_scope, each.score) for each in old} == {(None, None)}


def test_gibberish_is_never_certain_and_of_no_class(spelling: Path, calibrated: Bundle):
    texts = gibberish(200, seed=8)
    before, after = Agent(spelling).predict(texts), Agent(calibrated.path).predict(texts)

    assert max(each.confidence for each in before) > 0.9995  # shown as 1.000
    assert max(each.confidence for each in after) == pytest.approx(1 / 3)
    assert [each.in_scope for each in after] == [False] * 200


def test_words_of_the_classes_among_unknown_ones_cap_the_confidence(calibrated: Bundle):
    (answer,) = Agent(calibrated.path).predict(["wheat corn harvest qzx vbnk plokm"])

    assert answer.label == "grain"
    # Half of the words are unknown, in held-out texts none is: 1/2 + 1/2 · 1/3.
    assert answer.confidence == pytest.approx(2 / 3, abs=0.01)


def test_held_out_texts_are_in_scope_as_often_as_the_bundle_says(calibrated: Bundle):
    rule = calibrated.confidence and calibrated.confidence.out_of_scope
    assert rule and 0.95 <= rule.in_scope_kept < 1.0
    answers = Agent(calibrated.path).predict(held_out(600, seed=5)[0])

    inside = [each.in_scope for each in answers]
    assert np.mean(inside) == rule.in_scope_kept
    assert inside == [each.score >= rule.threshold for each in answers if each.score is not None]


def test_out_of_scope_texts_move_the_threshold(spelling: Path, tmp_path: Path):
    copy = shutil.copytree(spelling, tmp_path / "topics")
    unsaid = [" ".join(random.Random(n).choices(COMMON, k=5)) for n in range(50)]
    bundle = calibrate_bundle(copy, *held_out(300, seed=5), out_of_scope_texts=unsaid)

    assert {each.in_scope for each in Agent(bundle.path).predict(unsaid)} == {False}


def test_evidence_is_what_the_answer_rests_on(calibrated: Bundle, spelling: Path):
    logits, share = Agent(calibrated.path).evidence("wheat qzx")
    stated = calibrated.confidence
    assert stated is not None
    p = class_probabilities(
        logits, temperature=stated.temperature, doubts=share - stated.usual_unknown_share
    )

    assert share == 0.5 and stated.usual_unknown_share == 0.0
    # w1 = 5 for grain; q, ##z and ##x each 2 for a topic.
    assert logits.sum() == 5.0 + 3 * 2.0
    assert Agent(calibrated.path).predict(["wheat qzx"])[0].probabilities == tuple(p.tolist())
    assert Agent(spelling).evidence("wheat qzx")[0].tolist() == logits.tolist()


@pytest.mark.parametrize("executor", ["inline", "threads"])
def test_pools_pass_it_on(calibrated: Bundle, executor: str):
    texts = [*held_out(20, seed=9)[0], *gibberish(5, seed=9)]
    wanted = Agent(calibrated.path).predict(texts)

    with AgentPool(calibrated.path, executor=executor, num_agents=2) as pool:
        assert pool.predict(texts) == wanted


@pytest.mark.ray
@pytest.mark.xdist_group("ray")
def test_a_pool_on_ray_passes_it_on(calibrated: Bundle, ray_session: Any):
    texts = [*held_out(5, seed=9)[0], *gibberish(5, seed=9)]
    wanted = Agent(calibrated.path).predict(texts)

    with AgentPool(calibrated.path, executor="ray", num_agents=1) as pool:
        assert pool.predict(texts) == wanted


def test_a_bundle_without_a_statement_answers_as_before(calibrated: Bundle, tmp_path: Path):
    copy = shutil.copytree(calibrated.path, tmp_path / "topics")
    texts = held_out(20, seed=10)[0]
    neutral = Agent(state_confidence(copy, Confidence()).path).predict(texts)
    silent = Agent(state_confidence(copy, None).path).predict(texts)

    # T = 1, no doubt and no rule say the same as nothing, to the last bit or two.
    for one, other in zip(neutral, silent, strict=True):
        np.testing.assert_allclose(one.probabilities, other.probabilities, rtol=1e-15)
    assert {(each.in_scope, each.score) for each in neutral} == {(None, None)}


def test_unknown_words_of_the_held_out_texts_are_usual(spelling: Path, tmp_path: Path):
    copy = shutil.copytree(spelling, tmp_path / "topics")
    texts, labels = held_out(300, seed=11)
    named = [f"{text} {' '.join(gibberish(1, seed=n))[:4]}" for n, text in enumerate(texts)]
    bundle = calibrate_bundle(copy, named, labels)

    assert bundle.confidence and 0.1 < bundle.confidence.usual_unknown_share < 0.5


def test_texts_without_a_known_word_are_left_out(bundle: Path, tmp_path: Path):
    texts, labels = make_texts(60, seed=12)
    copies = [Path(shutil.copytree(bundle, tmp_path / name)) for name in ("a", "b")]
    one = calibrate_bundle(copies[0], texts, labels)
    other = calibrate_bundle(copies[1], ["zebra", *texts, ""], ["oil", *labels, "oil"])

    assert one.confidence == other.confidence


@pytest.mark.parametrize(
    ("texts", "labels", "error", "message"),
    [
        ("wheat", ["grain"], TypeError, "Put a single text in a list"),
        (["wheat"], [], ValueError, "`labels` must be one for each text. Received: 0 labels for 1"),
        (["wheat"], ["oils"], ValueError, r"classes of the bundle. Received: \['oils'\]. Texts of"),
        (["zebra"], ["oil"], ValueError, "`texts` must have words that the tokenizer knows"),
    ],
)
def test_held_out_texts_are_checked(
    bundle: Path, texts: Any, labels: Any, error: type[Exception], message: str
):
    with pytest.raises(error, match=message):
        calibrate_bundle(bundle, texts, labels)
    assert open_bundle(bundle).confidence is None


def test_a_prediction_is_built_as_before():
    assert Prediction("oil", 0.75, (0.25, 0.75)) == Prediction(
        "oil", 0.75, (0.25, 0.75), in_scope=None, score=None
    )


def test_a_rule_alone_changes_no_probability(spelling: Path, tmp_path: Path):
    copy = shutil.copytree(spelling, tmp_path / "topics")
    rule = OutOfScope("probability", threshold=0.9, in_scope_kept=0.5)
    agent = Agent(state_confidence(copy, Confidence(out_of_scope=rule)).path)
    sure, unsure = agent.predict(["wheat corn", "wheat crude"])

    assert (sure.in_scope, unsure.in_scope) == (True, False)
    assert sure.score == sure.confidence and unsure.score == unsure.confidence
    # Logits 5, 5 and 0.
    other = 1 / (2 * np.exp(5) + 1)
    np.testing.assert_allclose(unsure.probabilities, [(1 - other) / 2] * 2 + [other], atol=1e-9)
