"""An export fails where the file lost what the model was compressed to, unless that is wanted."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from tokenizers import Tokenizer, models

from tfdistill import quantize_aware, save_bundle, strip, to_tflite
from tfdistill.compress.inspection.statistics import verify_file

RNG = np.random.default_rng(3)


def network(*, kernel: np.ndarray | None = None) -> keras.Model:
    model = keras.Sequential(
        [keras.Input((48,), name="x"), keras.layers.Dense(48, name="wide"), keras.layers.Dense(2)]
    )
    if kernel is not None:
        model.get_layer("wide").kernel.assign(kernel)
    return model


def test_four_bits_in_a_file_of_eight_are_refused_and_nothing_is_left_behind(tmp_path: Path):
    model = quantize_aware(network(), bits=4)
    expected = (
        r"must keep what the model was compressed to\. Received: quantize='dynamic' and "
        r"wide/kernel: 4 bits → 8\. .* verify_compression=False"
    )
    with pytest.raises(RuntimeError, match=expected):
        to_tflite(model, tmp_path / "m.tflite")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("mode", "allowed"), [("int4", True), (None, True), ("dynamic", False)])
def test_they_pass_where_the_file_holds_them_and_where_they_are_given_up(
    mode: str | None, allowed: bool, tmp_path: Path
):
    model = quantize_aware(network(), bits=4)

    assert to_tflite(
        model, tmp_path / "m.tflite", quantize=mode, verify_compression=allowed
    ).exists()


def test_a_bundle_is_refused_for_the_same_reason(tmp_path: Path):
    ids = keras.Input((6,), dtype="int32", name="ids")
    x = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(90, 16, name="words")(ids))
    model = strip(quantize_aware(keras.Model(ids, keras.layers.Dense(2)(x)), bits=4))
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "oil": 1}, unk_token="[UNK]"))
    settings = {"tokenizer": tokenizer, "labels": ["a", "b"]}

    with pytest.raises(RuntimeError, match="words/embeddings: 4 bits → 8"):
        save_bundle(model, tmp_path / "bundle", **settings)
    assert list(tmp_path.iterdir()) == []
    save_bundle(model, tmp_path / "bundle", **settings, verify_compression=False)


def test_zeros_that_a_file_does_not_have_are_missed(tmp_path: Path):
    zeros = network(kernel=RNG.normal(size=(48, 48)) * (RNG.random((48, 48)) > 0.5))
    path = to_tflite(network(), tmp_path / "m.tflite")

    with pytest.raises(RuntimeError, match=r"wide/kernel: 1,1\d\d nonzero → 2,\d\d\d"):
        verify_file(zeros, path, quantize="dynamic")


@pytest.mark.parametrize("kernel", [np.zeros((48, 48)), np.eye(48)], ids=["zeros", "identity"])
def test_values_that_are_on_every_grid_promise_none(kernel: np.ndarray, tmp_path: Path):
    to_tflite(network(kernel=kernel), tmp_path / "m.tflite")


def test_a_tied_table_may_be_in_an_8_bit_file_twice_and_an_unused_weight_not_at_all(
    make_model, tmp_path: Path
):
    to_tflite(make_model("tied"), tmp_path / "tied.tflite")
    pruned = network(kernel=RNG.normal(size=(48, 48)) * (RNG.random((48, 48)) > 0.5))
    inner = keras.Model(pruned.inputs, {"used": pruned.outputs[0], "wide": pruned.layers[0].output})
    x = keras.Input((48,), name="x")
    unused = keras.layers.Dense(48, name="unused")
    outputs = inner(x)
    model = keras.Model(x, [outputs["used"]])
    unused.build((None, 48))
    model.unused = unused
    model.unused.kernel.assign(np.triu(np.ones((48, 48))) * 0.3)

    to_tflite(model, tmp_path / "unused.tflite")
