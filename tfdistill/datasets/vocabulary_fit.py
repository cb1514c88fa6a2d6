"""Whether a vocabulary was made for texts: into how many pieces their words fall.

A pretrained teacher knows whole words of its language. Of another language it sees letters, and of
many scripts nothing but `[UNK]`; it answers all the same, and nothing says why it is wrong.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer

__all__ = ["VocabularyFit", "measure_vocabulary", "unknown_ids"]

_LETTERS = re.compile(r"[^\W\d_]+")
# Scripts that put no spaces between words, in which two characters are about a word: Thai, Lao,
# Burmese, Khmer, Hiragana and Katakana, ideographs.
_UNSPACED = re.compile(
    "[\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ede\u1000-\u109f\u1780-\u17d3"
    "\u3041-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
_CHUNK = 1024  # texts that are tokenized together


@dataclass(frozen=True)
class VocabularyFit:
    """How a tokenizer reads texts.

    Attributes:
        tokens_per_word: Mean number of tokens of a word, the unknown ones included; 0 without a
            word.
        unknown_share: Share of the words' tokens that stand for something unknown, in [0, 1].
        words: Number of words.
    """

    tokens_per_word: float
    unknown_share: float
    words: float


def measure_vocabulary(tokenizer: Tokenizer, texts: Sequence[str]) -> VocabularyFit:
    """Counts the tokens of words, and those that are unknown.

    A word is a run of letters; numbers and punctuation do not count, since they fall apart in any
    language. Where a script has no spaces between words, two characters count as one word.

    Args:
        tokenizer: Any tokenizer; its own padding and truncation settings are not used.
        texts: The texts.

    Returns:
        The figures.

    Raises:
        TypeError: If `texts` is one str.

    Example:
        >>> from tokenizers import models, pre_tokenizers
        >>> words = {"[PAD]": 0, "[UNK]": 1, "oil": 2, "rose": 3, "##s": 4}
        >>> tokenizer = Tokenizer(models.WordPiece(words, unk_token="[UNK]"))
        >>> tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        >>> measure_vocabulary(tokenizer, ["oils rose 12 %", "öl rose"])
        VocabularyFit(tokens_per_word=1.25, unknown_share=0.2, words=4.0)
    """
    if isinstance(texts, str):
        raise TypeError(
            f"`texts` must be a list of str. Received: texts={texts!r}. Did you mean [{texts!r}]?"
        )
    own = Tokenizer.from_str(tokenizer.to_str())
    own.no_padding()
    own.no_truncation()
    unknown = unknown_ids(json.loads(own.to_str()))
    tokens = lost = 0
    words = 0.0
    for start in range(0, len(texts), _CHUNK):
        chunk = list(texts[start : start + _CHUNK])
        for text, encoding in zip(
            chunk, own.encode_batch(chunk, add_special_tokens=False), strict=True
        ):
            words += _count_words(text)
            for token, (begin, end) in zip(encoding.ids, encoding.offsets, strict=True):
                if any(map(str.isalpha, text[begin:end])):
                    tokens += 1
                    lost += token in unknown
    return VocabularyFit(
        tokens_per_word=tokens / words if words else 0.0,
        unknown_share=lost / tokens if tokens else 0.0,
        words=words,
    )


def _count_words(text: str) -> float:
    if not text.isascii():  # a vowel sign or an accent that stands apart ends no word
        text = "".join(one for one in text if not unicodedata.category(one).startswith("M"))
    spaced, unspaced = _UNSPACED.subn(" ", text)
    return len(_LETTERS.findall(spaced)) + unspaced / 2


def unknown_ids(tokenizer: Mapping[str, Any]) -> set[int]:
    """Finds the id of unknown words; the models store it in different ways.

    Args:
        tokenizer: The content of a `tokenizer.json`.

    Example:
        >>> unknown_ids({"model": {"unk_token": "?", "vocab": {"a": 0, "?": 1}}})
        {1}
    """
    model = tokenizer["model"]
    if model.get("unk_id") is not None:  # Unigram
        return {int(model["unk_id"])}
    unknown = model.get("unk_token")  # WordPiece, WordLevel, BPE
    vocabulary = model["vocab"]
    return {vocabulary[unknown]} if unknown in vocabulary else set()
