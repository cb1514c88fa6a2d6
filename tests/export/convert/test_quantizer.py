"""Files whose matrix products have 8-bit grids and whose norms and softmax stay float."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import tfdistill as td
from tfdistill.agents import Agent
from tfdistill.runtime.flatbuffer import read_tflite_weights
from tfdistill.students import text_encoder

pytest.importorskip("ai_edge_quantizer", reason="needs pip install tfdistill[quantizer]")
LENGTH, VOCABULARY = 8, 40


def encoder(**changes: Any) -> keras.Model:
    sizes = {
        "vocabulary_size": VOCABULARY,
        "sequence_length": LENGTH,
        "num_layers": 1,
        "hidden_dim": 32,
        "intermediate_dim": 32,
        "num_classes": 3,
        "seed": 0,
    }
    return text_encoder(**{**sizes, **changes})


def operations(path: Path) -> dict[str, set[str]]:
    """Returns the types that each operation of a file computes in, by its name."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    engine = Interpreter(
        str(path), experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    types = {detail["index"]: detail["dtype"].__name__ for detail in engine.get_tensor_details()}
    found: dict[str, set[str]] = {}
    for operation in engine._get_ops_details():
        outputs = [types[index] for index in operation["outputs"] if index in types]
        found.setdefault(operation["op_name"], set()).update(outputs)
    return found


def test_products_compute_in_integers_and_norms_and_softmax_in_float(
    tmp_path: Path, ids: np.ndarray
) -> None:
    path = td.to_tflite(encoder(), tmp_path / "a.tflite", quantize="int8_fc", calibration=ids)
    types = operations(path)

    assert types["FULLY_CONNECTED"] == {"int8"}
    assert types["GATHER"] == {"int8"}
    assert types["SOFTMAX"] == {"float32"}
    assert types["RSQRT"] == {"float32"}


@pytest.mark.slow
def test_the_levels_in_the_file_are_those_that_were_trained_with_8_bits(
    tmp_path: Path, ids: np.ndarray
) -> None:
    model = td.strip(td.quantize_aware(encoder(), bits=8))
    path = td.to_tflite(model, tmp_path / "a.tflite", quantize="int8_fc", calibration=ids)
    table = model.get_layer("token_embedding").embeddings.numpy().astype(np.float64)
    kernel = model.get_layer("encoder_0").ffn_inner.kernel.numpy().astype(np.float64)
    stored = [weight.matrix for weight in read_tflite_weights(path) if weight.has_scale]

    for levels in (table / np.abs(table).max() * 127, kernel / np.abs(kernel).max(axis=0) * 127):
        assert any(np.array_equal(matrix, np.round(levels)) for matrix in stored)


def test_the_ranges_are_those_of_all_examples(tmp_path: Path) -> None:
    # One of 100 examples reaches 10: a mean over examples would cut it off near 1.
    model = keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(4, name="logits")])
    model.layers[0].kernel.assign(np.eye(4))
    x = np.ones((100, 4), np.float32)
    x[50] = [10.0, -10.0, 5.0, 0.0]
    path = td.to_tflite(model, tmp_path / "a.tflite", quantize="int8_fc", calibration=x)

    # 20 / 255 is a step; half of one for the input and half for the output.
    assert td.compare(model, path, x).max_error <= 20 / 255 + 1e-6


def two_layers() -> keras.Model:
    return keras.Sequential(
        [keras.Input((64,), name="x"), keras.layers.Dense(32), keras.layers.Dense(3, name="logits")]
    )


def test_signatures_of_one_file_share_the_weights(tmp_path: Path, rng: np.random.Generator) -> None:
    x, model = rng.normal(size=(64, 64)).astype("float32"), two_layers()
    one = td.to_tflite(model, tmp_path / "1.tflite", quantize="int8_fc", calibration=x)
    both = td.to_tflite(
        model, tmp_path / "2.tflite", quantize="int8_fc", calibration=x, batch_sizes=(1, 4)
    )
    weights = [
        sum(each.matrix.size for each in read_tflite_weights(path) if each.has_scale)
        for path in (one, both)
    ]
    assert weights[0] == weights[1] >= 64 * 32
    td.compare(model, both, x).assert_close(quantize="int8_fc")


@pytest.mark.slow
def test_a_student_with_a_window_runs_in_8_bits(tmp_path: Path, ids: np.ndarray) -> None:
    model = encoder(embedding_window=3)
    path = td.to_tflite(model, tmp_path / "a.tflite", quantize="int8_fc", calibration=ids)

    assert operations(path)["CONV_2D"] == {"int8"}
    td.compare(model, path, ids).assert_close(quantize="int8_fc")


@pytest.mark.slow
def test_a_bundle_with_such_a_file_serves_an_agent(tmp_path: Path, ids: np.ndarray) -> None:
    from tokenizers import Tokenizer, models

    words = {"[PAD]": 0, "[UNK]": 1} | {f"word{index}": index for index in range(2, VOCABULARY)}
    bundle = td.save_bundle(
        encoder(),
        tmp_path / "bundle",
        tokenizer=Tokenizer(models.WordLevel(words, unk_token="[UNK]")),
        labels=["a", "b", "c"],
        quantize="int8_fc",
        calibration=ids,
    )
    assert "fixed 8-bit grids" in (bundle.path / "card.md").read_text()
    assert Agent(bundle.path).predict(["word7"])[0].label in "abc"


def test_nothing_is_printed_while_ranges_are_measured(
    tmp_path: Path, rng: np.random.Generator, capfd: pytest.CaptureFixture
) -> None:
    x = rng.normal(size=(64, 64)).astype("float32")
    td.to_tflite(two_layers(), tmp_path / "a.tflite", quantize="int8_fc", calibration=x)
    assert capfd.readouterr() == ("", "")


def test_a_static_file_without_calibration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`calibration` must hold typical inputs .*'int8_fc'"):
        td.to_tflite(encoder(), tmp_path / "a.tflite", quantize="int8_fc")
