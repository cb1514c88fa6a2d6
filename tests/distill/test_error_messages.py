"""Data and teachers that are not what they should be: one clear error, and where it was."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfdistill as td
from tfdistill.distill.error_messages import Position, check_labels, with_clear_errors
from tfdistill.distill.losses import hard

X = np.random.default_rng(1).normal(size=(64, 5)).astype("float32")
Y = np.random.default_rng(2).integers(0, 3, 64).astype("int32")
ONE_BAD = np.where(np.arange(64) == 37, 7, Y).astype("int32")


def net(seed: int = 0, name: str | None = None) -> keras.Model:
    keras.utils.set_random_seed(seed)
    return keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)], name=name)


def distiller(teacher=None, **arguments) -> td.Distiller:
    made = td.Distiller(student=net(), teacher=teacher or net(1))
    made.compile("sgd", **arguments)
    return made


def tagger() -> td.Distiller:
    inputs = keras.Input((4,), dtype="int32")
    student = keras.Model(inputs, keras.layers.Embedding(9, 3)(inputs))
    made = td.Distiller(student=student, teacher=student)
    made.compile("sgd", ignore_class=-100)
    return made


@pytest.mark.parametrize("label", [7, -1])
def test_a_label_in_an_array_that_is_no_class_is_named_with_its_row(label: int):
    labels = np.where(np.arange(64) == 37, label, Y)
    message = f"`y` must hold labels from 0 to 2, one of 3 classes. Received: label {label} in row "
    student = distiller()
    before = student.student.get_weights()
    with pytest.raises(ValueError, match=f"{message}37. Give the student's last layer"):
        student.fit(X, labels, verbose=0)
    for now, then in zip(student.student.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_a_label_in_a_dataset_that_is_no_class_is_named_with_its_batch():
    data = tf.data.Dataset.from_tensor_slices((X, ONE_BAD)).batch(8)
    with pytest.raises(ValueError, match=r"label 7 in batch 4 of epoch 0 \(both counted from 0\)"):
        distiller().fit(data, verbose=0)


def test_labels_of_validation_data_and_evaluation_are_checked_too():
    with pytest.raises(ValueError, match="one of 3 classes. Received: label 7 in row 37"):
        distiller().fit(X, Y, validation_data=(X, ONE_BAD), verbose=0)
    with pytest.raises(ValueError, match="one of 3 classes. Received: label 7 in row 37"):
        distiller().evaluate(X, ONE_BAD, verbose=0)
    data = tf.data.Dataset.from_tensor_slices((X, ONE_BAD)).batch(8)
    with pytest.raises(ValueError, match="label 7 in batch 4 of the evaluation"):
        distiller().evaluate(data, verbose=0)
    with pytest.raises(ValueError, match="label 7 in batch 4 of the evaluation"):
        distiller().fit(X, Y, validation_data=data, verbose=0)


def test_a_label_of_a_token_is_named_with_its_position_and_padding_is_not():
    tokens = np.ones((6, 4), "int32")
    labels = np.array([[0, 1, 2, -100]] * 6)
    tagger().fit(tokens, labels, verbose=0)
    labels[3, 2] = 3
    with pytest.raises(ValueError, match="label 3 in row 3, position 2"):
        tagger().fit(tokens, labels, verbose=0)


@pytest.mark.parametrize(
    "y",
    [
        None,
        np.eye(3, dtype="float32")[Y],  # one-hot
        Y[:, None],
        Y.tolist(),
        Y.astype("float32"),
        tf.constant(Y),
    ],
)
def test_good_labels_pass_in_every_form(y):
    check_labels(y, loss=hard.LabelLoss(), logits_shape=(None, 3))


def test_labels_of_a_loss_that_knows_no_classes_are_not_looked_at():
    check_labels(ONE_BAD, loss=keras.losses.MeanSquaredError(), logits_shape=(None, 3))


def spoilt(value: float) -> keras.Model:
    """A teacher that answers `value` to rows whose first feature is above 100."""
    keras.utils.set_random_seed(4)
    inputs = keras.Input((5,))
    extra = keras.layers.Lambda(
        lambda x: tf.where(x[:, :1] > 100.0, value, 0.0), output_shape=(1,)
    )(inputs)
    logits = keras.layers.Dense(3)(keras.ops.clip(inputs, -9.0, 9.0))
    return keras.Model(inputs, keras.layers.Add()([logits, extra]), name="professor")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_teacher_that_answers_nan_is_named_with_the_batch_and_moves_nothing(value: float):
    x = X.copy()
    x[44, 0] = 101.0
    made = distiller(spoilt(value))
    message = "teacher='professor', whose logits are NaN or infinite in batch 5 of epoch 0"
    with pytest.raises(ValueError, match=message):
        made.fit(x, Y, batch_size=8, shuffle=False, verbose=0)
    # The steps before stay; the one with the bad batch moved no weight.
    good = distiller(spoilt(value))
    good.fit(x[:40], Y[:40], batch_size=8, shuffle=False, verbose=0)
    for now, then in zip(made.student.get_weights(), good.student.get_weights(), strict=True):
        np.testing.assert_array_equal(now, then)


def test_a_bad_teacher_is_found_in_an_evaluation():
    x = X.copy()
    x[44, 0] = 101.0
    with pytest.raises(ValueError, match="NaN or infinite in batch 5 of the evaluation"):
        distiller(spoilt(np.nan)).evaluate(x, Y, batch_size=8, verbose=0)


def test_the_bad_one_of_several_teachers_is_named():
    made = distiller([net(1, "good"), spoilt(np.nan)])
    with pytest.raises(ValueError, match="teacher='professor', whose logits are NaN"):
        made.fit(X + 200.0, Y, verbose=0)


def test_minus_infinity_is_an_impossible_class_and_not_an_error():
    def teacher(x):
        return tf.concat([x[:, :2], tf.fill([tf.shape(x)[0], 1], -np.inf)], axis=1)

    history = distiller(teacher).fit(X, Y, verbose=0).history
    assert np.isfinite(history["soft_loss"][0])
    with pytest.raises(ValueError, match="teacher='<lambda>', whose logits are NaN or infinite"):
        distiller(lambda x: tf.fill([tf.shape(x)[0], 3], -np.inf)).fit(X, Y, verbose=0)


def test_other_errors_of_tensorflow_are_left_as_they_are():
    with pytest.raises(tf.errors.InvalidArgumentError, match="something else"):
        with with_clear_errors(None):
            raise tf.errors.InvalidArgumentError(None, None, "something else")


def test_an_error_lets_a_cache_count_its_epochs_again(tmp_path):
    cache = td.TeacherCache.build(net(1), X, tmp_path / "c")
    made = distiller(cache)
    data = cache.dataset(X, ONE_BAD)
    with pytest.raises(ValueError, match="label 7 in batch"):
        made.fit(data, initial_epoch=3, epochs=4, verbose=0)
    assert cache._next_epoch is None


@pytest.mark.parametrize("given", [None, [], keras.callbacks.Callback(), (Position(),)])
def test_callbacks_may_be_none_one_or_several(given):
    with with_clear_errors(given) as callbacks:
        assert isinstance(callbacks[0], Position)
    assert distiller().fit(X, Y, callbacks=given, verbose=0).epoch == [0]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_cache_does_not_store_what_is_not_finite_and_names_the_row(tmp_path, value: float):
    x = X.copy()
    x[44, 0] = 101.0
    folder = tmp_path / "c"
    with pytest.raises(ValueError, match=r"NaN or infinity in row 44 of `x` \(counted from 0\)"):
        td.TeacherCache.build(spoilt(value), x, folder, batch_size=2)
    # 16 batches to a shard: rows 0 to 31 were finite and are kept.
    assert sorted(path.name for path in folder.iterdir()) == ["manifest.json", "shard-00000.npz"]
