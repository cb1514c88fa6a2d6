"""Which soft losses `compile` takes, and how one number per token becomes one number."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfdistill as td
from tfdistill import losses
from tfdistill.distill.losses import soft

X = np.random.default_rng(1).normal(size=(32, 4)).astype("float32")
Y = np.random.default_rng(2).integers(0, 3, 32).astype("int32")
LN3 = float(np.log(3.0))


def net(seed: int = 0, dtype: str | None = None) -> keras.Model:
    keras.utils.set_random_seed(seed)
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, dtype=dtype)])


def kl(temperature: float = 2.0) -> keras.distillation.LogitsDistillation:
    return keras.distillation.LogitsDistillation(
        temperature=temperature, loss=keras.losses.KLDivergence()
    )


def fitted(soft_loss, **arguments) -> td.Distiller:
    made = td.Distiller(student=net(), teacher=net(1))
    made.compile(keras.optimizers.SGD(0.1), soft_loss=soft_loss, **arguments)
    made.fit(X, Y, batch_size=8, epochs=2, shuffle=False, verbose=0)
    return made


def test_a_keras_loss_as_it_is_trains_as_the_same_loss_of_ours():
    theirs = fitted(kl(2.0), temperature=7.0)  # its own temperature is what counts
    ours = fitted("forward_kl", temperature=2.0)
    for one, other in zip(theirs.student.get_weights(), ours.student.get_weights(), strict=True):
        # Keras clips probabilities at 1e-7, which is far below those of these models.
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_a_keras_loss_on_final_outputs_is_their_mean_squared_difference():
    made = td.Distiller(student=net(), teacher=net(1))
    made.compile("sgd", soft_loss=keras.distillation.FeatureDistillation(loss="mse"))
    found = made.evaluate(X, Y, return_dict=True, verbose=0)["soft_loss"]
    expected = np.mean((net()(X) - net(1)(X)) ** 2)
    assert found == pytest.approx(float(expected), rel=1e-5)


def test_a_keras_loss_takes_a_teacher_of_another_dtype():
    made = td.Distiller(student=net(), teacher=net(1, dtype="bfloat16"))
    made.compile("sgd", soft_loss=kl())
    assert np.isfinite(made.fit(X, Y, verbose=0).history["soft_loss"][0])


def test_a_keras_loss_with_sample_weight_is_refused():
    made = td.Distiller(student=net(), teacher=net(1))
    made.compile("sgd", soft_loss=kl())
    with pytest.raises(ValueError, match="`soft_loss` must return a loss per example.*: sample_we"):
        made.fit(X, Y, sample_weight=np.ones(32), verbose=0)


@pytest.mark.parametrize("masked_by", ["ignore_class", "keras"])
def test_a_keras_loss_with_a_mask_is_refused(masked_by: str):
    inputs = keras.Input((4,), dtype="int32")
    table = keras.layers.Embedding(9, 3, mask_zero=masked_by == "keras")
    student = keras.Model(inputs, table(inputs))
    made = td.Distiller(student=student, teacher=lambda x: tf.one_hot(x, 3))
    ignored = 0 if masked_by == "ignore_class" else None
    made.compile("sgd", soft_loss=kl(), ignore_class=ignored)
    tokens = np.ones((6, 4), "int32")
    with pytest.raises(ValueError, match="`soft_loss` must return a loss per example.*: a mask"):
        made.fit(tokens, tokens, verbose=0)


@pytest.mark.parametrize(("teacher", "student"), [("a", "b"), ("a", None), (None, "b")])
def test_a_keras_loss_of_layers_is_refused(teacher: str | None, student: str | None):
    loss = keras.distillation.FeatureDistillation(
        loss="mse", teacher_layer_name=teacher, student_layer_name=student
    )
    message = f"`soft_loss` must compare logits.*layers {teacher!r} and {student!r}"
    with pytest.raises(ValueError, match=message):
        td.Distiller(student=net(), teacher=net(1)).compile("sgd", soft_loss=loss)


@pytest.mark.parametrize("soft_loss", [3, keras.distillation.LogitsDistillation])
def test_something_that_is_no_loss_is_refused(soft_loss):
    with pytest.raises(TypeError, match="`soft_loss` must be one of"):
        soft.resolve_distillation_loss(soft_loss)


def test_only_what_counts_is_averaged():
    # Losses 0.1308 for (¼, ¾) against (½, ½), and 0 where both are equal.
    teacher = tf.constant([[[0.0, LN3], [0.0, 0.0], [0.0, LN3]]])
    student = tf.zeros([1, 3, 2])
    one = 0.25 * np.log(0.5) + 0.75 * np.log(1.5)
    for labels, weight, expected in (
        (None, None, 2 * one / 3),
        ([[0, 1, -100]], None, one / 2),
        ([[-100, -100, -100]], None, 0.0),
        ([[0, 1, -100]], [[2.0, 5.0, 9.0]], 2 * one / 2),
    ):
        found = soft.mean_distillation_loss(
            losses.forward_kl,
            teacher,
            student,
            temperature=1.0,
            labels=None if labels is None else tf.constant(labels),
            ignore_class=-100,
            sample_weight=None if weight is None else tf.constant(weight),
        )
        assert float(found) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("soft_loss", ["forward_kl", "reverse_kl", "jensen_shannon", "skewed_kl"])
def test_names_are_stored_as_names(soft_loss: str):
    config = soft.to_config(soft.resolve_distillation_loss(soft_loss))
    assert config == {"name": soft_loss}
    assert soft.from_config(config) == soft_loss


def test_a_function_that_only_has_the_name_of_ours_is_not_taken_for_it():
    def forward_kl(teacher_logits, student_logits, *, temperature):
        return student_logits[..., 0]

    assert soft.to_config(forward_kl) == {"function": "forward_kl"}


def test_a_function_is_found_by_its_name_among_the_custom_objects():
    def mine(teacher_logits, student_logits, *, temperature):
        return student_logits[..., 0]

    config = soft.to_config(mine)
    with keras.saving.custom_object_scope({"mine": mine}):
        assert soft.from_config(config) is mine
    with pytest.raises(ValueError, match="`custom_objects` must hold the soft loss 'mine'"):
        soft.from_config(config)
