"""Bad input to the Distiller: one clear error each, before anything is trained."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tfdistill import Distiller, prune_low_magnitude
from tfdistill.distill.distiller import check_alpha

X = np.zeros((4, 3), "float32")
Y = np.zeros(4, "int32")


def classifier(classes: int = 2, *, activation: str | None = None) -> keras.Model:
    return keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(classes, activation=activation, name="scores")],
        name="net",
    )


def legacy() -> tf_keras.Model:
    return tf_keras.Sequential([tf_keras.layers.Dense(2, input_shape=(3,))])


@pytest.fixture
def distiller() -> Distiller:
    return Distiller(student=classifier(), teacher=classifier())


@pytest.mark.parametrize("alpha", [-0.1, 1.1, 50, math.nan, math.inf])
def test_an_alpha_out_of_range_is_refused(distiller: Distiller, alpha: float):
    with pytest.raises(ValueError, match=rf"`alpha` must be a float in \[0, 1\].*alpha={alpha}"):
        distiller.compile("sgd", alpha=alpha)


@pytest.mark.parametrize("alpha", ["0.1", None, True, [0.5]])
def test_an_alpha_that_is_no_number_is_refused(distiller: Distiller, alpha):
    with pytest.raises(TypeError, match=r"`alpha` must be a float in \[0, 1\]\. Received: alpha="):
        distiller.compile("sgd", alpha=alpha)


@pytest.mark.parametrize("alpha", [0, 1, 0.0, 1.0, np.float32(0.5)])
def test_alphas_from_0_to_1_pass(alpha):
    check_alpha(alpha)


@pytest.mark.parametrize("temperature", [0, -2.0, math.nan])
def test_a_temperature_out_of_range_is_refused(distiller: Distiller, temperature: float):
    expected = rf"`temperature` must be a float in \(0, inf\).*temperature={temperature}"
    with pytest.raises(ValueError, match=expected):
        distiller.compile("sgd", temperature=temperature)


def test_a_temperature_that_is_no_number_is_refused(distiller: Distiller):
    with pytest.raises(TypeError, match=r"`temperature` must be .*temperature='hot'"):
        distiller.compile("sgd", temperature="hot")


def test_an_unknown_soft_loss_is_refused(distiller: Distiller):
    with pytest.raises(ValueError, match=r"`soft_loss` must be one of .*soft_loss='kl'"):
        distiller.compile("sgd", soft_loss="kl")


def test_a_soft_loss_that_cannot_be_called_is_refused(distiller: Distiller):
    with pytest.raises(TypeError, match=r"`soft_loss` must be one of .*soft_loss=2"):
        distiller.compile("sgd", soft_loss=2)


def test_a_hard_loss_on_probabilities_is_refused(distiller: Distiller):
    with pytest.raises(ValueError, match="`loss` must be computed from logits"):
        distiller.compile("sgd", loss=keras.losses.SparseCategoricalCrossentropy())


def test_a_refused_setting_leaves_the_compiled_ones(distiller: Distiller):
    distiller.compile("sgd", alpha=0.3, temperature=4.0)
    with pytest.raises(ValueError, match="`soft_loss`"):
        distiller.compile("sgd", alpha=0.9, temperature=1.0, soft_loss="kl")

    assert (float(distiller.alpha), float(distiller.temperature)) == (pytest.approx(0.3), 4.0)


def test_different_numbers_of_classes_are_refused():
    expected = "same number of classes. Received: teacher → 10, student → 12"
    with pytest.raises(ValueError, match=expected):
        Distiller(student=classifier(12), teacher=classifier(10))


def test_different_numbers_of_classes_are_refused_of_a_compressed_student():
    with pytest.raises(ValueError, match="Received: teacher → 3, student → 2"):
        Distiller(student=prune_low_magnitude(classifier(2)), teacher=classifier(3))


def test_different_numbers_of_classes_of_a_callable_are_refused_at_the_first_batch():
    distiller = Distiller(student=classifier(2), teacher=lambda inputs: tf.zeros((4, 5)))
    distiller.compile("sgd")
    with pytest.raises(ValueError, match="Received: teacher → 5, student → 2"):
        distiller.fit(X, Y, verbose=0)


@pytest.mark.parametrize("role", ["teacher", "student"])
def test_a_tf_keras_model_is_refused(role: str):
    models = {"teacher": classifier(), "student": classifier(), role: legacy()}
    with pytest.raises(TypeError, match=f"`{role}` must be a Keras 3 model.*older tf_keras"):
        Distiller(**models)


@pytest.mark.parametrize("role", ["teacher", "student"])
def test_an_unbuilt_model_is_refused(role: str):
    raw = keras.Sequential([keras.layers.Dense(2)], name="raw")
    models = {"teacher": classifier(), "student": classifier(), role: raw}
    with pytest.raises(ValueError, match=f"`{role}` must be built.*{role}='raw'"):
        Distiller(**models)


@pytest.mark.parametrize("role", ["teacher", "student"])
def test_probabilities_are_refused_by_the_name_of_the_layer(role: str):
    sure = classifier(activation="softmax")
    models = {"teacher": classifier(), "student": classifier(), role: sure}
    with pytest.raises(ValueError, match=f"`{role}` must return logits.*last layer 'scores'"):
        Distiller(**models)


def test_probabilities_of_a_compressed_student_are_refused():
    student = prune_low_magnitude(classifier(activation="softmax"))
    with pytest.raises(ValueError, match="`student` must return logits.*last layer 'scores'"):
        Distiller(student=student, teacher=classifier())


@pytest.mark.parametrize("student", [None, "student.keras", lambda inputs: inputs])
def test_a_student_that_is_no_model_is_refused(student):
    with pytest.raises(TypeError, match="`student` must be a Keras 3 model"):
        Distiller(student=student, teacher=classifier())


def test_roles_cannot_be_given_by_position():
    with pytest.raises(TypeError, match="positional"):
        Distiller(classifier(), classifier())


def test_several_outputs_of_the_student_are_refused():
    inputs = keras.Input((3,))
    student = keras.Model(inputs, {"a": keras.layers.Dense(2)(inputs), "b": inputs})
    distiller = Distiller(student=student, teacher=classifier())
    distiller.compile("sgd")
    with pytest.raises(TypeError, match="`student` must return one tensor.*dict of 2 outputs"):
        distiller.fit(X, Y, verbose=0)


def test_several_outputs_of_the_teacher_are_refused():
    inputs = keras.Input((3,))
    teacher = keras.Model(inputs, [keras.layers.Dense(2)(inputs), inputs])
    distiller = Distiller(student=classifier(), teacher=teacher)
    distiller.compile("sgd")
    with pytest.raises(TypeError, match="`teacher` must return one tensor.*list of 2 outputs"):
        distiller.fit(X, Y, verbose=0)


def test_labels_of_a_foreign_rank_are_refused(distiller: Distiller):
    distiller.compile("sgd")
    with pytest.raises(ValueError, match=r"`y` must be .*Received: y → \(None, 2, 2\)"):
        distiller.fit(X, np.zeros((4, 2, 2)), verbose=0)


def test_an_ignored_class_with_one_hot_labels_is_refused(distiller: Distiller):
    distiller.compile("sgd", ignore_class=-100)
    with pytest.raises(ValueError, match="`ignore_class` must be None with one-hot labels"):
        distiller.fit(X, np.eye(2)[Y], verbose=0)


def test_a_logits_shape_that_differs_is_refused():
    distiller = Distiller(student=classifier(), teacher=lambda inputs: tf.zeros((4, 5, 2)))
    distiller.compile("sgd")
    with pytest.raises(ValueError, match=r"teacher_logits → \(4, 5, 2\), student_logits → "):
        distiller.fit(X, Y, verbose=0)
