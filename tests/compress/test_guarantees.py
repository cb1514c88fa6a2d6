"""The equations of this package's own guarantees: integer grids found from the values alone."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings, strategies as st

from tfdistill.compress.guarantees import grid_bits, group_size_of
from tfdistill.compress.quantization.weights import fake_quantize


@given(
    values=st.lists(st.floats(-3, 3, width=32), min_size=6, max_size=6),
    bits=st.sampled_from([4, 8]),
)
@settings(max_examples=50, deadline=None)
def test_every_quantized_kernel_is_on_its_grid(values: list[float], bits: int):
    kernel = np.array(values, "float32").reshape(3, 2)
    on_grid = fake_quantize(tf.constant(kernel), bits=bits, axis=1).numpy()

    found = grid_bits(on_grid, kind="kernel")
    assert found is not None and found <= bits


@pytest.mark.parametrize(("rows", "number"), [(4, 8), (4, 9), (16, 17), (1, 3)])
def test_a_last_group_of_rows_that_is_not_full_counts_as_one(rows: int, number: int):
    levels = np.tile([[7.0, -3.0, 2.0]], (number, 1))
    scales = 0.3 + 0.117 * (np.arange(number) // rows)

    assert group_size_of((levels * scales[:, None]).astype("float32")) == rows
