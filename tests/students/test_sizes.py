"""Sizes fill a limit and do not pass it."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from tfdistill import to_tflite
from tfdistill.students import EncoderSizes, encoder_sizes, fitting_sizes, text_encoder

CLINC = {"vocabulary_size": 12_300, "sequence_length": 24, "num_classes": 150}


def test_the_count_of_parameters_is_that_of_the_model():
    sizes = EncoderSizes(20, 6, 8, 2, 12)
    shape = dataclasses.asdict(sizes)
    rows = [min(number, shape["num_rows"] - 1) for number in range(30)]
    del shape["num_rows"]
    model = text_encoder(
        vocabulary_size=30, sequence_length=5, num_classes=3, pooling="mean_max",
        row_of_token=rows, **shape,
    )  # fmt: skip
    assert sizes.parameters(sequence_length=5, num_classes=3) == model.count_params()


def test_a_larger_limit_never_makes_a_narrower_student():
    found = [encoder_sizes(max_kb=kb, **CLINC) for kb in (200, 300, 480, 800, 1100, 2500)]
    widths = [sizes.hidden_dim for sizes in found]
    assert widths == sorted(widths) and widths[0] < 80 < widths[-1]
    assert encoder_sizes(max_kb=480, **CLINC).hidden_dim == 80
    assert encoder_sizes(max_kb=1100, **CLINC).hidden_dim == 160


def test_a_small_vocabulary_leaves_room_for_width():
    sizes = encoder_sizes(max_kb=480, vocabulary_size=900, sequence_length=24, num_classes=8)
    assert sizes.num_rows == 900 and sizes.hidden_dim > 80


def test_rows_are_taken_off_until_the_file_fits():
    sizes = fitting_sizes(lambda sizes: 0.12 * sizes.num_rows, max_kb=480, **CLINC)
    assert sizes.num_rows <= 4000


@pytest.mark.slow
def test_a_real_file_is_within_a_twentieth_of_what_was_expected(tmp_path):
    sizes = encoder_sizes(max_kb=200, vocabulary_size=2500, sequence_length=16, num_classes=20)
    shape = dataclasses.asdict(sizes)
    rows = np.minimum(np.arange(2500), shape.pop("num_rows") - 1).tolist()
    model = text_encoder(
        vocabulary_size=2500, sequence_length=16, num_classes=20, pooling="mean_max",
        row_of_token=rows, **shape,
    )  # fmt: skip
    kb = to_tflite(model, tmp_path / "m.tflite").stat().st_size / 1024
    assert kb <= 1.05 * 200


def test_a_limit_that_is_too_small_is_refused():
    with pytest.raises(ValueError, match=re.escape("`max_kb` must be enough for 150 classes")):
        encoder_sizes(max_kb=60, **CLINC)
    with pytest.raises(ValueError, match=re.escape("the smallest file that was tried")):
        fitting_sizes(lambda sizes: 500.0, max_kb=480, **CLINC)
