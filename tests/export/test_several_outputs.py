"""Which tensor is which: by the model's structure, where Keras' own names repeat or look alike."""

from __future__ import annotations

import itertools
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdistill.bundles.export_modes import CALIBRATED, MODES
from tfdistill.export import Endpoint, compare, to_tflite
from tfdistill.export.convert.converter import read_families
from tfdistill.introspection.named_model import named_model
from tfdistill.runtime.interpreter import Interpreter

WIDTH = 4


@pytest.fixture
def rows(rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal((24, WIDTH)).astype("float32")


def twice(*, swapped: bool = False) -> keras.Model:
    """A head that reads the inputs, then its own output."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input((WIDTH,), name="x")
    head = keras.layers.Dense(WIDTH, name="head")
    first = head(inputs)
    second = head(first)
    return keras.Model(inputs, [second, first] if swapped else [first, second])


def dense(seed: int) -> keras.Model:
    keras.utils.set_random_seed(seed)
    return keras.Sequential([keras.Input((WIDTH,)), keras.layers.Dense(3)])


def without_record(path: Path) -> Path:
    """Makes of a file what it was before files stated their batch sizes."""
    with zipfile.ZipFile(path) as archive:
        length = archive.infolist()[0].header_offset
    old = path.with_name(f"old-{path.name}")
    old.write_bytes(path.read_bytes()[:length])
    assert read_families(old) is None
    return old


# Outputs


@pytest.mark.quick_cases("None", "dynamic")
# ai-edge-quantizer cannot make an output of what another product of "int8_fc" reads.
@pytest.mark.parametrize("quantize", [mode for mode in MODES if mode != "int8_fc"])
def test_both_outputs_of_a_head_used_twice_are_in_the_file_and_judged_by_their_own(
    quantize: str | None, rows: np.ndarray, tmp_path: Path
) -> None:
    model = twice()
    calibration = rows if quantize in CALIBRATED else None
    path = to_tflite(model, tmp_path / "a.tflite", quantize=quantize, calibration=calibration)
    answer = Interpreter(path).run({"x": rows[:1]})
    first, second = (keras.ops.convert_to_numpy(each) for each in model(rows[:1]))

    assert sorted(answer) == ["head", "head_1"]
    assert np.abs(first - second).max() > 0.5
    np.testing.assert_allclose(answer["head"], first, rtol=0, atol=0.05)
    np.testing.assert_allclose(answer["head_1"], second, rtol=0, atol=0.05)
    report = compare(model, path, rows)
    assert report.max_error < 0.05
    assert compare(twice(swapped=True), path, rows).max_error > 0.5


def test_fixed_grids_around_products_refuse_an_output_between_two(
    rows: np.ndarray, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="which cannot be prepared"):
        to_tflite(twice(), tmp_path / "a.tflite", quantize="int8_fc", calibration=rows)
    assert not list(tmp_path.iterdir())


def test_a_file_that_lost_one_of_two_outputs_does_not_pass(
    rows: np.ndarray, tmp_path: Path
) -> None:
    model = twice()
    first = keras.Model(model.input, model.outputs[0])
    path = to_tflite(first, tmp_path / "a.tflite", quantize=None)
    with pytest.raises(ValueError, match=r"the model's outputs \['head', 'head_1'\]"):
        compare(model, path, rows)


def structures() -> dict[str, tuple[Callable[[Any, Any, Any], Any], list[str]]]:
    """Outputs made of a step of the model, the step after it, and one by another layer."""
    return {
        "the same tensor twice": (lambda a, b, c: [a, a, b], ["step", "step_1", "step_2"]),
        "the same tensor by two names": (lambda a, b, c: {"p": a, "q": a}, ["p", "q"]),
        "a name that another one's number would be": (
            lambda a, b, c: [a, b, c],
            ["step", "step_2", "step_1"],
        ),
        "a nested list": (lambda a, b, c: [[a, b], c], ["step", "step_2", "step_1"]),
        "a nested dict": (
            lambda a, b, c: {"o": {"k": a, "l": b}, "z": [c, a]},
            ["o_k", "o_l", "z_0", "z_1"],
        ),
        "paths that are joined to one name": (
            lambda a, b, c: {"o": {"k": a}, "o_k": b},
            ["o_k", "o_k_1"],
        ),
        "a dict in a list": (lambda a, b, c: [{"k": a}, b], ["step", "step_1"]),
    }


@pytest.mark.quick_cases("a nested dict", "the same tensor twice")
@pytest.mark.parametrize("case", structures())
def test_every_output_has_a_name_of_its_own(case: str, rows: np.ndarray, tmp_path: Path) -> None:
    make, names = structures()[case]
    keras.utils.set_random_seed(5)
    inputs = keras.Input((WIDTH,), name="x")
    step = keras.layers.Dense(WIDTH, name="step")
    a = step(inputs)
    b = step(a)
    c = keras.layers.Dense(2, name="step_1")(b)
    model = keras.Model(inputs, make(a, b, c))
    expected = named_model(model)({"x": rows[:1]})
    path = to_tflite(model, tmp_path / "a.tflite", quantize=None)
    answer = Interpreter(path).run({"x": rows[:1]})

    assert list(expected) == names
    assert sorted(answer) == sorted(names)
    for name, value in zip(names, keras.tree.flatten(model(rows[:1])), strict=True):
        np.testing.assert_allclose(answer[name], value, rtol=0, atol=1e-6)
    assert compare(model, path, rows).max_error < 1e-5


# Inputs


def test_inputs_whose_names_become_one_in_the_file_stay_two(
    rows: np.ndarray, tmp_path: Path
) -> None:
    inputs = [keras.Input((WIDTH,), name=name) for name in ("x y", "x_y")]
    model = keras.Model(inputs, keras.layers.Dense(2)(inputs[0] - 3.0 * inputs[1]))
    path = to_tflite(model, tmp_path / "a.tflite", quantize=None)

    answer = Interpreter(path).run({"x_y": rows[:1], "x_y_1": rows[1:2]})["logits"]
    np.testing.assert_allclose(answer, model([rows[:1], rows[1:2]]), rtol=0, atol=1e-5)
    assert compare(model, path, [rows, rows[::-1]]).max_error < 1e-5


@keras.saving.register_keras_serializable("tests")
class Twelve(keras.Model):
    """Adds a dozen inputs, of which only the third is made integer."""

    def call(self, inputs: list[Any]) -> Any:
        third = keras.ops.cast(keras.ops.cast(inputs[2], "int32"), "float32")
        return sum(inputs[:2]) + third + sum(inputs[3:])


def test_of_twelve_unnamed_inputs_the_one_that_is_cast_is_the_integer_one() -> None:
    model = Twelve()
    model([np.ones((1, 3), "float32")] * 12)
    dtypes = {each.name: each.dtype for each in named_model(model).inputs}
    assert dtypes == {
        f"inputs_{index}": "int32" if index == 2 else "float32" for index in range(12)
    }


# Signatures


def test_a_model_named_like_another_one_at_a_batch_size_is_judged_by_its_own(
    rows: np.ndarray, tmp_path: Path
) -> None:
    models = {"head": dense(1), "head_2": dense(2)}
    path = to_tflite(models, tmp_path / "a.tflite", quantize=None)
    data = dict.fromkeys(models, rows)
    report = compare(models, path, data)

    assert [part.signature for part in report.parts] == ["head", "head_2"]
    assert report.max_error < 1e-5
    for name, model in models.items():  # alone, too
        alone = compare({name: model}, path, {name: rows})
        assert (alone.signature, alone.batch_size, alone.max_error < 1e-5) == (name, 1, True)
    # The other way round both are wrong, and it is seen.
    swapped = dict(zip(models, reversed(models.values()), strict=True))
    assert all(part.max_error > 0.5 for part in compare(swapped, path, data).parts)


def test_names_that_end_in_digits_keep_their_batch_sizes(rows: np.ndarray, tmp_path: Path) -> None:
    models = {"head": dense(1), "head_2": dense(2), "head_2_3": dense(4)}
    path = to_tflite(models, tmp_path / "a.tflite", quantize=None, batch_sizes=(1, 8))
    report = compare(models, path, dict.fromkeys(models, rows))

    found = [(part.signature, part.batch_size) for part in report.parts]
    assert found == list(
        itertools.chain.from_iterable(((name, 1), (f"{name}_8", 8)) for name in models)
    )
    assert report.max_error < 1e-5
    assert read_families(path) == {name: [name, f"{name}_8"] for name in models}


def test_a_function_for_as_many_examples_as_its_name_says_is_not_the_model_beside_it(
    rows: np.ndarray, tmp_path: Path
) -> None:
    head, other = dense(1), dense(2)

    def function(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"logits": other(inputs)}

    four = Endpoint(function, {"inputs": tf.TensorSpec((4, WIDTH))}, other)
    path = to_tflite({"head": head, "head_4": four}, tmp_path / "a.tflite", quantize=None)

    report = compare({"head": head}, path, {"head": rows})
    assert (report.signature, report.max_error < 1e-5) == ("head", True)


def test_the_first_batch_size_may_be_another_than_one(rows: np.ndarray, tmp_path: Path) -> None:
    path = to_tflite(dense(1), tmp_path / "a.tflite", quantize=None, batch_sizes=(8, 1))
    report = compare(dense(1), path, rows)
    found = [(part.signature, part.batch_size) for part in report.parts]
    assert found == [("serving_default", 8), ("serving_default_1", 1)]
    assert report.max_error < 1e-5


def test_calibration_of_one_model_is_not_that_of_another_with_a_number_behind_its_name(
    rows: np.ndarray, tmp_path: Path
) -> None:
    models = {"head": dense(1), "head_2": dense(2)}
    with pytest.raises(ValueError, match=r"data for \['head'\], none for 'head_2'"):
        to_tflite(models, tmp_path / "a.tflite", quantize="int8", calibration={"head": rows})


def test_a_file_of_one_signature_needs_no_record_and_one_of_two_pays_little(
    tmp_path: Path,
) -> None:
    model = dense(1)
    one = to_tflite(model, tmp_path / "one.tflite", quantize=None)
    assert not zipfile.is_zipfile(one) and read_families(one) is None
    two = to_tflite(model, tmp_path / "two.tflite", quantize=None, batch_sizes=(1, 8))
    assert two.stat().st_size - without_record(two).stat().st_size < 300
    with zipfile.ZipFile(two) as archive:
        assert [(each.filename, each.date_time[0]) for each in archive.infolist()] == [
            ("tfdistill_signatures.json", 1980)
        ]


# Files without the record


def test_an_older_file_is_compared_at_every_batch_size(rows: np.ndarray, tmp_path: Path) -> None:
    path = without_record(
        to_tflite(dense(1), tmp_path / "a.tflite", quantize=None, batch_sizes=(1, 32, 8))
    )
    report = compare(dense(1), path, rows)
    assert [part.batch_size for part in report.parts] == [1, 8, 32]
    assert report.max_error < 1e-5


def test_in_an_older_file_a_number_that_is_not_the_batch_size_is_another_model(
    rows: np.ndarray, tmp_path: Path
) -> None:
    models = {"head": dense(1), "head_2": dense(2)}
    path = without_record(to_tflite(models, tmp_path / "a.tflite", quantize=None))
    for chosen in (models, {"head": models["head"]}, {"head_2": models["head_2"]}):
        report = compare(chosen, path, dict.fromkeys(chosen, rows))
        assert [part.signature for part in report.parts or [report]] == list(chosen)
        assert report.max_error < 1e-5


@pytest.mark.quick_cases("list", "cut off")
@pytest.mark.parametrize(
    "content",
    [b"[]", b'{"head": 3}', b"{", b'{"a": ["b"]}', b"[" * 100_000, b"\xff", None],
    ids=["list", "number", "cut off", "others", "deep", "no text", "other file"],
)
def test_a_record_that_makes_no_sense_is_passed_over(
    content: bytes | None, rows: np.ndarray, tmp_path: Path
) -> None:
    path = to_tflite(dense(1), tmp_path / "a.tflite", quantize=None)
    with zipfile.ZipFile(path, "a") as archive:
        name = "tfdistill_signatures.json" if content is not None else "labels.txt"
        archive.writestr(name, content if content is not None else json.dumps([1]))
    assert compare(dense(1), path, rows).max_error < 1e-5
