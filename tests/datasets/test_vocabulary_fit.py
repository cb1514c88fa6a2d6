"""Tokens a word and unknown tokens, by hand."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from tfdistill.datasets import measure_vocabulary
from tfdistill.datasets.vocabulary_fit import unknown_ids


@pytest.fixture
def tokenizer() -> Tokenizer:
    words = ["[PAD]", "[UNK]", "oil", "rose", "##s", "о", "##и", "##л", "天", "12", "%"]
    model = models.WordPiece({word: row for row, word in enumerate(words)}, unk_token="[UNK]")
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


@pytest.mark.parametrize(
    ("text", "tokens_per_word", "unknown_share", "words"),
    [
        ("oil rose", 1.0, 0.0, 2),
        ("oils rose", 1.5, 0.0, 2),
        ("oil rose 12 % 99", 1.0, 0.0, 2),  # numbers and punctuation are no words
        ("oil's quux", 1.0, 2 / 3, 3),  # oil, s and quux
        ("оил", 3.0, 0.0, 1),  # letter by letter
        ("天気", 2.0, 0.5, 1),  # two characters are a word
        ("12 %", 0.0, 0.0, 0),
        ("", 0.0, 0.0, 0),
    ],
)
def test_words_and_their_tokens_are_counted(
    tokenizer: Tokenizer, text: str, tokens_per_word: float, unknown_share: float, words: float
):
    found = measure_vocabulary(tokenizer, [text])
    assert found.tokens_per_word == pytest.approx(tokens_per_word)
    assert found.unknown_share == pytest.approx(unknown_share)
    assert found.words == words


def test_a_vowel_sign_ends_no_word(tokenizer: Tokenizer):
    assert measure_vocabulary(tokenizer, ["दिल्ली में"]).words == 2


def test_texts_are_weighed_by_their_words_and_the_tokenizer_is_left_as_it_was(tokenizer: Tokenizer):
    tokenizer.enable_truncation(2)
    before = tokenizer.to_str()
    found = measure_vocabulary(tokenizer, ["oil rose oil rose", "oils quux"])
    assert (found.tokens_per_word, found.unknown_share) == (7 / 6, pytest.approx(1 / 7))
    assert tokenizer.to_str() == before


def test_one_text_is_refused_where_a_list_is_asked_for(tokenizer: Tokenizer):
    with pytest.raises(TypeError, match=r"`texts` must be a list of str\. Received: texts='oil'\."):
        measure_vocabulary(tokenizer, "oil")


def test_the_unknown_token_is_found_in_each_kind_of_model():
    assert unknown_ids({"model": {"unk_id": 3, "vocab": [["a", -1.0]]}}) == {3}
    assert unknown_ids({"model": {"unk_token": None, "vocab": {"a": 0}}}) == set()
