from __future__ import annotations

import pickle
import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdistill.export import to_tflite
from tfdistill.runtime.interpreter import Interpreter, Signature, TensorSpec

LENGTH, VOCABULARY, CLASSES = 6, 50, 3


@pytest.fixture(scope="module")
def model() -> keras.Model:
    keras.utils.set_random_seed(11)
    ids = keras.Input((LENGTH,), dtype="int32", name="ids")
    x = keras.layers.Embedding(VOCABULARY, 8)(ids)
    x = keras.layers.GlobalAveragePooling1D()(x)
    return keras.Model(ids, keras.layers.Dense(CLASSES, name="logits")(x))


@pytest.fixture(scope="module")
def file(model: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return to_tflite(model, tmp_path_factory.mktemp("file") / "model.tflite", quantize=None)


class TwoSignatures(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([1, 4], tf.float32, name="x")])
    def double(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": 2.0 * x}

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
    def total(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.reduce_sum(x, axis=1)}


class Inverse(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([4, 4], tf.float32, name="x")])
    def invert(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.linalg.inv(x)}


@pytest.fixture(scope="module")
def two_signatures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    module = TwoSignatures()
    tf.saved_model.save(
        module,
        str(folder / "saved"),
        signatures={"double": module.double, "total": module.total},
    )
    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(folder / "saved"), signature_keys=["double", "total"]
    )
    (folder / "two.tflite").write_bytes(converter.convert())
    return folder / "two.tflite"


def test_output_equals_the_keras_model(model: keras.Model, file: Path, rng: np.random.Generator):
    interpreter = Interpreter(file)

    for row in rng.integers(0, VOCABULARY, (8, 1, LENGTH)).astype("int32"):
        got = interpreter.run({"ids": row})["logits"]
        # Both sum 8 float32 products per class; only the order of the sum may differ.
        np.testing.assert_allclose(got, model(row).numpy(), atol=1e-6)


def test_signature_describes_names_shapes_and_types(file: Path):
    signature = Interpreter(file).signatures["serving_default"]

    assert signature == Signature(
        name="serving_default",
        inputs={"ids": TensorSpec("ids", (1, LENGTH), np.dtype("int32"), None, None)},
        outputs={"logits": TensorSpec("logits", (1, CLASSES), np.dtype("float32"), None, None)},
    )


def test_outputs_stay_valid_after_the_next_call(file: Path):
    interpreter = Interpreter(file)
    ones = np.ones((1, LENGTH), np.int32)
    first = interpreter.run({"ids": ones})["logits"]
    kept = first.copy()

    second = interpreter.run({"ids": 2 * ones})["logits"]

    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, kept)


def test_open_dimension_is_minus_one_and_takes_any_size(two_signatures: Path):
    interpreter = Interpreter(two_signatures)

    assert interpreter.signatures["total"].inputs["x"].shape == (-1, 2)
    for rows in (1, 3):
        x = np.ones((rows, 2), np.float32)
        np.testing.assert_array_equal(
            interpreter.run({"x": x}, signature="total")["y"], np.full(rows, 2.0)
        )


def test_each_signature_is_called_by_name(two_signatures: Path):
    interpreter = Interpreter(two_signatures)
    x = np.array([[1, 2, 3, 4]], np.float32)

    np.testing.assert_array_equal(interpreter.run({"x": x}, signature="double")["y"], 2 * x)


def test_quantised_input_states_its_step_and_zero(rng: np.random.Generator, tmp_path: Path):
    keras.utils.set_random_seed(12)
    model = keras.Sequential([keras.Input((16,)), keras.layers.Dense(4)])
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: (
        [x] for x in rng.uniform(-1, 1, (16, 1, 16)).astype("float32")
    )
    converter.inference_input_type = tf.int8
    with pytest.warns(UserWarning, match="Statistics for quantized inputs"):
        content = converter.convert()
    (tmp_path / "int8.tflite").write_bytes(content)

    (spec,) = Interpreter(tmp_path / "int8.tflite").signatures["serving_default"].inputs.values()

    assert spec.dtype == np.int8
    # The calibration data span (-1, 1), and int8 has 255 steps for it.
    assert spec.scale == pytest.approx(2 / 255, rel=0.02)
    assert spec.zero_point is not None
    assert abs(spec.zero_point) <= 3


def test_file_is_mapped_rather_than_read(file: Path):
    interpreter = Interpreter(file)

    mapped = Path("/proc/self/maps").read_text()

    assert str(file) in mapped
    assert interpreter.path == file


def test_more_threads_give_the_same_answer(file: Path):
    ids = np.arange(LENGTH, dtype=np.int32)[None]

    one = Interpreter(file, threads=1).run({"ids": ids})["logits"]
    two = Interpreter(file, threads=2).run({"ids": ids})["logits"]

    np.testing.assert_array_equal(one, two)


def test_missing_file_is_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"existing \.tflite file.*nothing\.tflite"):
        Interpreter(tmp_path / "nothing.tflite")


def test_folder_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="which is a folder or a device"):
        Interpreter(tmp_path)


def test_path_of_another_type_is_refused():
    with pytest.raises(TypeError, match=r"`path` must be a str or os.PathLike. Received: path=3"):
        Interpreter(3)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [0, 1, 7])
def test_file_too_short_for_the_identifier_is_refused(file: Path, tmp_path: Path, size: int):
    short = tmp_path / "short.tflite"
    short.write_bytes(file.read_bytes()[:size])

    with pytest.raises(ValueError, match=f"complete .tflite file.*, {size} bytes. It was cut"):
        Interpreter(short)


def test_file_cut_at_any_length_is_refused(file: Path, tmp_path: Path):
    content = file.read_bytes()
    short = tmp_path / "short.tflite"
    # The ends of the tables are where a careless reader would run past the end of the mapping.
    for size in sorted({*range(8, len(content), 97), *range(len(content) - 40, len(content))}):
        short.write_bytes(content[:size])
        with pytest.raises(ValueError, match=f"{size} bytes, which LiteRT refuses"):
            Interpreter(short)


@pytest.mark.parametrize("content", [b"PK\x03\x04" + b"\0" * 60, b"x" * 64, b"\x1c\0\0\0TFL2" * 9])
def test_foreign_file_is_refused(tmp_path: Path, content: bytes):
    foreign = tmp_path / "model.tflite"
    foreign.write_bytes(content)

    with pytest.raises(ValueError, match=r"bytes 4 to 8 are b'TFL3'.*another kind of file"):
        Interpreter(foreign)


def test_file_with_a_damaged_table_is_refused(file: Path, tmp_path: Path):
    content = bytearray(file.read_bytes())
    content[8:2000] = bytes(1992)
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(content)

    with pytest.raises(ValueError, match="which LiteRT refuses"):
        Interpreter(damaged)


def test_file_that_needs_foreign_operations_is_refused(tmp_path: Path):
    module = Inverse()
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [module.invert.get_concrete_function()], module
    )
    converter.target_spec.supported_ops = [
        tf.lite.OpsSet.TFLITE_BUILTINS,
        tf.lite.OpsSet.SELECT_TF_OPS,
    ]
    path = tmp_path / "flex.tflite"
    path.write_bytes(converter.convert())

    with pytest.raises(ValueError, match=r"this runtime can execute.*FlexMatrixInverse"):
        Interpreter(path)


@pytest.mark.parametrize(("threads", "kind"), [(0, ValueError), (-1, ValueError), ("2", TypeError)])
def test_thread_count_is_checked(file: Path, threads: int, kind: type[Exception]):
    with pytest.raises(kind, match=f"`threads` must be .* Received: threads={threads!r}"):
        Interpreter(file, threads=threads)


@pytest.mark.parametrize(
    ("inputs", "kind", "message"),
    [
        ({}, ValueError, r"exactly the names \['ids'\].*Received: \[\]"),
        ({"x": np.ones((1, 6), np.int32)}, ValueError, r"names \['ids'\].*Received: \['x'\]"),
        ({"ids": [[1] * 6]}, TypeError, "must be a NumPy array. Received: list"),
        ({"ids": np.ones((1, 6))}, TypeError, "must have dtype int32. Received: dtype=float64"),
        ({"ids": np.ones((2, 6), np.int32)}, ValueError, r"shape \(1, 6\).*shape=\(2, 6\)"),
        ({"ids": np.ones((1, 5), np.int32)}, ValueError, r"shape \(1, 6\).*shape=\(1, 5\)"),
        ({"ids": np.ones(6, np.int32)}, ValueError, r"shape \(1, 6\).*shape=\(6,\)"),
    ],
)
def test_inputs_are_checked(file: Path, inputs: dict, kind: type[Exception], message: str):
    with pytest.raises(kind, match=message):
        Interpreter(file).run(inputs)


def test_id_beyond_the_table_is_an_error_and_the_next_call_works(file: Path):
    interpreter = Interpreter(file)
    with pytest.raises(RuntimeError, match=r"'serving_default' of 'model.tflite' failed.*bounds"):
        interpreter.run({"ids": np.full((1, LENGTH), VOCABULARY, np.int32)})

    assert np.isfinite(interpreter.run({"ids": np.ones((1, LENGTH), np.int32)})["logits"]).all()


@pytest.mark.parametrize("signature", ["triple", None])
def test_signature_must_be_named_when_there_are_two(two_signatures: Path, signature: str | None):
    with pytest.raises(ValueError, match=rf"one of \['double', 'total'\].*{signature!r}"):
        Interpreter(two_signatures).run({}, signature=signature)


def test_pickling_says_what_to_send_instead(file: Path):
    with pytest.raises(TypeError, match=f"Send its path .*{re.escape(str(file))}"):
        pickle.dumps(Interpreter(file))


def test_repr_names_the_file(file: Path):
    assert repr(Interpreter(file)) == (
        f"Interpreter({str(file)!r}, threads=1, signatures=['serving_default'])"
    )
