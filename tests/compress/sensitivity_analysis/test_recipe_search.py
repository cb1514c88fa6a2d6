"""The recipe that follows from a sensitivity table: it reaches its target and names the right."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tfdistill import Compressed, sensitivity, strip, survey
from tfdistill.compress import Prune, Quantize
from tfdistill.compress.sensitivity_analysis.one_shot import TECHNIQUES, stored_bytes
from tfdistill.compress.sensitivity_analysis.recipe_search import make_recipe

X = np.eye(8, dtype="float32")


def rows_of(model: keras.Model) -> np.ndarray:
    return np.random.default_rng(4).normal(size=(32, *model.input_shape[1:])).astype("float32")


def test_the_recipe_takes_the_layer_that_hardly_matters_first(two_layers):
    model = two_layers()
    found = sensitivity(model, rows_of(model))
    (only,) = found.recipe(target_bytes=found.size_bytes - 1000)

    assert only.include == ["wide/kernel"]


@pytest.mark.parametrize("share", [0.6, 0.3, 0.1])
def test_the_recipe_reaches_the_target(share: float, two_layers):
    model = two_layers()
    found = sensitivity(model, rows_of(model))
    target = int(share * found.size_bytes)
    recipe = found.recipe(target_bytes=target, steps=1)

    small = Compressed(model, recipe=recipe)
    small(rows_of(model), training=True)
    plain = strip(small)
    total = 0
    for target_of in survey(plain).tensors:
        matrix = next(v.numpy() for v in plain.weights if v.shape == target_of.shape).reshape(
            -1, target_of.shape[-1]
        )
        bits = target_of.bits if target_of.bits <= 8 else None
        total += stored_bytes(matrix, kind="kernel", bits=bits)
    # Each bias is a gzip stream of its own here, of some 30 bytes.
    assert total <= target + 64


def test_no_recipe_is_needed_where_the_weights_are_small_enough(linear):
    found = sensitivity(linear(), X)

    assert found.recipe(target_bytes=found.size_bytes) == []


def test_a_recipe_names_only_its_own_weights():
    inner = keras.Sequential(
        [keras.Input((32,)), keras.layers.Dense(32, name="hidden")], name="inner"
    )
    inputs = keras.Input((32,))
    model = keras.Model(inputs, keras.layers.Dense(32, name="hidden")(inner(inputs)))
    found = sensitivity(model, rows_of(model), settings={"quantize": [8]})
    rows = [row for row in found.rows if row.path == "hidden/kernel"]
    # Only the outer layer's rows: the glob "hidden/kernel" would take the inner layer as well.
    (only,) = make_recipe(rows, found._weights, target_bytes=found.size_bytes - 1000, steps=1)
    small = strip(Compressed(model, recipe=[only]))
    bits = {tensor.path: tensor.bits for tensor in survey(small).compressible}
    assert bits == {"inner/hidden/kernel": 32, "hidden/kernel": 8}


def test_transforms_come_in_the_order_that_keeps_promises(two_layers):
    model = two_layers()
    found = sensitivity(model, rows_of(model), settings={"prune": [0.9], "quantize": [8]})
    recipe = found.recipe(target_bytes=2500)

    assert [type(transform) for transform in recipe] == [Prune, Quantize]
    assert list(TECHNIQUES)[0] == "prune" and list(TECHNIQUES)[-1] == "quantize"


def test_a_target_that_is_no_int_is_refused(linear):
    with pytest.raises(TypeError, match="`target_bytes` must be an int"):
        sensitivity(linear(), X).recipe(target_bytes=10.5)


def test_a_target_out_of_reach_is_refused_with_the_smallest_size(linear):
    found = sensitivity(linear(), X)

    with pytest.raises(ValueError, match=r"`target_bytes` must be at least \d+ for what"):
        found.recipe(target_bytes=1)
