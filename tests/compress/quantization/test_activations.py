"""Activations on 8-bit grids while training: TF-MOT's ranges, a gradient through, better files."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import tfdistill as td
from tfdistill.compress import Compressed, Prune, Quantize
from tfdistill.compress.quantization.activations import moved_range
from tfdistill.introspection.backend import tfmot
from tfdistill.introspection.hooks import Point, capturing
from tfdistill.runtime.flatbuffer import read_tflite_weights

STEPS = 50


def two_dense(kernels: list[np.ndarray]) -> keras.Model:
    model = keras.Sequential(
        [
            keras.Input((8,)),
            keras.layers.Dense(6, "relu", name="first"),
            keras.layers.Dense(3, name="second"),
        ]
    )
    for layer, kernel in zip(model.layers, kernels, strict=True):
        layer.kernel.assign(kernel)
    return model


class Parts(tfmot().quantization.keras.QuantizeConfig):
    """Quantizes the kernel of a Dense layer, or what comes out of it."""

    def __init__(self, *, weights=None, output=None) -> None:
        self.weights, self.output = weights, output

    def get_weights_and_quantizers(self, layer):
        return [(layer.kernel, self.weights)] if self.weights else []

    def get_activations_and_quantizers(self, layer):
        return []

    def set_quantize_weights(self, layer, quantize_weights):
        if quantize_weights:
            layer.kernel = quantize_weights[0]

    def set_quantize_activations(self, layer, quantize_activations):
        pass

    def get_output_quantizers(self, layer):
        return [self.output] if self.output else []

    def get_config(self):
        return {}


@pytest.mark.quick_cases("last_value")
@pytest.mark.parametrize("rule", ["moving_average", "last_value"])
def test_ranges_and_training_equal_tfmots_at_every_step(rule: str, rng):
    from tensorflow_model_optimization.python.core.quantization.keras import quantize_wrapper

    kernels = [rng.normal(size=size).astype("float32") for size in ((8, 6), (6, 3))]
    x, y = (rng.normal(size=(STEPS, 16, width)).astype("float32") for width in (8, 3))
    quantizers = tfmot().quantization.keras.quantizers
    follow = {
        "moving_average": quantizers.MovingAverageQuantizer,
        "last_value": quantizers.LastValueQuantizer,
    }[rule]
    settings = {"num_bits": 8, "per_axis": False, "symmetric": False, "narrow_range": False}
    per_channel = quantizers.LastValueQuantizer(8, per_axis=True, symmetric=True, narrow_range=True)
    wrap = quantize_wrapper.QuantizeWrapperV2
    first = wrap(tf_keras.layers.Dense(6, "relu"), Parts(output=follow(**settings)))
    second = wrap(tf_keras.layers.Dense(3), Parts(weights=per_channel))
    peer = tf_keras.Sequential([tf_keras.Input((8,)), first, second])
    theirs = [first.layer.kernel, second._weight_vars[0][0]]
    for weight, kernel in zip(theirs, kernels, strict=True):
        weight.assign(kernel)
    peer.compile(tf_keras.optimizers.SGD(0.05), "mse")
    ends = first._output_quantizer_vars
    # TF-MOT starts at -6 and 6; ours has no range until it has seen a batch, and takes that one.
    hidden = np.maximum(x[0] @ kernels[0], 0)
    ends["min_var"].assign(hidden.min())
    ends["max_var"].assign(hidden.max())

    own = td.quantize_aware(two_dense(kernels), activations=rule, include="second")
    own.compile(keras.optimizers.SGD(0.05), loss="mse")
    (state,) = own.weight_states
    for step in range(STEPS):
        peer.train_on_batch(x[step], y[step])
        own.train_on_batch(x[step], y[step])
        for end, name in (("least", "min_var"), ("most", "max_var")):
            np.testing.assert_array_equal(
                state.variables[f"input_{end}"], ends[name], f"step {step}"
            )
        for layer, weight in zip(own.student.layers, theirs, strict=True):
            np.testing.assert_array_equal(layer.kernel, weight, f"step {step}")
    np.testing.assert_array_equal(own(x[0], training=True), peer(x[0], training=True))
    # The grid is coarse enough to see: unrounded activations would have answered otherwise.
    plain = td.strip(own)(x[0]).numpy()
    assert np.abs(own(x[0]).numpy() - plain).max() > 1e-4


def test_a_range_that_has_seen_nothing_takes_the_batch_and_then_moves_by_a_thousandth():
    unseen = (tf.constant(0.0), tf.constant(0.0))
    first = moved_range(unseen, tf.constant([-1.0, 3.0]), rule="moving_average")
    second = moved_range(first, tf.constant([2.0, 13.0]), rule="moving_average")

    assert [float(end) for end in first] == [-1.0, 3.0]
    # Zero is always on the grid: the batch's ends are 0 and 13.
    np.testing.assert_allclose(second, [-0.999, 3.01], rtol=1e-6)
    assert [float(end) for end in moved_range(first, tf.constant([2.0]), rule="last_value")] == [
        0,
        2,
    ]


def test_the_gradient_goes_through_inside_the_range_and_nowhere_else(linear):
    own = td.quantize_aware(linear(), activations="moving_average")
    own(np.float32([[-1.0, 0, 0, 0, 0, 0, 0, 1.0]]), training=True)
    x = tf.Variable(np.float32([[0.5, -0.9, 0.1, 5.0, -5.0, 0.0, 0.3, 0.2]]))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(own(x))
    passed = tape.gradient(total, x).numpy()[0]
    expected = own.effective_weights(training=False)[0][1].numpy().sum(axis=1)

    np.testing.assert_allclose(passed, np.where(abs(x.numpy()[0]) > 1.1, 0, expected), rtol=1e-6)
    assert np.count_nonzero(passed) == 6


def test_evaluation_moves_no_range_and_an_untrained_one_rounds_nothing(linear, rng):
    x = rng.normal(size=(5, 8)).astype("float32")
    own = td.quantize_aware(linear(), activations="last_value")

    np.testing.assert_array_equal(own(x), td.strip(own)(x))
    own(x, training=True)
    seen = [variable.numpy() for variable in own.weights]
    own(100 * x)
    assert all(np.array_equal(a, b) for a, b in zip(seen, own.weights, strict=True))
    assert float(own.weight_states[0].variables["input_most"]) == x.max()


def test_queries_keys_and_values_are_rounded_and_a_tied_table_where_it_is_the_output(make_model):
    own = td.quantize_aware(make_model("attention"), activations="last_value")
    tied = td.quantize_aware(make_model("tied"), activations="last_value")
    places = {
        state.target.path: [name for name in state.variables if name.endswith("_most")]
        for each in (own, tied)
        for state in each.weight_states
    }

    both = ["input_most", "output_most"]
    assert places == {
        "words/embeddings": ["input_most"],
        "attention/query/kernel": both,
        "attention/key/kernel": both,
        "attention/value/kernel": both,
        "attention/attention_output/kernel": ["input_most"],
        "scores/kernel": ["input_most"],
        "inner/kernel": ["input_most"],
    }
    own(np.arange(6)[None], training=True)
    query = Point("attention", own.student.get_layer("attention"), "attention")
    with capturing([query]) as recorded:
        own(np.arange(6)[None])
    (state,) = (s.variables for s in own.weight_states if "query" in s.target.path)
    step = (float(state["output_most"]) - float(state["output_least"])) / 255
    levels = recorded[query]["query"].numpy() / step
    np.testing.assert_allclose(levels, np.round(levels), atol=1e-4)  # float32 at 255


@pytest.mark.slow
@pytest.mark.parametrize("model_kind", ["attention", "convolution_2d"])
def test_a_half_trained_model_goes_on_from_its_file_to_the_bit(model, inputs, model_kind, tmp_path):
    recipe = [Prune(steps=4), Quantize(activations="moving_average", begin_step=1)]
    own = Compressed(model, recipe=recipe)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    own.compile(keras.optimizers.SGD(0.1), loss=loss, run_eagerly=True)
    labels = np.arange(16) % 3
    own.fit(inputs[:8], labels[:8], batch_size=8, verbose=0)
    # The first step came before `begin_step` was over.
    assert all(
        not np.any(v) for s in own.weight_states for n, v in s.variables.items() if "put_" in n
    )
    own.fit(inputs, labels, batch_size=8, shuffle=False, verbose=0)
    own.save(tmp_path / "half.keras")
    again = keras.models.load_model(tmp_path / "half.keras")
    again.run_eagerly = True
    for each in (own, again):
        each.fit(inputs, labels, batch_size=8, shuffle=False, verbose=0)

    for ours, theirs in zip(own.weights, again.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(own(inputs), again(inputs))
    assert not any("call" in vars(layer) for layer in td.strip(own)._flatten_layers())
    assert not any("call" in vars(layer) for layer in model._flatten_layers())


def test_replicas_average_their_ranges(linear, rng):
    x = rng.normal(size=(8, 8)).astype("float32")
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        own = td.quantize_aware(linear(), activations="last_value")
        own.compile(keras.optimizers.SGD(0.0), loss="mse")
    own.fit(x, np.zeros((8, 4)), batch_size=8, verbose=0)

    least = keras.ops.convert_to_numpy(own.weight_states[0].variables["input_least"].value)
    assert float(least) == x.min()


@pytest.mark.parametrize("rule", [True, "ema", 8])
def test_an_unknown_rule_is_refused(rule, linear):
    expected = rf"`activations` must be None or one of .* Received: activations={rule!r}"
    with pytest.raises(ValueError, match=expected):
        td.quantize_aware(linear(), activations=rule)


def test_the_rule_is_in_the_config_and_in_the_text():
    transform = Quantize.from_config(Quantize(activations="last_value").get_config())

    assert repr(transform) == "Quantize(activations='last_value')"


def with_outlier_units(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> keras.Model:
    """A trained network in each layer of which one unit is 150 times larger than the others.

    A ReLU passes the factor on and the next kernel divides by it, so the answers are the same.
    """
    model = keras.Sequential(
        [
            keras.Input((8,), name="x"),
            keras.layers.Dense(32, "relu"),
            keras.layers.Dense(32, "relu"),
            keras.layers.Dense(4, name="logits"),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-2), loss=loss)
    model.fit(x, y, epochs=20, batch_size=50, verbose=0)
    for layer, after in zip(model.layers[:-1], model.layers[1:], strict=True):
        factors = np.float32([150.0] + [1.0] * 31)
        layer.set_weights([layer.kernel * factors, layer.bias * factors])
        after.kernel.assign(after.kernel / factors[:, None])
    return model


@pytest.mark.slow
def test_training_on_rounded_activations_makes_a_better_static_int8_file(rng, tmp_path):
    x = rng.normal(size=(1500, 8)).astype("float32")
    y = (np.maximum(x @ rng.normal(size=(8, 24)), 0) @ rng.normal(size=(24, 4))).argmax(-1)
    model = with_outlier_units(rng, x[:1000], y[:1000])
    agreement, simulated = {}, {}
    for activations in (None, "last_value"):
        own = td.quantize_aware(model, activations=activations)
        distiller = td.Distiller(student=own, teacher=model)
        distiller.compile(keras.optimizers.Adam(2e-3), alpha=0.0, temperature=1.0)
        distiller.fit(x[:1000], y[:1000], batch_size=50, epochs=15, verbose=0)
        path = tmp_path / f"{activations}.tflite"
        td.to_tflite(own, path, quantize="int8", calibration=x[:300])
        agreement[activations] = td.compare(model, path, x[1000:]).agreement
        same = own.predict(x[1000:], verbose=0).argmax(-1) == model(x[1000:]).numpy().argmax(-1)
        simulated[activations] = float(np.mean(same))

    # Three other seeds gained 4, 19 and 5 points (with "moving_average" 3, 15 and 2).
    assert agreement["last_value"] > agreement[None] + 0.04
    # Training sees what the file will do; without activations it thinks that all is well.
    assert abs(simulated["last_value"] - agreement["last_value"]) < 0.08
    assert simulated[None] > agreement[None] + 0.1


def test_a_static_int8_file_stores_the_levels_that_were_trained(rng, tmp_path):
    x = rng.normal(size=(200, 16)).astype("float32")
    inputs = keras.Input((16,), name="x")
    hidden = keras.layers.Dense(32, "relu", name="hidden")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(4, name="logits")(hidden))
    own = td.quantize_aware(model, activations="moving_average")
    own.compile(keras.optimizers.Adam(1e-2), "mse")
    own.fit(x, rng.normal(size=(200, 4)), epochs=3, verbose=0)
    plain = td.strip(own)
    path = td.to_tflite(own, tmp_path / "static.tflite", quantize="int8", calibration=x)

    stored = [weight for weight in read_tflite_weights(path) if weight.kind == "kernel"]
    assert [weight.bits for weight in stored] == [8, 8]
    for name in ("hidden", "logits"):
        kernel = plain.get_layer(name).kernel.numpy()
        scale = np.abs(kernel).max(axis=0) / 127
        levels = np.round(kernel / scale)
        # Trained on the grid: float32 rounding of at most 127 steps.
        np.testing.assert_allclose(kernel / scale, levels, atol=1e-4)
        found = next(weight.matrix for weight in stored if weight.matrix.shape == kernel.shape)
        np.testing.assert_array_equal(found, levels)
