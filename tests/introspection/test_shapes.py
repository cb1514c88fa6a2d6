"""Shapes inside a model, known before its first batch."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfdistill as td
from tfdistill.introspection.hooks import CaptureError, Point
from tfdistill.introspection.shapes import infer, shapes_of


class Chain(keras.Model):
    def __init__(self, *blocks):
        super().__init__()
        self.blocks = list(blocks)

    def call(self, x):
        for block in self.blocks:
            x = block(x)
        return x


def test_shapes_are_known_before_the_first_batch_and_leave_no_trace():
    layer = keras.layers.Dense(5, activity_regularizer="l2", name="dense")
    model = keras.Sequential([keras.Input((None, 4)), layer, keras.layers.Dropout(0.5)])
    point = Point("dense", layer, "states")
    assert shapes_of(model, [point])[point]["states"].shape.as_list() == [None, None, 5]
    assert model.losses == []
    model(np.ones((1, 2, 4)))
    assert len(model.losses) == 1


def test_shapes_of_a_compressed_model_are_those_of_the_student_inside():
    student = keras.Sequential([keras.Input((4,)), keras.layers.Dense(5, name="dense")])
    small = td.prune_low_magnitude(student, steps=10)
    point = Point("dense", small.student.get_layer("dense"), "states")
    assert shapes_of(small, [point])[point]["states"].shape.as_list() == [None, 5]
    assert int(small.step) == 0


@pytest.mark.parametrize("ids", [False, True])
def test_shapes_of_a_subclassed_model_are_known_from_its_build_shape(ids: bool):
    first = keras.layers.Embedding(8, 5) if ids else keras.layers.Dense(5)
    model = Chain(first, keras.layers.Dense(2))
    model(np.ones((2, 3), "int32" if ids else "float32"))
    point = Point("first", first, "states")
    expected = [None, 3, 5] if ids else [None, 5]
    assert shapes_of(model, [point])[point]["states"].shape.as_list() == expected


def test_shapes_are_unknown_where_the_model_does_not_say_what_it_takes():
    class Gather(Chain):
        def call(self, x):
            return super().call(tf.cast(x["a"], tf.float32))

        def build(self, shapes):
            self.blocks[0].build((None, 4))

    model = Gather(keras.layers.Dense(5))
    model({"a": np.ones((2, 4))})
    model.get_build_config = dict
    assert shapes_of(model, [Point("dense", model.blocks[0], "states")]) is None


def test_what_cannot_be_recorded_is_told_and_not_taken_for_a_wrong_guess():
    layer = keras.layers.Dense(4)
    model = Chain(layer, layer)
    model(np.ones((2, 4), "float32"))
    with pytest.raises(CaptureError, match="more than once"):
        shapes_of(model, [Point("dense", layer, "states")])


def test_inference_asks_for_no_dropout_and_needs_no_argument_training():
    x = np.ones((2, 4), "float32")
    dropout = keras.Sequential([keras.Input((4,)), keras.layers.Dropout(0.9)])
    np.testing.assert_array_equal(infer(dropout, x), x)
    np.testing.assert_array_equal(infer(Chain(keras.layers.ReLU()), x), x)
