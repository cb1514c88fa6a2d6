"""How much of a text a tokenizer does not know.

A word that a vocabulary lacks does not make a model say so: it becomes `[UNK]`, or falls apart into
letters, and the model answers from these as from any others. The share of such words tells
keyboard noise and other scripts from texts that the model can judge.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tfdistill.agents.tokenization.word_spans import Words

__all__ = ["unknown_share"]

_SHORT = 2  # characters of a piece that says next to nothing


def unknown_share(
    text: str,
    ids: Sequence[int],
    words: Words,
    *,
    unknown_ids: Collection[int],
    special_ids: Collection[int] = (),
) -> float:
    """Returns the share of words that a tokenizer does not know.

    A word is unknown if it holds `[UNK]`, or if it is split into several pieces that have at most
    2 characters on average. Random letters are split so, 88 to 97 of 100 of them, and of the words
    of English texts 1 to 3, by BERT's vocabulary, whole or cut to the words of a training set.
    A word of one token is known however short it is, so that "I" and a Chinese character count
    as words. Punctuation does not count, unless there is nothing else.

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
    spans = zip(words.first, behinds, words.starts, words.ends, strict=True)
    counted, others = [], []
    for first, behind, start, end in spans:
        pieces = [token for token in ids[first:behind] if token not in special_ids]
        word = text[start:end].strip()
        unknown = any(token in unknown_ids for token in pieces)
        unknown = unknown or 1 < len(pieces) >= len(word) / _SHORT
        (counted if any(map(str.isalnum, word)) else others).append(unknown)
    judged = counted or others
    return sum(judged) / len(judged) if judged else 1.0
