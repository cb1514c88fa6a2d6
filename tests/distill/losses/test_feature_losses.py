"""Losses between hidden states and attentions: each number here can be checked on paper."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings, strategies as st

import tfdistill as td
from tfdistill.distill.losses.features import (
    attention_kl,
    attention_scores,
    hidden_cosine,
    hidden_mse,
    relation_kl,
)

ROOT = math.sqrt(math.log(3.0))
# name: (loss, teacher, student, loss per position, gradient of their sum on the student)
BY_HAND = {
    # ((0)² + (2)² + (−3)²) / 3, and 2 · (s − t) / 3.
    "hidden_mse": (
        hidden_mse,
        [[1.0, 2.0, 3.0]],
        [[1.0, 4.0, 0.0]],
        [13 / 3],
        [[0.0, 4 / 3, -2.0]],
    ),
    # Both of length 5; the cosine is 24/25; gradient −(t/5 − 0.96 · s/5) / 5.
    "hidden_cosine": (hidden_cosine, [[3.0, 4.0]], [[4.0, 3.0]], [0.04], [[0.0336, -0.0448]]),
    # Two heads, one position, two keys: (1/4, 3/4) against uniform in the first head, where
    # KL = ¼ · ln ½ + ¾ · ln 3⁄2; the second head agrees. Gradient (q − p) / 2.
    "attention_kl": (
        attention_kl,
        [[[[0.0, math.log(3.0)]], [[5.0, 5.0]]]],
        [[[[0.0, 0.0]], [[1.0, 1.0]]]],
        [[0.130812 / 2]],
        [[[[0.125, -0.125]], [[0.0, 0.0]]]],
    ),
    # One head of width 1, two positions. Teacher: R = (½, ½) and (¼, ¾). Student: (½, ½) and
    # (1, e) / (1 + e), so KL = ¼ · ln(p₁/q₁) + ¾ · ln(p₂/q₂). With g = q − p of the second row,
    # the scores are a₂·a₁ and a₂·a₂: gradient (g₁ · a₂, g₁ · a₁ + 2 · g₂ · a₂).
    "relation_kl": (
        relation_kl,
        [[[[0.0]], [[ROOT]]]],
        [[[[0.0]], [[1.0]]]],
        [[0.0, 0.25 * math.log(0.25 / 0.2689414) + 0.75 * math.log(0.75 / 0.7310586)]],
        [[[[0.0189414]], [[-0.0378828]]]],
    ),
}
LOSSES = {
    "hidden_mse": (hidden_mse, (2, 3, 4)),
    "hidden_cosine": (hidden_cosine, (2, 3, 4)),
    "attention_kl": (attention_kl, (2, 2, 3, 3)),
    "relation_kl": (relation_kl, (2, 3, 2, 4)),
}


def value_and_gradient(loss, teacher, student):
    teacher, student = tf.Variable(teacher), tf.Variable(student)
    with tf.GradientTape() as tape:
        values = loss(teacher, student)
    gradients = tape.gradient(values, [teacher, student])
    return values.numpy(), gradients


@pytest.mark.parametrize("name", BY_HAND)
def test_loss_and_gradient_equal_those_computed_by_hand(name: str):
    loss, teacher, student, expected, expected_gradient = BY_HAND[name]
    values, (_, gradient) = value_and_gradient(loss, teacher, student)
    # float32 softmaxes and square roots of numbers around 1.
    np.testing.assert_allclose(values, expected, atol=1e-6)
    np.testing.assert_allclose(gradient, expected_gradient, atol=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_no_gradient_reaches_the_teacher(name: str, rng: np.random.Generator):
    loss, shape = LOSSES[name]
    teacher, student = rng.normal(size=(2, *shape)).astype("float32")
    _, (to_teacher, to_student) = value_and_gradient(loss, teacher, student)
    assert to_teacher is None
    assert float(tf.reduce_max(tf.abs(to_student))) > 0


@pytest.mark.parametrize("name", LOSSES)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), scale=st.floats(0.01, 100.0))
def test_loss_is_zero_when_equal_and_positive_otherwise(name: str, seed: int, scale: float):
    loss, shape = LOSSES[name]
    generator = np.random.default_rng(seed)
    one, other = (scale * generator.normal(size=(2, *shape))).astype("float32")
    values = loss(one, one).numpy()
    assert values.shape == (2, 3)
    # One rounding of a cosine of 1; the others subtract equal numbers.
    np.testing.assert_allclose(values, 0.0, atol=3e-7)
    assert loss(one, other).numpy().min() > -1e-6


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16, tf.float16])
@pytest.mark.parametrize("size", [1.0, 1e4])
def test_loss_and_gradient_are_finite_in_any_precision(name: str, dtype, size: float, rng):
    loss, shape = LOSSES[name]
    teacher, student = size * rng.choice([-1.0, 1.0], size=(2, *shape))
    values, (_, gradient) = value_and_gradient(
        loss, tf.cast(teacher, dtype), tf.cast(student, dtype)
    )
    assert values.dtype == np.float32
    assert np.isfinite(values).all()
    if dtype != tf.float16:  # 1e8 is no float16
        assert np.isfinite(tf.cast(gradient, tf.float32).numpy()).all()


def test_cosine_of_vectors_whose_squares_overflow():
    huge = tf.constant([[3e30, 4e30]])
    np.testing.assert_allclose(hidden_cosine(huge, [[4.0, 3.0]]), [0.04], atol=1e-6)


def test_cosine_of_a_vector_of_zeros_is_one_and_pushes_nowhere():
    values, (_, gradient) = value_and_gradient(hidden_cosine, [[1.0, 2.0]], [[0.0, 0.0]])
    assert values.tolist() == [1.0]
    assert gradient.numpy().tolist() == [[0.0, 0.0]]


def test_cosine_does_not_see_lengths(rng: np.random.Generator):
    teacher, student = rng.normal(size=(2, 5, 4)).astype("float32")
    longer = student * np.array([[0.1], [2.0], [30.0], [4.0], [5.0]], "float32")
    np.testing.assert_allclose(
        hidden_cosine(teacher, student), hidden_cosine(teacher, longer), atol=1e-6
    )


def test_attention_does_not_see_what_is_added_to_all_scores_of_a_position(rng):
    teacher, student = rng.normal(size=(2, 2, 2, 3, 3)).astype("float32")
    shifted = student + rng.normal(size=(2, 2, 3, 1)).astype("float32")
    np.testing.assert_allclose(
        attention_kl(teacher, student), attention_kl(teacher, shifted), atol=1e-6
    )


def test_masked_keys_do_not_count_in_attention():
    teacher = tf.constant([[[[0.0, math.log(3.0), 50.0]]]])
    student = tf.constant([[[[0.0, 0.0, -70.0]]]])
    mask = tf.constant([[[[True, True, False]]]])
    np.testing.assert_allclose(attention_kl(teacher, student, mask=mask), [[0.130812]], atol=1e-6)
    assert float(attention_kl(teacher, student)[0, 0]) > 50  # the test can fail


def test_masked_positions_do_not_count_in_relations(rng: np.random.Generator):
    teacher, student = rng.normal(size=(2, 1, 4, 2, 3)).astype("float32")
    mask = tf.constant([[True, True, True, False]])
    kept = relation_kl(teacher[:, :3], student[:, :3]).numpy()
    np.testing.assert_allclose(
        relation_kl(teacher, student, mask=mask)[:, :3].numpy(), kept, atol=1e-6
    )


@pytest.mark.parametrize(
    ("loss", "shape"), [(attention_kl, (1, 1, 2, 2)), (relation_kl, (1, 2, 1, 2))]
)
def test_a_row_without_a_single_key_is_finite(loss, shape, rng):
    teacher, student = rng.normal(size=(2, *shape)).astype("float32")
    mask = tf.zeros([1, 1, 1, 2] if loss is attention_kl else [1, 2], tf.bool)
    bound = functools.partial(loss, mask=mask)
    values, (_, gradient) = value_and_gradient(bound, teacher, student)
    assert values.tolist() == [[0.0, 0.0]]
    assert np.abs(gradient.numpy()).max() == 0.0


def test_relations_ask_neither_for_equal_heads_nor_for_equal_widths(rng):
    teacher = rng.normal(size=(2, 3, 4, 6)).astype("float32")
    # The same vectors cut into other heads are the same relations.
    assert np.abs(relation_kl(teacher, teacher.reshape(2, 3, 2, 12)).numpy()).max() < 1e-6
    # 24 and 10 have 2 in common: the largest divisor not above the teacher's 4 heads.
    student = rng.normal(size=(2, 3, 5, 2)).astype("float32")
    np.testing.assert_array_equal(
        relation_kl(teacher, student), relation_kl(teacher, student, relation_heads=2)
    )


def test_more_relation_heads_are_the_mean_of_narrower_relations(rng):
    teacher, student = rng.normal(size=(2, 1, 3, 1, 4)).astype("float32")
    halves = [
        relation_kl(teacher[..., half], student[..., half]).numpy()
        for half in (slice(0, 2), slice(2, 4))
    ]
    np.testing.assert_allclose(
        relation_kl(teacher, student, relation_heads=2), np.mean(halves, axis=0), atol=1e-6
    )


def test_attention_scores_are_scaled_dot_products():
    query = tf.constant([[[[1.0, 2.0, 3.0, 4.0]], [[0.0, 0.0, 0.0, 1.0]]]])  # two positions, d 4
    key = tf.constant([[[[1.0, 0.0, 0.0, 0.0]], [[0.0, 0.0, 0.0, 2.0]]]])
    assert attention_scores(query, key).numpy().tolist() == [[[[0.5, 4.0], [0.0, 1.0]]]]


@pytest.mark.parametrize("name", LOSSES)
def test_loss_is_reached_through_td_losses(name: str):
    assert getattr(td.losses, name) is LOSSES[name][0]
    assert name in td.losses.__all__


@pytest.mark.parametrize("loss", [hidden_mse, hidden_cosine])
def test_states_of_different_widths_are_refused(loss):
    message = (
        r"`teacher_states` and `student_states` must have the same shape. .*\(2, 4\), .*\(2, 3\)"
    )
    with pytest.raises(ValueError, match=message):
        loss(tf.zeros([2, 4]), tf.zeros([2, 3]))


def test_attention_of_different_head_counts_is_refused():
    message = "`teacher_scores` and `student_scores` must have the same shape.* `relation_kl`"
    with pytest.raises(ValueError, match=message):
        attention_kl(tf.zeros([1, 4, 2, 2]), tf.zeros([1, 2, 2, 2]))


def test_relations_of_different_lengths_are_refused():
    message = "must have the same number of positions.*the same tokens"
    with pytest.raises(ValueError, match=message):
        relation_kl(tf.zeros([1, 4, 2, 2]), tf.zeros([1, 3, 2, 2]))


@pytest.mark.parametrize("heads", [3, 0, True, 2.0])
def test_relation_heads_that_do_not_divide_the_widths_are_refused(heads):
    message = (
        "`relation_heads` must divide the widths of teacher and student.*teacher → 8, student → 4"
    )
    with pytest.raises(ValueError, match=message):
        relation_kl(tf.zeros([1, 2, 2, 4]), tf.zeros([1, 2, 2, 2]), relation_heads=heads)


@pytest.mark.parametrize(("width", "example"), [(768, 48), (312, 13), (56, 2), (8, 1)])
def test_the_relation_heads_that_a_refusal_suggests_divide_the_width(width: int, example: int):
    vectors = tf.zeros([1, 2, 1, width])
    # At least 16 numbers for each head, where the width is that large: 312 = 13 · 24, 56 = 2 · 28.
    with pytest.raises(ValueError, match=f"Divisors of {width} do, for example {example}\\."):
        relation_kl(vectors, vectors, relation_heads=5)
    relation_kl(vectors, vectors, relation_heads=example)
