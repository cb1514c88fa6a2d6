"""Outputs that are classes, labels of their own or numbers: each has the losses that fit it."""

from __future__ import annotations

import math
import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfdistill as td
from tfdistill import losses
from tfdistill.distill.losses.output_kinds import infer_outputs
from tfdistill.distill.teacher import binary_mixture_logits, mean_numbers

LOG3 = math.log(3.0)


def model(units: int, *, seed: int = 0, activation: str | None = None) -> keras.Model:
    keras.utils.set_random_seed(seed)
    head = keras.layers.Dense(units, activation=activation, name="head")
    return keras.Sequential([keras.Input((4,)), head])


X = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")


def kernel(student: keras.Model) -> np.ndarray:
    return np.array(student.get_layer("head").kernel)


# Equations. sigmoid(log 3) is 3/4, sigmoid(0) is 1/2.
ONE_KL = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)


def test_binary_kl_by_hand_value_and_gradient():
    teacher, student = tf.constant([[LOG3, 0.0]]), tf.Variable([[0.0, 0.0]])
    with tf.GradientTape() as tape:
        loss = losses.binary_kl(teacher, student)
    np.testing.assert_allclose(loss, [ONE_KL / 2], rtol=1e-6)
    # T / C · (q − p) = (1/2 − 3/4) / 2 for the first label, 0 for the second.
    np.testing.assert_allclose(tape.gradient(loss, student), [[-0.125, 0.0]], atol=1e-7)


def test_binary_kl_of_two_classes_is_the_kl_of_their_softmax():
    teacher, student = tf.constant([[1.7], [-0.4]]), tf.constant([[0.2], [3.0]])
    two = [tf.concat([tf.zeros_like(one), one], axis=-1) for one in (teacher, student)]
    for temperature in (0.5, 1.0, 4.0):
        np.testing.assert_allclose(
            losses.binary_kl(teacher, student, temperature=temperature),
            losses.forward_kl(*two, temperature=temperature),
            rtol=1e-5,
        )


@pytest.mark.parametrize("value", [1e4, -1e4, math.inf, -math.inf])
def test_binary_kl_of_a_certain_teacher_is_finite(value: float):
    student = tf.Variable([[0.0]])
    with tf.GradientTape() as tape:
        loss = losses.binary_kl(tf.constant([[value]]), student)
    np.testing.assert_allclose(loss, [math.log(2.0)], rtol=1e-6)
    np.testing.assert_allclose(tape.gradient(loss, student), [[-0.5 if value > 0 else 0.5]])


def test_the_teacher_of_either_loss_gets_no_gradient():
    for loss in (losses.binary_kl, losses.squared_error):
        teacher, student = tf.Variable([[1.0, 2.0]]), tf.Variable([[0.0, 0.5]])
        with tf.GradientTape() as tape:
            value = loss(teacher, student, temperature=2.0)
        assert tape.gradient(value, [teacher, student])[0] is None


def test_squared_error_by_hand_and_at_any_temperature():
    teacher, student = tf.constant([[3.0, 1.0]]), tf.Variable([[1.0, 0.0]])
    with tf.GradientTape() as tape:
        loss = losses.squared_error(teacher, student, temperature=5.0)
    assert float(loss[0]) == 2.5  # (4 + 1) / 2
    np.testing.assert_allclose(tape.gradient(loss, student), [[-2.0, -1.0]])


def test_several_teachers_are_averaged_as_probabilities_or_as_numbers():
    teachers = [tf.constant([[0.0, LOG3]]), tf.constant([[LOG3, LOG3]])]
    mixture = binary_mixture_logits(teachers, weights=[0.5, 0.5], temperature=1.0)
    np.testing.assert_allclose(tf.sigmoid(mixture), [[0.625, 0.75]], rtol=1e-6)
    softer = binary_mixture_logits(teachers, weights=[0.5, 0.5], temperature=2.0)
    expected = (1 / (1 + math.exp(-LOG3 / 2)) + 0.5) / 2
    np.testing.assert_allclose(tf.sigmoid(softer / 2.0)[0, 0], expected, rtol=1e-6)
    numbers = mean_numbers(teachers, weights=[0.25, 0.75], temperature=1.0)
    np.testing.assert_allclose(numbers, [[0.75 * LOG3, LOG3]], rtol=1e-6)


# What is inferred.
@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (None, "softmax"),
        ("sparse_categorical_crossentropy", "softmax"),
        (keras.losses.CategoricalCrossentropy(from_logits=True), "softmax"),
        ("binary_crossentropy", "sigmoid"),
        (keras.losses.BinaryCrossentropy(from_logits=True), "sigmoid"),
        (keras.losses.BinaryFocalCrossentropy(from_logits=True), "sigmoid"),
        ("mse", "linear"),
        (keras.losses.Huber(), "linear"),
        (keras.losses.mean_squared_error, "linear"),
        (lambda y, p: tf.reduce_mean(p), "softmax"),
    ],
)
def test_the_outputs_are_what_the_loss_is_for(loss, expected: str):
    assert infer_outputs(None, loss=loss, num_outputs=3) == expected


def distilled(units: int, **arguments) -> tuple[keras.Model, keras.Model, dict]:
    teacher, student = model(units, seed=1), model(units, seed=2)
    distiller = td.Distiller(student=student, teacher=teacher)
    distiller.compile(keras.optimizers.Adam(0.05), alpha=0.0, **arguments)
    x = np.tile(X, (10, 1))  # an epoch's beginning takes longer than its steps
    history = distiller.fit(x, np.zeros((len(x), units)), epochs=6, batch_size=16, verbose=0)
    return teacher, student, history.history


@pytest.mark.quick_cases("1-arguments0", "3-arguments3")
@pytest.mark.parametrize(
    ("units", "arguments"),
    [
        (1, {"outputs": "sigmoid"}),
        (1, {"loss": "binary_crossentropy"}),
        (1, {"loss": "mse"}),
        (3, {"outputs": "linear"}),
        (5, {"loss": keras.losses.BinaryCrossentropy(from_logits=True)}),
    ],
)
def test_a_student_becomes_its_teacher_from_soft_targets_alone(units: int, arguments: dict):
    teacher, student, history = distilled(units, **arguments)

    assert history["soft_loss"][-1] < 0.01 * history["soft_loss"][0]
    np.testing.assert_allclose(
        student.predict(X, verbose=0), teacher.predict(X, verbose=0), atol=0.2
    )


def test_one_score_for_classes_is_refused():
    distiller = td.Distiller(student=model(1), teacher=model(1))
    expected = (
        "`student` must have at least two outputs for outputs='softmax', because the softmax over "
        "one is always 1 and teaches nothing. Received: student with one output. Compile with "
        "outputs='sigmoid' if it is a score of yes against no, with outputs='linear' if it is a "
        "number."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}$"):
        distiller.compile("sgd")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"outputs": "logits"},
            "`outputs` must be one of ('softmax', 'sigmoid', 'linear') or None. Received: "
            "outputs='logits'. None takes what the task loss is for.",
        ),
        (
            {"outputs": "linear", "loss": "binary_crossentropy"},
            "`outputs` must go with the loss. Received: outputs='linear', "
            "loss=binary_crossentropy, which is for outputs='sigmoid'. Leave one of them out.",
        ),
        (
            {"outputs": "sigmoid", "soft_loss": "forward_kl"},
            "`soft_loss` must be one of ('binary_kl',) for outputs='sigmoid', or a function of "
            "your own. Received: soft_loss='forward_kl'. None takes the one that fits.",
        ),
        (
            {"soft_loss": "squared_error"},
            "`soft_loss` must be one of ('forward_kl', 'jensen_shannon', 'reverse_kl', "
            "'skewed_kl') for outputs='softmax', or a function of your own. Received: "
            "soft_loss='squared_error'. None takes the one that fits.",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(arguments: dict, message: str):
    distiller = td.Distiller(student=model(3), teacher=model(3))
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        distiller.compile("sgd", **arguments)


SEVERAL = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1]] * 4, "float32")


@pytest.mark.parametrize("as_dataset", [False, True])
def test_several_labels_a_row_are_no_distribution(as_dataset: bool):
    distiller = td.Distiller(student=model(3), teacher=model(3))
    distiller.compile("sgd")
    data = (X[:12], SEVERAL)
    if as_dataset:
        data = (tf.data.Dataset.from_tensor_slices(data).batch(12),)
    with pytest.raises(ValueError, match=r"^`y` must have rows that sum to 1.*outputs='sigmoid'"):
        distiller.fit(*data, verbose=0)


def test_several_labels_are_learned_with_their_own_losses():
    teacher, student = model(3, seed=1), model(3, seed=2)
    labels = (teacher.predict(X, verbose=0) > 0).astype("float32")
    distiller = td.Distiller(student=student, teacher=teacher)
    distiller.compile(keras.optimizers.Adam(0.05), outputs="sigmoid", alpha=0.1)

    distiller.fit(np.tile(X, (40, 1)), np.tile(labels, (40, 1)), epochs=2, verbose=0)

    assert np.mean((student.predict(X, verbose=0) > 0) == labels) == 1.0


def test_alpha_one_equals_plain_fit_on_several_labels():
    labels = (X[:, :3] > 0).astype("float32")
    plain, student = model(3, seed=5), model(3, seed=5)
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    plain.compile("sgd", loss=loss)
    plain.fit(X, labels, shuffle=False, verbose=0)
    distiller = td.Distiller(student=student, teacher=model(3, seed=6))
    distiller.compile("sgd", outputs="sigmoid", alpha=1.0)

    distiller.fit(X, labels, shuffle=False, verbose=0)

    np.testing.assert_array_equal(kernel(plain), kernel(student))


def test_the_kind_of_outputs_is_in_the_file(tmp_path: Path):
    teacher = model(3, seed=1)
    distiller = td.Distiller(student=model(3), teacher=teacher)
    distiller.compile("sgd", outputs="sigmoid")
    distiller.fit(X, np.zeros((64, 3)), verbose=0)
    distiller.save(tmp_path / "d.keras")

    again = td.Distiller.load(tmp_path / "d.keras", teacher=teacher)

    before = distiller.evaluate(X, np.zeros((64, 3)), verbose=0, return_dict=True)
    assert again.evaluate(X, np.zeros((64, 3)), verbose=0, return_dict=True) == before


def test_a_cache_of_the_most_probable_classes_has_not_what_labels_need(tmp_path: Path):
    cache = td.TeacherCache.build(model(5), X, tmp_path / "cache", top_k=2)
    distiller = td.Distiller(student=model(5), teacher=cache)
    expected = (
        "`teacher` must be a TeacherCache of whole logits for outputs='sigmoid'. Received: teacher "
        "with the 2 most probable classes of a softmax. Build it with top_k=None."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}$"):
        distiller.compile("sgd", outputs="sigmoid")


def test_a_teacher_that_rules_a_class_out_is_told_with_reverse_kl():
    def teacher(x: tf.Tensor) -> tf.Tensor:
        return tf.concat([tf.zeros((tf.shape(x)[0], 2)), tf.fill((tf.shape(x)[0], 1), -np.inf)], 1)

    student = model(3)
    before = kernel(student)
    distiller = td.Distiller(student=student, teacher=teacher)
    distiller.compile("sgd", soft_loss="reverse_kl")
    with pytest.raises(ValueError, match="must be finite for reverse_kl.*batch 0 of epoch 0"):
        distiller.fit(X, np.zeros(64, "int32"), verbose=0)
    np.testing.assert_array_equal(kernel(student), before)
    distiller.compile("sgd")
    assert math.isfinite(distiller.fit(X, np.zeros(64, "int32"), verbose=0).history["loss"][0])


# Probabilities behind layers that only move values.
def behind(*layers: keras.layers.Layer, activation: str = "softmax") -> keras.Model:
    head = keras.layers.Dense(4, activation=activation, name="head")
    return keras.Sequential([keras.Input((4,)), head, *layers])


@pytest.mark.parametrize(
    "layers",
    [
        (keras.layers.Reshape((2, 2)),),
        (keras.layers.Activation("linear"),),
        (keras.layers.Reshape((2, 2)), keras.layers.Flatten(), keras.layers.Dropout(0.1)),
        (keras.layers.Permute((1,)),),
        (keras.layers.Identity(),),
    ],
)
@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_probabilities_behind_what_only_moves_them_are_refused(layers: tuple, activation: str):
    student = behind(*layers, activation=activation)
    with pytest.raises(ValueError, match="must return logits, not probabilities.*'head'"):
        td.Distiller(student=student, teacher=model(4))


def test_probabilities_behind_an_operation_and_a_nested_model_are_refused():
    inputs = keras.Input((4,))
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4), keras.layers.Softmax()])
    outputs = keras.ops.expand_dims(keras.ops.cast(inner(inputs), "float32"), 1)
    with pytest.raises(ValueError, match="must return logits, not probabilities"):
        td.Distiller(student=keras.Model(inputs, outputs), teacher=lambda x: x)


def test_logits_behind_the_same_layers_pass():
    student = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(4), keras.layers.Activation("linear")]
    )
    td.Distiller(student=student, teacher=model(4))
