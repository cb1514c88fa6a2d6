"""Quantization-aware training: the grid of the converter, with a gradient through it."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays

from tfdistill import prune_low_magnitude, quantize_aware, strip
from tfdistill.compress import Quantize, fake_quantize
from tfdistill.compress.guarantees import WeightMatrix
from tfdistill.compress.quantization.weights import GRID

quick = settings(max_examples=25, deadline=None, derandomize=True, database=None)
matrices = arrays(np.float32, (5, 3), elements=st.floats(-100, 100, width=32))


def dense(kernel) -> keras.Model:
    kernel = np.float32(kernel)
    model = keras.Sequential([keras.Input((len(kernel),)), keras.layers.Dense(kernel.shape[1])])
    model.layers[0].kernel.assign(kernel)
    return model


def test_values_on_the_grid_equal_the_hand_computed_ones():
    # Scale 7/7 = 1 in the first column, 0.7/7 = 0.1 in the second.
    matrix = tf.constant([[-0.9, 0.26], [7.0, -0.7], [2.4, 0.0]])
    expected = [[-1.0, 0.3], [7.0, -0.7], [2.0, 0.0]]

    np.testing.assert_allclose(fake_quantize(matrix, bits=4, axis=1), expected, atol=1e-7)


@pytest.mark.parametrize(
    ("axis", "expected"),
    [
        (1, [[127.0, 51 / 127], [64.0, 1.0]]),  # 0.4 · 127 = 50.8
        (0, [[127.0, 0.0], [64.0, 2 * 64 / 127]]),  # 1 · 127/64 = 1.98
        (None, [[127.0, 0.0], [64.0, 1.0]]),
    ],
)
def test_one_scale_per_column_row_or_tensor(axis, expected):
    matrix = tf.constant([[127.0, 0.4], [64.0, 1.0]])

    np.testing.assert_allclose(fake_quantize(matrix, bits=8, axis=axis), expected, atol=1e-6)


@quick
@given(matrices, st.sampled_from([8, 4]), st.sampled_from([None, 0, 1]))
def test_rounding_is_at_most_half_a_step_and_rounding_again_changes_nothing(matrix, bits, axis):
    quantized = fake_quantize(matrix, bits=bits, axis=axis).numpy()
    reduced = None if axis is None else 1 - axis
    step = np.abs(matrix).max(axis=reduced, keepdims=True) / (2 ** (bits - 1) - 1)

    assert (np.abs(quantized - matrix) <= step * 0.5001).all()  # and a rounding of float32
    np.testing.assert_allclose(fake_quantize(quantized, bits=bits, axis=axis), quantized, rtol=1e-6)


def test_a_column_of_zeros_stays_zero():
    assert not fake_quantize(tf.zeros((3, 2)), bits=8, axis=1).numpy().any()


@pytest.mark.parametrize("bits", [8, 4])
def test_the_gradient_goes_through_as_if_nothing_were_rounded(bits: int, x):
    model = dense(np.random.default_rng(8).normal(size=(4, 3)))
    compressed = quantize_aware(model, bits=bits)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(compressed(x, training=True))
    gradient = tape.gradient(loss, compressed.student.layers[0].kernel)

    # d Σ x·W / dW = Σ x in each column.
    expected = np.repeat(x.sum(axis=0)[:, None], 3, axis=1)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5)


def test_training_and_evaluation_see_the_same_grid(x):
    compressed = quantize_aware(dense(np.random.default_rng(8).normal(size=(4, 3))))

    # TF-MOT's kernel multiplies by the inverse scale: some units in the last place.
    np.testing.assert_allclose(compressed(x, training=True), compressed(x), atol=1e-5)


def test_evaluation_takes_the_range_of_the_weights_as_they_are_now():
    compressed = quantize_aware(dense([[1.0], [0.3]]))
    compressed(np.ones((1, 2)), training=True)
    compressed.student.layers[0].kernel.assign([[2.0], [0.3]])
    kernel = strip(compressed).layers[0].kernel.numpy()

    # Range 2 and not 1: 0.3 / (2 / 127) = 19.05.
    np.testing.assert_allclose(kernel, [[2.0], [19 * 2 / 127]], atol=1e-7)


def test_training_leaves_the_range_of_each_column_in_the_state():
    compressed = quantize_aware(dense([[1.0, -0.25], [0.3, 0.0]]))
    compressed(np.ones((1, 2)), training=True)
    (state,) = compressed.weight_states

    assert np.array(state.variables["min_var"]).tolist() == [-1.0, -0.25]
    assert np.array(state.variables["max_var"]).tolist() == [1.0, 0.25]


@pytest.mark.parametrize(
    ("kind", "matrix", "bits"),
    [
        ("kernel", [[1.0, 0.0], [0.0, 1.0]], 0),
        ("kernel", [[0.0, 0.0], [0.0, 0.0]], 0),
        ("kernel", [[1.0, -0.5], [-1.0, 0.0]], 0),  # one magnitude in each column
        ("embedding", [[1.0, -0.5], [-1.0, 0.0]], 8),  # two in all
        ("kernel", [[1.0], [0.5]], 8),
        ("other", [[1.0], [0.5]], 0),
    ],
)
def test_the_width_of_a_grid_is_asked_of_what_is_not_on_every_grid(kind, matrix, bits: int):
    weight = WeightMatrix("w", np.shape(matrix), kind, np.float32(matrix), bits=32)

    assert GRID.limit(weight) == bits


@pytest.mark.parametrize("bits", [8, 4])
def test_kernels_have_a_scale_per_output_and_tables_one_or_one_per_row(bits: int, make_model):
    plain = strip(quantize_aware(make_model("attention"), bits=bits))
    top = 2 ** (bits - 1) - 1
    query = plain.get_layer("attention").query_dense.kernel.numpy().reshape(8, 8)
    output = plain.get_layer("attention").output_dense.kernel.numpy().reshape(8, 8)
    words = plain.get_layer("words").embeddings.numpy()
    table_range = np.abs(words).max() if bits == 8 else np.abs(words).max(axis=1, keepdims=True)
    for weight, largest in (
        (query, np.abs(query).max(axis=0)),
        (output, np.abs(output).max(axis=0)),
        (words, table_range),
    ):
        levels = weight / largest * top
        np.testing.assert_allclose(levels, np.round(levels), atol=1e-4)  # float32 at 127
        assert np.abs(levels).max() == pytest.approx(top)


def test_the_given_weights_are_the_ones_that_train():
    model = dense([[0.31], [0.7]])
    compressed = quantize_aware(model, bits=4)

    np.testing.assert_array_equal(compressed.student.layers[0].kernel, model.layers[0].kernel)
    np.testing.assert_allclose(compressed(np.eye(2)), [[0.3], [0.7]], atol=1e-7)


@pytest.mark.parametrize("bits", [3, 16, 0, "8", True, None, 4.5])
def test_another_width_is_refused(bits):
    with pytest.raises(ValueError, match=rf"`bits` must be 8 or 4\. Received: bits={bits!r}"):
        quantize_aware(dense([[1.0]]), bits=bits)


def test_the_width_comes_back_from_its_config():
    assert Quantize.from_config(Quantize(bits=4, include="a").get_config()).bits == 4


def test_quantization_added_to_a_trained_model_comes_back_from_its_file(x, tmp_path):
    pruned = prune_low_magnitude(dense(np.random.default_rng(8).normal(size=(4, 3))), steps=2)
    for _ in range(3):
        pruned(x, training=True)
    compressed = quantize_aware(pruned, bits=4)
    assert compressed.recipe[1].begin_step == 3
    compressed.save(tmp_path / "compressed.keras")
    again = keras.models.load_model(tmp_path / "compressed.keras")

    assert again.recipe[1].begin_step == 3
    np.testing.assert_array_equal(again(x), compressed(x))
