"""What holds for every technique on every kind of model."""

from __future__ import annotations

import warnings

import keras
import numpy as np
import pytest

from tfdistill import prune_low_magnitude, quantize_aware, strip
from tfdistill.compress import Compressed
from tfdistill.compress.targets import find_targets

STEPS = 3
TECHNIQUES = {
    "prune": lambda model: prune_low_magnitude(model, sparsity=0.5, steps=STEPS),
    "quantize": quantize_aware,
    "quantize_4": lambda model: quantize_aware(model, bits=4),
    "prune_quantize": lambda model: quantize_aware(
        prune_low_magnitude(model, sparsity=0.5, steps=STEPS)
    ),
}


def values(model: keras.Model) -> list[np.ndarray]:
    return [variable.numpy().copy() for variable in model.variables]


def same(ours: list[np.ndarray], theirs: list[np.ndarray]) -> list[bool]:
    return [np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True)]


def levels(matrix: np.ndarray, *, kind: str, bits: int) -> np.ndarray:
    """The integers that TFLite will store; they are whole numbers only on the right grid."""
    axis = 0 if kind == "kernel" else (None if bits == 8 else 1)
    largest = np.abs(matrix).max(axis=axis, keepdims=axis is not None)
    return matrix / np.where(largest == 0, 1, largest) * (2 ** (bits - 1) - 1)


@pytest.mark.parametrize("technique", TECHNIQUES)
def test_a_model_is_compressed_as_promised(
    technique: str, model_kind: str, model: keras.Model, inputs: np.ndarray, tmp_path
):
    if model_kind == "keras_hub" and technique != "prune_quantize":
        pytest.skip("slow to copy and to save: the techniques are tested together")
    before = values(model)
    expected = model(inputs).numpy()
    compressed = TECHNIQUES[technique](model)

    # It is a model to train, and starts where the given one stands.
    assert isinstance(compressed, Compressed)
    if technique == "prune":
        np.testing.assert_array_equal(compressed(inputs), expected)
    compressed.compile(
        keras.optimizers.SGD(0.1),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        run_eagerly=True,
    )
    start = values(compressed.student)
    with warnings.catch_warnings():
        # A backbone has layers that a classifier does not use.
        warnings.filterwarnings("ignore", "Gradients do not exist")
        compressed.fit(inputs, np.arange(16) % 3, batch_size=6, verbose=0)
    assert int(compressed.step) == STEPS
    assert not all(same(values(compressed.student), start))

    # The given model is as it was.
    assert all(same(values(model), before))

    # The stripped model answers the same, and has what was promised.
    trained = values(compressed)
    answers = compressed(inputs).numpy()
    plain = strip(compressed)
    assert type(plain) is type(model)
    np.testing.assert_array_equal(plain(inputs), answers)
    for target in find_targets(plain):
        value = target.variable.numpy()
        if "prune" in technique:
            # TF-MOT keeps a whole number of weights, so half a weight may be missing.
            assert abs(np.mean(value == 0) - 0.5) <= 0.5 / value.size + 1e-9, target.path
        if "quantize" in technique:
            bits = 4 if technique.endswith("4") else 8
            on_grid = levels(value.reshape(target.matrix_shape), kind=target.kind, bits=bits)
            # A level is read back as value / scale: some 1e-5 of rounding at level 127.
            np.testing.assert_allclose(on_grid, np.round(on_grid), atol=1e-4)

    # Neither asking nor stripping changed the compressed model, and it survives a file.
    assert all(same(values(compressed), trained))
    compressed.save(tmp_path / "compressed.keras")
    again = keras.models.load_model(tmp_path / "compressed.keras")
    np.testing.assert_array_equal(again(inputs), answers)
    assert int(again.step) == STEPS
    np.testing.assert_array_equal(strip(again)(inputs), answers)


@pytest.mark.parametrize("technique", TECHNIQUES)
def test_no_variable_is_shared_with_the_given_model(technique: str, x: np.ndarray, make_model):
    model = make_model("sequential")
    compressed = TECHNIQUES[technique](model)
    plain = strip(TECHNIQUES["quantize"](model))
    sets = [{id(v) for v in each.variables} for each in (model, compressed, plain)]

    assert not sets[0] & sets[1] and not sets[0] & sets[2]


@pytest.mark.parametrize("technique", ["quantize_4", "prune_quantize"])
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_models_are_compressed_in_full_precision(
    technique: str, policy: str, x: np.ndarray
):
    # The last layer is float32, so rounding its weights on the way would show.
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(6, dtype=policy),
            keras.layers.Dense(3, dtype="float32"),
        ]
    )
    compressed = TECHNIQUES[technique](model)
    compressed.compile(keras.optimizers.SGD(0.1), loss="mse", run_eagerly=True)
    compressed.fit(x, np.ones((16, 3)), batch_size=6, verbose=0)

    np.testing.assert_array_equal(strip(compressed)(x), compressed(x))
