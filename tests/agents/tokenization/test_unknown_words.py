from __future__ import annotations

from typing import Any

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from tfdistill.agents.tokenization.text_encoder import TextEncoder, UnusableTextError
from tfdistill.agents.tokenization.unknown_words import unknown_share
from tfdistill.agents.tokenization.word_spans import Words

LETTERS = [f"{mark}{chr(place)}" for mark in ("", "##") for place in range(97, 123)]
PIECES = ["oil", "price", "##s", "rose", "ref", "##ine", "##ry", "?", "中", "文"]


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    """Knows all letters, so that any word has tokens."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *LETTERS, *PIECES]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return TextEncoder(tokenizer.to_str(), sequence_length=12)


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("oil prices rose", 0.0),  # price ##s: 6 characters, 2 pieces
        ("refinery", 0.0),  # 8 characters, 3 pieces
        ("i", 0.0),  # one letter, and a word
        ("中文", 0.0),  # each character is a word of its own
        ("xq", 1.0),  # x ##q
        ("qzxw oil", 0.5),
        ("oil [ rose", 0.0),  # the bracket is unknown, and no word
        ("oil ж", 0.5),
        ("oil 1234", 0.0),  # unknown, and a number
        ("1234", 1.0),  # nothing else
        ("??", 0.0),  # nothing but punctuation, and known
    ],
)
def test_share_of_words_that_fell_apart_or_are_unknown(
    encoder: TextEncoder, text: str, share: float
):
    assert encoder.unknown_share(text) == share


def test_only_words_that_the_model_reads_count(encoder: TextEncoder):
    # L = 12: twelve known words, and what is behind them is cut.
    assert encoder.unknown_share("oil " * 12 + "qzxw") == 0.0
    assert encoder.unknown_share("oil " * 3 + "qzxw") == 0.25


def test_a_word_that_is_cut_is_judged_whole(encoder: TextEncoder):
    assert encoder.unknown_share("qzxwvbnmqrtzpl") == 1.0  # 14 letters, of which 12 are read
    assert encoder.unknown_share("oil " * 11 + "qzxwvb") == 1 / 12


def test_both_ways_of_reading_a_text_agree(tokenizer: Any, texts: list[str]):
    by_word = TextEncoder(tokenizer.to_str(), sequence_length=12)
    whole = TextEncoder(tokenizer.to_str(), sequence_length=12)
    whole.token_cache = None
    for text in [*texts[:20], "zebra wheat", "wheats", "wheat, zebra quux!", "wheat " * 30]:
        assert by_word.unknown_share(text) == whole.unknown_share(text)
    assert by_word.unknown_share("zebra wheat quux wheat") == 0.5


def test_bytes_of_another_script_are_unknown_to_a_byte_level_tokenizer():
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate([*alphabet, "oi", "oil"])}
    tokenizer = Tokenizer(models.BPE(vocabulary, [("o", "i"), ("oi", "l")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    encoder = TextEncoder(tokenizer.to_str(), sequence_length=32)

    assert encoder.unknown_share("oil") == 0.0
    assert encoder.unknown_share("погода") == 1.0


def test_a_text_without_any_word_is_unknown():
    assert unknown_share("", [], Words([], [], []), unknown_ids={1}) == 1.0


def test_special_tokens_are_no_pieces_of_the_last_word():
    words = Words(first=[1], starts=[0], ends=[3])

    assert unknown_share("oil", [2, 7, 3], words, unknown_ids={1}, special_ids={2, 3}) == 0.0
    assert unknown_share("oil", [2, 7, 3], words, unknown_ids={1}) == 1.0
    two = Words(first=[0, 2], starts=[0, 10], ends=[3, 14])
    ids = [7, 3, 8]
    assert unknown_share("oil [SEP] rose", ids, two, unknown_ids={1}, special_ids={3}) == 0.0


def test_text_that_is_not_unicode_is_refused(encoder: TextEncoder):
    with pytest.raises(UnusableTextError, match="be text that the tokenizer takes"):
        encoder.unknown_share("oil \ud800")
