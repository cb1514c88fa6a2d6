"""Opens what is in a bundle's `tokenizer.json`: a tokenizer, or the n-grams of a bag of words."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from tfdistill.agents.tokenization.ngrams import NGrams, is_ngrams
from tfdistill.agents.tokenization.text_encoder import TextEncoder
from tfdistill.agents.tokenization.word_spans import Words

__all__ = ["Encoder", "open_encoder"]


class Encoder(Protocol):
    """Turns a text into the L ids that a model takes.

    Attributes:
        sequence_length: L.
    """

    sequence_length: int

    def encode(self, text: str) -> np.ndarray:
        """Returns the ids of one text, int32 `[L]`, or raises `UnusableTextError`."""

    def encode_rows(self, text: str) -> np.ndarray:
        """Returns all rows of ids of one text, int32 `[K, L]`: several if it is read in windows."""

    def encode_words(self, text: str) -> tuple[np.ndarray, Words]:
        """Returns the ids of one text, and where its words begin among them."""

    def unknown_share(self, text: str) -> float:
        """Returns the share of a text's words that it does not know, in [0, 1]."""

    def some_words(self) -> str:
        """Returns a text that the model can answer; "" if none is known."""


def open_encoder(content: str, *, sequence_length: int, long_texts: str = "head") -> Encoder:
    """Opens an encoder from the content of a `tokenizer.json`, which says what it is.

    Args:
        content: The content.
        sequence_length: L, the number of ids that the model takes.
        long_texts: What is read of a text that is longer, as the bundle states it.

    Returns:
        `NGrams` or a `TextEncoder`.

    Raises:
        ValueError: If it is neither, or n-grams that were made for another length.

    Example:
        >>> open_encoder(NGrams(num_rows=9, sequence_length=4).to_json(), sequence_length=4)
        NGrams(kind='hashed', num_rows=9, sequence_length=4)
    """
    if not is_ngrams(content):
        return TextEncoder(content, sequence_length=sequence_length, long_texts=long_texts)
    ngrams = NGrams.from_json(content, long_texts=long_texts)
    if ngrams.sequence_length != sequence_length:
        raise ValueError(
            f"`content` must hold n-grams for the {sequence_length} ids that the model takes. "
            f"Received: {ngrams}. Build the model with the `sequence_length` of its n-grams."
        )
    return ngrams
