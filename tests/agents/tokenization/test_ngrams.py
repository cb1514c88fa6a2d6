from __future__ import annotations

import json
import zlib
from typing import Any

import numpy as np
import pytest

from tfdistill.agents.tokenization.encoders import open_encoder
from tfdistill.agents.tokenization.ngrams import NGrams, is_ngrams
from tfdistill.agents.tokenization.text_encoder import TextEncoder, UnusableTextError

LISTED = ("=oil", "=oil rose", "ros", " o", "=!")


@pytest.fixture
def listed() -> NGrams:
    return NGrams(vocabulary=LISTED, sequence_length=6)


@pytest.fixture
def hashed() -> NGrams:
    return NGrams(num_rows=1000, sequence_length=64)


def test_listed_ngrams_have_their_places_as_rows_in_the_order_of_the_text(listed: NGrams):
    assert listed.encode("Oil rose!").tolist() == [1, 4, 2, 3, 5, 0]


def test_unknown_ngrams_are_dropped(listed: NGrams):
    assert listed.encode("zebra rose").tolist() == [3, 0, 0, 0, 0, 0]


def test_ngram_that_a_text_repeats_is_there_as_often(listed: NGrams):
    assert listed.encode("rose rose").tolist() == [3, 3, 0, 0, 0, 0]


def test_rows_of_hashed_ngrams_are_one_plus_crc_32(hashed: NGrams):
    expected = [
        1 + zlib.crc32(each) % 999 for each in (b"=ol", b" o", b"ol", b"l ", b" ol", b"ol ")
    ]

    assert hashed.encode("öl")[:7].tolist() == [*expected, 0]


def test_hash_is_the_same_on_every_machine():
    # CRC-32 of "123456789" is the check value of its definition.
    assert zlib.crc32(b"123456789") == 0xCBF43926
    assert NGrams(num_rows=1000, sequence_length=2).encode("oil").tolist() == [944, 330]


def test_word_differs_from_the_same_letters_inside_a_word():
    ngrams = NGrams(vocabulary=["=oil", "oil"], sequence_length=3)

    assert ngrams.encode("boiler").tolist() == [2, 0, 0]
    assert ngrams.encode("oil").tolist() == [1, 2, 0]


def test_pairs_of_words_cross_spaces_and_marks(hashed: NGrams):
    rows = [1 + zlib.crc32(pair.encode()) % 999 for pair in ("=a .", "=. b")]

    assert [row for row in hashed.encode("a .b").tolist() if row in rows] == rows


def test_single_words_can_be_all():
    ngrams = NGrams(num_rows=1000, sequence_length=9, words=1, characters=(8, 8))

    assert ngrams.encode("oil rose").nonzero()[0].tolist() == [0, 1]


def test_long_text_is_cut_to_its_first_ngrams_and_lengths_say_so(listed: NGrams):
    assert listed.encode("rose " * 40).tolist() == [3] * 6
    assert listed.lengths(["rose " * 40, "zebra"]).tolist() == [40, 0]


@pytest.mark.parametrize("text", ["", "  \n", "zebra", "\x00\x07"])
def test_text_without_a_known_ngram_is_refused(listed: NGrams, text: str):
    with pytest.raises(UnusableTextError, match="have a word of which an n-gram is known"):
        listed.encode(text)


@pytest.mark.parametrize("text", ["", " \t", "\x00"])
def test_hashed_ngrams_refuse_only_texts_without_a_word(hashed: NGrams, text: str):
    assert hashed.encode("☃").any()
    with pytest.raises(UnusableTextError):
        hashed.encode(text)


def test_text_that_is_not_unicode_is_refused(listed: NGrams, hashed: NGrams):
    for ngrams in (listed, hashed):
        with pytest.raises(UnusableTextError, match="be text that can be cut into words"):
            ngrams.encode("oil \ud800")


def test_batches_hold_the_rows_of_single_texts(hashed: NGrams, texts: list[str]):
    batch = hashed.encode_batch([*texts, ""])

    assert (batch.dtype, batch.shape) == (np.int32, (61, 64))
    np.testing.assert_array_equal(batch[:60], [hashed.encode(text) for text in texts])
    assert not batch[60].any()


def test_what_is_remembered_is_bounded_and_changes_nothing(
    hashed: NGrams, texts: list[str], monkeypatch: pytest.MonkeyPatch
):
    expected = hashed.encode_batch(texts)
    monkeypatch.setattr("tfdistill.agents.tokenization.ngrams._MOST_PIECES", 3)
    small = NGrams(num_rows=1000, sequence_length=64)

    np.testing.assert_array_equal(small.encode_batch([*texts, "x" * 10_000])[:60], expected)
    assert len(small._pieces) <= 3


def test_fit_holds_nearly_all_training_texts_whole(texts: list[str]):
    ngrams = NGrams.fit(texts, num_rows=80)

    assert ngrams.num_rows == 80
    assert ngrams.sequence_length == ngrams.lengths(texts).max()


def test_fit_keeps_the_file_under_its_limit(texts: list[str]):
    texts = [*texts, 'say "oil" \\ ' * 3, "öl" * 40]
    whole = NGrams.fit(texts, num_rows=2000)
    small = NGrams.fit(texts, num_rows=2000, max_bytes=600)

    # The first n-gram that was left out is at most 13 bytes, and 8 are kept for digits.
    assert 600 - 13 - 8 <= len(small.to_json().encode()) <= 600
    assert whole.vocabulary[: len(small.vocabulary)] == small.vocabulary


def test_fit_refuses_a_limit_that_leaves_no_room(texts: list[str]):
    with pytest.raises(ValueError, match="`max_bytes` must be an int of at least"):
        NGrams.fit(texts, max_bytes=50)
    with pytest.raises(ValueError, match="`max_bytes` leave room for it. Received: 60 texts"):
        NGrams.fit(texts, max_bytes=135)


def test_fit_counts_the_rows_of_the_table(texts: list[str]):
    ngrams = NGrams.fit(texts, max_bytes=2000, bytes_per_row=16)

    size = len(ngrams.to_json().encode()) + 16 * ngrams.num_rows
    assert 2000 - 16 - 13 - 8 <= size <= 2000


def test_fit_without_any_limit_is_refused(texts: list[str]):
    with pytest.raises(ValueError, match="`num_rows` or `max_bytes` must be given"):
        NGrams.fit(texts)


def test_fit_refuses_texts_without_an_ngram_to_list():
    with pytest.raises(ValueError, match="`texts` must have an n-gram that can be listed"):
        NGrams.fit(["|", ""], num_rows=9)


def test_mark_that_separates_ngrams_in_the_file_is_never_listed():
    assert NGrams.fit(["a | b", "a | b", "|"], num_rows=50).vocabulary == ("=a",)


@pytest.mark.parametrize("kind", ["listed", "hashed"])
def test_json_holds_all_of_it(kind: str, request: pytest.FixtureRequest, texts: list[str]):
    ngrams = request.getfixturevalue(kind)
    again = NGrams.from_json(ngrams.to_json())

    assert repr(again) == repr(ngrams)
    assert is_ngrams(ngrams.to_json())
    np.testing.assert_array_equal(again.encode_batch(texts), ngrams.encode_batch(texts))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"format": 2}, "it has format 2, and this tfdistill reads format 1"),
        ({"format": None}, "`format` must be an int"),
        ({"tfdistill": "other"}, "it does not say that it is"),
        ({"kind": "other"}, "its kind is 'other'"),
        ({"kind": "hashed"}, "its kind is 'hashed', its keys"),
        ({"extra": 1}, "its keys"),
        ({"vocabulary": ["=oil"]}, "its vocabulary is not a text"),
        ({"vocabulary": ""}, r"vocabulary\[0\]=''"),
        ({"vocabulary": "=oil|=oil"}, "`vocabulary` must list each n-gram once"),
        ({"vocabulary": "=oil||ros"}, r"vocabulary\[1\]=''"),
        ({"vocabulary": "=a b c"}, r"vocabulary\[0\]='=a b c'"),
        ({"vocabulary": "="}, r"vocabulary\[0\]='='"),
        ({"vocabulary": "a b c"}, r"vocabulary\[0\]='a b c'"),
        ({"vocabulary": "toolong"}, r"vocabulary\[0\]='toolong'"),
        ({"vocabulary": "=" + "x" * 200}, r"vocabulary\[0\]='=xxx"),
        ({"sequence_length": 0}, "`sequence_length` must be an int in"),
        ({"sequence_length": 2**40}, "`sequence_length` must be an int in"),
        ({"sequence_length": "8"}, "`sequence_length` must be an int in"),
        ({"words": 3}, "`words` must be an int in"),
        ({"characters": [2]}, "`characters` must be two ints"),
        ({"characters": [4, 3]}, r"`characters\[1\]` must be an int in \[4, 8\]"),
        ({"characters": [2, 9]}, r"`characters\[1\]` must be an int in"),
    ],
)
def test_json_of_another_form_is_refused(listed: NGrams, changes: dict[str, Any], reason: str):
    content = json.dumps({**json.loads(listed.to_json()), **changes})

    with pytest.raises(ValueError, match="must be n-grams as `NGrams.to_json` writes them") as info:
        NGrams.from_json(content)
    assert info.match(reason)


@pytest.mark.parametrize("rows", [1, 2**23, None, 2.0])
def test_json_with_another_number_of_rows_is_refused(hashed: NGrams, rows: Any):
    content = json.dumps({**json.loads(hashed.to_json()), "num_rows": rows})

    with pytest.raises(ValueError, match="num_rows"):
        NGrams.from_json(content)


def test_vocabulary_that_is_too_long_is_refused_before_it_is_cut(
    listed: NGrams, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("tfdistill.agents.tokenization.ngrams.MOST_ROWS", 4)

    with pytest.raises(ValueError, match="its vocabulary has more than 4 n-grams"):
        NGrams.from_json(listed.to_json())


@pytest.mark.parametrize("content", ["", "[]", "{", "[" * 100_000, '{"model": {}}'])
def test_what_is_no_json_of_ngrams_is_refused(content: str):
    with pytest.raises(ValueError, match="must be n-grams as"):
        NGrams.from_json(content)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, ValueError, "`num_rows` or `vocabulary` must be given, and not both"),
        ({"num_rows": 9, "vocabulary": ["=a"]}, ValueError, "and not both"),
        ({"vocabulary": "=a"}, TypeError, "`vocabulary` must be a list of n-grams"),
        ({"vocabulary": []}, ValueError, "`vocabulary` must have 1 to"),
        ({"num_rows": 9, "characters": 3}, TypeError, "`characters` must be two ints"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(
    arguments: dict[str, Any], error: type[Exception], message: str
):
    with pytest.raises(error, match=message):
        NGrams(sequence_length=4, **arguments)


def test_content_says_which_encoder_opens_it(listed: NGrams, tokenizer: Any):
    assert isinstance(open_encoder(listed.to_json(), sequence_length=6), NGrams)
    assert isinstance(open_encoder(tokenizer.to_str(), sequence_length=6), TextEncoder)


def test_token_with_the_name_of_this_package_makes_no_ngrams():
    assert not is_ngrams('{"model": {"vocab": {"tfdistill": 1}}}')
    assert not is_ngrams('"tfdistill"')
    assert not is_ngrams('{"tfdistill"')


def test_ngrams_for_another_length_are_refused(listed: NGrams):
    with pytest.raises(ValueError, match="must hold n-grams for the 9 ids that the model takes"):
        open_encoder(listed.to_json(), sequence_length=9)


def test_some_words_are_known_words(listed: NGrams, hashed: NGrams):
    assert listed.some_words() == "oil"
    assert hashed.some_words() == ""


@pytest.mark.parametrize(
    ("long_texts", "rows"),
    [
        ("head", [[1, 2, 3]]),
        ("head+tail", [[1, 2, 5]]),
        ("windows", [[1, 2, 3], [3, 4, 5]]),
    ],
)
def test_long_texts_are_read_as_it_is_said(long_texts: str, rows: list[list[int]]):
    listed = ["=a", "=b", "=c", "=d", "=e"]
    ngrams = NGrams(vocabulary=listed, sequence_length=3, words=1, long_texts=long_texts)
    assert ngrams.encode_rows("a b c d e").tolist() == rows
    assert ngrams.encode("a b c d e").tolist() == rows[0]
    assert ngrams.encode_batch(["a b c d e", "e"]).tolist() == [rows[0], [5, 0, 0]]
    again = NGrams.from_json(ngrams.to_json(), long_texts=long_texts)
    assert again.encode_rows("a b c d e").tolist() == rows


def test_an_unknown_way_to_read_long_texts_is_refused():
    with pytest.raises(ValueError, match=r"`long_texts` must be one of .* Received: long_texts='t"):
        NGrams(num_rows=9, sequence_length=3, long_texts="tail")
