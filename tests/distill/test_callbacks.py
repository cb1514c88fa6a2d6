"""Schedules move alpha and temperature inside the compiled step, and go on where they were."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfdistill as td
from tfdistill.distill.callbacks import Schedule, cosine, linear, step

X = np.random.default_rng(1).normal(size=(32, 4)).astype("float32")
Y = np.random.default_rng(2).integers(0, 3, 32).astype("int32")
LN3 = math.log(3.0)


def net(seed: int = 0) -> keras.Model:
    keras.utils.set_random_seed(seed)
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])


def distiller(learning_rate: float = 0.1) -> td.Distiller:
    made = td.Distiller(student=net(), teacher=net(1))
    made.compile(keras.optimizers.SGD(learning_rate))
    return made


class Notes(keras.callbacks.Callback):
    """Writes down alpha and temperature as each step has them, and the loss that it made."""

    def __init__(self):
        super().__init__()
        self.alphas, self.temperatures = [], []

    def on_train_batch_end(self, batch, logs=None):
        self.alphas.append(float(self.model.alpha))
        self.temperatures.append(float(self.model.temperature))


def test_the_loss_inside_the_compiled_graph_follows_alpha():
    # The student answers 0, the teacher (0, ln 3), T = 1: hard ln 2, soft KL = ½·ln 3 + ¼·ln ¾ …
    student = keras.Sequential(
        [keras.Input((1,)), keras.layers.Dense(2, kernel_initializer="zeros")]
    )
    made = td.Distiller(
        student=student,
        teacher=lambda x: tf.tile(tf.constant([[0.0, LN3]]), [tf.shape(x)[0], 1]),
    )
    made.compile(keras.optimizers.SGD(0.0), temperature=1.0)
    losses = []
    keep = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: losses.append(logs["loss"])
    )
    made.fit(
        np.ones((4, 1)),
        np.zeros(4, "int32"),
        epochs=3,
        callbacks=[Schedule("alpha", step({0.0: 0.0, 1 / 3: 0.5, 2 / 3: 1.0})), keep],
        verbose=0,
    )
    hard, soft = math.log(2.0), 0.25 * math.log(0.5) + 0.75 * math.log(1.5)
    np.testing.assert_allclose(losses, [soft, (hard + soft) / 2, hard], rtol=1e-6)


def test_the_loss_inside_the_compiled_graph_follows_the_temperature():
    # 4 · KL((¼, ¾) ‖ (½, ½)) = 0.5232 at T = 2, where the teacher says (0, 2 ln 3); at T = 1 it
    # says (1/10, 9/10): KL = 0.1 · ln 0.2 + 0.9 · ln 1.8 = 0.3681.
    student = keras.Sequential(
        [keras.Input((1,)), keras.layers.Dense(2, kernel_initializer="zeros")]
    )
    made = td.Distiller(
        student=student,
        teacher=lambda x: tf.tile(tf.constant([[0.0, 2 * LN3]]), [tf.shape(x)[0], 1]),
    )
    made.compile(keras.optimizers.SGD(0.0))
    history = made.fit(
        np.ones((4, 1)),
        np.zeros(4, "int32"),
        epochs=2,
        callbacks=[Schedule("temperature", step({0.0: 2.0, 0.5: 1.0}))],
        verbose=0,
    ).history
    np.testing.assert_allclose(history["soft_loss"], [0.5232, 0.3681], atol=5e-5)
    assert history["temperature"] == [2.0, 1.0]


def test_every_step_gets_the_fraction_of_the_training_that_is_done():
    notes = Notes()
    fractions = []
    schedule = Schedule("alpha", lambda fraction: fractions.append(fraction) or fraction)
    distiller().fit(X, Y, batch_size=8, epochs=2, callbacks=[schedule, notes], verbose=0)
    assert fractions == [0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875]
    assert notes.alphas == fractions


def test_two_schedules_move_side_by_side():
    notes = Notes()
    schedules = [Schedule("alpha", linear(0.0, 1.0)), Schedule("temperature", linear(4.0, 2.0))]
    distiller().fit(X, Y, batch_size=16, epochs=1, callbacks=[*schedules, notes], verbose=0)
    assert (notes.alphas, notes.temperatures) == ([0.0, 0.5], [4.0, 3.0])


def test_a_schedule_that_says_what_is_there_changes_nothing():
    plain, scheduled = distiller(), distiller()
    keras.utils.set_random_seed(5)
    plain.fit(X, Y, epochs=2, verbose=0)
    keras.utils.set_random_seed(5)
    # 0.1 and 2.0 are what `compile` sets.
    schedules = [Schedule("alpha", lambda f: 0.1), Schedule("temperature", lambda f: 2.0)]
    scheduled.fit(X, Y, epochs=2, callbacks=schedules, verbose=0)
    for one, other in zip(plain.student.weights, scheduled.student.weights, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("epochs", [None, 4])
def test_a_training_in_two_parts_continues_its_schedule(epochs: int | None):
    whole, parts = Notes(), Notes()
    distiller().fit(
        X, Y, batch_size=8, epochs=4, callbacks=[Schedule("alpha", cosine(0, 1)), whole], verbose=0
    )
    made = distiller()
    for first, last in ((0, 1), (1, 4)):
        schedule = Schedule("alpha", cosine(0, 1), epochs=epochs)
        # With `epochs=` of its own a part may end early; otherwise `fit` has to know the end.
        stop = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs, last=last: setattr(
                made, "stop_training", epoch + 1 == last
            )
        )
        made.fit(
            X,
            Y,
            batch_size=8,
            initial_epoch=first,
            epochs=last if epochs else 4,
            callbacks=[schedule, parts, stop],
            verbose=0,
        )
    assert len(whole.alphas) == 16
    assert parts.alphas == whole.alphas


# Keras warns of every generator that ends.
@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_steps_that_fit_cannot_count_move_the_value_once_per_epoch():
    def batches():
        for start in range(0, 32, 8):
            yield X[start : start + 8], Y[start : start + 8]

    signature = (tf.TensorSpec([None, 4]), tf.TensorSpec([None], tf.int32))
    data = tf.data.Dataset.from_generator(batches, output_signature=signature)
    notes = Notes()
    schedule = Schedule("alpha", linear(0.0, 1.0))
    distiller().fit(data, epochs=2, callbacks=[schedule, notes], verbose=0)
    assert notes.alphas == [0.0] * 4 + [0.5] * 4


def test_cosine_linear_and_step_take_the_values_of_their_formulas():
    assert [cosine(0.2, 0.8)(f) for f in (0.0, 1.0)] == pytest.approx([0.2, 0.8])
    # (1 + cos 60°) / 2 = 3/4
    assert cosine(1.0, 0.0)(1 / 3) == pytest.approx(0.75)
    assert [linear(4.0, 1.0)(f) for f in (0.0, 1 / 3, 1.0)] == pytest.approx([4.0, 3.0, 1.0])
    jumps = step({0.5: 2.0, 0.0: 4.0})
    assert [jumps(f) for f in (0.0, 0.4999, 0.5, 0.99)] == [4.0, 4.0, 2.0, 2.0]


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("alpha", 1.2, r"\[0, 1\]"),
        ("alpha", float("nan"), r"\[0, 1\]"),
        ("temperature", 0.0, r"\(0, inf\)"),
        ("temperature", "hot", r"\(0, inf\)"),
    ],
)
def test_a_value_out_of_range_is_named_with_its_step(name, value, allowed):
    good = {"alpha": 0.5, "temperature": 2.0}[name]
    schedule = Schedule(name, lambda fraction: value if fraction > 0.6 else good)
    message = (
        rf"The schedule of `{name}` must return a float in {allowed}. Received: "
        rf"{name}={value!r} at batch 1 of epoch 1 \(both counted from 0\), which is fraction 0.625"
    )
    with pytest.raises(ValueError, match=message):
        distiller().fit(X, Y, batch_size=8, epochs=2, callbacks=[schedule], verbose=0)


def test_a_schedule_may_return_numpy_and_tensor_scalars():
    for number in (np.float32(0.25), tf.constant(0.25)):
        made = distiller()
        made.fit(X, Y, callbacks=[Schedule("alpha", lambda f, n=number: n)], verbose=0)
        assert float(made.alpha) == 0.25


def test_another_variable_is_refused():
    with pytest.raises(ValueError, match="`name` must be 'alpha' or 'temperature'. Received: name"):
        Schedule("learning_rate", linear(0, 1))


def test_something_that_is_no_function_is_refused():
    with pytest.raises(TypeError, match="`function` must be a function of the fraction"):
        Schedule("alpha", 0.5)


@pytest.mark.parametrize("epochs", [0, 1.5, True])
def test_epochs_out_of_range_are_refused(epochs):
    with pytest.raises((TypeError, ValueError), match="`epochs` must be an int of at least 1"):
        Schedule("alpha", linear(0, 1), epochs=epochs)


def test_a_training_longer_than_its_schedule_is_refused():
    schedule = Schedule("alpha", linear(0, 1), epochs=2)
    with pytest.raises(ValueError, match="epochs=2, and a training in epoch 2"):
        distiller().fit(X, Y, epochs=3, callbacks=[schedule], verbose=0)


def test_a_model_without_alpha_is_refused():
    model = net()
    model.compile("sgd", "mse")
    with pytest.raises(TypeError, match="A Schedule must be a callback of Distiller.fit. Received"):
        model.fit(X, np.zeros((32, 3)), callbacks=[Schedule("alpha", linear(0, 1))], verbose=0)


@pytest.mark.parametrize("values", [{}, {0.5: 1.0}, {0.0: 1.0, 1.0: 2.0}, {-0.1: 1.0}])
def test_steps_outside_of_the_training_are_refused(values):
    with pytest.raises(ValueError, match="`values` must map fractions of the training"):
        step(values)


@pytest.mark.parametrize("values", [[1.0, 2.0], {0.0: "high"}])
def test_steps_that_are_no_numbers_are_refused(values):
    with pytest.raises(TypeError, match="`values` must map fractions of the training"):
        step(values)
