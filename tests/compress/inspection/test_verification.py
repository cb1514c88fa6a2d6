"""What `verify_compression` lets pass and what it names."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from tfdistill import prune_low_magnitude, quantize_aware, strip, survey, to_tflite
from tfdistill.compress import verify_compression

RNG = np.random.default_rng(3)


def network(*, clustered: bool = False) -> keras.Model:
    """Two kernels of one size and one of another, optionally of four values each."""
    model = keras.Sequential(
        [
            keras.Input((48,), name="x"),
            keras.layers.Dense(48, "relu", name="first"),
            keras.layers.Dense(48, "relu", name="second"),
            keras.layers.Dense(24, name="scores"),
        ]
    )
    for layer in model.layers:
        kernel = RNG.normal(size=layer.kernel.shape)
        layer.kernel.assign(np.sign(kernel) * np.where(abs(kernel) > 0.7, 1.0, 0.3))
        if not clustered:
            layer.kernel.assign(kernel)
    return model


def pruned(model: keras.Model) -> keras.Model:
    small = prune_low_magnitude(model, sparsity=0.5, steps=1)
    small(np.ones((1, 48)), training=True)
    return strip(small)


def trained_on(model: keras.Model) -> keras.Model:
    """One plain training step, which knows of no promise."""
    twin = keras.models.clone_model(model)
    twin.set_weights(model.get_weights())
    twin.compile(keras.optimizers.Adam(0.01), loss="mse")
    twin.fit(RNG.normal(size=(8, 48)), RNG.normal(size=(8, 24)), verbose=0)
    return twin


def test_a_model_keeps_what_it_has_itself():
    model = quantize_aware(pruned(network()))

    assert verify_compression(strip(model), model) == survey(model)


@pytest.mark.parametrize("mode", [None, "dynamic"])
def test_zeros_and_grid_survive_the_export(mode: str | None, tmp_path: Path):
    model = strip(quantize_aware(pruned(network())))

    verify_compression(model, to_tflite(model, tmp_path / "m.tflite", quantize=mode))


def test_quantization_after_pruning_keeps_the_zeros():
    before = pruned(network())

    verify_compression(before, strip(quantize_aware(before)))


def test_plain_training_loses_the_zeros_and_is_told():
    before = pruned(network())

    with pytest.raises(RuntimeError, match="first/kernel: 1,152 nonzero → 2,304"):
        verify_compression(before, trained_on(before))


def test_a_file_of_the_wrong_model_is_told_by_size(tmp_path: Path):
    dense = network()
    path = to_tflite(dense, tmp_path / "m.tflite", quantize=None)

    with pytest.raises(RuntimeError, match=r"first/kernel \(one of 2 of its size\): 1,152 nonzero"):
        verify_compression(pruned(dense), path)


def test_shared_values_are_missed():
    before = network(clustered=True)

    with pytest.raises(RuntimeError, match=r"first/kernel: 4 distinct values in a channel → \d\d;"):
        verify_compression(before, trained_on(before))


def test_shared_values_survive_an_export_at_eight_bits(tmp_path: Path):
    model = network(clustered=True)

    verify_compression(model, to_tflite(model, tmp_path / "m.tflite"))


def test_a_grid_that_the_file_is_too_wide_for_is_told(tmp_path: Path):
    model = strip(quantize_aware(network(), bits=4))
    path = to_tflite(model, tmp_path / "m.tflite", verify_compression=False)

    with pytest.raises(RuntimeError, match="4 bits → 8"):
        verify_compression(model, path)


def test_a_2_of_4_pattern_is_missed():
    before = network()
    mask = np.tile([[1.0], [0.0], [0.0], [1.0]], (12, 48))
    before.get_layer("first").kernel.assign(before.get_layer("first").kernel * mask)
    after = keras.models.clone_model(before)
    after.set_weights(before.get_weights())
    # As many zeros, in other places.
    moved = RNG.permutation(before.get_layer("first").kernel.numpy().ravel()).reshape(48, 48)
    after.get_layer("first").kernel.assign(moved)

    with pytest.raises(RuntimeError, match="first/kernel: 2 nonzero of 4 → 4"):
        verify_compression(before, after)


def shared_block(times: int, *, copies: int) -> keras.Model:
    inputs = keras.Input((32,), name="x")
    blocks = [keras.layers.Dense(32, "relu", name=f"block_{n}") for n in range(copies)]
    x = inputs
    for step in range(times):
        x = blocks[step % copies](x)
    return keras.Model(inputs, keras.layers.Dense(3, name="scores")(x))


def test_sharing_survives_the_export(tmp_path: Path):
    model = shared_block(3, copies=1)

    verify_compression(model, to_tflite(model, tmp_path / "m.tflite"))


def test_a_shared_weight_that_is_stored_twice_is_told(tmp_path: Path):
    path = to_tflite(shared_block(2, copies=2), tmp_path / "m.tflite")

    with pytest.raises(RuntimeError, match=r"block_0/kernel: stored 1 time\(s\) → 2"):
        verify_compression(shared_block(2, copies=1), path)


def test_a_shared_weight_that_is_used_less_is_told():
    with pytest.raises(RuntimeError, match="block_0/kernel: used 3 times → 1"):
        verify_compression(shared_block(3, copies=1), shared_block(1, copies=1))


def test_a_weight_that_is_gone_is_told():
    with pytest.raises(RuntimeError, match="first/kernel.*2,304 weights → none of that size"):
        verify_compression(network(), shared_block(1, copies=1))
