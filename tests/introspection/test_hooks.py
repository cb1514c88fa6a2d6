"""Hooks on layers: what they see and change, one run of the layer, and no trace afterwards."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

import tfdistill as td
from tfdistill.introspection.hooks import (
    CaptureError,
    Point,
    capturing,
    has_own_method,
    intercepting,
    keep_hook,
)
from tfdistill.introspection.shapes import infer

X = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("float32")
IDS = np.array([[3, 5, 0], [1, 0, 0]])


class Counting(keras.layers.Layer):
    """Doubles its input and counts how often it runs."""

    def build(self, shape):
        self.runs = self.add_weight(name="runs", shape=(), initializer="zeros", trainable=False)

    def call(self, x):
        self.runs.assign_add(1.0)
        return 2.0 * x


class Subclassed(keras.Model):
    def __init__(self, *blocks):
        super().__init__()
        self.blocks = list(blocks)

    def call(self, x, training=False):
        for block in self.blocks:
            x = block(x)
        return x - 1.0


def functional(layer):
    inputs = keras.Input((3, 4))
    return keras.Model(inputs, layer(keras.layers.Dense(4)(inputs)) - 1.0)


def nested(layer):
    inputs = keras.Input((3, 4))
    return keras.Model(inputs, functional(layer)(functional(keras.layers.ReLU())(inputs)))


def subclassed(layer):
    model = Subclassed(keras.layers.Dense(4), layer)
    model(X)
    layer.runs.assign(0.0)
    return model


def sequential(layer):
    inputs = keras.Input((3, 4))
    return keras.Sequential([inputs, layer, keras.layers.Rescaling(1.0, -1.0)])


def run(model: keras.Model, *points: Point, x=X, compiled: bool = False):
    def call(x):
        with capturing(points) as recorded:
            outputs = infer(model, x)
        return outputs, [recorded[point] for point in points]

    return (tf.function(call) if compiled else call)(tf.constant(x))


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("make", [functional, nested, subclassed, sequential])
def test_output_is_recorded_in_one_run_and_nothing_stays(make: Callable, compiled: bool):
    layer = Counting(name="counting")
    model = make(layer)
    before = set(vars(layer))
    outputs, (parts,) = run(model, Point("counting", layer, "states"), compiled=compiled)
    np.testing.assert_array_equal(parts["states"] - 1.0, outputs)
    assert float(layer.runs) == 1.0
    assert set(vars(layer)) == before
    np.testing.assert_array_equal(outputs, infer(model, X))


def test_gradient_flows_through_what_is_recorded():
    layer = keras.layers.Dense(2, kernel_initializer="ones", name="dense")
    model = keras.Sequential([keras.Input((4,)), layer, keras.layers.Dense(1)])
    with tf.GradientTape() as tape:
        _, (parts,) = run(model, Point("dense", layer, "states"), x=X[0])
        loss = tf.reduce_sum(parts["states"])
    gradient = tape.gradient(loss, layer.kernel.value)
    expected = np.repeat(X[0].sum(0)[:, None], 2, axis=1)  # d Σ x·W / dW
    np.testing.assert_allclose(gradient, expected, rtol=1e-6)


def test_layer_is_as_it_was_after_an_exception():
    layer = Counting()
    model = functional(layer)
    with pytest.raises(KeyError, match="halfway"):
        with capturing([Point("counting", layer, "states")]):
            model(X)
            raise KeyError("halfway")
    assert "call" not in vars(layer)


def test_recording_inside_of_recording_gives_both_the_same():
    layer = Counting(name="counting")
    model, point = functional(layer), Point("counting", layer, "states")
    with capturing([point]) as outer, capturing([point]) as inner:
        model(X)
    np.testing.assert_array_equal(outer[point]["states"], inner[point]["states"])
    assert float(layer.runs) == 1.0
    assert "call" not in vars(layer)


def test_an_attribute_that_somebody_else_put_there_is_put_back():
    layer = Counting()
    model = functional(layer)

    def mine(x):
        return 10.0 * x

    layer.call = mine
    outputs, (parts,) = run(model, Point("counting", layer, "states"))
    np.testing.assert_array_equal(parts["states"] - 1.0, outputs)
    assert vars(layer)["call"] is mine


def test_threads_that_alternate_record_their_own_run_only():
    layer = Counting(name="counting")
    model, point = functional(layer), Point("counting", layer, "states")
    first_is_in, second_is_out = threading.Event(), threading.Event()
    states = {}

    def first():
        with capturing([point]) as recorded:
            first_is_in.set()
            assert second_is_out.wait(30)
            model(X)
        states["first"] = recorded[point]["states"]

    thread = threading.Thread(target=first)
    thread.start()
    assert first_is_in.wait(30)
    with capturing([point]) as recorded:  # begins and ends inside of the other
        model(3.0 * X)
    second_is_out.set()
    thread.join()
    np.testing.assert_allclose(recorded[point]["states"], 3.0 * states["first"], rtol=1e-5)
    assert "call" not in vars(layer)


def test_layers_of_a_compressed_student_show_their_compressed_values():
    layer = keras.layers.Dense(2, name="dense", use_bias=False)
    student = keras.Sequential([keras.Input((4,)), layer, keras.layers.Dense(1)])
    small = td.quantize_aware(student, bits=4)
    inner = small.student.get_layer("dense")
    _, (parts,) = run(small, Point("dense", inner, "states"), x=X[0], compiled=True)
    stripped = td.strip(small)
    # The same kernel; the matrix product may sum in another order.
    np.testing.assert_allclose(parts["states"], stripped.get_layer("dense")(X[0]), atol=1e-6)
    assert np.abs(parts["states"] - layer(X[0])).max() > 1e-3


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
def test_layer_of_a_model_that_keras_quantized_is_recorded():
    layer = keras.layers.Dense(4, name="dense")
    model = keras.Sequential([keras.Input((3, 4)), layer, keras.layers.Rescaling(2.0)])
    model.quantize("int8")
    outputs, (parts,) = run(model, Point("dense", layer, "states"))
    np.testing.assert_array_equal(2.0 * parts["states"], outputs)
    assert "quantized_call" not in vars(layer)


def encoder() -> keras.Model:
    return td.students.text_encoder(
        vocabulary_size=8, sequence_length=3, hidden_dim=4, num_classes=2, num_heads=2,
        intermediate_dim=4, seed=0,
    )  # fmt: skip


def hub_encoder() -> keras.Model:
    return keras_hub.models.BertBackbone(
        vocabulary_size=8, num_layers=1, num_heads=2, hidden_dim=4, intermediate_dim=4,
        max_sequence_length=3,
    )  # fmt: skip


def test_padding_is_known_from_the_argument_is_token():
    model = encoder()
    _, (parts,) = run(model, Point("encoder_0", model.get_layer("encoder_0"), "states"), x=IDS)
    np.testing.assert_array_equal(parts["mask"], IDS != 0)


def test_padding_is_known_from_the_argument_padding_mask():
    model = hub_encoder()
    point = Point("transformer_layer_0", model.get_layer("transformer_layer_0"), "states")
    mask = (IDS != 0).astype("int32")
    with capturing([point]) as recorded:
        model({"token_ids": IDS, "segment_ids": np.zeros_like(IDS), "padding_mask": mask})
    np.testing.assert_array_equal(recorded[point]["mask"], IDS != 0)
    assert recorded[point]["mask"].dtype == tf.bool


def test_keras_mask_is_kept_although_attention_takes_it_off():
    embedding = keras.layers.Embedding(8, 4, mask_zero=True)
    inputs = keras.Input((3,), dtype="int32")
    states = embedding(inputs)
    attended = keras.layers.MultiHeadAttention(1, 4)(states, states)
    model = keras.Model(inputs, attended)
    _, (parts,) = run(model, Point("embedding", embedding, "states"), x=IDS)
    assert getattr(parts["states"], "_keras_mask", None) is None
    np.testing.assert_array_equal(parts["mask"], IDS != 0)


def test_mask_of_another_shape_than_the_positions_is_none_of_the_layers():
    model = encoder()
    _, (parts,) = run(model, Point("pooling", model.get_layer("pooling"), "states"), x=IDS)
    assert set(parts) == {"states"}


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("kind", [keras.layers.MultiHeadAttention, "cached"])
def test_scores_computed_from_what_is_recorded_are_those_of_keras(kind, dropout, causal):
    if kind == "cached":
        kind = keras_hub.layers.CachedMultiHeadAttention
    layer = kind(2, 3, dropout=dropout)
    layer.build((None, 3, 4), (None, 3, 4))
    mask = (IDS != 0)[:, None, :]
    arguments = {"attention_mask": mask}
    if causal and kind is keras.layers.MultiHeadAttention:
        arguments["use_causal_mask"] = True
    elif causal:
        arguments["attention_mask"] = mask & np.tril(np.ones((3, 3), bool))
    _, expected = layer(X, X, return_attention_scores=True, training=False, **arguments)
    point = Point("attention", layer, "attention")
    with capturing([point]) as recorded:
        layer(X, X, training=False, **arguments)
    parts = recorded[point]
    scores = tf.einsum("blhd,bmhd->bhlm", parts["query"], parts["key"]) / np.sqrt(3)
    found = tf.nn.softmax(tf.where(parts["mask"], scores, -1e9))
    # A few roundings of probabilities.
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert "_compute_attention" not in vars(layer)


def test_causal_attention_without_another_mask_is_recorded_with_one():
    layer = keras.layers.MultiHeadAttention(1, 4)
    point = Point("attention", layer, "attention")
    with capturing([point]) as recorded:
        layer(X, X, use_causal_mask=True)
    np.testing.assert_array_equal(recorded[point]["mask"][0, 0], np.tril(np.ones((3, 3), bool)))


def test_layer_that_runs_twice_is_refused():
    layer = keras.layers.Dense(4, name="shared")
    inputs = keras.Input((3, 4))
    model = keras.Model(inputs, layer(layer(inputs)))
    with pytest.raises(CaptureError, match="'shared' must run once per call.*more than once"):
        run(model, Point("shared", layer, "states"))
    assert "call" not in vars(layer)


def test_layer_that_does_not_run_is_refused():
    layer = keras.layers.Dense(4)
    with pytest.raises(CaptureError, match="'idle' must run once per call.* It did not run"):
        run(functional(keras.layers.ReLU()), Point("idle", layer, "states"))


def test_layer_inside_of_a_tf_function_is_refused():
    layer = keras.layers.Dense(4)
    layer.build((None, 3, 4))
    hidden = tf.function(layer)
    with pytest.raises(CaptureError, match="'dense' must run in the model's own graph"):
        with capturing([Point("dense", layer, "states")]):
            hidden(X)


def test_layer_that_returns_several_tensors_is_refused():
    model = hub_encoder()
    inputs = {name: IDS & 1 for name in ("token_ids", "segment_ids", "padding_mask")}
    message = "must return one float tensor.*a dict of pooled_output, sequence_output.*inside of it"
    with pytest.raises(CaptureError, match=message):
        with capturing([Point("bert", model, "states")]):
            model(inputs)


def test_attention_to_something_else_is_refused():
    layer = keras.layers.MultiHeadAttention(1, 4)
    message = r"must attend to its own positions.*queries of shape \(2, 3, 1, 4\), keys of \(2, 2,"
    with pytest.raises(CaptureError, match=message):
        with capturing([Point("cross", layer, "attention")]):
            layer(X, X[:, :2])


def adding(number: float) -> Callable:
    return lambda call, inputs: call(inputs) + number


def doubling(call, inputs):
    return 2.0 * call(inputs)


def test_of_several_hooks_the_last_one_is_the_outermost():
    layer = keras.layers.Rescaling(1.0)
    with intercepting([(layer, adding(1.0)), (layer, doubling)]):
        assert float(layer(3.0)) == 8.0
        with intercepting([(layer, adding(1.0))]):
            assert float(layer(3.0)) == 9.0
        assert float(layer(3.0)) == 8.0
    assert float(layer(3.0)) == 3.0
    assert "call" not in vars(layer)


def test_one_hook_may_be_put_on_a_layer_twice():
    layer = keras.layers.Rescaling(1.0)
    with intercepting([(layer, doubling)]), intercepting([(layer, doubling)]):
        assert float(layer(3.0)) == 12.0
    assert "call" not in vars(layer)


def test_hooks_are_gone_after_an_error_of_the_body_the_layer_and_the_list():
    layer = keras.layers.Rescaling(1.0)

    def pairs():
        yield layer, doubling
        raise KeyError("halfway")

    with pytest.raises(KeyError, match="halfway"), intercepting(pairs()):
        pass
    assert "call" not in vars(layer)
    with pytest.raises(ZeroDivisionError), intercepting([(layer, lambda call, inputs: 1 / 0)]):
        layer(3.0)
    assert "call" not in vars(layer)
    assert float(layer(3.0)) == 3.0


def test_a_hook_is_seen_by_the_thread_that_put_it_there_and_by_no_other():
    layer, elsewhere = keras.layers.Rescaling(1.0), []
    with intercepting([(layer, doubling)]):
        thread = threading.Thread(target=lambda: elsewhere.append(float(layer(3.0))))
        thread.start()
        thread.join()
        assert float(layer(3.0)) == 6.0
    assert elsewhere == [3.0]


def test_threads_that_hook_one_layer_at_the_same_time_leave_no_trace():
    layer = keras.layers.Rescaling(1.0)
    found, wrong = [], []

    def work(number: float):
        for _ in range(50):
            with intercepting([(layer, adding(number))]):
                outputs = float(layer(1.0))
            (found if outputs == 1.0 + number else wrong).append(outputs)

    threads = [threading.Thread(target=work, args=(float(n),)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(found), wrong) == (200, [])
    assert "call" not in vars(layer)


def test_a_hook_that_is_kept_stays_below_others_and_is_the_layers_own():
    layer = keras.layers.Rescaling(1.0)
    assert not has_own_method(layer)
    keep_hook(layer, adding(1.0))
    kept = vars(layer)["call"]
    with intercepting([(layer, doubling)]):
        assert has_own_method(layer)
        assert float(layer(3.0)) == 8.0
    assert vars(layer)["call"] is kept
    assert float(layer(3.0)) == 4.0


def test_a_layer_that_is_hooked_has_no_method_of_its_own_and_its_own_signature():
    layer = keras.layers.Rescaling(1.0)
    before = inspect.signature(layer.call)
    with intercepting([(layer, doubling)]):
        assert not has_own_method(layer)
        assert inspect.signature(layer.call) == before


def test_any_method_of_a_layer_is_hooked():
    layer = keras.layers.MultiHeadAttention(1, 4)
    seen = []

    def hook(compute, *args, **kwargs):
        seen.append(len(args))
        return compute(*args, **kwargs)

    with intercepting([(layer, hook)], method="_compute_attention"):
        layer(X, X)
    assert len(seen) == 1
    assert "_compute_attention" not in vars(layer)
