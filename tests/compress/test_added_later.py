"""A technique that is added to a model which has trained already starts its own count."""

from __future__ import annotations

import keras
import numpy as np

from tfdistill import prune_low_magnitude, quantize_aware, strip

X = np.random.default_rng(7).normal(size=(16, 8)).astype("float32")


def dense() -> keras.Model:
    return keras.Sequential([keras.Input((8,)), keras.layers.Dense(16)])


def after(compressed, steps: int):
    for _ in range(steps):
        compressed(X, training=True)
    return compressed


def zeros(compressed) -> float:
    return float(np.mean(strip(compressed).layers[0].kernel.numpy() == 0))


def test_pruning_that_is_added_after_quantized_training_prunes():
    quantized = after(quantize_aware(dense()), 16)
    pruned = prune_low_magnitude(quantized, sparsity=0.5, steps=10)
    assert zeros(after(pruned, 10)) == 0.5


def test_pruning_in_two_stages_reaches_the_second_promise():
    first = after(prune_low_magnitude(dense(), sparsity=0.25, steps=5), 16)
    assert zeros(first) == 0.25
    second = prune_low_magnitude(first, sparsity=0.75, steps=5)
    assert zeros(after(second, 5)) == 0.75
    assert zeros(first) == 0.25


def test_the_start_survives_a_save(tmp_path):
    pruned = prune_low_magnitude(after(quantize_aware(dense()), 16), sparsity=0.5, steps=10)
    after(pruned, 4).save(tmp_path / "half.keras")
    loaded = keras.saving.load_model(tmp_path / "half.keras")
    assert zeros(after(loaded, 6)) == zeros(after(pruned, 6)) == 0.5
