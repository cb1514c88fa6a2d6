"""A byte-level BPE vocabulary, cut: same words as before, no text lost, the teacher's rows."""

from __future__ import annotations

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from tfdistill.students import cut_byte_bpe

TEXTS = ["oil prices rose sharply after the meeting", "oil exports fell after prices rose"] * 3


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=["<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*TEXTS, "wheat harvest in the north grew " * 4], trainer)
    return tokenizer


def test_the_domains_texts_are_split_as_before(tokenizer):
    small, kept_ids = cut_byte_bpe(tokenizer, TEXTS, size=320)
    old = tokenizer.encode(TEXTS[0]).ids

    assert small.get_vocab_size() == len(kept_ids) < tokenizer.get_vocab_size()
    assert kept_ids[small.encode(TEXTS[0]).ids].tolist() == old
    assert np.all(np.diff(kept_ids) > 0)
    assert kept_ids[0] == 0  # the special token


@pytest.mark.parametrize("text", ["harvest", "Zürich ☕ 12\n", "", "<|end|>", "漢字"])
def test_every_other_text_comes_back_whole(tokenizer, text):
    small, _ = cut_byte_bpe(tokenizer, TEXTS, size=262)
    assert small.decode(small.encode(text).ids, skip_special_tokens=False) == text
    assert small.get_vocab_size() <= 262


def test_the_most_used_tokens_stay(tokenizer):
    small, _ = cut_byte_bpe(tokenizer, [*["oil"] * 9, "wheat"], size=257 + 2)
    assert small.encode("oil").tokens == ["oil"]
    assert len(small.encode("wheat").tokens) > 1


def test_bad_arguments_are_told(tokenizer):
    with pytest.raises(TypeError, match="`tokenizer` must be a tokenizers.Tokenizer"):
        cut_byte_bpe("tokenizer", TEXTS, size=300)
    with pytest.raises(TypeError, match="`texts` must be a list of str"):
        cut_byte_bpe(tokenizer, "oil", size=300)
    with pytest.raises(ValueError, match="`texts` must not be empty"):
        cut_byte_bpe(tokenizer, [], size=300)
    with pytest.raises(ValueError, match="`size` must be an int of at least 257"):
        cut_byte_bpe(tokenizer, TEXTS, size=10)
    words = Tokenizer(models.WordPiece({"[UNK]": 0}, unk_token="[UNK]"))
    with pytest.raises(ValueError, match="`tokenizer` must be a byte-level BPE tokenizer"):
        cut_byte_bpe(words, TEXTS, size=300)
