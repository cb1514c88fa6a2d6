"""A cut vocabulary splits the texts that it was cut for as before."""

from __future__ import annotations

import numpy as np
import pytest
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE, WordPiece

from tfdistill.students import cut_vocabulary, encode

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "oil", "gas", "price", "##s", "wheat", "##less"]


@pytest.fixture
def tokenizer() -> Tokenizer:
    model = WordPiece({word: row for row, word in enumerate(WORDS)}, unk_token="[UNK]")
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    return tokenizer


def test_the_kept_texts_are_split_into_the_same_old_ids(tokenizer: Tokenizer):
    texts = ["wheat prices", "Price"]
    small, kept_ids = cut_vocabulary(tokenizer, texts, sequence_length=8)
    assert kept_ids.tolist() == [0, 1, 2, 3, 6, 7, 8]
    new = encode(small, texts, sequence_length=8)
    np.testing.assert_array_equal(kept_ids[new], encode(tokenizer, texts, sequence_length=8))
    assert new[0].tolist() == [2, 6, 4, 5, 3, 0, 0, 0]


def test_words_that_were_cut_become_the_unknown_token(tokenizer: Tokenizer):
    small, _ = cut_vocabulary(tokenizer, ["wheat"], sequence_length=8)
    assert encode(small, ["oil wheat"], sequence_length=5)[0].tolist() == [2, 1, 4, 3, 0]


def test_what_lies_beyond_the_length_is_not_kept(tokenizer: Tokenizer):
    _, kept_ids = cut_vocabulary(tokenizer, ["oil gas wheat"], sequence_length=4)
    assert 8 not in kept_ids.tolist()  # [CLS] oil gas [SEP]


def test_the_given_tokenizer_is_left_as_it_was(tokenizer: Tokenizer):
    tokenizer.enable_padding(length=3)
    before = tokenizer.to_str()
    cut_vocabulary(tokenizer, ["oil"], sequence_length=8)
    encode(tokenizer, ["oil"], sequence_length=8)
    assert tokenizer.to_str() == before


def test_long_texts_are_cut_and_short_ones_padded_with_zero(tokenizer: Tokenizer):
    tokenizer.enable_padding(length=2)  # settings of the file are not used
    rows = encode(tokenizer, ["oil gas price wheat", ""], sequence_length=4)
    assert rows.tolist() == [[2, 4, 5, 3], [2, 3, 0, 0]]
    assert rows.dtype == np.int32


@pytest.mark.network
def test_a_real_tokenizer_keeps_every_training_text(minilm_folder, r8):
    tokenizer = Tokenizer.from_file(str(minilm_folder / "tokenizer.json"))
    texts = r8.train_texts[:200]
    small, kept_ids = cut_vocabulary(tokenizer, texts, sequence_length=64)
    assert small.get_vocab_size() == len(kept_ids) < 5000
    new = encode(small, texts, sequence_length=64)
    np.testing.assert_array_equal(kept_ids[new], encode(tokenizer, texts, sequence_length=64))


def test_something_else_than_a_tokenizer_is_refused():
    with pytest.raises(TypeError, match="`tokenizer` must be a tokenizers.Tokenizer.*str"):
        cut_vocabulary("tokenizer.json", ["oil"], sequence_length=8)


def test_no_texts_are_refused(tokenizer: Tokenizer):
    with pytest.raises(ValueError, match="`texts` must not be empty"):
        cut_vocabulary(tokenizer, [], sequence_length=8)


def test_a_tokenizer_of_another_kind_is_refused():
    with pytest.raises(ValueError, match="`tokenizer` must be a WordPiece tokenizer.*BPE"):
        cut_vocabulary(Tokenizer(BPE()), ["oil"], sequence_length=8)
