"""The doors of `compress`: what they refuse, and what `strip` leaves as it is."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tf_keras

from tfdistill import prune_low_magnitude, quantize_aware, strip
from tfdistill.introspection.backend import tfmot

DOORS = [prune_low_magnitude, quantize_aware, strip]


def dense() -> keras.Model:
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)], name="plain")


def test_a_plain_model_is_returned_as_it_is():
    model = dense()

    assert strip(model) is model


def test_a_stripped_model_has_the_name_and_classes_of_the_given_one(model):
    plain = strip(quantize_aware(model))

    assert plain.name == model.name
    assert [type(layer) for layer in plain._flatten_layers()] == [
        type(layer) for layer in model._flatten_layers()
    ]


def test_a_stripped_model_is_saved_without_a_trace_of_compression(tmp_path, x):
    plain = strip(quantize_aware(dense()))
    plain.save(tmp_path / "plain.keras")
    again = keras.models.load_model(tmp_path / "plain.keras")

    assert plain.count_params() == dense().count_params()
    np.testing.assert_array_equal(again(x), plain(x))


def test_stripping_twice_gives_the_same():
    compressed = quantize_aware(dense())
    once, again = strip(compressed), strip(compressed)

    np.testing.assert_array_equal(once.layers[0].kernel, again.layers[0].kernel)
    assert once is not again


@pytest.mark.parametrize("door", DOORS)
def test_a_tf_keras_model_is_refused(door):
    legacy = tf_keras.Sequential([tf_keras.layers.Dense(2, input_shape=(4,))])
    with pytest.raises(TypeError, match="`model` must be a Keras 3 model.*older tf_keras"):
        door(legacy)


@pytest.mark.parametrize("door", DOORS)
def test_a_model_wrapped_by_tfmot_is_refused(door):
    legacy = tf_keras.Sequential([tf_keras.layers.Dense(2, input_shape=(4,))])
    wrapped = tfmot().sparsity.keras.prune_low_magnitude(legacy)
    with pytest.raises(TypeError, match="older tf_keras: rebuild the same architecture"):
        door(wrapped)


@pytest.mark.parametrize("door", DOORS)
def test_an_unbuilt_model_is_refused(door):
    with pytest.raises(ValueError, match="`model` must be built.*model='raw'"):
        door(keras.Sequential([keras.layers.Dense(2)], name="raw"))


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("value", [None, "student.keras", keras.layers.Dense(2)])
def test_what_is_no_model_is_refused(door, value):
    with pytest.raises(TypeError, match="`model` must be a Keras 3 model"):
        door(value)


@pytest.mark.parametrize("door", DOORS[:2])
def test_a_glob_that_matches_nothing_is_refused(door):
    with pytest.raises(ValueError, match="`include` must match a weight of the model.*='nothing'"):
        door(dense(), include="nothing")


@pytest.mark.parametrize("door", DOORS[:2])
def test_settings_cannot_be_given_by_position(door):
    with pytest.raises(TypeError, match="positional"):
        door(dense(), 8)
