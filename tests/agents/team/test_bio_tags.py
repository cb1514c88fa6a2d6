from __future__ import annotations

import itertools
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from tfdistill.agents import Span
from tfdistill.agents.team.bio_tags import TagOrder, check_tags, decode_tags
from tfdistill.agents.tokenization.text_encoder import TextEncoder


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("", []),
        ("O O", []),
        ("B-a I-a", [(0, 5, "a")]),
        ("B-a B-a", [(0, 2, "a"), (3, 5, "a")]),
        ("I-a I-a", [(0, 5, "a")]),
        ("B-a I-b", [(0, 2, "a"), (3, 5, "b")]),
        ("O I-b", [(3, 5, "b")]),
        ("B-a O I-a", [(0, 2, "a"), (6, 8, "a")]),
    ],
)
def test_tags_become_spans_as_the_conll_evaluation_reads_them(tags: str, expected: list[Any]):
    words = tags.split()
    starts = [3 * index for index in range(len(words))]

    spans = decode_tags(words, starts, [start + 2 for start in starts])
    assert spans == [Span(*each) for each in expected]


TAGS = ("O", "B-a", "I-a", "B-b", "I-b")


def possible(path: tuple[int, ...]) -> bool:
    before = "O"
    for index in path:
        tag = TAGS[index]
        if tag[0] == "I" and before[1:] != tag[1:]:
            return False
        before = tag
    return True


@given(st.integers(1, 4), st.integers(0, 10_000))
def test_the_best_sequence_is_the_best_of_all_possible_ones_listed(words: int, seed: int):
    logits = np.random.default_rng(seed).normal(size=(words, len(TAGS)))
    paths = [path for path in itertools.product(range(5), repeat=words) if possible(path)]
    best = max(paths, key=lambda path: sum(logits[word, tag] for word, tag in enumerate(path)))

    assert TagOrder(TAGS).best(logits).tolist() == list(best)


def test_both_words_have_a_say_where_a_tagger_wavers_between_two_labels():
    #                  O    B-a  I-a  B-b  I-b
    logits = np.array([[0.0, 3.0, 0.0, 2.5, 0.0], [0.0, 0.0, 1.0, 0.0, 4.0]], np.float32)

    # B-a I-b is impossible: 3 + 1 for a, 2.5 + 4 for b.
    assert TagOrder(TAGS).best(logits).tolist() == [3, 4]


def test_tags_that_are_left_out_stay_out_of_the_best_sequence():
    logits = np.array([[0.0, -np.inf, -np.inf, 1.0, 9.0], [0.0, -np.inf, -np.inf, 0.0, 4.0]])

    assert TagOrder(TAGS).best(logits).tolist() == [3, 4]


def test_tags_without_a_beginning_may_stand_anywhere():
    logits = np.array([[0.0, 1.0], [2.0, 1.0], [0.0, 1.0]])

    assert TagOrder(["O", "I-a"]).best(logits).tolist() == [1, 0, 1]


@pytest.mark.parametrize("tags", [["O", "X-a"], ["O", "B-"], ["B-a"], ["O", "O"], ["O", "b-a"]])
def test_what_is_no_list_of_tags_is_refused(tags: list[str]):
    with pytest.raises(ValueError, match="`tags` must be 'O', and 'B-x' and 'I-x'"):
        check_tags(tags)


def test_words_are_places_in_the_raw_text_whatever_the_tokenizer_made_of_it(tokenizer: Any):
    text = "  Farms,\tWHEATs é corn"
    ids, words = TextEncoder(tokenizer.to_str(), sequence_length=12).encode_words(text)

    found = [text[start:end] for start, end in zip(words.starts, words.ends, strict=True)]
    assert found == ["Farms", ",", "WHEATs", "é", "corn"]
    # [CLS], then farm·s as unknown, the comma, wheat ##s, the e, corn.
    wheat = tokenizer.token_to_id("wheat")
    assert ids[words.first[2]] == wheat


def test_a_word_that_is_cut_is_whole_and_one_that_begins_too_late_is_left_out(tokenizer: Any):
    encoder = TextEncoder(tokenizer.to_str(), sequence_length=4)
    _, words = encoder.encode_words("corn wheat barley")

    assert (words.starts, words.ends) == ([0, 5], [4, 10])
