"""The hard half: equal to what `fit` computes, and deaf to probabilities."""

from __future__ import annotations

import functools
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdistill.distill.losses.hard import LabelLoss, resolve_task_loss
from tfdistill.introspection.backend import refuse_probabilities

SPARSE = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
ONE_HOT = keras.losses.CategoricalCrossentropy(from_logits=True)


def classifier(last: keras.layers.Layer) -> keras.Model:
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), last], name="net")


def test_value_of_one_example_equals_the_hand_computed_one():
    # softmax(0, ln 3) = (1/4, 3/4), so class 0 costs ln 4.
    logits = tf.constant([[0.0, math.log(3.0)]])

    for labels in (tf.constant([0]), tf.constant([[1.0, 0.0]])):
        assert float(LabelLoss()(labels, logits)) == pytest.approx(math.log(4), abs=1e-6)


@pytest.mark.parametrize("shape", [(6,), (6, 1), (2, 3), (2, 3, 1)])
def test_integer_labels_cost_what_keras_says(shape, rng: np.random.Generator):
    labels = rng.integers(0, 5, shape)
    prefix = shape[:-1] if shape[-1] == 1 else shape
    logits = rng.normal(size=(*prefix, 5)).astype("float32")
    weights = rng.uniform(size=prefix)

    assert float(LabelLoss()(labels, logits)) == float(SPARSE(labels, logits))
    expected = float(SPARSE(labels, logits, sample_weight=weights))
    assert float(LabelLoss()(labels, logits, sample_weight=weights)) == expected


def test_one_hot_labels_cost_what_keras_says(rng: np.random.Generator):
    labels = np.eye(5)[rng.integers(0, 5, 6)]
    logits = rng.normal(size=(6, 5)).astype("float32")

    assert float(LabelLoss()(labels, logits)) == float(ONE_HOT(labels, logits))


def test_soft_labels_cost_what_keras_says(rng: np.random.Generator):
    labels = rng.dirichlet(np.ones(5), size=6)
    logits = rng.normal(size=(6, 5)).astype("float32")

    assert float(LabelLoss()(labels, logits)) == float(ONE_HOT(labels, logits))


def test_a_row_of_zeros_has_no_loss_and_no_gradient():
    # Two rows: ln 2 for the labelled one, 0 for the other; the mean is over both, as in Keras.
    logits = tf.Variable([[0.0, 0.0], [7.0, -3.0]])
    with tf.GradientTape() as tape:
        loss = LabelLoss()(tf.constant([[1.0, 0.0], [0.0, 0.0]]), logits)
    gradient = tape.gradient(loss, logits).numpy()

    assert float(loss) == pytest.approx(math.log(2) / 2, abs=1e-7)
    assert gradient[0].tolist() == [-0.25, 0.25]
    assert gradient[1].tolist() == [0.0, 0.0]


def test_the_ignored_class_counts_neither_above_nor_below_the_line():
    labels, logits = tf.constant([[0, -100, 1, -100]]), tf.Variable(tf.zeros((1, 4, 2)))
    with tf.GradientTape() as tape:
        loss = LabelLoss(ignore_class=-100)(labels, logits)
    gradient = tape.gradient(loss, logits).numpy()

    assert float(loss) == pytest.approx(math.log(2), abs=1e-7)  # mean of two, not of four
    assert gradient[0, 0].tolist() == [-0.25, 0.25]
    assert not gradient[0, [1, 3]].any()


def test_a_batch_of_ignored_labels_costs_0():
    assert float(LabelLoss(ignore_class=0)(tf.constant([0, 0]), tf.ones((2, 3)))) == 0.0


def test_one_hot_labels_with_an_ignored_class_are_refused():
    with pytest.raises(ValueError, match="`ignore_class` must be None with one-hot.*=-100"):
        LabelLoss(ignore_class=-100)(tf.constant([[1.0, 0.0]]), tf.ones((1, 2)))


def test_labels_of_a_foreign_rank_are_refused_with_both_shapes():
    with pytest.raises(ValueError, match=r"`y` must be .* y → \(2, 3, 4\), logits → \(2, 4\)"):
        LabelLoss()(tf.ones((2, 3, 4)), tf.ones((2, 4)))


def test_the_loss_comes_back_from_its_config():
    again = LabelLoss.from_config(LabelLoss(ignore_class=7, name="mine").get_config())

    assert (again.ignore_class, again.name) == (7, "mine")


@pytest.mark.parametrize(
    "loss", [None, "sparse_categorical_crossentropy", "categorical_crossentropy"]
)
def test_no_loss_and_the_names_of_cross_entropies_are_read_as_from_logits(loss):
    found, ignored = resolve_task_loss(loss, ignore_class=-1)

    assert isinstance(found, LabelLoss)
    assert (found.ignore_class, ignored) == (-1, -1)


@pytest.mark.parametrize("loss", [SPARSE, ONE_HOT, keras.losses.MeanSquaredError()])
def test_a_loss_object_on_logits_is_taken_as_it_is(loss):
    assert resolve_task_loss(loss, ignore_class=None) == (loss, None)


def test_a_function_is_taken_as_it_is():
    function = functools.partial(keras.losses.categorical_crossentropy, from_logits=True)

    assert resolve_task_loss(function, ignore_class=None) == (function, None)
    assert (
        resolve_task_loss("mean_squared_error", ignore_class=None)[0]
        is keras.losses.mean_squared_error
    )


def test_the_ignored_class_of_a_loss_object_holds_for_both_halves():
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-100)

    assert resolve_task_loss(loss, ignore_class=None) == (loss, -100)
    assert resolve_task_loss(loss, ignore_class=-100) == (loss, -100)


def test_the_ignored_class_of_compile_holds_for_a_loss_object_too():
    found, ignored = resolve_task_loss(SPARSE, ignore_class=-100)

    assert ignored == -100
    value = float(found(tf.constant([-100, 0]), tf.zeros((2, 2))))
    assert value == pytest.approx(math.log(2), abs=1e-7)
    assert SPARSE.get_config()["ignore_class"] is None  # the caller's object is left alone


def test_two_different_ignored_classes_are_refused():
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=0)
    with pytest.raises(ValueError, match="must be the same .*ignore_class=-100, loss with .*=0"):
        resolve_task_loss(loss, ignore_class=-100)


def test_an_ignored_class_with_a_loss_that_cannot_ignore_is_refused():
    with pytest.raises(ValueError, match="None with loss=categorical_crossentropy.*class=-100"):
        resolve_task_loss(ONE_HOT, ignore_class=-100)


def test_an_ignored_class_with_a_function_is_refused():
    with pytest.raises(ValueError, match="None with a loss function of your own.*class=3"):
        resolve_task_loss(lambda y_true, y_pred: 0.0, ignore_class=3)


@pytest.mark.parametrize("ignore_class", ["pad", 1.5, True])
def test_an_ignored_class_that_is_no_integer_is_refused(ignore_class):
    with pytest.raises(TypeError, match=f"`ignore_class` must be .*class={ignore_class!r}"):
        resolve_task_loss(None, ignore_class=ignore_class)


@pytest.mark.parametrize(
    ("loss", "name"),
    [
        (keras.losses.SparseCategoricalCrossentropy(), "sparse_categorical_crossentropy"),
        (keras.losses.CategoricalCrossentropy(), "categorical_crossentropy"),
        (keras.losses.categorical_crossentropy, "categorical_crossentropy"),
        (keras.losses.BinaryCrossentropy(), "binary_crossentropy"),
    ],
)
def test_a_loss_on_probabilities_is_refused(loss, name: str):
    with pytest.raises(ValueError, match=rf"from logits\. Received: loss={name}\(from_logits=F"):
        resolve_task_loss(loss, ignore_class=None)


@pytest.mark.parametrize("loss", ["kl_divergence", keras.losses.KLDivergence()])
def test_a_divergence_of_probabilities_is_refused(loss):
    with pytest.raises(ValueError, match="Received: loss=kl_divergence, which takes probab"):
        resolve_task_loss(loss, ignore_class=None)


@pytest.mark.parametrize("loss", [3, ["mse"], keras.losses.CategoricalCrossentropy])
def test_a_loss_that_is_no_loss_is_refused(loss):
    with pytest.raises(TypeError, match="`loss` must be None, a keras.losses.Loss or a function"):
        resolve_task_loss(loss, ignore_class=None)


@pytest.mark.parametrize(
    ("last", "name"),
    [
        (keras.layers.Dense(3, activation="softmax", name="scores"), "scores"),
        (keras.layers.Dense(1, activation="sigmoid", name="chance"), "chance"),
        (keras.layers.Softmax(name="normalize"), "normalize"),
        (keras.layers.Activation("softmax", name="squash"), "squash"),
    ],
)
def test_probabilities_are_refused_by_the_name_of_the_layer(last, name: str):
    expected = f"`teacher` must return logits, .* teacher='net', whose last layer '{name}'"
    with pytest.raises(ValueError, match=expected):
        refuse_probabilities(classifier(last), argument="teacher")


def test_probabilities_of_a_function_are_refused():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.ops.softmax(keras.layers.Dense(3)(inputs)))
    with pytest.raises(ValueError, match="whose last layer 'softmax.*' applies a softmax"):
        refuse_probabilities(model, argument="student")


def test_probabilities_of_a_nested_model_are_refused():
    inputs = keras.Input((4,))
    inner = classifier(keras.layers.Softmax(name="inside"))
    with pytest.raises(ValueError, match="whose last layer 'inside'"):
        refuse_probabilities(keras.Model(inputs, inner(inputs)), argument="student")


@pytest.mark.parametrize(
    "last", [keras.layers.Dense(3), keras.layers.Activation("log_softmax"), keras.layers.ReLU()]
)
def test_logits_and_log_probabilities_pass(last):
    refuse_probabilities(classifier(last), argument="student")


def test_a_model_with_several_outputs_or_of_its_own_class_is_not_looked_into():
    inputs = keras.Input((4,))
    twice = keras.Model(inputs, [keras.layers.Softmax()(inputs), keras.layers.Softmax()(inputs)])

    refuse_probabilities(twice, argument="student")
    refuse_probabilities(keras.Model(), argument="student")
