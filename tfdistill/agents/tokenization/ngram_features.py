"""The n-grams of a text: its words, pairs of words, and the character n-grams inside each word.

Words are those of BERT: lower case, accents stripped, cut at spaces and around each punctuation
mark. (Chinese characters are not cut apart: the character n-grams do that.) The character n-grams
are those of scikit-learn's `char_wb`, with a space at both ends of the word, without the one that
is the whole word and so would say the same as the word.
"""

from __future__ import annotations

from collections.abc import Iterator

from tokenizers import normalizers, pre_tokenizers

__all__ = ["character_ngrams", "words_in"]

_NORMALIZER = normalizers.BertNormalizer(
    clean_text=True, handle_chinese_chars=False, strip_accents=True, lowercase=True
)
_PRE_TOKENIZER = pre_tokenizers.BertPreTokenizer()


def words_in(piece: str) -> tuple[str, ...]:
    """Cuts a piece of text into words, as BERT's normalizer and pre-tokenizer do.

    Args:
        piece: A piece of text, such as `str.split` gives.

    Returns:
        Its words. A punctuation mark is a word of its own.

    Raises:
        UnicodeError: If the piece cannot be written in UTF-8 (half of a surrogate pair).

    Example:
        >>> words_in("Café-Öl"), words_in("what's")
        (('cafe', '-', 'ol'), ('what', "'", 's'))
    """
    if piece.isascii() and piece.isalnum():
        return (piece.lower(),)
    normalized = _NORMALIZER.normalize_str(piece)
    return tuple(word for word, _ in _PRE_TOKENIZER.pre_tokenize_str(normalized))


def character_ngrams(word: str, *, shortest: int, longest: int) -> Iterator[str]:
    """Lists the character n-grams of a word with a space at both of its ends.

    Args:
        word: The word. One of a single character has none that say more than the word does.
        shortest: Characters of the shortest n-gram, spaces included.
        longest: Characters of the longest one.

    Yields:
        The n-grams, the shorter ones first, each as often as it occurs.

    Example:
        >>> list(character_ngrams("oil", shortest=2, longest=5))
        [' o', 'oi', 'il', 'l ', ' oi', 'oil', 'il ', ' oil', 'oil ']

    References:
        Bojanowski et al. "Enriching Word Vectors with Subword Information", 2017, section 3.2.
        https://arxiv.org/abs/1607.04606
    """
    if len(word) < 2:
        return
    padded = f" {word} "
    for length in range(shortest, min(longest, len(padded) - 1) + 1):
        for start in range(len(padded) - length + 1):
            yield padded[start : start + length]
