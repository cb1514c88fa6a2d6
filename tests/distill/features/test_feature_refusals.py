"""What a feature loss refuses, and what it says: one test for each message."""

from __future__ import annotations

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfdistill as td
from tfdistill.introspection.hooks import CaptureError

X, Y = np.ones((4, 4), "float32"), np.zeros(4, "int32")


def classifier(width: int = 4, seed: int = 0) -> keras.Model:
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(width, name="hidden"),
            keras.layers.Dense(3, name="logits"),
        ]
    )


def encoder(num_heads: int = 2, hidden_dim: int = 4, length: int = 3) -> keras.Model:
    return td.students.text_encoder(
        vocabulary_size=8, sequence_length=length, num_layers=1, hidden_dim=hidden_dim,
        num_heads=num_heads, intermediate_dim=4, num_classes=3, seed=0,
    )  # fmt: skip


def pair(teacher="hidden", student="hidden", loss="hidden_mse", **kwargs) -> td.FeatureLoss:
    return td.FeatureLoss(teacher=teacher, student=student, loss=loss, **kwargs)


def refuse(message: str, *losses, error=ValueError, student=None, teacher=None) -> None:
    with pytest.raises(error, match=message):
        td.Distiller(
            student=student or classifier(), teacher=teacher or classifier(), feature_losses=losses
        )


@pytest.mark.parametrize("path", [None, "", 5])
def test_path_that_is_no_text(path):
    with pytest.raises(TypeError, match="`student` of a FeatureLoss must be the path of a layer"):
        pair(student=path)


def test_unknown_loss():
    message = (
        r"`loss` of a FeatureLoss must be one of \['attention_kl'.*loss='forward_kl'.*soft_loss="
    )
    with pytest.raises(ValueError, match=message):
        pair(loss="forward_kl")


@pytest.mark.parametrize("loss", [3, None, keras.losses.MeanSquaredError])
def test_loss_that_is_no_function(loss):
    with pytest.raises(TypeError, match="`loss` of a FeatureLoss must be.*one loss per position"):
        pair(loss=loss)


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_weight_out_of_range(weight):
    with pytest.raises(
        ValueError, match=r"`weight` of a FeatureLoss must be a float in \[0, inf\)"
    ):
        pair(weight=weight)


@pytest.mark.parametrize("weight", ["1", True, None])
def test_weight_that_is_no_number(weight):
    with pytest.raises(TypeError, match=r"`weight` of a FeatureLoss must be a float in \[0, inf\)"):
        pair(weight=weight)


@pytest.mark.parametrize("given", [pair(), ["hidden"], "hidden"])
def test_what_is_no_list_of_feature_losses(given):
    with pytest.raises(TypeError, match="`feature_losses` must be a list of FeatureLoss"):
        td.Distiller(student=classifier(), teacher=classifier(), feature_losses=given)


def test_path_that_the_teacher_does_not_have_is_refused_with_the_nearest():
    message = (
        "`teacher` must name a layer of the teacher 'seq.*teacher='hiden'.* names are 'hidden'"
    )
    refuse(message, pair(teacher="hiden"))


def test_path_that_the_student_does_not_have_is_refused_with_the_nearest():
    message = "`student` must name a layer of the student 'seq.*'encoder_1'. The nearest names are"
    refuse(message, pair(student="encoder_1"))


def test_ambiguous_path_among_several_teachers():
    teachers = [classifier(), classifier()]
    message = "may be 'sequential.*/hidden', 'sequential.*/hidden'. Write more of the path"
    refuse(message, pair(), teacher=teachers)


def test_teacher_whose_layers_cannot_be_seen():
    message = "`teacher` must be a Keras model, or a TeacherCache.*whose layers cannot be seen"
    refuse(message, pair(), teacher=lambda x: tf.zeros([4, 3]))


def test_loss_on_attention_where_there_is_none():
    refuse("must name a MultiHeadAttention layer", pair(loss="relation_kl"))


def test_attention_of_different_head_counts():
    message = (
        "`teacher_scores` and `student_scores` must have the same shape.*`relation_kl` compares"
    )
    loss = pair("encoder_0", "encoder_0", "attention_kl")
    refuse(message, loss, student=encoder(1), teacher=encoder(2))


def test_relation_heads_that_do_not_fit():
    loss = functools.partial(td.losses.relation_kl, relation_heads=3)
    message = "`relation_heads` must divide the widths.*teacher → 8, student → 4"
    refuse(
        message,
        pair("encoder_0", "encoder_0", loss),
        student=encoder(),
        teacher=encoder(hidden_dim=8),
    )


def test_layers_of_other_positions():
    message = (
        r"must name layers with the same positions.*'encoder_0'.*teacher → \(None, 4, 4\), "
        r"student → \(None, 3, 4\)"
    )
    # A teacher that reads four tokens where the student reads three.
    inputs = keras.Input((3,), dtype="int32")
    longer = encoder(length=4)
    teacher = keras.Model(inputs, longer(keras.ops.pad(inputs, [[0, 0], [0, 1]])))
    refuse(message, pair("encoder_0", "encoder_0"), student=encoder(), teacher=teacher)


def test_layer_that_returns_ids():
    inputs = keras.Input((4,))
    largest = keras.layers.Lambda(lambda x: keras.ops.argmax(x, axis=-1), name="largest")
    hidden = largest(inputs)
    scores = keras.layers.Dense(3)(inputs * keras.ops.cast(hidden[:, None], "float32"))
    message = r"'largest' must return one float tensor.*int32 of shape \(None,\)"
    refuse(message, pair("largest"), teacher=keras.Model(inputs, scores), error=CaptureError)


def test_shared_layer():
    inputs = keras.Input((4,))
    shared = keras.layers.Dense(4, name="shared")
    student = keras.Model(inputs, keras.layers.Dense(3)(shared(shared(inputs))))
    refuse("'shared' must run once per call", pair(student="shared"), student=student)


def test_layer_that_the_answer_does_not_need():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(3)(inputs))
    model.spare = keras.layers.Dense(4, name="spare")
    model.spare.build((None, 4))
    refuse("'spare' must run once per call.*did not run", pair("spare"), teacher=model)


def test_model_that_does_not_say_what_it_takes():
    class Choosy(keras.Model):
        def __init__(self):
            super().__init__(name="choosy")
            self.hidden = keras.layers.Dense(3, name="hidden")

        def build(self, shapes):
            self.hidden.build((None, 4))

        def call(self, x):
            return self.hidden(x["features"])

        def get_build_config(self):
            return {}

    model = Choosy()
    model({"features": X})
    message = "`teacher` must say what it takes.*'choosy' of class Choosy. Wrap it: inputs = keras"
    refuse(message, pair(), teacher=model)


def test_loss_that_averages():
    def average(teacher_states, student_states):
        return tf.reduce_mean(tf.square(teacher_states - student_states))

    message = r"must return one loss per position.*loss=average.* makes \(\) of positions \(None,\)"
    refuse(message, pair(loss=average))


def test_sample_weights_for_tokens_where_the_layer_has_none():
    made = td.Distiller(
        student=encoder(), teacher=encoder(), feature_losses=[pair("pooling", "pooling")]
    )
    made.compile("sgd")
    message = (
        r"`sample_weight` must have the shape \[B\].*weight of shape \(2, 3\).*positions \(2,\)"
    )
    told = {made._features._terms[0].teacher: {"states": tf.ones([2, 4])}}
    shown = {made._features._terms[0].student: {"states": tf.ones([2, 4])}}
    with pytest.raises(ValueError, match=message):
        made._features.losses(told, shown, sample_weight=tf.ones([2, 3]))
