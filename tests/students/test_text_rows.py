"""Texts as rows of ids, in training as on a device."""

from __future__ import annotations

import re

import numpy as np
import pytest
from shared_fixtures.word_pieces import word_pieces
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from tfdistill.agents.tokenization.text_encoder import TextEncoder
from tfdistill.bundles.long_texts import LONG_TEXTS
from tfdistill.students import encode, encode_rows, mean_by_text

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "oil", "gas", "price", "##s", "wheat", "##less"]


def bert() -> Tokenizer:
    return word_pieces(WORDS)


def byte_bpe() -> Tokenizer:
    """One that does not read word by word, and puts a special token before a text alone."""
    letters = {
        letter: row for row, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))
    }
    tokenizer = Tokenizer(models.BPE(vocab={**letters, "oi": 256, "<s>": 257}, merges=[("o", "i")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(["<s>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 257)]
    )
    return tokenizer


def words() -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel({word: row for row, word in enumerate(WORDS)}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


def some_texts() -> list[str]:
    generator = np.random.default_rng(0)
    known = ["oil", "gas", "prices", "price", "wheatless", "wheat", "quux", "[SEP]", "gäs,", "12"]
    return ["oil " + " ".join(generator.choice(known, count)) for count in range(40)]


@pytest.mark.parametrize("tokenizer", [bert(), byte_bpe(), words()], ids=["bert", "bpe", "words"])
@pytest.mark.parametrize("long_texts", LONG_TEXTS)
@pytest.mark.parametrize("length", [3, 7, 16])
def test_agents_and_training_read_the_same_rows(tokenizer: Tokenizer, long_texts: str, length: int):
    texts = some_texts()
    encoder = TextEncoder(tokenizer.to_str(), sequence_length=length, long_texts=long_texts)
    ids, text_of_row = encode_rows(
        tokenizer, texts, sequence_length=length, long_texts=long_texts
    )  # fmt: skip
    assert np.unique(text_of_row).tolist() == list(range(len(texts)))
    for number, text in enumerate(texts):
        np.testing.assert_array_equal(encoder.encode_rows(text), ids[text_of_row == number])
    if long_texts != "windows":
        np.testing.assert_array_equal(
            encode(tokenizer, texts, sequence_length=length, long_texts=long_texts), ids
        )


def test_the_head_and_the_tail_lie_between_the_special_tokens():
    text = "oil gas wheat oil gas prices"  # 4 5 8 4 5 6 7
    row = encode(bert(), [text], sequence_length=6, long_texts="head+tail")[0]
    assert row.tolist() == [2, 4, 5, 6, 7, 3]
    row = encode(bert(), [text], sequence_length=5, long_texts="head+tail")[0]
    assert row.tolist() == [2, 4, 5, 7, 3]


def test_each_window_has_the_special_tokens_and_short_texts_are_filled_up():
    ids, text_of_row = encode_rows(
        bert(), ["oil gas wheat oil", "oil"], sequence_length=5, long_texts="windows"
    )
    assert ids.tolist() == [[2, 4, 5, 8, 3], [2, 5, 8, 4, 3], [2, 4, 3, 0, 0]]
    assert text_of_row.tolist() == [0, 0, 1]


def test_several_rows_a_text_are_refused_where_one_is_promised():
    with pytest.raises(ValueError, match=re.escape("Received: long_texts='windows', which gives")):
        encode(bert(), ["oil"], sequence_length=4, long_texts="windows")


def test_the_mean_of_windows_is_taken_for_each_text():
    logits = np.array([[1, 2], [3, 6], [5, 5], [0, 1], [0, 1], [3, 1]], np.float32)
    mean = mean_by_text(logits, np.array([0, 0, 1, 2, 2, 2]))
    assert mean.dtype == np.float32
    assert mean.tolist() == [[2, 4], [5, 5], [1, 1]]


@pytest.mark.parametrize("text_of_row", [[0, 0], [0, 0, 2]])
def test_rows_without_a_text_and_texts_without_a_row_are_refused(text_of_row: list[int]):
    with pytest.raises(ValueError, match="`text_of_row` must name the text of each row"):
        mean_by_text(np.zeros((3, 2)), np.array(text_of_row))
