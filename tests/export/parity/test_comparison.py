from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tfdistill import compress
from tfdistill.export import ParityReport, compare, to_tflite

REPORT = ParityReport(
    signature="serving_default",
    output="logits",
    examples=1000,
    max_error=0.04,
    mean_error=0.005,
    largest=2.0,
    cosine=0.99998,
    agreement=0.991,
    kl=0.0004,
    model_accuracy=0.9,
    file_accuracy=0.89,
)


def test_the_report_prints_as_a_small_table() -> None:
    assert str(REPORT) == (
        "signature        serving_default → logits\n"
        "examples         1,000\n"
        "max error        0.04  (largest output 2)\n"
        "mean error       0.005\n"
        "cosine           0.999980\n"
        "top-1 agreement  0.9910\n"
        "KL divergence    0.0004 nats\n"
        "accuracy         0.9000 model, 0.8900 file"
    )


def test_a_report_cannot_be_edited() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        REPORT.max_error = 0.0  # type: ignore[misc]


def test_the_comparison_is_of_the_two_runs_themselves(
    encoder: keras.Model, encoder_file: Path, ids: np.ndarray
) -> None:
    labels = np.arange(len(ids)) % 3
    report = compare(encoder, encoder_file, ids, labels)
    logits = encoder.predict(ids, verbose=0)
    assert report.examples == 64
    assert report.output == "logits"
    assert report.model_accuracy == report.file_accuracy
    assert report.model_accuracy == np.mean(logits.argmax(-1) == labels)
    assert report.largest == pytest.approx(np.abs(logits).max(), rel=1e-5)


def test_another_models_file_does_not_pass(
    encoder_file: Path, encoder: keras.Model, ids: np.ndarray
) -> None:
    other = keras.models.clone_model(encoder)
    other.set_weights([weight + 0.3 for weight in encoder.get_weights()])
    report = compare(other, encoder_file, ids)
    assert report.max_error > 0.1 * report.largest
    with pytest.raises(AssertionError, match="The file differs from the model by up to"):
        report.assert_close(quantize="dynamic")


def test_each_batch_is_compared_with_its_own_rows(
    encoder: keras.Model, encoder_file: Path, ids: np.ndarray
) -> None:
    # 64 rows are two batches of 32; the same rows alone must give the same extremes.
    whole = compare(encoder, encoder_file, ids)
    halves = [compare(encoder, encoder_file, ids[begin : begin + 32]) for begin in (0, 32)]
    assert whole.max_error == max(half.max_error for half in halves)
    assert whole.mean_error == pytest.approx(np.mean([half.mean_error for half in halves]))


def test_a_compressed_model_is_compared_as_strip_leaves_it(
    encoder: keras.Model, encoder_file: Path, ids: np.ndarray
) -> None:
    compressed = compress.prune_low_magnitude(encoder, sparsity=0.5, steps=1000)
    # Nothing is pruned yet, so it still answers as the encoder; `strip` says so.
    with pytest.warns(UserWarning):
        assert compare(compressed, encoder_file, ids).max_error < 1e-5


def test_one_number_per_example_has_no_agreement(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    path = to_tflite(model, tmp_path / "regression.tflite", quantize=None)
    report = compare(model, path, np.eye(3))
    assert report.agreement is None and report.kl is None
    assert "agreement" not in str(report)
    report.assert_close(quantize=None)


def test_nothing_is_printed_for_a_quick_comparison(
    encoder: keras.Model, encoder_file: Path, ids: np.ndarray, capsys: pytest.CaptureFixture
) -> None:
    compare(encoder, encoder_file, ids)
    assert capsys.readouterr() == ("", "")


# assert_close


@pytest.mark.parametrize(
    ("quantize", "bound"), [(None, 2e-5), ("float16", 0.01), ("dynamic", 0.2), ("int8", 0.5)]
)
def test_the_bound_of_a_mode_is_a_fraction_of_the_largest_output(
    quantize: str | None, bound: float
) -> None:
    exact = dataclasses.replace(REPORT, agreement=1.0, max_error=bound * 0.999)
    exact.assert_close(quantize=quantize)
    with pytest.raises(AssertionError, match="differs from the model by up to"):
        dataclasses.replace(exact, max_error=bound * 1.001).assert_close(quantize=quantize)


@pytest.mark.parametrize(
    ("quantize", "least"), [(None, 0.999), ("float16", 0.99), ("dynamic", 0.98), ("int8", 0.9)]
)
def test_the_least_agreement_depends_on_the_mode(quantize: str | None, least: float) -> None:
    exact = dataclasses.replace(REPORT, agreement=least, max_error=0.0)
    exact.assert_close(quantize=quantize)
    with pytest.raises(AssertionError, match="agrees with the model on .* of 1000 examples"):
        dataclasses.replace(exact, agreement=least - 0.001).assert_close(quantize=quantize)


def test_one_example_may_always_differ() -> None:
    few = dataclasses.replace(REPORT, examples=5, agreement=0.8, max_error=0.0)
    few.assert_close(quantize=None)
    with pytest.raises(AssertionError, match="0.6000 of 5 examples"):
        dataclasses.replace(few, agreement=0.6).assert_close(quantize=None)


def test_own_bounds_replace_the_default_ones() -> None:
    REPORT.assert_close(max_error=0.041, agreement=0.99)
    with pytest.raises(AssertionError, match="by up to 0.04, more than 0.039"):
        REPORT.assert_close(max_error=0.039)
    with pytest.raises(AssertionError, match="0.9910 of 1000 examples, less than 0.9950"):
        REPORT.assert_close(agreement=0.995)


@pytest.mark.parametrize("field", ["max_error", "agreement"])
def test_nan_is_never_close(field: str) -> None:
    with pytest.raises(AssertionError):
        dataclasses.replace(REPORT, **{field: float("nan")}).assert_close(quantize="int8")


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="`quantize` must be one of .* quantize='int2'"):
        REPORT.assert_close(quantize="int2")


# What is refused


def test_a_missing_file_is_refused(encoder: keras.Model, ids: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="`path` must be an existing .tflite file"):
        compare(encoder, tmp_path / "absent.tflite", ids)


@pytest.mark.parametrize("keep", [0, 100, 0.5])
def test_a_truncated_file_is_refused(
    keep: float, encoder: keras.Model, encoder_file: Path, ids: np.ndarray, tmp_path: Path
) -> None:
    content = encoder_file.read_bytes()
    path = tmp_path / "cut.tflite"
    path.write_bytes(content[: int(keep * len(content)) if keep < 1 else int(keep)])
    with pytest.raises(ValueError, match="`path` must be a complete .tflite file"):
        compare(encoder, path, ids)


def test_a_foreign_file_is_refused(encoder: keras.Model, ids: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "foreign.tflite"
    path.write_bytes(b"PK\x03\x04" + bytes(1000))
    with pytest.raises(ValueError, match="`path` must be a .tflite file"):
        compare(encoder, path, ids)


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (np.ones((4, 9), int), ValueError, r"`x` must have shape \(examples, 8\).*\(4, 9\)"),
        (np.ones((4, 8)), TypeError, "`x` must hold integers.*dtype=float64"),
        (np.ones((0, 8), int), ValueError, "`x` must have at least one example"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(
    x: Any, error: type[Exception], message: str, encoder: keras.Model, encoder_file: Path
) -> None:
    with pytest.raises(error, match=message):
        compare(encoder, encoder_file, x)


def test_labels_of_another_number_are_refused(
    encoder: keras.Model, encoder_file: Path, ids: np.ndarray
) -> None:
    with pytest.raises(ValueError, match=r"`y` must be class indices of shape \(64,\)"):
        compare(encoder, encoder_file, ids, np.zeros(63, int))


def test_something_else_than_a_model_is_refused(encoder_file: Path, ids: np.ndarray) -> None:
    with pytest.raises(TypeError, match="`model` must be a Keras 3 model"):
        compare(str, encoder_file, ids)  # type: ignore[arg-type]
