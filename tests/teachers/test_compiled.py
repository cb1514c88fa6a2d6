"""A compiled teacher computes what its model does, on as little padding as the texts allow."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import tfdistill as td
from tfdistill.students import MaskedMean
from tfdistill.teachers import CompiledTeacher, compile_teacher, length_buckets


def tokens_read(lengths: list[int], ends: tuple[int, ...]) -> int:
    return sum(next(end for end in ends if end >= length) for length in lengths)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=40), st.integers(1, 4))
def test_no_other_buckets_read_fewer_tokens(lengths: list[int], count: int):
    ends = length_buckets(lengths, count=count)

    different = sorted(set(lengths))
    least = min(
        tokens_read(lengths, (*some, different[-1]))
        for size in range(min(count, len(different)))
        for some in itertools.combinations(different[:-1], size)
    )
    assert len(ends) <= count
    assert ends == tuple(sorted(set(ends))) and ends[-1] == max(lengths)
    assert tokens_read(lengths, ends) == least


def test_buckets_by_hand():
    # Four texts of 4 and one of 5 cost 25 tokens in one bucket of 5, and 21 in two.
    assert length_buckets([4, 4, 4, 4, 5], count=1) == (5,)
    assert length_buckets([4, 4, 4, 4, 5], count=2) == (4, 5)


@pytest.mark.parametrize(
    ("lengths", "count", "message"),
    [
        ([], 2, "`lengths` must hold the number of tokens of each text, at least 1."),
        ([0, 3], 2, "`lengths` must hold the number of tokens of each text, at least 1."),
        ([3], 0, "`count` must be an int of at least 1. Received: count=0."),
    ],
)
def test_lengths_and_counts_that_are_none_are_refused(lengths: list, count: int, message: str):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        length_buckets(lengths, count=count)


@pytest.fixture(scope="module")
def make_model():
    """A teacher of which only tokens count: padding changes nothing."""
    keras.utils.set_random_seed(3)
    table, hidden = keras.layers.Embedding(3000, 32), keras.layers.Dense(64, activation="relu")
    logits = keras.layers.Dense(7, name="logits")

    def make(length: int | None) -> keras.Model:
        ids = keras.Input((length,), dtype="int32", name="ids")
        states = MaskedMean()(table(ids), keras.ops.not_equal(ids, 0))
        return keras.Model(ids, logits(hidden(states)))

    make(4)
    return make


@pytest.fixture(scope="module")
def teacher(make_model, tmp_path_factory: pytest.TempPathFactory) -> CompiledTeacher:
    path = tmp_path_factory.mktemp("compiled") / "teacher.tflite"
    return compile_teacher(make_model, path, lengths=(4, 6, 10), rows=8)


def random_ids(count: int, *, longest: int = 10, width: int = 12) -> np.ndarray:
    generator = np.random.default_rng(0)
    lengths = generator.integers(1, longest + 1, count)
    ids = generator.integers(1, 50, (count, width))
    return np.where(np.arange(width) < lengths[:, None], ids, 0).astype(np.int32)


def test_logits_come_in_the_order_of_the_texts_and_near_the_models(teacher, make_model):
    ids = random_ids(101)

    ours, theirs = teacher(ids), make_model(None).predict(ids, verbose=0)

    assert ours.shape == (101, 7) and ours.dtype == np.float32
    # Two matrices in 8 bits: errors of a few steps of 1/127 of values about as large as 0.1.
    assert np.abs(ours - theirs).max() < 0.01
    fidelity = teacher.fidelity(make_model(None), ids)
    assert fidelity.texts == 101
    assert 0 <= fidelity.divergence < 1e-4
    assert fidelity.agreement > 0.95


def test_a_text_has_the_same_logits_in_any_company(teacher):
    ids = random_ids(40)
    # The same bucket gives the same bits; another one adds padding, which the mean leaves out.
    alone = np.concatenate([teacher(row[None]) for row in ids])
    np.testing.assert_allclose(teacher(ids), alone, atol=2e-3)


def test_the_signatures_share_their_weights(teacher, make_model, tmp_path: Path):
    one = compile_teacher(make_model, tmp_path / "one.tflite", lengths=(10,), rows=8)

    # Two more signatures add their graphs, 5 KB each, and no other copy of the table's 96 KB.
    assert one.path.stat().st_size > 96_000
    assert teacher.path.stat().st_size - one.path.stat().st_size < 15_000
    assert teacher.lengths == (4, 6, 10)
    assert teacher.fingerprint != one.fingerprint


def test_a_cache_is_built_from_it(teacher, tmp_path: Path):
    ids = random_ids(30)

    cache = td.TeacherCache.build(
        teacher, ids, tmp_path / "cache", fingerprint=teacher.fingerprint, batch_size=16
    )

    (inputs, _) = next(iter(cache.dataset(ids, np.zeros(30), batch_size=30, shuffle=False)))
    stored = next(value for value in inputs.values() if value.shape == (30, 7))
    # Batches of 16 rows in place of 30 can put a text into another bucket.
    np.testing.assert_allclose(stored, teacher(ids), atol=2e-3)


def test_no_text_is_an_empty_answer(teacher):
    assert teacher(np.zeros((0, 5), np.int32)).shape == (0, 7)


def test_longer_texts_are_refused(teacher):
    expected = (
        "`ids` must have at most 10 tokens a text. Received: a text with 11. Cut the texts, or "
        "compile the teacher with a longer length."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}$"):
        teacher(np.ones((1, 11), np.int32))


@pytest.mark.parametrize("lengths", [(), (4, 4)])
def test_lengths_must_differ(make_model, lengths: tuple, tmp_path: Path):
    with pytest.raises(ValueError, match="`lengths` must hold different lengths, at least one"):
        compile_teacher(make_model, tmp_path / "t.tflite", lengths=lengths)


def test_another_file_is_no_compiled_teacher(tmp_path: Path):
    model = keras.Sequential([keras.Input((4, 2)), keras.layers.Dense(2)])
    td.to_tflite(model, tmp_path / "m.tflite")
    with pytest.raises(ValueError, match="`path` must be a compiled teacher, from ids to logits"):
        CompiledTeacher(tmp_path / "m.tflite")
