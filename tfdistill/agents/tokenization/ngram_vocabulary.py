"""A vocabulary of n-grams: which can be listed, and what one takes in a file.

Words and pairs of words begin with "=". In `tokenizer.json` the n-grams stand in one text, with a
mark between them that is part of none.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from tfdistill.arguments import check_int

__all__ = [
    "LEAST_BYTES",
    "MOST_ROWS",
    "SEPARATOR",
    "bytes_of",
    "check_characters",
    "check_vocabulary",
    "unlisted",
]

MOST_ROWS = 2**22
LEAST_BYTES = 2  # of an n-gram: a character and the separator
# Marks are words of their own, so no n-gram has one inside, and that of this mark is not listed.
SEPARATOR = "|"
_LONGEST_CHARACTERS, _LONGEST_WORD = 8, 64


def check_characters(characters: Any) -> tuple[int, int]:
    """Returns the shortest and the longest length of character n-grams, or refuses them."""
    try:
        shortest, longest = characters
    except (TypeError, ValueError) as error:
        raise TypeError(
            "`characters` must be two ints, the shortest and the longest n-gram. Received: "
            f"characters={characters!r}. (2, 5) is usual."
        ) from error
    most = _LONGEST_CHARACTERS
    shortest = check_int(shortest, argument="characters[0]", at_least=1, at_most=most)
    longest = check_int(longest, argument="characters[1]", at_least=shortest, at_most=most)
    return shortest, longest


def check_vocabulary(
    vocabulary: Sequence[str], *, words: int, characters: tuple[int, int]
) -> tuple[str, ...]:
    """Returns the n-grams of a vocabulary, or says which is wrong."""
    if isinstance(vocabulary, str) or not isinstance(vocabulary, Sequence):
        raise TypeError(
            "`vocabulary` must be a list of n-grams. Received: vocabulary of "
            f"{type(vocabulary).__name__}."
        )
    if not 1 <= len(vocabulary) < MOST_ROWS:
        raise ValueError(
            f"`vocabulary` must have 1 to {MOST_ROWS - 1} n-grams. Received: {len(vocabulary)}."
        )
    for index, ngram in enumerate(vocabulary):
        if not isinstance(ngram, str) or not _can_occur(ngram, words, characters):
            raise ValueError(
                f"`vocabulary` must hold n-grams: '=' with one to {words} words, or "
                f"{characters[0]} to {characters[1]} characters of a word. Received: "
                f"vocabulary[{index}]={ngram!r:.100}."
            )
    if len(set(vocabulary)) < len(vocabulary):
        twice, _ = Counter(vocabulary).most_common(1)[0]
        raise ValueError(f"`vocabulary` must list each n-gram once. Received: {twice!r} twice.")
    return tuple(vocabulary)


def _can_occur(ngram: str, words: int, characters: tuple[int, int]) -> bool:
    if unlisted(ngram):
        return False
    if ngram.startswith("="):
        parts = ngram[1:].split(" ")
        return len(parts) <= words and all(part and len(part.split()) == 1 for part in parts)
    return characters[0] <= len(ngram) <= characters[1] and len(ngram.split()) == 1


def unlisted(ngram: str) -> bool:
    """Says of an n-gram that no vocabulary lists it: it has the separator, or is very long."""
    return SEPARATOR in ngram or len(ngram) > 2 * _LONGEST_WORD


def bytes_of(ngram: str) -> int:
    """Counts what an n-gram adds to `tokenizer.json`; the quotes of JSON stand for a separator."""
    return len(json.dumps(ngram, ensure_ascii=False).encode()) - 1
