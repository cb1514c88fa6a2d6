"""Rows and labels of running text and of conversations."""

from __future__ import annotations

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from tfdistill.language import IGNORED, next_tokens, pack_texts, prompted_rows


@pytest.fixture
def tokenizer() -> Tokenizer:
    words = {"<end>": 0, "a": 1, "b": 2, "c": 3}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<end>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


def test_texts_stand_behind_each_other_and_the_rest_is_left_out(tokenizer):
    rows = pack_texts(tokenizer, ["a b c", "b", "c c"], length=3, separator=0)
    assert rows.tolist() == [[0, 1, 2], [3, 0, 2], [0, 3, 3]]


def test_labels_are_the_next_ids_and_the_prompts_are_ignored():
    rows = np.array([[5, 6, 7, 8], [5, 6, 7, 8], [1, 2, 3, 4]])
    labels = next_tokens(rows, prompt_lengths=[0, 2, 4])

    assert labels.tolist() == [[6, 7, 8, -1], [-1, 7, 8, -1], [-1, -1, -1, -1]]
    assert next_tokens(rows)[1].tolist() == [6, 7, 8, IGNORED]


def test_answers_alone_are_labels_and_one_end_is_learned():
    rows, labels = prompted_rows([[5, 6], [4]], [[7], [8, 9, 9, 9]], length=4, end=0)

    assert rows.tolist() == [[5, 6, 7, 0], [4, 8, 9, 9]]
    assert labels.tolist() == [[-1, 7, 0, -1], [8, 9, 9, -1]]


def test_bad_arguments_are_told(tokenizer):
    with pytest.raises(TypeError, match="`texts` must be a list of str"):
        pack_texts(tokenizer, "a b", length=2, separator=0)
    with pytest.raises(ValueError, match="`length` must be an int of at least 2"):
        pack_texts(tokenizer, ["a b"], length=1, separator=0)
    with pytest.raises(ValueError, match="must fill at least one row of 9 ids"):
        pack_texts(tokenizer, ["a b"], length=9, separator=0)
    with pytest.raises(ValueError, match=r"`prompt_lengths` must hold one int in \[0, 2\]"):
        next_tokens(np.array([[1, 2]]), prompt_lengths=[3])
    with pytest.raises(ValueError, match="`answers` must have one entry for each prompt"):
        prompted_rows([[1]], [], length=2, end=0)
