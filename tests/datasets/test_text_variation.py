"""Varied copies: what is swapped, dropped and spliced, by hand and on random rows."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from tfdistill.datasets import varied_copies
from tfdistill.datasets.text_variation import (
    NearWords,
    RareWords,
    drop_tokens,
    nearest_rows,
    splice_texts,
    swap_words,
)

SPECIAL = np.array([True, True, True, False, False, False, False, False])
# Tokens 3 and 4 point one way, 5 and 6 another, 7 between them and nearer to 5.
VECTORS = np.array([[0, 0], [0, 0], [0, 0], [1, 0], [2, 0.1], [0, 1], [0.1, 3], [1, 2]], np.float32)


def test_nearest_rows_are_those_of_the_whole_similarity_matrix(rng: np.random.Generator):
    queries, rows = rng.normal(size=(2500, 7)), rng.normal(size=(90, 7))
    cosine = (queries / np.linalg.norm(queries, axis=1, keepdims=True)) @ (
        rows / np.linalg.norm(rows, axis=1, keepdims=True)
    ).T

    found = nearest_rows(queries, rows, count=5)

    np.testing.assert_array_equal(found, np.argsort(-cosine, axis=1)[:, :5])


def test_near_words_are_drawn_with_equal_odds_and_special_tokens_stay():
    near = NearWords(VECTORS, special=SPECIAL, neighbors=2)
    ids = np.tile([1, 3, 5, 0], (4000, 1))

    drawn = near.draw(ids, np.random.default_rng(0))

    np.testing.assert_array_equal(drawn[:, [0, 3]], ids[:, [0, 3]])
    assert set(np.unique(drawn[:, 1])) == {4, 7}  # cosines 0.999 and 0.447
    assert set(np.unique(drawn[:, 2])) == {6, 7}
    # A half of 4,000, within five standard deviations.
    assert abs(np.mean(drawn[:, 1] == 4) - 0.5) < 5 * 0.5 / np.sqrt(4000)


def test_rare_words_are_those_that_count_the_token_as_near():
    # Of the texts' words 3 and 5, 4 is nearest to 3, and 6 and 7 are nearest to 5.
    counts = np.array([9, 9, 9, 5, 0, 5, 0, 0])
    rare = RareWords(VECTORS, special=SPECIAL, counts=counts, neighbors=1)
    ids = np.tile([5, 3, 1], (6000, 1))

    drawn = rare.draw(ids, np.random.default_rng(0))

    assert set(np.unique(drawn[:, 0])) == {6, 7}
    assert abs(np.mean(drawn[:, 0] == 6) - 0.5) < 5 * 0.5 / np.sqrt(6000)
    assert set(np.unique(drawn[:, 1])) == {4}
    assert set(np.unique(drawn[:, 2])) == {1}


def test_odds_of_rare_words_fall_with_their_count():
    vectors = np.array([[0, 0], [1, 0], [1, 0.01], [1, 0.02]])
    special = np.array([True, False, False, False])
    rare = RareWords(vectors, special=special, counts=np.array([0, 7, 0, 3]), neighbors=2)

    drawn = rare.draw(np.full((8000, 1), 1), np.random.default_rng(3))

    # Odds 1 / 1 for token 2 and 1 / 4 for token 3: four fifths.
    assert abs(np.mean(drawn == 2) - 0.8) < 5 * 0.4 / np.sqrt(8000)
    assert set(np.unique(drawn)) == {2, 3}


def test_a_token_without_rare_words_stays():
    rare = RareWords(VECTORS, special=SPECIAL, counts=np.zeros(8, int))

    assert rare.draw(np.array([[3, 5]]), np.random.default_rng(0)).tolist() == [[3, 5]]


def test_spliced_texts_begin_as_one_and_end_as_another_of_their_group():
    ids = np.array([[1, 3, 3, 3, 2, 0, 0], [1, 4, 4, 4, 4, 2, 0], [1, 5, 5, 2, 0, 0, 0]])

    spliced = np.concatenate(
        [
            splice_texts(ids, np.array([0, 0, 1]), np.random.default_rng(seed), share=1.0)
            for seed in range(50)
        ]
    )

    assert all(1 in row[:1] and 2 in row for row in spliced.tolist())
    words = [set(row) - {0, 1, 2} for row in spliced.tolist()]
    assert {frozenset(found) for found in words} == {
        frozenset({3}), frozenset({4}), frozenset({3, 4}), frozenset({5})
    }  # fmt: skip


def test_no_rate_changes_nothing_and_rate_one_swaps_what_is_drawn():
    ids = np.array([[1, 3, 5, 2]])

    class Sevens:
        def draw(self, ids: np.ndarray, generator: np.random.Generator) -> np.ndarray:
            return np.full_like(ids, 7)

    none = swap_words(ids, Sevens(), np.random.default_rng(0), highest_rate=0.0)
    assert none.tolist() == ids.tolist()
    many = swap_words(np.tile(ids, (5000, 1)), Sevens(), np.random.default_rng(0), highest_rate=1.0)
    # The rates are uniform in [0, 1], so half of the tokens are swapped.
    assert abs(np.mean(many == 7) - 0.5) < 0.03


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_dropping_keeps_order_special_tokens_and_closes_gaps(seed: int, rate: float):
    generator = np.random.default_rng(seed)
    lengths = generator.integers(2, 9, 20)
    ids = np.zeros((20, 10), int)
    for row, length in zip(ids, lengths, strict=True):
        row[0], row[1 : length - 1], row[length - 1] = 1, generator.integers(3, 8, length - 2), 2

    dropped = drop_tokens(ids, generator, special=SPECIAL, highest_rate=rate)

    for before, after in zip(ids.tolist(), dropped.tolist(), strict=True):
        kept = [token for token in after if token]
        assert after == kept + [0] * (10 - len(kept))
        assert kept[0] == 1 and kept[-1] == 2
        rest = iter(before)
        assert all(token in rest for token in kept)  # a subsequence


def test_copies_come_after_the_originals_and_name_their_source(rng: np.random.Generator):
    ids = np.concatenate([np.full((30, 1), 1), rng.integers(3, 8, (30, 5)), np.full((30, 1), 2)], 1)

    rows, sources = varied_copies(
        ids, vectors=VECTORS, copies=3, groups=np.arange(30) % 2, special_ids=(0, 1, 2), seed=4
    )

    assert rows.shape == (120, 7) and rows.dtype == np.int32
    np.testing.assert_array_equal(rows[:30], ids)
    np.testing.assert_array_equal(sources, np.tile(np.arange(30), 4))
    assert not np.array_equal(rows[30:60], ids)
    again, _ = varied_copies(
        ids, vectors=VECTORS, copies=3, groups=np.arange(30) % 2, special_ids=(0, 1, 2), seed=4
    )
    np.testing.assert_array_equal(rows, again)
    other, _ = varied_copies(ids, vectors=VECTORS, copies=3, special_ids=(0, 1, 2), seed=5)
    assert not np.array_equal(rows, other)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"copies": -1}, "`copies` must be an int of at least 0. Received: copies=-1."),
        ({"drop_rate": 1.5}, "`drop_rate` must be a number in [0, 1]. Received: drop_rate=1.5."),
        ({"swap_rate": -1}, "`swap_rate` must be a number in [0, 1]. Received: swap_rate=-1."),
        (
            {"splice_share": 2},
            "`splice_share` must be a number in [0, 1]. Received: splice_share=2.",
        ),
        (
            {"groups": np.zeros(3)},
            "`groups` must hold one number for each text. Received: groups of shape (3,), ids of "
            "shape (1, 4).",
        ),
        (
            {"vectors": np.eye(3)},
            "`vectors` must hold one row for each token id. Received: vectors of shape (3, 3), "
            "ids up to 5.",
        ),
        (
            {"ids": np.zeros(3)},
            "`ids` must be an int array of shape [N, L]. Received: ids of shape (3,), float64. "
            "`tfdistill.students.encode` makes it.",
        ),
    ],
)
def test_what_does_not_fit_is_refused(arguments: dict, message: str):
    given_ = {"ids": np.array([[1, 3, 5, 2]]), "vectors": VECTORS, "copies": 1, **arguments}
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        varied_copies(given_.pop("ids"), **given_)
