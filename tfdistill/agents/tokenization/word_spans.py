"""Where the words of a text are: in its characters and among the tokens of a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Words", "words_of"]


@dataclass(frozen=True, slots=True)
class Words:
    """Says where the words of a text are.

    Attributes:
        first: Place of each word's first token among the model's L tokens.
        starts: Its first character in the text.
        ends: The character after its last one.
    """

    first: list[int]
    starts: list[int]
    ends: list[int]


def words_of(
    word_ids: Sequence[int | None], offsets: Sequence[tuple[int, int]], *, length: int
) -> Words:
    """Collects the words among the first tokens of a text.

    Args:
        word_ids: Number of each token's word; None for special tokens, as `tokenizers` gives it.
        offsets: Characters [start, end) of each token.
        length: Number of tokens that the model sees.

    Returns:
        The words that begin among them, whole.

    Example:
        >>> words_of([None, 0, 0, 1, None], [(0, 0), (0, 4), (4, 7), (8, 9), (0, 0)], length=5)
        Words(first=[1, 3], starts=[0, 8], ends=[7, 9])
    """
    first: list[int] = []
    starts: list[int] = []
    ends: list[int] = []
    before: int | None = None
    for place, (word, (start, end)) in enumerate(zip(word_ids, offsets, strict=True)):
        if word is None:
            continue
        if word != before:
            if place >= length:
                break
            first.append(place)
            starts.append(start)
            ends.append(end)
            before = word
        else:
            ends[-1] = end
    return Words(first, starts, ends)
