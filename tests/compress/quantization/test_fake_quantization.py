"""Fake quantization in training: TensorFlow's own values and gradients, to the last bit."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfdistill.compress import fake_quantize
from tfdistill.compress.quantization.weights import fake_quantize_in_training
from tfdistill.introspection.backend import tfmot


def matrix(rng: np.random.Generator) -> np.ndarray:
    """Weights with zero rows and columns, and channels of very different size."""
    values = rng.normal(size=(300, 70)).astype("float32")
    values[:, 3] = values[5] = 0.0
    values[:, 1:8] *= 1e-9
    values[9] *= 1e9
    return values


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("axis", [None, 0, 1])
@pytest.mark.parametrize("bits", [4, 8])
def test_values_and_gradients_equal_tfmots_to_the_last_bit(graph: bool, axis, bits: int, rng):
    weights, upstream = tf.Variable(matrix(rng)), tf.constant(matrix(rng))
    quantizer = tfmot().quantization.keras.quantizers.LastValueQuantizer(
        bits, per_axis=axis is not None, symmetric=True, narrow_range=True
    )
    channels = () if axis is None else (weights.shape[axis],)
    ranges = {name: tf.Variable(tf.zeros(channels)) for name in ("min_var", "max_var")}

    def theirs():
        with tf.GradientTape() as tape:
            turned = tf.transpose(weights) if axis == 0 else tf.convert_to_tensor(weights)
            values = quantizer(turned, training=True, weights=ranges)
            values = tf.transpose(values) if axis == 0 else values
        return values, tape.gradient(values, weights, upstream)

    def ours():
        with tf.GradientTape() as tape:
            values = fake_quantize_in_training(tf.identity(weights), bits=bits, axis=axis)
        return values, tape.gradient(values, weights, upstream)

    if graph:
        theirs, ours = tf.function(theirs), tf.function(ours)
    for own, peer in zip(ours(), theirs(), strict=True):
        np.testing.assert_array_equal(own, peer)


@pytest.mark.parametrize("axis", [None, 0, 1])
def test_a_graph_and_a_call_round_alike(axis, rng):
    weights = tf.constant(matrix(rng))
    in_graph = tf.function(lambda: fake_quantize(weights, bits=8, axis=axis))()

    np.testing.assert_array_equal(in_graph, fake_quantize(weights, bits=8, axis=axis))
