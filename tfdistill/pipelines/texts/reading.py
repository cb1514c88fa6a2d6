"""What a run says of its texts before it starts: how much of them is read, and how well."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tokenizers import Tokenizer

from tfdistill.bundles.long_texts import MOST_WINDOWS, how_much_is_read
from tfdistill.datasets.vocabulary_fit import measure_vocabulary
from tfdistill.pipelines.texts.rows import TextRows
from tfdistill.pipelines.texts.words import Words

__all__ = ["length_note", "reading_notes", "token_counts", "vocabulary_note"]

# MiniLM's vocabulary takes 1.04 to 1.16 tokens for a word of CLINC150, SNIPS, GoEmotions, film
# reviews, WikiText-2, Reuters and 20 Newsgroups, at most 1.25 over any 100 texts of them; it takes
# 1.5 for Vietnamese, 1.6 for Spanish, 1.7 for French, 2.0 for German and 4.4 for Greek.
TOKENS_PER_WORD = 1.4
# At most 0.0002 of the tokens of the English texts are unknown; 0.06 of Korean, 0.2 of Japanese.
UNKNOWN_SHARE = 0.02
_CUT = 0.003  # share of cut texts that is not worth a word
_LOOKED_AT = 2000  # texts


def token_counts(tokenizer: Tokenizer, texts: Sequence[str]) -> np.ndarray:
    """Counts the tokens of texts, special ones included, however long they are.

    Args:
        tokenizer: Any tokenizer; its own padding and truncation settings are not used.
        texts: The texts.

    Returns:
        Int array `[N]`.
    """
    own = Tokenizer.from_str(tokenizer.to_str())
    own.no_padding()
    own.no_truncation()
    return np.array([len(encoding) for encoding in own.encode_batch_fast(list(texts))], np.int64)


def reading_notes(words: Words, rows: TextRows) -> list[str]:
    """Says what a reader of the report should know of how the texts were read.

    Args:
        words: The texts as ids.
        rows: The texts.

    Returns:
        Sentences; none where all texts are read whole and their words are known.
    """
    lengths = token_counts(words.whole, rows.train.texts) - sum(map(len, words.around))
    notes = [
        length_note(lengths, room=words.room, long_texts=words.long_texts),
        vocabulary_note(words.whole, rows.train.texts),
    ]
    return [note for note in notes if note]


def length_note(
    lengths: Sequence[int] | np.ndarray, *, room: int, long_texts: str, flag: str = "--long-texts"
) -> str:
    """Says how many texts are longer than a row, and how much of these is read.

    Args:
        lengths: Tokens of each text without special ones, `[N]`.
        room: Tokens of a row without special ones.
        long_texts: "head", "head+tail" or "windows".
        flag: What changes it.

    Returns:
        A sentence, or "" where next to no text is longer.

    Example:
        >>> length_note([4, 8, 20, 5], room=5, long_texts="head")
        '50.0 % of the training texts are cut: they have more than 5 tokens, and of half of ...'
    """
    reading = how_much_is_read(lengths, room=room, long_texts=long_texts)
    longer = float(np.mean(np.asarray(lengths) > room))
    if longer <= _CUT:
        return ""
    if not reading.cut:
        return (
            f"{100 * longer:.1f} % of the training texts have more than {room} tokens and are read "
            f"whole, in windows. {flag} head and head+tail read a part of them, and less long."
        )
    what = {
        "head": "the beginning",
        "head+tail": "beginning and end",
        "windows": f"in {MOST_WINDOWS} windows",
    }[long_texts]
    more = {
        "head": f"{flag} head+tail reads the end, too, {flag} windows all of it",
        "head+tail": f"{flag} windows reads all of it",
        "windows": "a higher --effort reads longer windows",
    }[long_texts]
    return (
        f"{100 * reading.cut:.1f} % of the training texts are cut: they have more than {room} "
        f"tokens, and of half of them {100 * reading.read:.0f} % or less is read, {what}. {more}."
    )


def vocabulary_note(tokenizer: Tokenizer, texts: Sequence[str]) -> str:
    """Says where a vocabulary is far from the words of the texts.

    Args:
        tokenizer: The teacher's tokenizer.
        texts: The training texts; 2,000 of them, spread evenly, are looked at.

    Returns:
        A sentence, or "" where the words are known.
    """
    fit = measure_vocabulary(tokenizer, list(texts)[:: max(1, len(texts) // _LOOKED_AT)])
    if fit.tokens_per_word <= TOKENS_PER_WORD and fit.unknown_share <= UNKNOWN_SHARE:
        return ""
    return (
        f"The teacher hardly knows the words of these texts: {fit.tokens_per_word:.2f} tokens a "
        f"word (limit {TOKENS_PER_WORD}, English has 1.0 to 1.2), {100 * fit.unknown_share:.1f} % "
        f"of them unknown (limit {100 * UNKNOWN_SHARE:.0f} %). A teacher of their language or a "
        "multilingual one would read them: give the folder of such a BERT-like model as --teacher."
    )
