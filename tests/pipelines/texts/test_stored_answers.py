"""Answers of a cache in place of a teacher: which rows they belong to, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfdistill.distill import TeacherCache
from tfdistill.pipelines.texts.rows import TextRows, read_rows
from tfdistill.pipelines.texts.stored_answers import stored_answers

TEST = (["new 0", "new 1"], ["a", "b"])


def data() -> tuple[list[str], list[str]]:
    return [f"text {number}" for number in range(60)], ["a", "b"] * 30


def cache_of(logits: np.ndarray, folder: Path) -> TeacherCache:
    rows = np.arange(len(logits))[:, None]
    return TeacherCache.build(lambda x: logits[x[:, 0]], rows, folder / "cache", fingerprint="f")


def test_each_part_gets_the_answers_to_its_own_rows(tmp_path: Path):
    logits = np.random.default_rng(0).normal(size=(62, 2)).astype(np.float32)
    rows = read_rows(data(), test=TEST)
    answers = stored_answers(cache_of(logits, tmp_path), rows)
    for part in (rows.train, rows.held_out):
        places = [int(text.split()[1]) for text in part.texts]
        np.testing.assert_array_equal(answers.of(part), logits[places])
    np.testing.assert_array_equal(answers.of(rows.test), logits[60:])


def test_other_answers_have_another_fingerprint(tmp_path: Path):
    logits = np.zeros((62, 2), np.float32)
    rows = read_rows(data(), test=TEST)
    one = stored_answers(cache_of(logits, tmp_path / "one"), rows).fingerprint
    logits = np.eye(62, 2, dtype=np.float32)
    assert stored_answers(cache_of(logits, tmp_path / "other"), rows).fingerprint != one


def plain() -> TextRows:
    return read_rows(data(), test=TEST)


def unlabeled() -> TextRows:
    return read_rows(data(), test=TEST, unlabeled=["more"])


@pytest.mark.parametrize(
    ("rows", "shape", "message"),
    [
        (
            plain,
            (60, 2),
            "`teacher` must be a cache with a row for each of the 62 rows of `data` an",
        ),
        (
            plain,
            (62, 3),
            "`teacher` must be a cache of the 2 classes of the texts, in the order of",
        ),
        (
            plain,
            (62, 4, 2),
            "`teacher` must be a cache of one row of logits a text. Received: a cac",
        ),
        (
            unlabeled,
            (62, 2),
            "`unlabeled` must be left out where `teacher` is a cache, which has no",
        ),
    ],
)
def test_a_cache_that_does_not_fit_is_refused(
    rows: Any, shape: tuple[int, ...], message: str, tmp_path: Path
):
    cache = cache_of(np.zeros(shape, np.float32), tmp_path)
    with pytest.raises(ValueError, match=re.escape(message)):
        stored_answers(cache, rows())
