"""The oracle: TF-MOT's own wrappers on an equal `tf_keras` layer, step by step, bit for bit."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tf_keras

import tfdistill as td
from tfdistill.introspection.backend import tfmot

STEPS = 50


@pytest.fixture
def data(rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Kernel [8, 6], inputs [50, 16, 8] and targets [50, 16, 6]."""
    sizes = [(8, 6), (STEPS, 16, 8), (STEPS, 16, 6)]
    return tuple(rng.normal(size=size).astype("float32") for size in sizes)


def our_dense(kernel: np.ndarray) -> keras.Model:
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(6)])
    model.layers[0].kernel.assign(kernel)
    return model


def their_dense(kernel: np.ndarray) -> tf_keras.Model:
    model = tf_keras.Sequential([tf_keras.layers.Dense(6, input_shape=(8,))])
    model.set_weights([kernel, np.zeros(6, "float32")])
    return model


@pytest.mark.quick_cases("constant-7", "polynomial-1")
@pytest.mark.parametrize("frequency", [1, 7])
@pytest.mark.parametrize("kind", ["polynomial", "constant"])
def test_masks_thresholds_and_weights_equal_tfmots_at_every_step(data, frequency: int, kind: str):
    kernel, x, y = data
    pruning = tfmot().sparsity.keras
    if kind == "polynomial":
        schedule = pruning.PolynomialDecay(0.0, 0.7, 0, STEPS - 1, frequency=frequency)
    else:
        schedule = pruning.ConstantSparsity(0.7, 3, frequency=frequency)
    peer = pruning.prune_low_magnitude(their_dense(kernel), pruning_schedule=schedule)
    peer.compile(tf_keras.optimizers.SGD(0.05), "mse")
    own = td.prune_low_magnitude(our_dense(kernel), pruning_schedule=schedule)
    own.compile(keras.optimizers.SGD(0.05), loss="mse")
    callback = pruning.UpdatePruningStep()
    callback.set_model(peer)
    callback.on_train_begin()
    (wrapped,) = peer.layers
    (_, mask, threshold) = wrapped.pruning_vars[0]
    (state,) = (state for state in own.weight_states)
    sparsities = set()
    for step in range(STEPS):
        callback.on_train_batch_begin(step)
        peer.train_on_batch(x[step], y[step])
        own.train_on_batch(x[step], y[step])
        np.testing.assert_array_equal(state.mask.numpy(), mask.numpy(), f"step {step}")
        assert state.threshold.numpy() == threshold.numpy()
        np.testing.assert_array_equal(state.target.variable, wrapped.layer.kernel)
        sparsities.add(float(np.mean(state.mask.numpy() == 0)))
    # 14 of 48 weights are left (0.2917): the comparison was not one of empty masks.
    assert max(sparsities) == pytest.approx(1 - 14 / 48)


class WeightsOnly(tfmot().quantization.keras.QuantizeConfig):
    """Quantizes the kernel of a Dense layer and nothing else."""

    def __init__(self, bits: int) -> None:
        quantizers = tfmot().quantization.keras.quantizers
        self.quantizer = quantizers.LastValueQuantizer(
            bits, per_axis=True, symmetric=True, narrow_range=True
        )

    def get_weights_and_quantizers(self, layer):
        return [(layer.kernel, self.quantizer)]

    def get_activations_and_quantizers(self, layer):
        return []

    def set_quantize_weights(self, layer, quantize_weights):
        layer.kernel = quantize_weights[0]

    def set_quantize_activations(self, layer, quantize_activations):
        pass

    def get_output_quantizers(self, layer):
        return []

    def get_config(self):
        return {}


@pytest.mark.parametrize("bits", [8, 4])
def test_fake_quantized_training_equals_tfmots_at_every_step(data, bits: int):
    from tensorflow_model_optimization.python.core.quantization.keras import quantize_wrapper

    kernel, x, y = data
    wrapped = quantize_wrapper.QuantizeWrapperV2(tf_keras.layers.Dense(6), WeightsOnly(bits))
    peer = tf_keras.Sequential([tf_keras.Input((8,)), wrapped])
    ((their_kernel, _, ranges),) = wrapped._weight_vars
    their_kernel.assign(kernel)
    peer.compile(tf_keras.optimizers.SGD(0.05), "mse")
    own = td.quantize_aware(our_dense(kernel), bits=bits)
    own.compile(keras.optimizers.SGD(0.05), loss="mse")
    (state,) = (state for state in own.weight_states)
    for step in range(STEPS):
        peer.train_on_batch(x[step], y[step])
        own.train_on_batch(x[step], y[step])
        np.testing.assert_array_equal(state.target.variable, their_kernel, f"step {step}")
        for name in ("min_var", "max_var"):
            np.testing.assert_array_equal(state.variables[name], ranges[name])
    ours, theirs = own(x[0], training=True), peer(x[0], training=True)
    np.testing.assert_array_equal(ours, theirs)
    # The grid is coarse enough to see: the plain kernel would have answered something else.
    assert np.abs(np.asarray(ours) - x[0] @ their_kernel.numpy()).max() > 1e-4
