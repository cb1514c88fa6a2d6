"""How much of a text a tokenizer does not know.

A word that a vocabulary lacks does not make a model say so: it becomes `[UNK]`, or falls apart into
letters, and the model answers from these as from any others. The share of such words tells
keyboard noise and other scripts from texts that the model can judge.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

from tfdistill.agents.tokenization.word_spans import Words

__all__ = ["unknown_share"]

_SHORT = 2  # characters of a piece that says next to nothing


def unknown_share(
    text: str,
    ids: Sequence[int],
    words: Words,
    *,
    unknown_ids: Set[int],
    special_ids: Set[int] = frozenset(),
) -> float:
    """Returns the share of words that a tokenizer does not know.

    A word is unknown if it holds `[UNK]`, or if it is split into several pieces that have at most
    2 characters on average. Of words of random letters 88 to 96 of 100 are, by BERT's vocabulary,
    whole or cut to a training set; of the words of questions to an assistant (CLINC150) 1 or 2, and
    of news with its abbreviations (Reuters R8) 12 in the median text. A word of one token is known
    however short it is, so that "I" and a Chinese character count as words. Numbers, which fall
    apart in any text, and punctuation do not count, unless there is nothing else.

    Args:
        text: The text.
        ids: Its tokens, not padded.
        words: Its words among them.
        unknown_ids: Ids of tokens that stand for something unknown.
        special_ids: Ids of tokens that belong to no word, such as `[SEP]`.

    Returns:
        A number in [0, 1]; 1 for a text without any word.

    Example:
        >>> words = Words(first=[0, 1], starts=[0, 4], ends=[3, 9])
        >>> unknown_share("oil qzxwv", [7, 2, 3, 4], words, unknown_ids={1})   # qzxwv: 3 pieces
        0.5
    """
    behinds = [*words.first, len(ids)][1:]
    some_unknown = not unknown_ids.isdisjoint(ids)
    counted = unknown = others = other_unknown = 0
    for first, behind, start, end in zip(
        words.first, behinds, words.starts, words.ends, strict=True
    ):
        word, pieces = text[start:end].strip(), behind - first
        if pieces > 1:
            pieces -= sum(token in special_ids for token in ids[first:behind])
        lost = 1 < pieces and len(word) <= _SHORT * pieces
        lost = lost or (some_unknown and not unknown_ids.isdisjoint(ids[first:behind]))
        if word.isalpha() or any(map(str.isalpha, word)):
            counted += 1
            unknown += lost
        else:
            others += 1
            other_unknown += lost
    if counted:
        return unknown / counted
    return other_unknown / others if others else 1.0
