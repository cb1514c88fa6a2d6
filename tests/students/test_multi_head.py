from __future__ import annotations

import keras
import numpy as np
import pytest

import tfdistill as td
from tfdistill.distill import DistilledLoss, pack_targets
from tfdistill.students import (
    at_length,
    head_signatures,
    multi_head_encoder,
    text_encoder,
    token_tagger,
)

SIZES = {
    "vocabulary_size": 12,
    "sequence_length": 6,
    "num_layers": 1,
    "hidden_dim": 8,
    "num_heads": 2,
    "intermediate_dim": 8,
    "dropout": 0.0,
}


@pytest.fixture(scope="module")
def two_heads() -> keras.Model:
    return multi_head_encoder(token_heads={"slots": 3}, text_heads={"intent": 2}, seed=1, **SIZES)


@pytest.fixture
def ids(rng: np.random.Generator) -> np.ndarray:
    rows = rng.integers(1, 12, (64, 6)).astype("int32")
    rows[:, 4:] = 0
    return rows


def test_a_tagger_is_a_text_encoder_with_a_dense_layer_per_token_in_place_of_the_pooling():
    tagger = token_tagger(num_tags=5, seed=3, **SIZES)
    classifier = text_encoder(num_classes=5, seed=3, **SIZES)

    assert tagger.count_params() == classifier.count_params()
    assert [v.path for v in tagger.weights[:-2]] == [v.path for v in classifier.weights[:-2]]


def test_padding_does_not_change_what_a_token_is_tagged(two_heads: keras.Model, ids: np.ndarray):
    padded = two_heads(ids)
    short = at_length(two_heads, 4)(ids[:, :4])

    # Equal numbers in another order of summation: float32 rounding of values around 1.
    np.testing.assert_allclose(short["slots"], padded["slots"][:, :4], atol=1e-6)
    np.testing.assert_allclose(short["intent"], padded["intent"], atol=1e-6)


def test_a_head_on_the_encoders_output_answers_what_the_whole_answers(
    two_heads: keras.Model, ids: np.ndarray
):
    parts = head_signatures(two_heads)
    encoded = parts["encode"](ids)
    whole = parts["all"](ids)

    slots = parts["slots"](encoded["hidden"])["logits"]
    intent = parts["intent"](encoded["pooled"])["logits"]
    np.testing.assert_allclose(slots, whole["slots"], atol=1e-6)
    np.testing.assert_allclose(intent, whole["intent"], atol=1e-6)


@pytest.mark.parametrize("groups", [3, 1])
def test_a_head_that_reads_one_block_is_that_of_an_encoder_of_one_block(
    ids: np.ndarray, groups: int
):
    sizes = SIZES | {"num_layers": 3, "groups": groups}
    whole = multi_head_encoder(
        token_heads={"split": 3, "slots": 4}, blocks_read={"split": 1}, seed=2, **sizes
    )
    cut = keras.Model(whole.input, whole.output["split"])
    one = token_tagger(num_tags=3, seed=5, **SIZES)
    values = {v.path.replace("/split/", "/"): v.numpy() for v in cut.variables}
    for variable in one.variables:
        variable.assign(values[variable.path.replace("tags/", "split/")])

    assert [layer.name for layer in cut.layers if "encoder" in layer.name] == ["encoder_0"]
    # The same layers in the same order; float32 rounding of values around 1.
    np.testing.assert_allclose(cut(ids), one(ids), atol=1e-6)
    parts = head_signatures(whole)
    encoded = parts["encode"](ids)
    assert sorted(encoded) == ["hidden", "slots_hidden"]
    slots = parts["slots"](encoded["slots_hidden"])["logits"]
    np.testing.assert_allclose(slots, whole(ids)["slots"], atol=1e-6)


def test_the_parts_of_a_file_share_the_weights_of_the_model(two_heads: keras.Model):
    own = {id(variable) for variable in two_heads.variables}
    for part in [*head_signatures(two_heads).values(), at_length(two_heads, 4)]:
        assert {id(variable) for variable in part.variables} <= own


@pytest.mark.slow
def test_a_tagger_learns_from_a_teachers_tags_alone_and_not_from_padding(ids: np.ndarray):
    """The teacher tags by the token; at padding it says something else, which must not count."""
    tags = np.where(ids == 0, 2, ids % 2)
    answers = 8.0 * np.eye(3, dtype="float32")[tags]
    tagger = token_tagger(num_tags=3, seed=0, **SIZES)
    distiller = td.Distiller(student=tagger, teacher=lambda x: 8.0 * keras.ops.one_hot(x % 2, 3))
    distiller.compile(keras.optimizers.Adam(0.02), alpha=0.0)
    is_token = (ids != 0).astype("float32")
    distiller.fit(ids, tags, sample_weight=is_token, epochs=12, verbose=0)

    right = tagger.predict(ids, verbose=0).argmax(-1) == answers.argmax(-1)
    assert right[ids != 0].mean() == 1.0


def test_the_loss_of_a_head_is_the_distillers_two_terms():
    labels = np.array([[1, 0]])
    teacher = np.array([[[1.0, 2.0, 0.0], [0.0, 0.0, 1.0]]], "float32")
    student = np.array([[[0.0, 1.0, 0.5], [2.0, 0.0, 0.0]]], "float32")
    got = DistilledLoss(alpha=0.25, temperature=2.0).call(pack_targets(labels, teacher), student)

    hard = -np.log(np.exp([1.0, 2.0]) / np.exp(student[0]).sum(-1))
    soft = td.losses.forward_kl(teacher, student, temperature=2.0)[0]
    # float32 against float64.
    np.testing.assert_allclose(got[0], 0.25 * hard + 0.75 * np.asarray(soft), rtol=1e-5)


@pytest.mark.slow
def test_heads_are_trained_together_each_on_its_own_texts(ids: np.ndarray):
    """Slots say nothing in the second half, intents nothing in the first: both are learned."""
    slots, intent = ids % 3, (ids[:, 0] > 5).astype(int)
    student = multi_head_encoder(
        token_heads={"slots": 3}, text_heads={"intent": 2}, seed=0, **SIZES
    )
    targets = {
        "slots": pack_targets(slots, 6.0 * np.eye(3)[slots]),
        "intent": pack_targets(intent, 6.0 * np.eye(2)[intent]),
    }
    first = np.arange(64) < 32
    weights = {"slots": (ids != 0) * first[:, None] * 1.0, "intent": ~first * 1.0}
    student.compile(keras.optimizers.Adam(0.02), loss={name: DistilledLoss() for name in targets})
    wrong = {"slots": targets["slots"].copy(), "intent": targets["intent"].copy()}
    wrong["slots"][~first, :, :3] = 99.0
    wrong["intent"][first, :2] = [99.0, -99.0]
    student.fit(ids, wrong, sample_weight=weights, epochs=40, batch_size=32, verbose=0)

    answers = student.predict(ids, verbose=0)
    assert (answers["slots"].argmax(-1) == slots)[first][ids[first] != 0].mean() == 1.0
    assert (answers["intent"].argmax(-1) == intent)[~first].mean() == 1.0


@pytest.mark.parametrize(
    ("heads", "message"),
    [
        ({}, "must name at least one head"),
        ({"token_heads": {"a": 2}, "text_heads": {"a": 2}}, "each once"),
        ({"token_heads": {"encode": 2}}, "none of"),
        ({"token_heads": {"a": 1}}, "at least 2. Received: a=1"),
        ({"token_heads": {"a": 2}, "blocks_read": {"a": 2}}, r"in \[1, 1\]"),
        ({"text_heads": {"a": 2}, "blocks_read": {"a": 1}}, r"token heads \[\]"),
    ],
)
def test_heads_that_cannot_be_named_or_built_are_refused(heads: dict, message: str):
    with pytest.raises(ValueError, match=message):
        multi_head_encoder(**heads, **SIZES)


def test_a_model_with_one_output_has_no_head_signatures():
    with pytest.raises(ValueError, match="must have a dict of heads"):
        head_signatures(text_encoder(num_classes=2, **SIZES))


def test_labels_of_another_shape_than_the_teachers_answers_are_refused():
    with pytest.raises(ValueError, match="without its last axis"):
        pack_targets(np.zeros((2, 3)), np.zeros((2, 2)))


@pytest.mark.parametrize(
    ("settings", "name"), [({"alpha": 2.0}, "alpha"), ({"temperature": 0}, "tem")]
)
def test_a_loss_out_of_range_is_refused(settings: dict, name: str):
    with pytest.raises(ValueError, match=name):
        DistilledLoss(**settings)
