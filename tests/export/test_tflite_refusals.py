"""What `to_tflite` refuses, and what it leaves behind when it fails: nothing."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdistill.export import to_tflite
from tfdistill.runtime.interpreter import Interpreter


def dense_model(kernel: np.ndarray, bias: np.ndarray | None = None) -> keras.Model:
    model = keras.Sequential(
        [keras.Input((kernel.shape[0],), name="x"), keras.layers.Dense(kernel.shape[1])]
    )
    zeros = np.zeros(kernel.shape[1], "float32")
    model.set_weights([kernel.astype("float32"), zeros if bias is None else bias])
    return model


class Strange(keras.layers.Layer):
    def call(self, x: Any) -> Any:
        return tf.math.betainc(x, x, x)


def unsupported_model() -> keras.Model:
    x = keras.Input((4,))
    return keras.Model(x, Strange(name="beta")(keras.layers.Dense(4, name="first")(x)), name="odd")


def test_a_failure_leaves_the_old_file_and_an_open_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    path = tmp_path / "model.tflite"
    path.write_text("old")
    with pytest.raises(
        ValueError,
        match="^`model` must use only operations that are built into TFLite. Received: "
        r"model='odd', which needs Betainc \(in the layer 'beta'\)\. Write that part",
    ):
        to_tflite(unsupported_model(), path)
    assert os.listdir(tmp_path) == ["model.tflite"]
    assert path.read_text() == "old"
    capfd.readouterr()
    os.write(1, b"out")
    os.write(2, b"err")
    assert capfd.readouterr() == ("out", "err")


def test_a_full_disk_is_reported_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    model = dense_model(np.zeros((64, 256)))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The kernel refuses to let any file grow over 20 KB, as a full disk would.
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(OSError, match="could not be written as a SavedModel.*set the"):
            to_tflite(model, tmp_path / "model.tflite")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert os.listdir(tmp_path) == ["scratch"]
    assert os.listdir(scratch) == []


def test_another_failure_of_the_converter_is_passed_on(tmp_path: Path) -> None:
    class IntegerProduct(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            ones = tf.ones((4, 4), tf.int8)
            return tf.cast(tf.matmul(tf.cast(x, tf.int8), ones, output_type=tf.int32), tf.float32)

    x = keras.Input((4,))
    model = keras.Model(x, IntegerProduct()(x), name="integers")
    with pytest.raises(
        RuntimeError,
        match="converter refused the model 'integers' with quantize=None: 'tfl.fully_connected' op",
    ):
        to_tflite(model, tmp_path / "a.tflite", quantize=None)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("value", ["int2", "", 8, True])
def test_an_unknown_mode_is_refused(value: Any, encoder: keras.Model, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError,
        match=r"`quantize` must be one of \(None, 'float16', 'dynamic', 'int8', 'int8_16', "
        r"'int8_fc', 'int4'\)"
        rf"\. Received: quantize={value!r}",
    ):
        to_tflite(encoder, tmp_path / "a.tflite", quantize=value)


def test_int8_without_calibration_is_refused(encoder: keras.Model, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match="`calibration` must hold typical inputs .* Received: calibration=None"
    ):
        to_tflite(encoder, tmp_path / "a.tflite", quantize="int8")


def test_calibration_for_another_mode_is_refused(
    encoder: keras.Model, ids: np.ndarray, tmp_path: Path
) -> None:
    with pytest.raises(
        ValueError,
        match="`calibration` must be None unless `quantize` is one of .*of type ndarray with "
        "quantize='dynamic'",
    ):
        to_tflite(encoder, tmp_path / "a.tflite", calibration=ids)


def test_calibration_of_another_shape_is_refused(
    encoder: keras.Model, ids: np.ndarray, tmp_path: Path
) -> None:
    with pytest.raises(
        ValueError,
        match=r"`calibration` must have shape \(examples, 8\). Received: shape=\(64, 7\)",
    ):
        to_tflite(encoder, tmp_path / "a.tflite", quantize="int8", calibration=ids[:, :7])


def test_something_else_than_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="`model` must be a Keras 3 model.*Received: model=.*str"):
        to_tflite("student.keras", tmp_path / "a.tflite")  # type: ignore[arg-type]


def test_a_tf_keras_model_is_refused_by_its_full_name(tmp_path: Path) -> None:
    tf_keras = pytest.importorskip("tf_keras")
    old = tf_keras.Sequential([tf_keras.layers.Dense(2, input_shape=(4,))])
    with pytest.raises(TypeError, match=r"`model` must be a Keras 3 model.*tf_keras\.src\."):
        to_tflite(old, tmp_path / "a.tflite")


def test_an_unbuilt_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`model` must be built"):
        to_tflite(keras.Sequential([keras.layers.Dense(2)]), tmp_path / "a.tflite")


def test_an_open_axis_is_refused_with_the_remedy(tmp_path: Path) -> None:
    ids = keras.Input((None,), dtype="int32", name="ids")
    model = keras.Model(ids, keras.layers.Embedding(9, 4)(ids))
    with pytest.raises(
        ValueError,
        match=r"`model` must have fixed input sizes.*input 'ids' of shape \(batch, \?\). Wrap it",
    ):
        to_tflite(model, tmp_path / "a.tflite")
    fixed = {"ids": keras.Input((6,), dtype="int32", name="ids")}
    path = to_tflite(keras.Model(fixed, model(fixed["ids"])), tmp_path / "a.tflite")
    assert Interpreter(path).signatures["serving_default"].inputs["ids"].shape == (1, 6)


def test_a_model_that_keras_has_quantized_is_refused(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="head")])
    model.layers[0].quantize("int8")
    with pytest.raises(
        ValueError,
        match="`model` must have float weights.*layer 'head' with the Keras policy 'int8",
    ):
        to_tflite(model, tmp_path / "a.tflite")


def test_a_mixed_precision_model_is_refused(tmp_path: Path) -> None:
    dense = keras.layers.Dense(2, name="head", dtype="mixed_float16")
    model = keras.Sequential([keras.Input((4,)), dense])
    with pytest.raises(
        ValueError, match="`model` must compute in float32.*'head' with the policy 'mixed_float16'"
    ):
        to_tflite(model, tmp_path / "a.tflite")


def test_a_missing_folder_is_refused_before_the_work(encoder: keras.Model, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="`path` must be in an existing folder.*mkdir"):
        to_tflite(encoder, tmp_path / "absent" / "a.tflite")


def test_any_suffix_is_fine(subclassed: keras.Model, tmp_path: Path) -> None:
    assert to_tflite(subclassed, tmp_path / "student").name == "student"


def test_calibration_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    data = np.ones((4, 2), "float32")
    data[1] = np.nan

    with pytest.raises(ValueError, match="`calibration` must hold finite .* 2 of 8 .*input 'x'"):
        to_tflite(dense_model(np.eye(2)), tmp_path / "a.tflite", quantize="int8", calibration=data)


def test_calibration_of_a_dataset_or_generator_is_refused(tmp_path: Path) -> None:
    rows = np.ones((4, 2), "float32")
    for data in (tf.data.Dataset.from_tensor_slices(rows), iter(rows), lambda: iter(rows)):
        with pytest.raises(TypeError, match=f"must be an array, .*Received: {type(data).__name__}"):
            to_tflite(
                dense_model(np.eye(2)), tmp_path / "a.tflite", quantize="int8", calibration=data
            )
