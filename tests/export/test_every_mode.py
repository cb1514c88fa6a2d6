"""Four kinds of model in every mode: close within the stated bound, or refused with the reason."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tfdistill.bundles.export_modes import CALIBRATED, MODES
from tfdistill.export import compare, to_tflite
from tfdistill.export.tflite import clipped_masks
from tfdistill.students import text_encoder

SIZES = {
    "vocabulary_size": 40,
    "sequence_length": 8,
    "hidden_dim": 32,
    "intermediate_dim": 64,
    "num_classes": 3,
    "seed": 0,
}
KINDS = ("own encoder", "shared layers", "bert", "convolution")


@pytest.fixture(scope="module")
def padded(example_inputs: Any) -> Any:
    """Returns a function: model → 128 examples, token ids with padding behind."""

    def make(model: keras.Model) -> Any:
        rng = np.random.default_rng(7)
        x = example_inputs(model, rng, examples=128)
        if isinstance(x, np.ndarray) and x.dtype == np.int32:
            x = np.where(np.arange(8) < rng.integers(2, 9, (128, 1)), x, 0).astype("int32")
        return x

    return make


def model_of(kind: str, request: Any) -> keras.Model:
    if kind == "own encoder":
        return text_encoder(num_layers=2, **SIZES)
    if kind == "shared layers":
        return text_encoder(num_layers=2, groups=1, **SIZES)
    if kind == "bert":  # wide enough for the converter to store its kernels in 8 bits
        return request.getfixturevalue("bert_of")(32)
    return request.getfixturevalue(kind)


# (mode, kind) → what is asked instead of the mode's own bound, and why.
REFUSED = {
    ("int8_16", kind): r"must have float inputs for quantize='int8_16'" for kind in KINDS[:3]
}
# Weights that nobody trained for 4 bits are off by up to 1/14 of their column's largest.
UNTRAINED = {"int4": {"max_error": 3.0, "agreement": 0.5}}
# mode → (grid: the outputs' largest value by this is a step, most steps of error). Measured over
# the kinds: float32 at most 3 spacings of 2⁻²³, float16 1.6 of 2⁻¹¹, "dynamic" 1.7 of 1/127 (half a
# step from weights, half from activations, at each of some ten products, mostly cancelling). "int8"
# is counted on the file's own output grid: at most 6.1 steps. In "int8_16" the weights' 1/127
# is what is off: 0.8. "int8_fc": 3.6 of 1/127. "int4" on weights that nobody trained for it:
# 1.2 of 1/7.
STEPS = {
    None: (2**23, 10),
    "float16": (2**11, 4),
    "dynamic": (127, 4),
    "int8": (None, 16),
    "int8_16": (127, 4),
    "int8_fc": (127, 8),
    "int4": (7, 3),
}
CELLS = [
    pytest.param(
        kind,
        mode,
        marks=() if (kind, mode) == ("own encoder", "int8") else pytest.mark.slow,
        id=f"{kind}-{mode}",
    )
    for kind in KINDS
    for mode in MODES
]


@pytest.mark.parametrize(("kind", "mode"), CELLS)
def test_a_file_is_as_close_as_its_mode_allows_or_refused(
    kind: str, mode: str | None, request: Any, padded: Any, tmp_path: Path
) -> None:
    if mode in ("int4", "int8_fc") and importlib.util.find_spec("ai_edge_quantizer") is None:
        pytest.skip("needs pip install tfdistill[quantizer]")
    model = model_of(kind, request)
    x = padded(model)
    calibration = x if mode in CALIBRATED else None
    path = tmp_path / "model.tflite"
    if (mode, kind) in REFUSED:
        with pytest.raises(ValueError, match=REFUSED[mode, kind]):
            to_tflite(model, path, quantize=mode, calibration=calibration)
        assert not path.exists()
        print(f"{kind:14} {mode!s:8} refused: integer inputs")
        return
    to_tflite(model, path, quantize=mode, calibration=calibration)
    report = compare(model, path, x)
    grid, most = STEPS[mode]
    steps = report.max_error_steps if grid is None else report.max_error / report.largest * grid
    print(
        f"{kind:14} {mode!s:8} {path.stat().st_size:7,} bytes  max error {report.max_error:.2e} "
        f"of {report.largest:.2f} {steps:5.1f} steps agreement {report.agreement:.3f}"
    )
    assert steps <= most
    report.assert_close(quantize=mode, **UNTRAINED.get(mode, {}))


def test_a_clipped_mask_changes_no_answer_and_no_layer(padded: Any) -> None:
    # e⁻³⁰ = 1e-13 of the attention goes to padding: far below the rounding of float32.
    for dropout in (0.1, 0.0):
        model = text_encoder(num_layers=1, dropout=dropout, **SIZES)
        x = padded(model)
        before = model(x).numpy()
        names = {layer.name: sorted(vars(layer)) for layer in model._flatten_layers()}
        with clipped_masks([model]):
            inside = model(x).numpy()
        np.testing.assert_allclose(inside, before, rtol=0, atol=1e-5)
        np.testing.assert_array_equal(model(x), before)
        assert {layer.name: sorted(vars(layer)) for layer in model._flatten_layers()} == names


def test_a_float_student_masks_by_one_addition_and_answers_as_before(
    padded: Any, tmp_path: Path, read_tensors: Any
) -> None:
    model = text_encoder(num_layers=1, **SIZES)
    path = to_tflite(model, tmp_path / "model.tflite", quantize=None)
    names = [name for name, _, _ in read_tensors(path)]
    assert any("softmax" in name for name in names)
    assert not [name for name in names if "softmax" in name and "Select" in name]
    compare(model, path, padded(model)).assert_close(quantize=None)
