"""The levels that a language model was trained on are those in its file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tfdistill as td
from tfdistill.export import language_to_tflite
from tfdistill.introspection.weights import find_targets
from tfdistill.runtime.flatbuffer import read_tflite_weights
from tfdistill.students import causal_lm

pytest.importorskip("ai_edge_quantizer", reason="needs pip install tfdistill[quantizer]")


@pytest.mark.quick_cases("4-int4")
@pytest.mark.parametrize(("bits", "quantize"), [(4, "int4"), (8, "dynamic")])
def test_norms_before_a_kernel_leave_it_on_its_grid(
    bits: int, quantize: str, tmp_path: Path, rng: np.random.Generator
):
    model = causal_lm(
        vocabulary_size=50, num_layers=1, hidden_dim=32, num_heads=2, intermediate_dim=40, seed=0
    )
    for variable in model.trainable_variables:
        if variable.name == "scale":  # a norm of ones would hide what it does to a kernel
            variable.assign(rng.uniform(0.2, 3.0, variable.shape))
    rounded = td.strip(td.quantize_aware(model, bits=bits))
    path = language_to_tflite(
        rounded, tmp_path / "lm.tflite", context_length=16, prefill_lengths=[4], quantize=quantize
    )  # fmt: skip

    expected = []
    for target in find_targets(rounded):
        if target.kind == "kernel":
            matrix = target.variable.numpy().reshape(target.matrix_shape).astype(np.float64)
            step = np.abs(matrix).max(axis=0) / (2 ** (bits - 1) - 1)
            expected.append(np.round(matrix / step).astype(int))
    stored = [weight.matrix.astype(int) for weight in read_tflite_weights(path) if weight.has_scale]
    assert len(expected) == 7
    for levels in expected:
        assert any(np.array_equal(levels, found) for found in stored)
