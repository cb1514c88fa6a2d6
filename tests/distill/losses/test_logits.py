"""Equations of distillation: each value and gradient was worked out on paper first.

The pair used throughout softens to p = (1/4, 3/4) for the teacher and q = (1/2, 1/2) for the
student.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays

from tfdistill import losses

LN3 = math.log(3.0)
TEACHER = [[0.0, LN3]]
STUDENT = [[0.0, 0.0]]

# name → (loss, value at T = 1, gradient on the student's first logit at T = 1)
HAND = {
    # ¼·ln ½ + ¾·ln 3/2;  q − p
    "forward": (losses.forward_kl, 0.25 * math.log(0.5) + 0.75 * math.log(1.5), 0.25),
    # ½·ln 2 + ½·ln ⅔;  q₁·(ln q₁/p₁ − KL) = ½·½·ln 3
    "reverse": (losses.reverse_kl, 0.5 * math.log(2.0) + 0.5 * math.log(2 / 3), LN3 / 4),
    # mixture (3/8, 5/8);  (1 − β)·q₁·(ln q₁/m₁ − KL(q‖m)) = ½·½·½·ln 5/3
    "jensen_shannon": (
        losses.jensen_shannon,
        0.5 * (0.25 * math.log(2 / 3) + 0.75 * math.log(6 / 5))
        + 0.5 * (0.5 * math.log(4 / 3) + 0.5 * math.log(4 / 5)),
        math.log(5 / 3) / 8,
    ),
    # β = ¼: mixture (7/16, 9/16);  ¾·½·½·ln 9/7
    "jensen_shannon_quarter": (
        functools.partial(losses.jensen_shannon, beta=0.25),
        0.25 * (0.25 * math.log(4 / 7) + 0.75 * math.log(4 / 3))
        + 0.75 * (0.5 * math.log(8 / 7) + 0.5 * math.log(8 / 9)),
        3 * math.log(9 / 7) / 16,
    ),
    # mixture (0.475, 0.525);  0.9·q₁·q₂·(p₂/m₂ − p₁/m₁)
    "skewed": (
        losses.skewed_kl,
        0.25 * math.log(0.25 / 0.475) + 0.75 * math.log(0.75 / 0.525),
        0.225 * (0.75 / 0.525 - 0.25 / 0.475),
    ),
    # λ = ½: mixture (3/8, 5/8);  ½·¼·(6/5 − 2/3)
    "skewed_half": (
        functools.partial(losses.skewed_kl, skew=0.5),
        0.25 * math.log(2 / 3) + 0.75 * math.log(6 / 5),
        (6 / 5 - 2 / 3) / 8,
    ),
}
ALL = [entry[0] for entry in HAND.values()]
every_loss = pytest.mark.parametrize("loss", ALL, ids=list(HAND))
quick = settings(max_examples=20, deadline=None, derandomize=True, database=None)
logits = st.floats(-30, 30, width=32)


def value_and_gradient(loss, teacher, student, **kwargs) -> tuple[np.ndarray, np.ndarray]:
    teacher, student = tf.convert_to_tensor(teacher), tf.convert_to_tensor(student)
    with tf.GradientTape() as tape:
        tape.watch(student)
        value = loss(teacher, student, **kwargs)
    return value.numpy(), tf.cast(tape.gradient(value, student), tf.float32).numpy()


def test_forward_kl_equals_the_hand_computed_number():
    # 4 · (¼·ln ½ + ¾·ln 3/2) = 0.5232; the gradient is T · (q − p).
    value, gradient = value_and_gradient(
        losses.forward_kl, [[0.0, 2 * LN3]], STUDENT, temperature=2.0
    )

    assert value.shape == (1,)
    assert round(float(value[0]), 4) == 0.5232
    # A few units in the last place of float32.
    np.testing.assert_allclose(gradient, [[0.5, -0.5]], atol=1e-6)


@pytest.mark.parametrize("name", HAND)
def test_value_and_gradient_equal_the_hand_computed_ones(name: str):
    loss, expected, slope = HAND[name]
    value, gradient = value_and_gradient(loss, TEACHER, STUDENT)

    # Differences of logarithms near 1 in float32: about 1e-7 each.
    np.testing.assert_allclose(value, [expected], atol=5e-7)
    np.testing.assert_allclose(gradient, [[slope, -slope]], atol=5e-7)


@pytest.mark.parametrize("name", HAND)
def test_value_grows_with_the_square_of_the_temperature_and_the_gradient_with_it(name: str):
    # Doubled logits at T = 2 soften to the same p and q, so only the factors are left.
    loss, expected, slope = HAND[name]
    doubled = 2 * np.float32(TEACHER), 2 * np.float32(STUDENT)
    value, gradient = value_and_gradient(loss, *doubled, temperature=2.0)

    np.testing.assert_allclose(value, [4 * expected], atol=2e-6)  # four times the above
    np.testing.assert_allclose(gradient, [[2 * slope, -2 * slope]], atol=2e-6)


@every_loss
def test_no_gradient_reaches_the_teacher(loss):
    teacher, student = tf.constant(TEACHER), tf.constant(STUDENT)
    with tf.GradientTape() as tape:
        tape.watch([teacher, student])
        value = loss(teacher, student, temperature=2.0)
    to_teacher, to_student = tape.gradient(value, [teacher, student])

    assert to_teacher is None
    assert np.abs(to_student).sum() > 0.01


@every_loss
def test_a_confidently_wrong_student_is_told(loss):
    _, gradient = value_and_gradient(loss, [[30.0, 0.0]], [[0.0, 10.0]])

    assert gradient[0, 0] < 0 < gradient[0, 1]


def test_a_confidently_wrong_student_gets_the_full_gradient():
    # Clipped probabilities, as in keras.losses.KLDivergence, give exactly 0 here.
    value, gradient = value_and_gradient(losses.forward_kl, [[30.0, 0.0]], [[0.0, 30.0]])

    np.testing.assert_allclose(gradient, [[-1.0, 1.0]], atol=1e-6)
    np.testing.assert_allclose(value, [30.0], rtol=1e-6)


@every_loss
@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16, tf.float16])
def test_value_and_gradient_are_finite_at_extreme_logits(loss, dtype):
    teacher = tf.cast([[1e4, -1e4, 0.0], [-1e4, -1e4, 1e4], [0.0, 0.0, 0.0]], dtype)
    student = tf.cast([[-1e4, 1e4, 0.0], [-1e4, -1e4, 1e4], [1e4, 0.0, -1e4]], dtype)
    value, gradient = value_and_gradient(loss, teacher, student)

    assert np.isfinite(value).all()
    assert np.isfinite(gradient).all()
    # Equal rows cost 0, but for one rounding where a mixture was taken: ln 0.1 + 0.9 ≠ 0.
    np.testing.assert_allclose(value[1], 0.0, atol=1e-7)
    assert (value[[0, 2]] > 0.1).all()


@every_loss
def test_half_precision_is_computed_in_float32(loss):
    teacher, student = np.float32([[1.5, -2.0, 0.25]]), np.float32([[0.5, 3.0, -1.0]])
    exact = loss(tf.constant(teacher), tf.constant(student))
    half = loss(tf.cast(teacher, tf.bfloat16), tf.cast(student, tf.bfloat16))

    assert half.dtype == tf.float32
    assert half.numpy() == exact.numpy()  # these logits are exact in bfloat16


@every_loss
def test_teacher_and_student_may_differ_in_precision(loss):
    teacher, student = tf.constant([[1.5, -2.0]]), tf.constant([[0.5, 3.0]])
    expected = loss(teacher, student).numpy()

    assert loss(tf.cast(teacher, tf.bfloat16), student).numpy() == expected
    assert loss(teacher, tf.cast(student, tf.float64)).dtype == tf.float64


@every_loss
def test_tokens_are_scored_one_by_one(loss, rng: np.random.Generator):
    teacher, student = rng.normal(size=(2, 2, 3, 5)).astype("float32")
    together = loss(teacher, student)

    assert together.shape == (2, 3)
    # Sums of five numbers, in another order.
    np.testing.assert_allclose(together[1], loss(teacher[1], student[1]), atol=1e-6)


@pytest.mark.parametrize("name", ["forward", "jensen_shannon", "skewed"])
def test_a_class_that_the_teacher_excludes_is_allowed(name: str):
    # p = (1, 0) and q = (½, ½), so ln 2, ½·(ln 4/3 + ½·ln ⅔ + ½·ln 2), ln 1/0.55.
    expected = {
        "forward": math.log(2.0),
        "jensen_shannon": 0.5 * (math.log(4 / 3) + 0.5 * math.log(2 / 3) + 0.5 * math.log(2)),
        "skewed": math.log(1 / 0.55),
    }
    value, gradient = value_and_gradient(HAND[name][0], [[0.0, -math.inf]], STUDENT)

    np.testing.assert_allclose(value, [expected[name]], atol=5e-7)
    assert np.isfinite(gradient).all()
    assert gradient[0, 0] < 0 < gradient[0, 1]


@every_loss
@quick
@given(arrays(np.float32, (2, 4), elements=logits), st.floats(0.25, 8, width=32))
def test_equal_logits_cost_nothing(loss, rows, temperature):
    value, gradient = value_and_gradient(loss, rows, rows, temperature=temperature)

    # The same numbers come out of the same operations; T² = 64 times one rounding is left.
    np.testing.assert_allclose(value, 0.0, atol=64 * 2e-7)
    np.testing.assert_allclose(gradient, 0.0, atol=8 * 1e-6)


@every_loss
@quick
@given(
    arrays(np.float32, (2, 2, 4), elements=st.floats(-8, 8, width=32)),
    st.floats(-100, 100, width=32),
)
def test_a_constant_added_to_the_logits_changes_nothing(loss, rows, constant):
    teacher, student = rows
    moved = loss(teacher + constant, student - constant)

    # Adding 100 rounds the logits themselves to about 4e-6.
    np.testing.assert_allclose(moved, loss(teacher, student), rtol=1e-4, atol=1e-4)


@every_loss
@quick
@given(arrays(np.float32, (2, 3, 5), elements=logits), st.permutations(range(5)))
def test_losses_are_never_negative_and_the_order_of_classes_does_not_matter(loss, rows, order):
    teacher, student = rows
    value = loss(teacher, student).numpy()
    permuted = loss(teacher[:, order], student[:, order])

    assert (value >= -1e-6).all()  # one rounding of a sum that is zero
    np.testing.assert_allclose(permuted, value, rtol=1e-5, atol=1e-5)


@quick
@given(arrays(np.float32, (2, 3, 4), elements=logits))
def test_forward_is_reverse_with_the_roles_swapped(rows):
    teacher, student = rows
    forward = losses.forward_kl(teacher, student)

    np.testing.assert_allclose(losses.reverse_kl(student, teacher), forward, rtol=1e-6)


@quick
@given(arrays(np.float32, (2, 3, 4), elements=logits))
def test_jensen_shannon_is_symmetric_and_bounded(rows):
    teacher, student = rows
    value = losses.jensen_shannon(teacher, student, temperature=2.0).numpy()

    np.testing.assert_allclose(
        losses.jensen_shannon(student, teacher, temperature=2.0), value, atol=1e-5
    )
    assert (value <= 4 * math.log(2.0) + 1e-5).all()  # T² · ln 2 and a rounding


@quick
@given(arrays(np.float32, (2, 3, 4), elements=logits), st.floats(0.01, 0.9))
def test_skewed_kl_is_bounded_by_the_share_of_the_teacher(rows, skew):
    value = losses.skewed_kl(rows[0], rows[1], skew=skew).numpy()

    assert (value <= math.log(1 / skew) + 1e-5).all()  # a rounding


def test_ends_of_jensen_shannon_are_forward_and_reverse_by_definition():
    at_0 = losses.jensen_shannon(TEACHER, STUDENT, temperature=3.0, beta=0.0).numpy()
    at_1 = losses.jensen_shannon(TEACHER, STUDENT, temperature=3.0, beta=1.0).numpy()

    assert at_0 == losses.forward_kl(TEACHER, STUDENT, temperature=3.0).numpy()
    assert at_1 == losses.reverse_kl(TEACHER, STUDENT, temperature=3.0).numpy()


@pytest.mark.parametrize("beta", [1e-3, 1 - 1e-3])
def test_jensen_shannon_jumps_at_its_ends(beta: float):
    # Close to an end the formula goes to min(β, 1 − β) times a divergence: 1e-3 · 0.14.
    value = losses.jensen_shannon(TEACHER, STUDENT, beta=beta).numpy()

    assert 1e-4 < value[0] < 2e-4


def test_skew_0_is_forward_kl():
    value = losses.skewed_kl(TEACHER, STUDENT, skew=0.0).numpy()

    assert value == losses.forward_kl(TEACHER, STUDENT).numpy()
