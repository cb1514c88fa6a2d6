"""Pruning with one threshold for all weights."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tfdistill import prune_low_magnitude, strip

WIDE = np.random.default_rng(7).normal(size=(16, 8)).astype("float32")


def two_layers() -> keras.Model:
    """The first layer's weights are twice the second's on average, and all of them differ."""
    model = keras.Sequential(
        [
            keras.Input((8,)),
            keras.layers.Dense(8, name="large"),
            keras.layers.Dense(8, name="small"),
        ]
    )
    numbers = np.random.default_rng(3).permutation(np.arange(1, 129)) / 128
    model.layers[0].kernel.assign(numbers[:64].reshape(8, 8) * 2.003)
    model.layers[1].kernel.assign(numbers[64:].reshape(8, 8))
    return model


def stepped(compressed, x, steps: int):
    for _ in range(steps):
        compressed(x, training=True)
    return compressed


def test_a_global_threshold_removes_the_smallest_of_all_weights():
    compressed = prune_low_magnitude(two_layers(), sparsity=0.5, steps=1, scope="global")
    model, plain = two_layers(), strip(stepped(compressed, WIDE, 1))
    before = np.concatenate([layer.kernel.numpy().ravel() for layer in model.layers])
    after = np.concatenate([layer.kernel.numpy().ravel() for layer in plain.layers])
    sparsity = [float(np.mean(layer.kernel.numpy() == 0)) for layer in plain.layers]

    assert np.mean(after == 0) == 0.5
    assert before[after == 0].max() < before[after != 0].min()
    assert sparsity[0] < 0.4 and sparsity[1] > 0.6
    assert len({float(state.threshold.numpy()) for state in compressed.weight_states}) == 1


def test_a_global_threshold_leaves_each_tensor_its_largest_weight():
    model = two_layers()
    model.layers[1].kernel.assign(model.layers[1].kernel / 1000)
    compressed = prune_low_magnitude(model, sparsity=0.5, steps=1, scope="global")
    kernel = strip(stepped(compressed, WIDE, 1)).layers[1].kernel.numpy()

    assert np.flatnonzero(kernel).tolist() == [int(np.argmax(model.layers[1].kernel))]


def test_a_global_shortfall_is_told_once_for_all():
    compressed = stepped(
        prune_low_magnitude(two_layers(), sparsity=0.5, steps=4, scope="global"), WIDE, 2
    )
    with pytest.warns(
        UserWarning, match=r"schedule's end: 2 weights: sparsity 0\.438 of 0\.500\.$"
    ):
        strip(compressed)


def test_patterns_and_blocks_go_with_a_global_threshold():
    pattern = prune_low_magnitude(two_layers(), pattern=(2, 4), steps=1, scope="global")
    blocks = prune_low_magnitude(
        two_layers(), sparsity=0.5, steps=1, block_size=(1, 4), scope="global"
    )
    for layer in strip(stepped(pattern, WIDE, 1)).layers:
        groups = layer.kernel.numpy().T.reshape(-1, 4)
        assert set(np.count_nonzero(groups, axis=1)) == {2}
    zeros = [np.sum(layer.kernel.numpy() == 0) for layer in strip(stepped(blocks, WIDE, 1)).layers]
    assert sum(zeros) == 64 and all(count % 4 == 0 for count in zeros)
