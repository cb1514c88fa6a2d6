from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tfdistill import compress
from tfdistill.export import compare, to_tflite
from tfdistill.runtime.interpreter import Interpreter

KINDS = ["encoder", "convolution", "bert", "subclassed"]


def dense_model(kernel: np.ndarray, bias: np.ndarray | None = None) -> keras.Model:
    model = keras.Sequential(
        [keras.Input((kernel.shape[0],), name="x"), keras.layers.Dense(kernel.shape[1])]
    )
    zeros = np.zeros(kernel.shape[1], "float32")
    model.set_weights([kernel.astype("float32"), zeros if bias is None else bias])
    return model


def lone_constant(tensors: list, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    (found,) = [(value, scales) for _, value, scales in tensors if value.shape == shape]
    return found


# What is in the file


@pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=pytest.mark.slow if k == "bert" else ()) for k in KINDS]
)
def test_a_float_file_answers_as_the_model(
    kind: str, request: Any, tmp_path: Path, rng: np.random.Generator, example_inputs: Any
) -> None:
    model = request.getfixturevalue(kind)
    path = to_tflite(model, tmp_path / "model.tflite", quantize=None)
    report = compare(model, path, example_inputs(model, rng))
    # Sums of at most 224 products, each rounded to 2⁻²⁴, in another order: 224 · 6e-8 = 1.3e-5 of
    # the sum of their magnitudes, which the rounding errors, of either sign, stay well below.
    assert report.max_error <= 1e-5 * max(1.0, report.largest)
    assert report.agreement == 1.0
    report.assert_close(quantize=None)


@pytest.mark.quick_cases("encoder-dynamic", "convolution-dynamic", "subclassed-dynamic")
@pytest.mark.parametrize(
    ("kind", "quantize"),
    [
        *((kind, "dynamic") for kind in KINDS),
        ("encoder", "float16"),
        *(pytest.param(kind, "float16", marks=pytest.mark.slow) for kind in KINDS[1:]),
    ],
)
def test_a_file_with_rounded_weights_stays_within_the_bounds_of_its_mode(
    kind: str,
    quantize: str,
    request: Any,
    tmp_path: Path,
    rng: np.random.Generator,
    example_inputs: Any,
) -> None:
    model = request.getfixturevalue(kind)
    path = to_tflite(model, tmp_path / "model.tflite", quantize=quantize)
    report = compare(model, path, example_inputs(model, rng))
    report.assert_close(quantize=quantize)
    assert report.max_error > 0.0  # something was rounded


def test_the_signature_takes_one_example_under_the_names_of_the_model(encoder_file: Path) -> None:
    signature = Interpreter(encoder_file).signatures["serving_default"]
    assert signature.inputs["ids"].shape == (1, 8)
    assert signature.inputs["ids"].dtype == np.int32
    assert signature.outputs["logits"].shape == (1, 3)
    assert signature.outputs["logits"].dtype == np.float32


@pytest.mark.slow
def test_the_three_inputs_of_a_kerashub_model_keep_their_names(
    bert: keras.Model, tmp_path: Path
) -> None:
    path = to_tflite(bert, tmp_path / "bert.tflite")
    inputs = Interpreter(path).signatures["serving_default"].inputs
    assert {name: (spec.shape, spec.dtype.name) for name, spec in inputs.items()} == {
        "padding_mask": ((1, 8), "int32"),
        "segment_ids": ((1, 8), "int32"),
        "token_ids": ((1, 8), "int32"),
    }


def test_a_bool_input_becomes_an_int32_of_zeros_and_ones(tmp_path: Path) -> None:
    x = keras.Input((3,), name="x")
    keep = keras.Input((3,), name="keep", dtype="bool")
    model = keras.Model([x, keep], keras.ops.where(keep, x, -1.0))
    path = to_tflite(model, tmp_path / "bool.tflite", quantize=None)
    assert Interpreter(path).signatures["serving_default"].inputs["keep"].dtype == np.int32
    kept = np.array([[True, False, True]])
    assert compare(model, path, [np.ones((1, 3)), kept]).max_error == 0.0
    values = {"x": np.full((1, 3), 5, "float32"), "keep": np.array([[1, 0, 1]], "int32")}
    assert Interpreter(path).run(values)["logits"].tolist() == [[5.0, -1.0, 5.0]]


def test_dynamic_keeps_a_kernel_of_the_int8_grid_to_the_last_bit(
    tmp_path: Path, rng: np.random.Generator, read_tensors: Any
) -> None:
    # Each column is made of integers in ±127 times its own step, a power of 2, and reaches 127
    # somewhere, so the converter has to find exactly these steps and these integers.
    steps = 2.0 ** -rng.integers(0, 17, 32)
    integers = rng.integers(-127, 128, (64, 32))
    integers[5] = 127
    path = to_tflite(dense_model(integers * steps), tmp_path / "dense.tflite")
    stored, scales = lone_constant(read_tensors(path), (32, 64))  # [out, in]
    assert stored.dtype == np.int8
    np.testing.assert_array_equal(stored, integers.T)
    np.testing.assert_array_equal(scales, steps.astype("float32"))


def test_dynamic_stores_an_embedding_with_one_step_for_the_table(
    tmp_path: Path, rng: np.random.Generator, read_tensors: Any
) -> None:
    integers = rng.integers(-126, 127, (40, 32))
    integers[7, 7] = -127
    ids = keras.Input((4,), dtype="int32", name="ids")
    model = keras.Model(ids, keras.layers.Embedding(40, 32)(ids))
    model.set_weights([(integers / 64).astype("float32")])
    path = to_tflite(model, tmp_path / "embedding.tflite")
    stored, scales = lone_constant(read_tensors(path), (40, 32))
    np.testing.assert_array_equal(stored, integers)
    assert scales.tolist() == [1 / 64]
    # Values on the grid come back without any error.
    assert compare(model, path, np.arange(40).reshape(10, 4)).max_error == 0.0


def test_dynamic_quantizes_every_large_matrix_of_an_encoder(
    tmp_path: Path, encoder: keras.Model, read_tensors: Any
) -> None:
    path = to_tflite(encoder, tmp_path / "encoder.tflite")
    # (A tensor of rank 3 is an activation: the rows that were looked up.)
    int8 = [
        value.shape
        for _, value, _ in read_tensors(path)
        if value.dtype == np.int8 and value.ndim == 2
    ]
    # Table, query, key, value, attention output and the dense layer; not the 32 x 3 head.
    assert sorted(int8) == sorted([(40, 32), *[(32, 32)] * 5])


@pytest.mark.parametrize(("width", "dtype"), [(31, np.float32), (32, np.int8)])
def test_dynamic_leaves_matrices_of_fewer_than_1024_numbers_in_float(
    width: int, dtype: type, tmp_path: Path, rng: np.random.Generator, read_tensors: Any
) -> None:
    path = to_tflite(dense_model(rng.standard_normal((32, width))), tmp_path / "dense.tflite")
    stored, _ = lone_constant(read_tensors(path), (width, 32))
    assert stored.dtype == dtype


def test_the_error_of_dynamic_stays_below_half_a_step_of_weights_and_inputs(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    kernel = rng.standard_normal((64, 32)).astype("float32")
    x = rng.standard_normal((100, 64)).astype("float32")
    model = dense_model(kernel)
    report = compare(model, to_tflite(model, tmp_path / "dense.tflite"), x)
    # y = Σ x·w: the kernel is off by up to s/2 (s = max|w| / 127 of its column), the inputs by up
    # to t/2 (t = their range, zero included, / 255): |Δy| ≤ Σ|x|·s/2 + Σ|w|·t/2 + 64·s·t/4.
    s = np.abs(kernel).max(axis=0) / 127
    t = (np.maximum(x.max(axis=1), 0) - np.minimum(x.min(axis=1), 0)) / 255
    bound = (
        np.abs(x).sum(axis=1, keepdims=True) * s / 2
        + np.abs(kernel).sum(axis=0) * t[:, None] / 2
        + 64 * s * t[:, None] / 4
    )
    assert 0 < report.max_error < bound.max()


def test_float16_stores_each_weight_rounded_to_float16(
    tmp_path: Path, rng: np.random.Generator, read_tensors: Any
) -> None:
    kernel = rng.standard_normal((64, 32)).astype("float32")
    path = to_tflite(dense_model(kernel), tmp_path / "half.tflite", quantize="float16")
    halves = [value for _, value, _ in read_tensors(path) if value.dtype == np.float16]
    np.testing.assert_array_equal(halves[0], kernel.T.astype("float16"))


def test_int8_stays_within_a_few_steps_of_its_output_grid(
    tmp_path: Path, convolution: keras.Model, rng: np.random.Generator, read_tensors: Any
) -> None:
    x = rng.standard_normal((64, 16, 4)).astype("float32")
    path = to_tflite(convolution, tmp_path / "int8.tflite", quantize="int8", calibration=x)
    report = compare(convolution, path, x)
    steps = [
        scales[0]
        for _, value, scales in read_tensors(path)
        if value.dtype == np.int8 and value.shape == (1, 8) and len(scales)
    ]
    # 224 products with errors of up to half a step in each factor, of random sign (measured: 1.6
    # steps), then the output's own rounding.
    assert 0 < report.max_error < 4 * steps[0]
    report.assert_close(quantize="int8", agreement=0.9)


def test_int8_really_computes_in_integers(
    tmp_path: Path, convolution: keras.Model, rng: np.random.Generator, read_tensors: Any
) -> None:
    x = rng.standard_normal((20, 16, 4)).astype("float32")
    path = to_tflite(
        convolution, tmp_path / "int8.tflite", quantize="int8", calibration={"signal": x}
    )
    floats = [value.shape for _, value, _ in read_tensors(path) if value.dtype == np.float32]
    assert sorted(floats) == [(1, 8), (1, 16, 4)]  # only the input and the output


def test_int8_inputs_and_outputs_stay_float(
    tmp_path: Path, convolution: keras.Model, rng: np.random.Generator
) -> None:
    x = rng.standard_normal((20, 16, 4))  # float64 is accepted
    path = to_tflite(convolution, tmp_path / "int8.tflite", quantize="int8", calibration=[x])
    signature = Interpreter(path).signatures["serving_default"]
    assert signature.inputs["signal"].dtype == np.float32
    assert signature.outputs["logits"].dtype == np.float32


@pytest.mark.slow
def test_a_compressed_model_is_stripped_first(
    tmp_path: Path, encoder: keras.Model, ids: np.ndarray, read_tensors: Any
) -> None:
    compressed = compress.prune_low_magnitude(encoder, sparsity=0.5, steps=1)
    compressed.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    compressed.fit(ids, np.zeros(len(ids), "int32"), epochs=2, verbose=0)
    path = to_tflite(compressed, tmp_path / "pruned.tflite")
    table, _ = lone_constant(read_tensors(path), (40, 32))
    assert np.mean(table == 0) >= 0.5
    compare(compress.strip(compressed), path, ids).assert_close()


# What is not touched


def test_the_model_is_not_changed(tmp_path: Path, encoder: keras.Model) -> None:
    before = [weight.numpy() for weight in encoder.weights]
    names = sorted(vars(encoder))
    to_tflite(encoder, tmp_path / "a.tflite")
    assert sorted(vars(encoder)) == names
    assert encoder.trainable
    for weight, old in zip(encoder.weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), old)


def test_an_existing_file_is_replaced(tmp_path: Path, subclassed: keras.Model) -> None:
    path = tmp_path / "model.tflite"
    path.write_text("old")
    assert to_tflite(subclassed, str(path)) == path
    assert "ids" in Interpreter(path).signatures["serving_default"].inputs
    assert os.listdir(tmp_path) == ["model.tflite"]


def test_nothing_is_printed(
    tmp_path: Path, subclassed: keras.Model, encoder_file: Path, capfd: pytest.CaptureFixture
) -> None:
    to_tflite(subclassed, tmp_path / "a.tflite")
    assert capfd.readouterr() == ("", "")


def test_two_threads_can_export_at_once(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    models = [dense_model(np.full((4, 2), number)) for number in (1.0, 2.0)]
    paths = [tmp_path / "a.tflite", tmp_path / "b.tflite"]
    threads = [
        threading.Thread(target=to_tflite, args=pair) for pair in zip(models, paths, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    answers = [Interpreter(path).run({"x": np.ones((1, 4), "float32")}) for path in paths]
    assert [answer["logits"].tolist() for answer in answers] == [[[4.0, 4.0]], [[8.0, 8.0]]]
    capfd.readouterr()
    os.write(2, b"err")
    assert capfd.readouterr().err == "err"
