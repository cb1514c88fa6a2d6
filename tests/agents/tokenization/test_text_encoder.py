from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from tfdistill.agents.tokenization.text_encoder import (
    TextEncoder,
    UnusableTextError,
    check_text,
    check_texts,
)
from tfdistill.students.text_rows import encode


def test_agents_see_the_ids_that_training_saw(tokenizer: Any, texts: list[str]):
    encoder = TextEncoder(tokenizer.to_str(), sequence_length=12)

    got = np.stack([encoder.encode(text) for text in texts])

    np.testing.assert_array_equal(got, encode(tokenizer, texts, sequence_length=12))


def test_long_text_is_cut_and_keeps_its_end_token(tokenizer: Any):
    encoder = TextEncoder(tokenizer.to_str(), sequence_length=5)
    wheat = tokenizer.token_to_id("wheat")

    assert encoder.encode("wheat " * 40).tolist() == [2, wheat, wheat, wheat, 3]


def test_short_text_is_filled_with_zeros_whatever_the_tokenizer_pads_with(tokenizer: Any):
    encoder = TextEncoder(tokenizer.to_str(), sequence_length=6)

    assert tokenizer.padding["pad_id"] == 1
    assert encoder.encode("wheat").tolist() == [2, tokenizer.token_to_id("wheat"), 3, 0, 0, 0]


@pytest.mark.parametrize(
    "text", ["", "   ", "zebra quux", "[CLS] [PAD]", "\x00\x07", "☃", "zebra " * 20 + "wheat"]
)
def test_text_without_a_known_word_is_refused(tokenizer: Any, text: str):
    with pytest.raises(UnusableTextError, match="`text` must have a word that the tokenizer knows"):
        TextEncoder(tokenizer.to_str(), sequence_length=12).encode(text)


def test_one_known_word_is_enough(tokenizer: Any):
    assert TextEncoder(tokenizer.to_str(), sequence_length=12).encode("zebra wheat")[2] > 3


def test_text_that_is_not_unicode_is_refused(tokenizer: Any):
    with pytest.raises(UnusableTextError, match="be text that the tokenizer takes"):
        TextEncoder(tokenizer.to_str(), sequence_length=12).encode("wheat \ud800")


@pytest.mark.parametrize(
    "model",
    [
        models.WordLevel({"[PAD]": 0, "[UNK]": 1, "oil": 2}, unk_token="[UNK]"),
        models.Unigram([("[PAD]", 0.0), ("[UNK]", -9.0), ("oil", -1.0)], unk_id=1),
        models.BPE(
            {"[PAD]": 0, "[UNK]": 1, "o": 2, "i": 3, "l": 4, "oi": 5, "oil": 6},
            [("o", "i"), ("oi", "l")],
            unk_token="[UNK]",
        ),
    ],
    ids=["WordLevel", "Unigram", "BPE"],
)
def test_unknown_words_are_recognised_in_every_kind_of_model(model: Any):
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    encoder = TextEncoder(tokenizer.to_str(), sequence_length=4)

    assert encoder.encode("oil")[0] == tokenizer.token_to_id("oil")
    with pytest.raises(UnusableTextError, match="have a word"):
        encoder.encode("zzz")


def test_tokenizer_that_knows_every_byte_refuses_only_the_empty_text():
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    encoder = TextEncoder(tokenizer.to_str(), sequence_length=8)

    assert np.count_nonzero(encoder.encode("☃")) > 0
    with pytest.raises(UnusableTextError, match="have a word"):
        encoder.encode("")


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"version": "9.0"}'])
def test_damaged_tokenizer_is_refused(content: str):
    with pytest.raises(ValueError, match=f"{len(content)} characters that are not"):
        TextEncoder(content, sequence_length=4)


def test_error_keeps_text_and_name_through_pickling():
    error = pickle.loads(pickle.dumps(UnusableTextError("zzz", "be known").named("texts[3]")))

    assert (error.text, error.reason, error.argument) == ("zzz", "be known", "texts[3]")
    assert str(error).startswith("`texts[3]` must be known. Received: texts[3]='zzz'.")


def test_error_shows_only_the_beginning_of_a_long_text():
    assert len(str(UnusableTextError("z" * 10**6, "be known"))) < 300


@pytest.mark.parametrize(
    ("texts", "kind", "message"),
    [
        ("oil rose", TypeError, "Received: texts='oil rose' .str.. Put a single text in a list"),
        (b"oil", TypeError, "must be a list of str. Received: texts=b'oil'"),
        (7, TypeError, "must be a list of str. Received: texts=7"),
        ([], ValueError, r"at least one text. Received: texts=\[\]"),
        (["oil", None], TypeError, r"`texts\[1\]` must be a str. Received: texts\[1\]=None"),
        (["oil", b"x"], TypeError, r"Received: texts\[1\]=b'x' \(bytes\)"),
    ],
)
def test_texts_are_checked(texts: Any, kind: type[Exception], message: str):
    with pytest.raises(kind, match=message):
        check_texts(texts)


def test_any_iterable_of_str_is_taken():
    assert check_texts(text for text in ("a", "b")) == ["a", "b"]


def test_single_text_is_checked():
    with pytest.raises(TypeError, match=r"`text` must be a str. Received: text=1 \(int\)"):
        check_text(1)  # type: ignore[arg-type]


def test_words_of_the_head_and_of_the_tail_have_their_places(tokenizer: Any):
    encoder = TextEncoder(tokenizer.to_str(), sequence_length=7, long_texts="head+tail")
    text = "wheat crops fell of the crude barrels"  # crop ##s and barrel ##s: 9 tokens
    ids, words = encoder.encode_words(text)
    whole = tokenizer.encode(text, add_special_tokens=False).ids[:9]
    assert ids.tolist() == [2, *whole[:3], *whole[-2:], 3]
    assert [text[start:end] for start, end in zip(words.starts, words.ends, strict=True)] == [
        "wheat", "crops", "barrels",
    ]  # fmt: skip
    assert words.first == [1, 2, 4]


@pytest.mark.parametrize(
    ("long_texts", "share"), [("head", 1 / 3), ("head+tail", 2 / 3), ("windows", 1 / 2)]
)
def test_unknown_words_count_where_they_are_read(tokenizer: Any, long_texts: str, share: float):
    encoder = TextEncoder(tokenizer.to_str(), sequence_length=5, long_texts=long_texts)
    # 3 tokens are read at once: the first three, two and the last one, or all six.
    assert encoder.unknown_share("wheat quux crude zebra of zebra") == pytest.approx(share)


@pytest.mark.parametrize("long_texts", ["head+tail", "windows"])
def test_a_known_word_at_the_end_is_enough_where_the_end_is_read(tokenizer: Any, long_texts: str):
    text = "zebra " * 20 + "wheat"
    rows = TextEncoder(tokenizer.to_str(), sequence_length=8, long_texts=long_texts)
    assert rows.encode_rows(text)[-1, 6] == tokenizer.token_to_id("wheat")
    with pytest.raises(UnusableTextError, match="`text` must have a word that the tokenizer knows"):
        rows.encode("zebra " * 20)
