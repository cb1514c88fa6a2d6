"""A compressed model is the student on other weights: nothing else of it gets lost."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdistill import Compressed, Distiller, prune_low_magnitude, quantize_aware, strip
from tfdistill.compress import Quantize, WeightTransform
from tfdistill.introspection.backend import tfmot

Y = np.random.default_rng(6).integers(0, 3, 16)


def later() -> object:
    """A schedule that prunes nothing in the steps of these tests."""
    return tfmot().sparsity.keras.ConstantSparsity(0.5, begin_step=1000, frequency=1)


def network() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(
                6,
                activation="relu",
                kernel_regularizer=keras.regularizers.L2(0.1),
                activity_regularizer=keras.regularizers.L1(0.1),
                name="inner",
            ),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(3, name="outer"),
        ]
    )


def compiled(model: keras.Model, optimizer=None, **settings) -> keras.Model:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer or keras.optimizers.SGD(0.1), loss=loss, **settings)
    return model


def test_without_effect_it_trains_exactly_as_the_plain_model(x):
    # Regularizers of weights and activities, batch statistics and dropout seeds included.
    histories, weights = [], []
    for compress in (False, True):
        keras.utils.set_random_seed(1)
        model = network()
        if compress:
            model = prune_low_magnitude(model, pruning_schedule=later())
        keras.utils.set_random_seed(2)
        compiled(model, keras.optimizers.Adam(0.05))
        histories.append(model.fit(x, Y, batch_size=6, epochs=2, verbose=0).history)
        student = model.student if compress else model
        weights.append([variable.numpy() for variable in student.variables])

    assert histories[0] == histories[1]
    for ours, plain in zip(weights[1], weights[0], strict=True):
        np.testing.assert_array_equal(ours, plain)


def test_batch_statistics_and_dropout_move_while_training_and_not_otherwise(x):
    compressed = quantize_aware(network())
    norm = compressed.student.layers[1]
    compressed(x)
    assert not norm.moving_mean.numpy().any()
    first, second = compressed(x, training=True), compressed(x, training=True)

    assert norm.moving_mean.numpy().any()
    assert (first != second).numpy().any()
    np.testing.assert_array_equal(compressed(x), compressed(x))


def test_losses_of_the_student_are_counted_once(x):
    model = network()
    compressed = prune_low_magnitude(model, pruning_schedule=later())
    model(x)
    compressed(x)

    assert [float(loss) for loss in compressed.losses] == [float(loss) for loss in model.losses]


def test_masks_of_keras_reach_the_outputs_of_a_compressed_model():
    model = keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            keras.layers.Embedding(5, 3, mask_zero=True),
            keras.layers.Dense(2),
        ]
    )
    ids = np.array([[1, 2, 0]])

    assert quantize_aware(model)(ids)._keras_mask.numpy().tolist() == [[True, True, False]]


def test_a_frozen_weight_is_seen_compressed_and_never_moved(x):
    model = network()
    model.layers[0].trainable = False
    compressed = compiled(quantize_aware(prune_low_magnitude(model, sparsity=0.5, steps=2)))
    compressed(x)
    compressed.predict(x, verbose=0)
    np.testing.assert_array_equal(compressed.student.layers[0].kernel, model.layers[0].kernel)

    compressed.fit(x, Y, batch_size=4, verbose=0)
    kept = compressed.student.layers[0].kernel.numpy()
    assert np.isin(kept, [0.0, *model.layers[0].kernel.numpy().ravel()]).all()
    assert np.mean(strip(compressed).layers[0].kernel.numpy() == 0) == 0.5


def test_evaluation_masks_without_assigning(x):
    compressed = compiled(prune_low_magnitude(network(), sparsity=0.5, steps=1))
    compressed.fit(x, Y, batch_size=8, verbose=0)
    (state, _) = compressed.weight_states
    regrown = np.ones(state.mask.shape, "float32")
    state.target.variable.assign(regrown)
    (_, seen), _ = compressed.effective_weights(training=False)
    compressed(x)

    np.testing.assert_array_equal(seen, state.mask)
    np.testing.assert_array_equal(state.target.variable, regrown)


def test_gradients_reach_pruned_weights_so_that_they_can_come_back(x):
    compressed = prune_low_magnitude(network(), sparsity=0.5, steps=1)
    compressed(x, training=True)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(compressed(x, training=True)))
    gradient = tape.gradient(loss, compressed.student.layers[-1].kernel).numpy()
    mask = compressed.weight_states[1].mask.numpy()

    assert (gradient[mask == 0] != 0).any()


def test_every_epoch_ends_with_masked_weights(x):
    class Watch(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.batches, self.epochs = [], []

        def on_train_batch_end(self, batch, logs=None):
            self.batches.append(np.mean(state.target.variable.numpy() == 0))

        def on_epoch_end(self, epoch, logs=None):
            self.epochs.append(np.mean(state.target.variable.numpy() == 0))

    for wrap in (False, True):
        compressed = prune_low_magnitude(network(), sparsity=0.5, steps=2)
        state, watch = compressed.weight_states[0], Watch()
        model = Distiller(student=compressed, teacher=network()) if wrap else compressed
        model.compile("adam", **({} if wrap else {"loss": "mse"}))
        model.fit(x, np.eye(3)[Y], batch_size=4, epochs=2, verbose=0, callbacks=[watch])

        # The optimizer moves masked weights after each batch; the epoch's end masks them.
        assert watch.epochs == [0.5, 0.5]
        assert watch.batches[2] < 0.5


@pytest.mark.parametrize("callbacks", [None, "one", "list", "Keras list"])
def test_callbacks_are_taken_as_keras_takes_them(callbacks, x):
    seen = []
    one = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(epoch))
    compressed = compiled(prune_low_magnitude(network()), run_eagerly=True)
    given = {
        None: None,
        "one": one,
        "list": [one],
        "Keras list": keras.callbacks.CallbackList([one], model=compressed),
    }[callbacks]
    history = compressed.fit(x, Y, epochs=2, verbose=0, callbacks=given).history

    assert seen == ([] if callbacks is None else [0, 1])
    assert len(history["loss"]) == 2


@pytest.mark.slow
def test_a_half_trained_model_goes_on_from_its_file_as_if_nothing_had_happened(x, tmp_path):
    # Dropout and batch statistics included: Keras' own files leave the dropout seeds out.
    compressed = quantize_aware(prune_low_magnitude(network(), sparsity=0.5, steps=10))
    compiled(compressed, keras.optimizers.Adam(0.05))
    compressed.fit(x, Y, batch_size=4, verbose=0)
    compressed.save(tmp_path / "half.keras")
    again = keras.models.load_model(tmp_path / "half.keras")

    np.testing.assert_array_equal(again(x), compressed(x))
    for each in (compressed, again):
        each.fit(x, Y, batch_size=4, epochs=2, shuffle=False, verbose=0)
    assert int(again.step) == int(compressed.step) == 12
    np.testing.assert_array_equal(again(x), compressed(x))
    assert np.mean(strip(again).layers[0].kernel.numpy() == 0) == 0.5


def test_only_the_students_variables_are_trained():
    compressed = quantize_aware(prune_low_magnitude(network()))

    assert compressed.trainable_variables == compressed.student.trainable_variables


@pytest.mark.parametrize("recipe", [[], "prune", None, [3], [Quantize], Quantize()])
def test_what_is_no_recipe_is_refused(recipe):
    with pytest.raises(TypeError, match="`recipe` must be a non-empty list .*Received: recipe="):
        Compressed(network(), recipe=recipe)


def test_a_compressed_student_is_refused_where_its_recipe_would_get_lost():
    with pytest.raises(TypeError, match="`student` must be a plain .*student='compressed_seq"):
        Compressed(quantize_aware(network()), recipe=[Quantize()])


def test_a_technique_without_create_is_told_so():
    with pytest.raises(NotImplementedError, match="WeightTransform has to define `create`"):
        Compressed(network(), recipe=[WeightTransform()])
