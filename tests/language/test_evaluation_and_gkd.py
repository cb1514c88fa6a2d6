"""Perplexity, agreement and KL against numbers by hand; batches sampled from the student."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfdistill as td
from tfdistill.language import (
    IGNORED,
    generalized_loss,
    on_policy_batches,
    sample,
    score_language_model,
)
from tfdistill.students import causal_lm

SIZES = {
    "vocabulary_size": 9, "num_layers": 1, "hidden_dim": 4, "num_heads": 1, "intermediate_dim": 4
}  # fmt: skip
ROWS = np.array([[1, 2, 3, 4, 5, 6], [2, 4, 6, 8, 1, 3]])


def constant(*probabilities: float) -> keras.Model:
    """A model that believes the same at each position."""
    ids = keras.Input((None,), dtype="int32")
    bias = keras.initializers.Constant(np.log(probabilities))
    zeros = keras.ops.zeros_like(keras.ops.cast(ids, "float32"))[..., None]
    layer = keras.layers.Dense(len(probabilities), bias_initializer=bias)
    return keras.Model(ids, layer(zeros))


def test_scores_are_those_computed_by_hand():
    model, teacher = constant(0.5, 0.25, 0.25), constant(0.25, 0.5, 0.25)
    scores = score_language_model(model, [[0, 0, 1, 2]], teacher=teacher)

    # Next tokens 0, 1, 2: (1/2 · 1/4 · 1/4)^(-1/3) = 2^(5/3); KL = 1/4 ln 1/2 + 1/2 ln 2.
    assert scores.perplexity == pytest.approx(2 ** (5 / 3), rel=1e-5)
    assert scores.kl == pytest.approx(0.25 * np.log(2), rel=1e-5)
    assert (scores.agreement, scores.num_tokens) == (0.0, 3)


def test_ignored_positions_do_not_count():
    labels = np.array([[0, IGNORED, IGNORED, IGNORED], [IGNORED, IGNORED, 1, IGNORED]])
    scores = score_language_model(constant(0.5, 0.25, 0.25), np.zeros((2, 4)), labels=labels)

    assert scores.perplexity == pytest.approx(8**0.5, rel=1e-5)
    assert (scores.agreement, scores.kl, scores.num_tokens) == (None, None, 2)
    with pytest.raises(ValueError, match="`labels` must have a position that counts"):
        score_language_model(constant(0.5, 0.5), [[0, 1]], labels=[[IGNORED, IGNORED]])


def test_a_file_is_scored_as_the_model_that_it_was_made_of(bundles, model, rng):
    rows = rng.integers(0, 200, (3, 10))
    scores = score_language_model(bundles[0] / "model.tflite", rows, teacher=model)

    wanted = score_language_model(model, rows)
    assert scores.perplexity == pytest.approx(wanted.perplexity, rel=1e-5)
    # The file is float32: sums in another order, and nothing else.
    assert scores.kl == pytest.approx(0.0, abs=1e-6)
    assert (scores.agreement, scores.num_tokens) == (1.0, 27)
    with pytest.raises(ValueError, match="`rows` must be at most as long as .* 24 tokens"):
        score_language_model(bundles[0] / "model.tflite", np.zeros((1, 25)))


def test_the_student_writes_its_share_of_the_batches_from_the_prompts_on():
    student = causal_lm(**SIZES, seed=0)
    batches = list(on_policy_batches(
        student, ROWS, on_policy_fraction=0.5, prompt_length=2, batch_size=2, steps=20, seed=1
    ))  # fmt: skip
    own = [labels[0, 0] == IGNORED for _, labels in batches]
    known = {tuple(row) for row in ROWS.tolist()}

    assert 4 <= sum(own) <= 16  # a share of one half of 20 draws, within 2.7 standard deviations
    for (ids, labels), written in zip(batches, own, strict=True):
        assert {tuple(row[:2]) for row in ids.tolist()} <= {row[:2] for row in known}
        assert written or {tuple(row) for row in ids.tolist()} <= known
        assert np.array_equal(labels[:, 1:-1], ids[:, 2:])
        assert np.all(labels[:, -1] == IGNORED)


def test_the_student_writes_with_its_present_weights():
    student = causal_lm(**SIZES, seed=0)
    batches = on_policy_batches(
        student, ROWS, on_policy_fraction=1.0, prompt_length=2, temperature=0.0, batch_size=2,
        steps=2,
    )  # fmt: skip
    next(batches)
    table = student.get_layer("token_embedding").embeddings
    table.assign(np.random.default_rng(3).normal(size=table.shape))
    ids, _ = next(batches)

    assert np.array_equal(ids, sample(student, ids[:, :2], num_tokens=4, temperature=0.0))


@pytest.mark.slow
def test_gkd_brings_the_student_nearer_to_the_teacher_on_its_own_text():
    teacher, student = causal_lm(**SIZES, seed=0), causal_lm(**SIZES, seed=1)
    table = teacher.get_layer("token_embedding").embeddings
    table.assign(table * 30.0)
    before = score_language_model(student, ROWS, teacher=teacher).kl
    distiller = td.Distiller(student=student, teacher=teacher)
    distiller.compile(
        keras.optimizers.Adam(0.02), alpha=0.0, temperature=1.0, ignore_class=IGNORED,
        soft_loss=generalized_loss(0.5),
    )  # fmt: skip
    for ids, labels in on_policy_batches(
        student, ROWS, on_policy_fraction=0.5, prompt_length=1, batch_size=8, steps=30
    ):
        distiller.train_on_batch(ids, labels)

    assert score_language_model(student, ROWS, teacher=teacher).kl < 0.75 * before


@pytest.mark.parametrize(("beta", "loss"), [(0.0, "forward_kl"), (1.0, "reverse_kl")])
def test_the_ends_of_beta_are_the_two_divergences(beta, loss, rng):
    p, q = tf.constant(rng.normal(size=(2, 5))), tf.constant(rng.normal(size=(2, 5)))
    expected = getattr(td.losses, loss)(p, q, temperature=2.0)
    assert np.array_equal(generalized_loss(beta)(p, q, temperature=2.0), expected)


def test_shares_and_lengths_out_of_range_are_told():
    student = causal_lm(**SIZES, seed=0)
    with pytest.raises(ValueError, match=r"`beta` must be a float in \[0, 1\]"):
        generalized_loss(1.5)
    with pytest.raises(TypeError, match=r"`on_policy_fraction` must be a float in \[0, 1\]"):
        on_policy_batches(student, ROWS, on_policy_fraction="half", steps=1)
    with pytest.raises(ValueError, match=r"`prompt_length` must be an int in \[1, 6\)"):
        on_policy_batches(student, ROWS, prompt_length=6, steps=1)
