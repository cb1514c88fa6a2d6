"""Several teachers, and a student that learns from its own uncompressed self."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings, strategies as st

import tfdistill as td
from tfdistill import losses
from tfdistill.distill.teacher import members, mixture_logits

X = np.random.default_rng(1).normal(size=(64, 5)).astype("float32")
Y = np.random.default_rng(2).integers(0, 3, 64).astype("int32")


def net(seed: int = 0, classes: int = 3, name: str | None = None) -> keras.Model:
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [keras.Input((5,)), keras.layers.Dense(4, "relu"), keras.layers.Dense(classes)], name=name
    )


def fitted(teacher, *, epochs: int = 2, **arguments) -> td.Distiller:
    distiller = td.Distiller(student=net(), teacher=teacher)
    distiller.compile(keras.optimizers.SGD(0.1), **arguments)
    distiller.fit(X, Y, epochs=epochs, batch_size=16, shuffle=False, verbose=0)
    return distiller


def test_mixture_is_the_mean_of_the_softened_probabilities():
    # At T = 2: (1/4, 3/4) and (1/2, 1/2), so 0.4 · 1/4 + 0.6 · 1/2 = 0.4.
    sharp, flat = tf.constant([[0.0, 2 * np.log(3.0)]], tf.float32), tf.zeros([1, 2])
    mixture = mixture_logits([sharp, flat], weights=[0.4, 0.6], temperature=2.0)
    np.testing.assert_allclose(tf.nn.softmax(mixture / 2.0), [[0.4, 0.6]], rtol=1e-6)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    weight=st.floats(0.01, 0.99),
    temperature=st.floats(0.5, 10.0),
)
def test_one_loss_on_the_mixture_pulls_as_the_weighted_losses_do(seed, weight, temperature):
    rng = np.random.default_rng(seed)
    first, second, student = (tf.constant(rng.normal(size=(4, 3)) * 3) for _ in range(3))
    weights = [weight, 1.0 - weight]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(student)
        mixture = mixture_logits([first, second], weights=weights, temperature=temperature)
        together = losses.forward_kl(mixture, student, temperature=temperature)
        apart = sum(
            w * losses.forward_kl(one, student, temperature=temperature)
            for w, one in zip(weights, (first, second), strict=True)
        )
    np.testing.assert_allclose(
        # float64 with a few hundred operations
        tape.gradient(together, student),
        tape.gradient(apart, student),
        atol=1e-9,
    )


def test_the_mixture_of_far_apart_logits_is_finite_also_in_bfloat16():
    far = tf.constant([[1e4, -1e4]])
    for dtype in (tf.float32, tf.bfloat16):
        mixture = mixture_logits(
            [tf.cast(far, dtype), tf.cast(-far, dtype)], weights=[0.5, 0.5], temperature=1.0
        )
        assert mixture.dtype == tf.float32
        np.testing.assert_allclose(tf.nn.softmax(mixture), [[0.5, 0.5]], atol=1e-6)


def test_two_equal_teachers_are_one():
    alone, twice = fitted(net(1)), fitted([net(1), net(1)])
    for one, other in zip(alone.student.get_weights(), twice.student.get_weights(), strict=True):
        # log-sum-exp of two equal numbers, in float32, for eight steps
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_the_first_loss_of_several_teachers_equals_the_one_of_their_mixture():
    teachers = [net(1), net(2)]
    distiller = td.Distiller(student=net(), teacher=[(teachers[0], 0.7), (teachers[1], 0.3)])
    distiller.compile("sgd", temperature=3.0)
    result = distiller.evaluate(X, Y, return_dict=True, verbose=0)
    p = sum(
        weight * tf.nn.softmax(teacher(X) / 3.0)
        for weight, teacher in zip((0.7, 0.3), teachers, strict=True)
    )
    log_q = tf.nn.log_softmax(net()(X) / 3.0)
    expected = 9.0 * tf.reduce_mean(tf.reduce_sum(p * (tf.math.log(p) - log_q), axis=-1))
    assert result["soft_loss"] == pytest.approx(float(expected), rel=1e-5)


def test_each_teacher_is_asked_once_per_step_and_left_as_it_was():
    calls = tf.Variable([0, 0])
    models = [net(1), net(2)]

    def teacher(index):
        def ask(x):
            calls.scatter_nd_add([[index]], [1])
            return models[index](x, training=False)

        return ask

    before = [model.get_weights() for model in models]
    fitted([(teacher(0), 0.25), (teacher(1), 0.75)])
    assert calls.numpy().tolist() == [8, 8]  # 2 epochs of 4 batches
    for model, weights in zip(models, before, strict=True):
        for now, then in zip(model.get_weights(), weights, strict=True):
            np.testing.assert_array_equal(now, then)


def test_the_mixture_follows_the_temperature_while_it_moves():
    distiller = td.Distiller(student=net(), teacher=[net(1), net(2)])
    distiller.compile("sgd", temperature=1.0, alpha=0.0)
    first = distiller.evaluate(X, Y, return_dict=True, verbose=0)["soft_loss"]
    distiller.temperature.assign(8.0)
    moved = distiller.evaluate(X, Y, return_dict=True, verbose=0)["soft_loss"]
    distiller.compile("sgd", temperature=8.0, alpha=0.0)
    assert moved == distiller.evaluate(X, Y, return_dict=True, verbose=0)["soft_loss"] != first


@pytest.mark.slow
def test_a_student_learns_from_its_uncompressed_self():
    itself = net(3)
    before = itself.get_weights()

    def disagreement(learning_rate: float) -> float:
        small = td.prune_low_magnitude(itself, sparsity=0.5, steps=8)
        distiller = td.Distiller(student=small, teacher=itself)
        distiller.compile(keras.optimizers.Adam(learning_rate), alpha=0.0)
        distiller.fit(X, Y, epochs=10, batch_size=16, verbose=0)
        return distiller.evaluate(X, Y, return_dict=True, verbose=0)["soft_loss"]

    # Half of what pruning alone has taken comes back at least; its self is left alone.
    assert 0.0 < disagreement(0.02) < 0.5 * disagreement(0.0)
    for now, then in zip(itself.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_members_reads_one_several_and_weighted_teachers():
    assert members("a") == (("a",), (1.0,))
    assert members(["a", "b", "c", "d"]) == (("a", "b", "c", "d"), (0.25,) * 4)
    assert members([("a", 1 / 3), ("b", 2 / 3)])[1] == (1 / 3, 2 / 3)
    assert members([("a", 0.1)] * 10)[1] == (0.1,) * 10  # sums to 1 up to rounding


@pytest.mark.parametrize("teacher", [[], [("a", 0.5), "b"], [("a", 0.5, 1)]])
def test_a_list_that_is_no_list_of_teachers_is_refused(teacher):
    with pytest.raises(TypeError, match="`teacher` must be a teacher, a list of them, or a list"):
        members(teacher)


@pytest.mark.parametrize("weight", ["0.5", None, True])
def test_a_weight_that_is_no_number_is_refused(weight):
    with pytest.raises(TypeError, match="The weights in `teacher` must be positive numbers"):
        members([("a", weight), ("b", 0.5)])


@pytest.mark.parametrize(
    "weights", [(0.5, 0.4), (1.0, 0.0), (1.5, -0.5), (7, 3), (float("nan"), 0.5)]
)
def test_weights_that_are_no_shares_are_refused(weights):
    with pytest.raises(ValueError, match=r"positive and sum to 1. Received: weights \["):
        members(list(zip("ab", weights, strict=True)))


def test_teachers_of_different_classes_are_refused_by_name():
    with pytest.raises(ValueError, match="number of classes. Received: one → 3, other → 4"):
        td.Distiller(student=net(), teacher=[net(name="one"), net(classes=4, name="other")])


def test_a_cache_among_other_teachers_is_refused(tmp_path):
    cache = td.TeacherCache.build(net(1), X, tmp_path / "c")
    with pytest.raises(ValueError, match="A TeacherCache must be the only `teacher`. Received: te"):
        td.Distiller(student=net(), teacher=[cache, net(1)])


def test_a_cache_of_several_teachers_is_refused(tmp_path):
    with pytest.raises(TypeError, match="`teacher` must be one teacher, because a mixture depends"):
        td.TeacherCache.build([net(1), net(2)], X, tmp_path / "c")


def test_one_of_several_that_is_no_teacher_is_refused():
    with pytest.raises(TypeError, match="`teacher` must be a Keras 3 model"):
        td.Distiller(student=net(), teacher=[net(1), 3])
