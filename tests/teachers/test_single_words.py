"""Word vectors are the two halves of what a teacher knows, each of rows of length one."""

from __future__ import annotations

import numpy as np

from tfdistill.teachers.single_words import centered_directions


def test_rows_are_centered_and_of_length_one():
    rows = centered_directions(np.random.default_rng(0).normal(3, 1, (50, 8)))
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)


def test_rows_that_are_all_the_same_stay_zero():
    assert not centered_directions(np.ones((3, 4))).any()
