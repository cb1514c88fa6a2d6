"""Comparisons of several signatures and batch sizes, in quantization steps, and layer by layer."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from tfdistill.export import compare, to_tflite
from tfdistill.export.parity.layer_errors import LayerError
from tfdistill.runtime.interpreter import Interpreter
from tfdistill.students import head_signatures, multi_head_encoder, text_encoder

LENGTH, VOCABULARY = 8, 40


@pytest.fixture(scope="module")
def student() -> keras.Model:
    """Two passes through one block."""
    return text_encoder(
        vocabulary_size=VOCABULARY,
        sequence_length=LENGTH,
        num_layers=2,
        groups=1,
        hidden_dim=32,
        intermediate_dim=32,
        num_classes=3,
        seed=0,
    )


@pytest.fixture(scope="module")
def sized_file(student: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sized") / "model.tflite"
    return to_tflite(student, path, batch_sizes=(1, 5))


@pytest.mark.slow
def test_every_batch_size_is_compared_and_the_worst_is_reported(
    student: keras.Model, sized_file: Path, ids: np.ndarray
) -> None:
    report = compare(student, sized_file, ids)
    assert [(part.signature, part.batch_size, part.examples) for part in report.parts] == [
        ("serving_default", 1, 64),
        ("serving_default_5", 5, 64),  # twelve full batches, and one of four filled up
    ]
    assert report.max_error == max(part.max_error for part in report.parts)
    assert report.agreement == min(part.agreement for part in report.parts)
    report.assert_close(quantize="dynamic")
    assert report.step is None  # a float output has no grid


def test_one_bad_part_fails_the_whole(
    student: keras.Model, sized_file: Path, ids: np.ndarray
) -> None:
    report = compare(student, sized_file, ids)
    bad = max(part.max_error for part in report.parts)
    report.assert_close(max_error=bad)
    with pytest.raises(AssertionError, match="more than"):
        report.assert_close(max_error=bad / 2)


def test_each_layer_is_found_in_the_file_and_close(
    student: keras.Model, sized_file: Path, ids: np.ndarray
) -> None:
    report = compare(student, sized_file, ids, layers=True).parts[0]
    names = [layer.name for layer in report.layers]
    # Both passes through the shared block, whose layers the file has twice.
    assert {
        "token_embedding",
        "encoder_0/attention/query#2",
        "encoder_0#2",
        "pooling",
        "logits",
    } <= {*names}
    assert names.index("encoder_0") < names.index("encoder_0#2") < names.index("pooling")
    # Kernels and activations are off by up to 1/254 of their range at every product; ten products
    # deep that adds up to some 3 % (measured: at most 2.1 %).
    assert all(layer.relative < 0.1 for layer in report.layers)
    assert report.first_drift() is None


def test_what_the_model_returns_is_compared_with_what_the_file_returns(tmp_path: Path) -> None:
    # In the file the last tensor has the name of an output, and only a bias has the layer's.
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="last")])
    model.layers[0].bias.assign([1.0, 2.0, 3.0])
    path = to_tflite(model, tmp_path / "m.tflite", quantize=None)

    (last,) = compare(model, path, np.eye(4, dtype="float32"), layers=True).layers

    assert last.name == "last" and last.relative < 1e-6


def test_the_first_layer_that_drifts_is_named(
    student: keras.Model, sized_file: Path, ids: np.ndarray
) -> None:
    kernel = student.get_layer("encoder_0").ffn_inner.kernel
    before = kernel.numpy()
    kernel.assign(before[::-1])  # the file has the old one
    try:
        report = compare(student, sized_file, ids, layers=True).parts[0]
    finally:
        kernel.assign(before)
    assert report.first_drift().name == "encoder_0/ffn_inner"
    assert isinstance(report.first_drift(), LayerError)


def test_an_int8_file_is_judged_in_steps_of_its_output(
    convolution: keras.Model, tmp_path: Path, rng: np.random.Generator
) -> None:
    x = rng.standard_normal((64, 16, 4)).astype("float32")
    path = to_tflite(convolution, tmp_path / "int8.tflite", quantize="int8", calibration=x)
    report = compare(convolution, path, x)
    # The grid reaches from the least to the largest output in 255 steps, zero included.
    outputs = convolution.predict(x, verbose=0)
    assert report.step == pytest.approx((outputs.max() - outputs.min()) / 255, rel=1e-3)
    assert report.max_error_steps == report.max_error / report.step
    # Measured: 1.6. Products of 8-bit numbers with errors of random sign, then half a step.
    assert report.max_error_steps < 4
    assert f"{report.max_error_steps:.1f} steps" in str(report)


@pytest.mark.slow
def test_the_signatures_of_several_heads_are_compared_by_name(
    tmp_path: Path, ids: np.ndarray, rng: np.random.Generator
) -> None:
    model = multi_head_encoder(
        token_heads={"slots": 5},
        text_heads={"intent": 3},
        vocabulary_size=VOCABULARY,
        sequence_length=LENGTH,
        hidden_dim=32,
        num_layers=1,
        intermediate_dim=32,
    )
    parts = head_signatures(model)
    path = to_tflite(parts, tmp_path / "heads.tflite", quantize=None)
    encoded = parts["encode"](ids)
    data = {
        "encode": ids,
        "slots": encoded["hidden"].numpy(),
        "intent": encoded["pooled"].numpy(),
        "all": ids,
    }
    report = compare(parts, path, data, {"intent": np.arange(64) % 3})
    assert sorted(part.signature for part in report.parts) == sorted(parts)
    report.assert_close(quantize=None)
    assert sorted(Interpreter(path).signatures) == sorted(parts)
    with pytest.raises(ValueError, match=r"`x` must be a dict of data by the signatures"):
        compare(parts, path, ids)
    with pytest.raises(ValueError, match=r"`path` must have a signature 'other'"):
        compare({"other": parts["all"]}, path, {"other": ids})
