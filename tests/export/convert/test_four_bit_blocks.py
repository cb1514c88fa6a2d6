"""4 bits with a scale for each block of a channel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import tfdistill as td

pytest.importorskip("ai_edge_quantizer", reason="needs pip install tfdistill[quantizer]")
Encoder = Callable[..., keras.Model]


@pytest.mark.slow
def test_blocks_follow_outliers_that_a_whole_channel_cannot(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    model = keras.Sequential([keras.Input((128,), name="x"), keras.layers.Dense(64, name="logits")])
    kernel = rng.uniform(-1, 1, (128, 64))
    kernel[0] = 14.0  # one input's weights: in a whole channel a step is 2, and the rest is lost
    model.layers[0].kernel.assign(kernel)
    x = rng.normal(size=(64, 128)).astype("float32")

    errors = {}
    for size in (None, 32, 64, 128):
        path = td.to_tflite(model, tmp_path / "m.tflite", quantize="int4", block_size=size)
        errors[size] = td.compare(model, path, x).mean_error
    # Of 128 / size blocks one has the outlier; errors of the others fall from 1/√12 of 2 to that
    # of 1/7. Independent errors add in squares: √(1/4) and √(1/2) of what it was.
    assert errors[32] / errors[None] == pytest.approx(np.sqrt(1 / 4), rel=0.15)
    assert errors[64] / errors[None] == pytest.approx(np.sqrt(1 / 2), rel=0.15)
    assert errors[128] == pytest.approx(errors[None], rel=0.05)


@pytest.mark.parametrize(("size", "mode"), [(32, "dynamic"), (16, "int4"), (True, "int4")])
def test_a_block_size_that_does_not_exist_is_refused(
    small_encoder: Encoder, size: Any, mode: str, tmp_path: Path
) -> None:
    message = r"`block_size` must be None, or one of \(32, 64, 128, 256\) with quantize='int4'"
    with pytest.raises(ValueError, match=message):
        td.to_tflite(small_encoder(), tmp_path / "a.tflite", quantize=mode, block_size=size)


def test_a_block_size_that_divides_no_kernel_is_refused(
    small_encoder: Encoder, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="`block_size` must divide .*=64 for .* with 32 inputs"):
        td.to_tflite(small_encoder(), tmp_path / "a.tflite", quantize="int4", block_size=64)


def test_blocks_are_refused_for_weights_on_the_grid_of_whole_channels(
    small_encoder: Encoder,
    tmp_path: Path,
) -> None:
    model = td.quantize_aware(small_encoder(), bits=4)
    with pytest.raises(ValueError, match="`block_size` must be None for a model that was trained"):
        td.to_tflite(model, tmp_path / "a.tflite", quantize="int4", block_size=32)


@pytest.mark.slow
def test_a_convolution_is_stored_whole_beside_blocks(
    small_encoder: Encoder, tmp_path: Path
) -> None:
    model = small_encoder(embedding_dim=20, embedding_window=3)
    path = td.to_tflite(model, tmp_path / "a.tflite", quantize="int4", block_size=32)
    ids = np.arange(1, 9, dtype="int32")[None]
    td.compare(model, path, ids).assert_close(quantize="int4")
