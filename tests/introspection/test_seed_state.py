"""The states of random generators in files."""

from __future__ import annotations

import keras
import pytest

from tfdistill import prune_low_magnitude


def test_a_file_with_other_random_layers_is_refused_and_the_class_is_named(tmp_path):
    layers = [keras.Input((4,)), keras.layers.Dense(3)]
    without = prune_low_magnitude(keras.Sequential(layers))
    with_one = prune_low_magnitude(keras.Sequential([*layers, keras.layers.Dropout(0.5)]))
    without.save_weights(tmp_path / "w.weights.h5")
    with pytest.raises(
        ValueError, match="of a Compressed with the same student.*0 random generators.*1 in the"
    ):
        with_one.load_weights(tmp_path / "w.weights.h5")
