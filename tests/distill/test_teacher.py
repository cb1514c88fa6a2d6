"""What a teacher may be, and what it is asked."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tfdistill.distill.teacher import (
    TeacherAdapter,
    num_classes,
    one_tensor,
    split_teacher_logits,
    takes_training,
)
from tfdistill.distill.teacher_cache.cache import TeacherCache
from tfdistill.distill.teacher_cache.logit_records import ANSWERS, INPUTS

X = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")


class Bare(keras.Model):
    """A model of its own class whose call knows nothing of `training`."""

    def __init__(self):
        super().__init__()
        self.norm = keras.layers.BatchNormalization()
        self.drop = keras.layers.Dropout(0.5)
        self.dense = keras.layers.Dense(3)

    def call(self, inputs):
        return self.dense(self.drop(self.norm(inputs)))


class LegacyCallable(tf_keras.layers.Layer):
    pass


def classifier(classes: int = 3) -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(classes),
        ]
    )


@pytest.mark.parametrize("make", [classifier, Bare])
def test_a_model_is_asked_in_inference_mode(make):
    teacher = make()
    expected = teacher(X, training=False) if make is classifier else teacher(X)
    before = [variable.numpy() for variable in teacher.variables]
    answer = TeacherAdapter(teacher).logits(tf.constant(X))

    np.testing.assert_array_equal(answer, expected)
    for variable, value in zip(teacher.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_no_gradient_reaches_the_teacher():
    teacher = classifier()
    with tf.GradientTape() as tape:
        answer = TeacherAdapter(teacher).logits(tf.constant(X))

    assert tape.gradient(answer, teacher.trainable_variables) == [None] * 4


def test_a_callable_is_asked_as_it_is():
    adapter = TeacherAdapter(lambda inputs: 2.0 * inputs)

    np.testing.assert_array_equal(adapter.logits(tf.constant(X)), 2 * X)
    assert adapter.num_classes() is None
    assert not adapter.is_cached


def test_the_number_of_classes_of_a_model_is_known():
    assert TeacherAdapter(classifier(7)).num_classes() == 7


def test_a_cache_knows_its_classes_and_has_to_bring_its_answers(tmp_path):
    adapter = TeacherAdapter(TeacherCache.build(classifier(), X, tmp_path / "cache"))

    assert adapter.is_cached
    assert adapter.num_classes() == 3
    with pytest.raises(RuntimeError, match=r"logits in each batch\. Train it on `teacher_cache"):
        adapter.logits(tf.constant(X))


def test_answers_are_separated_from_inputs():
    inputs, answers = split_teacher_logits({INPUTS: {"ids": 1}, ANSWERS: 2})

    assert (inputs, answers) == ({"ids": 1}, 2)
    assert split_teacher_logits({"ids": 1}) == ({"ids": 1}, None)
    assert split_teacher_logits(3) == (3, None)


def test_the_number_of_classes_is_none_where_there_is_not_one():
    inputs = keras.Input((4,))
    twice = keras.Model(inputs, [keras.layers.Dense(2)(inputs), keras.layers.Dense(3)(inputs)])

    assert num_classes(twice) is None
    assert num_classes(keras.Model()) is None


def test_an_argument_training_is_found():
    assert takes_training(classifier())
    assert not takes_training(Bare())


@pytest.mark.parametrize("several", [(X, X), [X], {"logits": X}])
def test_several_outputs_are_refused(several):
    expected = f"`teacher` must return one tensor.*{type(several).__name__} of {len(several)} out"
    with pytest.raises(TypeError, match=expected):
        TeacherAdapter(lambda inputs: several).logits(tf.constant(X))


@pytest.mark.parametrize("answer", [None, object()])
def test_an_answer_that_is_no_tensor_is_refused_by_its_type(answer):
    with pytest.raises(TypeError, match=rf"`student` must return one.*{type(answer).__name__}"):
        one_tensor(answer, argument="student")


@pytest.mark.parametrize(
    "teacher",
    [tf_keras.Sequential([tf_keras.layers.Dense(3, input_shape=(4,))]), LegacyCallable()],
)
def test_a_tf_keras_teacher_is_refused_though_it_can_be_called(teacher):
    with pytest.raises(TypeError, match="`teacher` must be a Keras 3 model.*older tf_keras"):
        TeacherAdapter(teacher)


def test_a_teacher_that_cannot_be_called_is_refused():
    with pytest.raises(TypeError, match="`teacher` must be a Keras 3 model.*teacher=builtins.int"):
        TeacherAdapter(3)


def test_an_unbuilt_teacher_is_refused():
    with pytest.raises(ValueError, match="`teacher` must be built.*teacher='raw'"):
        TeacherAdapter(keras.Sequential([keras.layers.Dense(2)], name="raw"))


def test_a_teacher_of_probabilities_is_refused_by_its_layer():
    teacher = keras.Sequential([keras.Input((4,)), keras.layers.Softmax(name="end")])
    with pytest.raises(ValueError, match="`teacher` must return logits.*last layer 'end'"):
        TeacherAdapter(teacher)
