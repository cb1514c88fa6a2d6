"""The lengths of a language model's signatures: whole numbers that fit the context."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tfdistill.export import language_to_tflite
from tfdistill.students import causal_lm


@pytest.mark.parametrize(
    ("lengths", "error", "message"),
    [
        ({"context_length": 8.0}, TypeError, "`context_length` must be an int. Received.*=8.0"),
        ({"prefill_lengths": [4, True]}, TypeError, r"`prefill_lengths\[1\]` must be an int"),
        ({"context_length": 1}, ValueError, "at least 2. Received: .* with context_length=1"),
        ({"prefill_lengths": [9]}, ValueError, r"\[2, context_length\].*Received: \[9\]"),
    ],
)
def test_lengths_that_cannot_be(
    lengths: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    model = causal_lm(
        vocabulary_size=9, num_layers=1, hidden_dim=4, num_heads=1, intermediate_dim=4, seed=0
    )
    settings = {"context_length": 8, "prefill_lengths": [4], "quantize": None, **lengths}
    with pytest.raises(error, match=message):
        language_to_tflite(model, tmp_path / "lm.tflite", **settings)
    assert not list(tmp_path.iterdir())
