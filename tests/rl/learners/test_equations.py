"""Every equation has a value and a gradient computed by hand, and no other gradient."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as npst

from tfdistill.rl.learners.equations import (
    chosen,
    double_q_target,
    masked,
    q_target,
    squared_td_error,
    vdn_sum,
)
from tfdistill.rl.learners.networks import MonotonicMixer

R_T, DISCOUNT_T = tf.constant([1.0, 2.0]), tf.constant([0.5, 0.0])
Q_TM1 = tf.constant([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
Q_T = tf.constant([[0.0, 8.0, 2.0], [9.0, 9.5, 9.0]])


def test_the_target_is_the_reward_and_the_best_that_follows():
    # 1 + ½ · 8; the second episode ended, so that 9.5 does not count.
    np.testing.assert_allclose(q_target(R_T, DISCOUNT_T, Q_T), [5.0, 2.0], rtol=0)


def test_the_double_target_is_judged_by_one_and_chosen_by_the_other():
    selector = tf.constant([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])

    # 1 + ½ · 2, the judge's value of the selector's choice and not its own best.
    np.testing.assert_allclose(double_q_target(R_T, DISCOUNT_T, Q_T, selector), [2.0, 2.0], rtol=0)


def test_the_double_target_equals_the_single_one_when_both_networks_agree():
    np.testing.assert_array_equal(
        double_q_target(R_T, DISCOUNT_T, Q_T, Q_T), q_target(R_T, DISCOUNT_T, Q_T)
    )


def test_the_error_moves_the_value_of_the_action_taken_and_nothing_else():
    with tf.GradientTape() as tape:
        tape.watch([Q_TM1, Q_T, R_T])
        value = chosen(Q_TM1, tf.constant([1, 0]))
        loss = tf.reduce_sum(squared_td_error(value, q_target(R_T, DISCOUNT_T, Q_T)))
    gradients = tape.gradient(loss, [Q_TM1, Q_T, R_T])

    assert float(loss) == 0.5 * (5 - 2) ** 2 + 0.5 * (2 - 4) ** 2
    np.testing.assert_array_equal(gradients[0], [[0, 2 - 5, 0], [4 - 2, 0, 0]])
    assert gradients[1:] == [None, None]


def test_a_target_that_is_not_stopped_would_be_noticed():
    with tf.GradientTape() as tape:
        tape.watch(Q_T)
        leaking = R_T + DISCOUNT_T * tf.reduce_max(Q_T, axis=-1)
        loss = tf.reduce_sum(leaking)

    assert tape.gradient(loss, Q_T) is not None


def test_forbidden_actions_are_never_the_best():
    allowed = tf.constant([[True, False, True], [False, False, True]])

    assert tf.argmax(masked(Q_T, allowed), axis=-1).numpy().tolist() == [2, 2]


def test_the_sum_gives_every_agent_the_gradient_one():
    values = tf.constant([[1.0, 2.0, 4.0]])
    with tf.GradientTape() as tape:
        tape.watch(values)
        team = vdn_sum(values)

    assert team.numpy().tolist() == [7.0]
    np.testing.assert_array_equal(tape.gradient(team, values), [[1, 1, 1]])


def test_the_mixer_equals_the_formula_computed_in_numpy():
    mixer = MonotonicMixer(hidden_dim=3, seed=4)
    q = np.array([[0.5, -2.0], [1.0, 3.0]], np.float32)
    s = np.array([[1.0, 0.0, 2.0], [-1.0, 0.5, 0.0]], np.float32)
    team = mixer(tf.constant(q), tf.constant(s)).numpy()

    def dense(layer, x):
        return x @ layer.kernel.numpy() + layer.bias.numpy()

    first = np.abs(dense(mixer.first_weights, s)).reshape(2, 2, 3)
    hidden = np.einsum("bn,bne->be", q, first) + dense(mixer.first_bias, s)
    hidden = np.where(hidden > 0, hidden, np.expm1(np.minimum(hidden, 0)))
    inner = np.maximum(dense(mixer.second_bias.layers[0], s), 0)
    expected = (hidden * np.abs(dense(mixer.second_weights, s))).sum(1)
    expected += dense(mixer.second_bias.layers[1], inner)[:, 0]
    # float32 sums in another order.
    np.testing.assert_allclose(team, expected, rtol=1e-5, atol=1e-6)


NUMBERS = st.floats(-50, 50, width=32)


@settings(max_examples=15, deadline=None)
@given(
    npst.arrays(np.float32, (4, 2), elements=NUMBERS),
    npst.arrays(np.float32, (4, 3), elements=NUMBERS),
    st.integers(0, 1),
    st.floats(0, 20, width=32),
)
def test_the_mixed_value_never_falls_when_an_agents_value_rises(q, s, agent, rise):
    mixer = MonotonicMixer(hidden_dim=4, seed=1)
    higher = q.copy()
    higher[:, agent] += rise
    low, high = mixer(tf.constant(q), tf.constant(s)), mixer(tf.constant(higher), tf.constant(s))

    # Rounding of sums of this size, relative to them.
    room = 1e-4 * (1 + np.abs(low.numpy()))
    assert np.all(high.numpy() >= low.numpy() - room)


@pytest.mark.parametrize("number", [0, 1])
def test_the_same_seed_makes_the_same_mixer(number: int):
    one, other = (MonotonicMixer(hidden_dim=4, seed=number) for _ in range(2))
    for mixer in (one, other):
        mixer.build((None, 2), (None, 3))
    for first, second in zip(one.weights, other.weights, strict=True):
        np.testing.assert_array_equal(first, second)
