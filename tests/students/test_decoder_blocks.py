"""Llama's block in plain Keras: causal, blind to padding, turned by position alone."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tfdistill.students.decoder_blocks import DecoderBlock, rope_frequencies, rotate

REAL = np.ones((1, 5), bool)


def build(**changes) -> DecoderBlock:
    sizes = {"num_heads": 4, "num_key_value_heads": 2, "head_dim": 4, "intermediate_dim": 6}
    block = DecoderBlock(**{**sizes, **changes})
    block.build((None, None, 8))
    return block


@pytest.fixture
def x(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(1, 5, 8)).astype("float32")


def test_later_positions_have_no_influence(x: np.ndarray):
    block, other = build(), x.copy()
    other[:, 3:] += 1.0
    before, after = block(x, REAL).numpy(), block(other, REAL).numpy()

    np.testing.assert_allclose(before[:, :3], after[:, :3], atol=1e-6)
    assert np.abs(before[:, 3:] - after[:, 3:]).min() > 1e-3


def test_padding_has_no_influence(x: np.ndarray):
    block, other = build(), x.copy()
    other[:, 1] += 1.0
    real = REAL.copy()
    real[:, 1] = False
    before, after = block(x, real).numpy(), block(other, real).numpy()

    np.testing.assert_allclose(before[:, 2:], after[:, 2:], atol=1e-6)


def test_the_parameters_are_those_counted_by_hand():
    kernels = 8 * 16 + 2 * 8 * 8 + 16 * 8 + 3 * 8 * 6
    assert build().count_params() == kernels + 2 * 8


def test_frequencies_equal_the_hand_computed_ones():
    assert rope_frequencies(6, max_wavelength=1000.0) == pytest.approx([1.0, 0.1, 0.01])


def test_a_product_depends_on_the_distance_of_two_positions_alone(rng: np.random.Generator):
    query, key = rng.normal(size=(2, 4))
    turned = [
        rotate(np.tile(each, (1, 7, 1, 1)).astype("float32"), rope_frequencies(4)).numpy()[0, :, 0]
        for each in (query, key)
    ]
    products = turned[0] @ turned[1].T
    for distance in range(-6, 7):
        along = np.diagonal(products, distance)
        np.testing.assert_allclose(along, along[0], atol=1e-5)
    np.testing.assert_allclose(products[0, 0], query @ key, rtol=1e-5)


def test_query_heads_of_a_group_read_the_same_keys_and_values(x: np.ndarray):
    shared, own = build(), build(num_key_value_heads=4)
    for name in ("query", "attention_output", "ffn_gate", "ffn_inner", "ffn_outer"):
        getattr(own, name).kernel.assign(getattr(shared, name).kernel)
    for name in ("key", "value"):
        kernel = getattr(shared, name).kernel.numpy()
        getattr(own, name).kernel.assign(np.repeat(kernel, 2, axis=1))

    np.testing.assert_allclose(own(x, REAL), shared(x, REAL), atol=1e-6)


def test_a_saved_block_answers_the_same(x: np.ndarray, tmp_path):
    states = keras.Input((5, 8))
    real = keras.Input((5,), dtype="bool")
    block = DecoderBlock(
        num_heads=2, num_key_value_heads=1, head_dim=4, intermediate_dim=6, frequencies=[1.0, 0.3]
    )
    model = keras.Model([states, real], block(states, real))
    model.save(tmp_path / "block.keras")
    loaded = keras.saving.load_model(tmp_path / "block.keras")

    np.testing.assert_array_equal(loaded([x, REAL]), model([x, REAL]))
