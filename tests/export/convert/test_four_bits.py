"""Files with weights of 4 bits: the trained levels, in half the bytes."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from tokenizers import Tokenizer, models

import tfdistill as td
from tfdistill.agents import Agent
from tfdistill.export.convert.four_bits import reading_by_lookup, to_four_bits
from tfdistill.introspection.weights import find_targets
from tfdistill.runtime.flatbuffer import TFLiteWeight, read_tflite_weights
from tfdistill.students import text_encoder

needs_quantizer = pytest.mark.skipif(
    importlib.util.find_spec("ai_edge_quantizer") is None,
    reason="needs pip install tfdistill[quantizer]",
)
LENGTH, VOCABULARY = 8, 40
Encoder = Callable[..., keras.Model]


def trained(model: keras.Model, ids: np.ndarray, *, bits: int) -> keras.Model:
    compressed = td.quantize_aware(model, bits=bits)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    compressed.compile(keras.optimizers.Adam(0.01), loss=loss, run_eagerly=True)
    compressed.fit(ids, np.arange(len(ids)) % 3, batch_size=16, verbose=0)
    return compressed


def levels_of(model: keras.Model, *, bits: int) -> dict[str, np.ndarray]:
    """The integers that training ended on, by the path of the weight, of all that are stored."""
    found = {}
    for target in find_targets(model):
        matrix = target.variable.numpy().reshape(target.matrix_shape).astype(np.float64)
        axis = 0 if target.kind == "kernel" else (None if bits == 8 else 1)
        largest = np.abs(matrix).max(axis=axis, keepdims=axis is not None)
        if matrix.size >= 1024:
            levels = matrix / largest * (2 ** (bits - 1) - 1)
            # A value is rounded to float32 twice: at level 127 that is some 1e-5.
            np.testing.assert_allclose(levels, np.round(levels), atol=1e-4)
            found[target.path] = np.round(levels).astype(int)
    return found


def stored(path: Path) -> list[TFLiteWeight]:
    return [weight for weight in read_tflite_weights(path) if weight.has_scale]


@needs_quantizer
@pytest.mark.parametrize(
    ("bits", "quantize"), [(4, "int4"), pytest.param(8, "dynamic", marks=pytest.mark.slow)]
)
def test_the_levels_in_the_file_are_those_that_were_trained(
    small_encoder: Encoder, bits: int, quantize: str, ids: np.ndarray, tmp_path: Path
) -> None:
    model = td.strip(trained(small_encoder(), ids, bits=bits))
    path = td.to_tflite(model, tmp_path / "model.tflite", quantize=quantize)
    in_file = stored(path)
    expected = levels_of(model, bits=bits)

    # The table, query, key, value and output of attention, and two layers of the block.
    assert len(in_file) == len(expected) == 7
    assert {weight.bits for weight in in_file} == {bits}
    for name, levels in expected.items():
        same = [each for each in in_file if np.array_equal(each.matrix, levels)]
        assert len(same) == 1, name
        in_file.remove(same[0])
    assert not in_file
    td.compare(model, path, ids).assert_close(quantize=quantize)


@needs_quantizer
@pytest.mark.slow
def test_a_file_of_4_bits_takes_at_most_60_percent_of_8_bits_at_width_128(tmp_path: Path) -> None:
    model = text_encoder(
        vocabulary_size=5000,
        sequence_length=16,
        num_layers=2,
        hidden_dim=128,
        intermediate_dim=256,
        num_classes=8,
        seed=0,
    )
    sizes = {
        mode: td.to_tflite(model, tmp_path / f"{mode}.tflite", quantize=mode).stat().st_size
        for mode in ("dynamic", "int4")
    }

    assert sizes["int4"] <= 0.6 * sizes["dynamic"]


@pytest.mark.slow
@needs_quantizer
def test_a_compressed_model_is_stripped_and_not_changed(
    small_encoder: Encoder, ids: np.ndarray, tmp_path: Path
) -> None:
    compressed = trained(small_encoder(), ids, bits=4)
    before = [variable.numpy().copy() for variable in compressed.variables]
    path = td.to_tflite(compressed, tmp_path / "model.tflite", quantize="int4")

    td.compare(td.strip(compressed), path, ids).assert_close(quantize="int4")
    for variable, value in zip(compressed.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


@pytest.mark.slow
@needs_quantizer
def test_zeros_and_shared_values_survive_in_4_bits(
    small_encoder: Encoder, ids: np.ndarray, tmp_path: Path
) -> None:
    pruned = td.prune_low_magnitude(small_encoder(), sparsity=0.5, steps=2)
    model = td.strip(trained(pruned, ids, bits=4))
    path = td.to_tflite(model, tmp_path / "model.tflite", quantize="int4")

    for name, levels in levels_of(model, bits=4).items():
        # TF-MOT keeps a whole number of weights, so half a weight may be missing.
        assert np.mean(levels == 0) >= 0.5 - 1 / levels.size, name
        assert any(np.array_equal(each.matrix, levels) for each in stored(path)), name


@pytest.mark.slow
@needs_quantizer
@pytest.mark.parametrize("kind", ["bert", "subclassed", "convolution"])
def test_models_of_other_kinds_run_in_4_bits(
    kind: str, request: Any, tmp_path: Path, rng: np.random.Generator, example_inputs: Any
) -> None:
    given = request.getfixturevalue(kind)
    if kind == "convolution":  # large enough to be stored in 4 bits
        given = keras.Sequential(
            [
                keras.Input((16, 4), name="signal"),
                keras.layers.Conv1D(64, 5, activation="relu"),
                keras.layers.Flatten(),
                keras.layers.Dense(8, name="logits"),
            ]
        )
    model = td.strip(td.quantize_aware(given, bits=4))
    path = td.to_tflite(model, tmp_path / "model.tflite", quantize="int4")

    td.compare(model, path, example_inputs(given, rng)).assert_close(quantize="int4")
    assert {weight.bits for weight in stored(path)} == {4}


@needs_quantizer
def test_a_tied_table_is_stored_once(tmp_path: Path, ids: np.ndarray) -> None:
    inputs = keras.Input((LENGTH,), dtype="int32", name="ids")
    tied = keras.layers.ReversibleEmbedding(VOCABULARY, 32, name="tied")
    x = keras.layers.Dense(32, activation="relu")(tied(inputs))
    model = td.strip(td.quantize_aware(keras.Model(inputs, tied(x, reverse=True)), bits=4))
    path = td.to_tflite(model, tmp_path / "model.tflite", quantize="int4")
    table = [weight for weight in stored(path) if weight.shape == (VOCABULARY, 32)]

    assert [(weight.uses, weight.bits) for weight in table] == [(2, 4)]
    td.compare(model, path, ids).assert_close(quantize="int4")


@needs_quantizer
def test_kernels_of_fewer_than_1024_numbers_stay_float(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((32,), name="x"), keras.layers.Dense(31)])
    path = td.to_tflite(model, tmp_path / "small.tflite", quantize="int4")

    assert [weight.bits for weight in read_tflite_weights(path)] == [32]


@needs_quantizer
def test_a_bundle_in_4_bits_serves_an_agent(
    small_encoder: Encoder, ids: np.ndarray, tmp_path: Path
) -> None:
    words = {"[PAD]": 0, "[UNK]": 1} | {f"word{index}": index for index in range(2, VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    bundle = td.save_bundle(
        trained(small_encoder(), ids, bits=4),
        tmp_path / "bundle",
        tokenizer=tokenizer,
        labels=["a", "b", "c"],
        quantize="int4",
    )

    assert bundle.manifest["quantize"] == "int4"
    assert "* Weights: 4-bit integers" in (bundle.path / "card.md").read_text()
    assert {weight.bits for weight in stored(bundle.model_path)} == {4}
    assert Agent(bundle.path).predict(["word7"])[0].label in "abc"


@needs_quantizer
def test_a_table_with_a_call_of_its_own_keeps_it_and_stays_float(
    tmp_path: Path, ids: np.ndarray
) -> None:
    class Scaled(keras.layers.Embedding):
        def call(self, inputs: Any) -> Any:
            return 2.0 * super().call(inputs)

    inputs = keras.Input((LENGTH,), dtype="int32", name="ids")
    with keras.saving.custom_object_scope({"Scaled": Scaled}):
        model = keras.Model(inputs, Scaled(VOCABULARY, 32)(inputs))
        path = td.to_tflite(model, tmp_path / "scaled.tflite", quantize="int4")

    td.compare(model, path, ids).assert_close(quantize=None)
    assert not stored(path)


def test_a_model_that_reads_by_lookup_answers_the_same_and_is_as_before(
    small_encoder: Encoder, ids: np.ndarray
) -> None:
    model = small_encoder()
    before = model(ids)
    names = sorted(vars(model.get_layer("token_embedding")))
    with reading_by_lookup([model]):
        assert "call" in vars(model.get_layer("token_embedding"))
        np.testing.assert_array_equal(model(ids), before)
    assert sorted(vars(model.get_layer("token_embedding"))) == names


@needs_quantizer
def test_a_model_that_was_not_trained_for_4_bits_is_told_apart(
    ids: np.ndarray, tmp_path: Path, rng: np.random.Generator
) -> None:
    model = keras.Sequential([keras.Input((64,), name="x"), keras.layers.Dense(32)])
    model.layers[0].kernel.assign(rng.normal(size=(64, 32)) ** 3)
    path = td.to_tflite(model, tmp_path / "model.tflite", quantize="int4")

    with pytest.raises(AssertionError, match="the bound for quantize='int4'"):
        td.compare(model, path, rng.normal(size=(64, 64)).astype("float32")).assert_close(
            quantize="int4"
        )


@pytest.mark.slow
@needs_quantizer
def test_nothing_is_printed_on_the_way(
    tmp_path: Path, encoder_file: Path, capfd: pytest.CaptureFixture
) -> None:
    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(32)])
    td.to_tflite(model, tmp_path / "model.tflite", quantize="int4")

    assert capfd.readouterr() == ("", "")


# What is refused


def test_a_missing_quantizer_is_told_by_its_extra_before_the_work(
    small_encoder: Encoder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_quantizer", None)
    message = (
        r"`quantize` must be .*Received: quantize='int4'\. .*pip install tfdistill\[quantizer\]"
    )
    with pytest.raises(ImportError, match=message):
        td.to_tflite(small_encoder(), tmp_path / "model.tflite", quantize="int4")
    assert os.listdir(tmp_path) == []


@needs_quantizer
def test_a_file_that_the_quantizer_cannot_read_is_refused() -> None:
    no_graph = b"\x1c\0\0\0TFL3" + bytes(200)

    with pytest.raises(RuntimeError, match="ai-edge-quantizer refused .* quantize='dynamic'"):
        to_four_bits(no_graph)


@needs_quantizer
def test_calibration_is_refused_with_4_bits(
    small_encoder: Encoder, ids: np.ndarray, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="`calibration` must be None .*quantize='int4'"):
        td.to_tflite(small_encoder(), tmp_path / "a.tflite", quantize="int4", calibration=ids)
