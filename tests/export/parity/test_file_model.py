from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdistill.export import compare, to_tflite
from tfdistill.export.parity.file_model import dequantize, quantize
from tfdistill.runtime.interpreter import Interpreter, TensorSpec


@pytest.fixture(scope="module")
def classifier() -> keras.Model:
    keras.utils.set_random_seed(5)
    return keras.Sequential([keras.Input((6,), name="x"), keras.layers.Dense(4, name="logits")])


@pytest.fixture(scope="module")
def integer_file(classifier: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The classifier with int8 inputs and outputs, as other tools make it."""
    folder = tmp_path_factory.mktemp("integer")
    classifier.export(folder / "saved", verbose=False)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved"))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    data = np.random.default_rng(0).uniform(-1, 1, (50, 1, 6)).astype("float32")
    converter.representative_dataset = lambda: ([row] for row in data)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.int8
    converter.inference_output_type = tf.int8
    path = folder / "integer.tflite"
    path.write_bytes(converter.convert())
    return path


@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated")
def test_integer_inputs_and_outputs_are_hidden_behind_their_grids(
    classifier: keras.Model, integer_file: Path, rng: np.random.Generator
) -> None:
    signature = next(iter(Interpreter(integer_file).signatures.values()))
    (spec,) = signature.outputs.values()
    assert spec.dtype == np.int8 and spec.scale is not None
    x = rng.uniform(-1, 1, (64, 6))
    report = compare(classifier, integer_file, x)
    # Raw integers would be off by up to a hundred. Six products with factors off by up to half a
    # step (1/255 of the range each) plus the output's own half step: below three output steps.
    assert 0 < report.max_error < 3 * spec.scale
    assert report.agreement is not None and report.agreement > 0.9


def test_quantize_and_dequantize_are_inverse_on_the_grid() -> None:
    spec = TensorSpec("x", (256,), np.dtype("int8"), scale=0.03, zero_point=-7)
    integers = np.arange(-128, 128).astype("int8")
    np.testing.assert_array_equal(quantize(dequantize(integers, spec), spec), integers)


def test_int16_does_not_overflow() -> None:
    spec = TensorSpec("x", (2,), np.dtype("int16"), scale=1.0, zero_point=-30_000)
    assert dequantize(np.array([32_000, -32_000], "int16"), spec).tolist() == [62_000.0, -2_000.0]


def test_a_file_with_other_inputs_is_refused(
    bert: keras.Model, encoder_file: Path, rng: np.random.Generator, example_inputs: Any
) -> None:
    with pytest.raises(
        ValueError,
        match=r"`path` must have the model's inputs \['padding_mask', 'segment_ids', 'token_ids'\]"
        r".*a file with \['ids'\]",
    ):
        compare(bert, encoder_file, example_inputs(bert, rng))


def test_a_file_for_another_length_is_refused(encoder_file: Path) -> None:
    ids = keras.Input((5,), dtype="int32", name="ids")
    model = keras.Model(ids, keras.layers.Flatten()(keras.layers.Embedding(40, 2)(ids)))
    with pytest.raises(
        ValueError,
        match=r"examples of the model's input 'ids', shape \(batch, 5\). Received: .*\(1, 8\)",
    ):
        compare(model, encoder_file, np.ones((3, 5), int))


def test_a_file_of_another_class_count_is_refused(encoder_file: Path) -> None:
    ids = keras.Input((8,), dtype="int32", name="ids")
    x = keras.layers.Flatten()(keras.layers.Embedding(40, 2)(ids))
    model = keras.Model(ids, keras.layers.Dense(7, name="logits")(x))
    with pytest.raises(
        ValueError,
        match="`model` and `path` must have the same number of classes. Received: model → 7, "
        "path → 3",
    ):
        compare(model, encoder_file, np.ones((3, 8), int))


def test_a_file_with_more_outputs_is_refused(tmp_path: Path, classifier: keras.Model) -> None:
    x = keras.Input((6,), name="x")
    model = keras.Model(x, {"a": x * 2.0, "b": x / 2.0})
    path = to_tflite(model, tmp_path / "two.tflite", quantize=None)
    with pytest.raises(
        ValueError, match=r"the model's outputs \['logits'\]. Received: a file with \['a', 'b'\]"
    ):
        compare(classifier, path, np.ones((1, 6)))
