"""A part of a text that was read is not tokenized again, and has the very same tokens."""

from __future__ import annotations

import json
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from tfdistill.agents.tokenization.text_encoder import TextEncoder, UnusableTextError
from tfdistill.agents.tokenization.token_cache import TokenCache, tokenizes_by_word

PIECES = [
    "corn",
    "Wheats",
    "farm's",
    " ",
    ", ",
    ".",
    "é",
    "e\u0301",
    "麦",
    "\t",
    "\x00",
    "[SEP]",
    "x9",
]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=9), st.data())
def test_a_part_has_the_ids_and_the_words_of_a_text_of_its_own(
    tokenizer: Any, pieces: list[str], data: st.DataObject
):
    text = "".join(pieces)
    start = data.draw(st.integers(0, len(text) - 1))
    part = text[start : data.draw(st.integers(start + 1, len(text)))]
    cache = TokenCache(tokenizer.to_str())

    cache.read(text)
    found, alone = cache.read(part), TokenCache(tokenizer.to_str()).read(part)
    assert (found is None) == (alone is None)
    if found is not None and alone is not None:
        assert (found.text, found.ids, found.words) == (alone.text, alone.ids, alone.words)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(
    st.lists(
        st.one_of(
            st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=8),
            st.sampled_from(["Corn's", "wheats", "x" * 120, "[SEP]", "[unk]", "3.5%", " "]),
        ),
        max_size=6,
    ),
    st.booleans(),
)
def test_plain_text_is_cut_as_the_library_cuts_it(tokenizer: Any, pieces: list[str], lower: bool):
    content = json.loads(tokenizer.to_str())
    content["normalizer"]["lowercase"] = lower
    text = "".join(pieces)

    caches = [TokenCache(json.dumps(content)) for _ in range(2)]
    found = [caches[0].read(text), caches[1]._read_any(text)]
    known = [each and (each.text, each.ids, each.words, each.content) for each in found]
    assert known[0] == known[1]
    # A second time from what is known of its words.
    again = caches[0]._read_plain(text)
    assert again is None or (again.ids, again.words) == (found[1].ids, found[1].words)


def test_parts_of_whole_words_are_not_tokenized(tokenizer: Any, monkeypatch: pytest.MonkeyPatch):
    encoder, fresh = (TextEncoder(tokenizer.to_str(), sequence_length=12) for _ in range(2))
    encoder.encode_words("corn and wheats, then barley")
    monkeypatch.setattr(encoder.token_cache, "_tokenizer", None)

    for part in ("corn", "wheats, then", "barley", "corn and wheats, then barley"):
        assert encoder.encode_words(part)[0].tolist() == fresh.encode(part).tolist()
    with pytest.raises(UnusableTextError, match="'NoneType' object"):
        encoder.encode_words("eats, then")


def test_a_text_longer_than_the_model_is_cut_as_the_library_cuts_it(tokenizer: Any):
    long, short = (TextEncoder(tokenizer.to_str(), sequence_length=size) for size in (12, 4))
    short.token_cache = long.token_cache
    text = "corn wheats barley corn"
    long.encode_words(text)

    ids, words = short.encode_words("corn wheats barley")
    assert ids.tolist() == short.encode("corn wheats barley").tolist()
    assert words.starts == [0, 5]


@pytest.mark.parametrize(
    ("normalizer", "model", "expected"),
    [
        ({"type": "BertNormalizer"}, {"type": "WordPiece"}, True),
        (None, {}, False),
        ({"type": "BertNormalizer"}, {"type": "Unigram"}, False),
    ],
)
def test_only_berts_way_of_cutting_texts_is_trusted(normalizer: Any, model: Any, expected: bool):
    cutting = {"pre_tokenizer": {"type": "BertPreTokenizer"}}
    content = json.dumps({"normalizer": normalizer, "model": model, **cutting})
    assert tokenizes_by_word(content) is expected


@given(st.lists(st.sampled_from(["corn", "wheats,", "barley", "é"]), min_size=1, max_size=9))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
def test_long_texts_are_cut_to_the_ids_that_the_library_keeps(tokenizer: Any, pieces: list[str]):
    text = " ".join(["corn", *pieces])
    for size in (3, 4, 6):
        ours, library = (TextEncoder(tokenizer.to_str(), sequence_length=size) for _ in range(2))
        library.token_cache = None
        ids, words = ours.encode_words(text)
        expected, cut = library.encode_words(text)
        assert ids.tolist() == expected.tolist()
        assert (words.first, words.starts) == (cut.first, cut.starts)


def test_words_of_any_length_leave_little_behind(tokenizer: Any):
    cache = TokenCache(tokenizer.to_str())
    for letter in "abcdefgh":
        cache.read(letter * 100_000)
    assert all(len(word) <= 64 for word in cache._pieces)


def test_a_tokenizer_that_knows_no_single_letter_still_reads(tokenizer: Any):
    content = json.loads(tokenizer.to_str())
    vocabulary = {"[PAD]": 0, "oil": 1, "rose": 2}
    content["model"] = {"type": "WordPiece", "unk_token": "[UNK]", "vocab": vocabulary}
    content["model"] |= {"continuing_subword_prefix": "##", "max_input_chars_per_word": 100}
    content |= {"added_tokens": [], "post_processor": None}
    tokenized = TokenCache(json.dumps(content)).read("oil rose")
    assert tokenized is not None and tokenized.ids == [1, 2]


def test_an_added_token_is_found_as_the_tokenizer_normalizes_it(tokenizer: Any):
    from tokenizers import AddedToken, Tokenizer

    changed = Tokenizer.from_str(tokenizer.to_str())
    changed.add_tokens([AddedToken("ca\tfe", normalized=True)])
    caches = [TokenCache(changed.to_str()) for _ in range(2)]
    found, wanted = caches[0].read("corn ca fe"), caches[1]._read_any("corn ca fe")
    assert found is not None and wanted is not None and found.ids == wanted.ids
