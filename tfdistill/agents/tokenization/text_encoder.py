"""From a text to the token ids that a student takes, as in training.

A tokenizer's own settings for truncation and padding are ignored, because a `tokenizer.json` often
carries those of another model. Here a text is cut to L ids (keeping what the tokenizer adds at the
end, such as `[SEP]`) and filled up with id 0. What is kept of a longer text is the bundle's own:
`tfdistill.bundles.long_texts`.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import tokenizers

from tfdistill.agents.tokenization.token_cache import TokenCache, TokenizedText, tokenizes_by_word
from tfdistill.agents.tokenization.unknown_words import unknown_share
from tfdistill.agents.tokenization.word_spans import Words, words_of
from tfdistill.bundles.long_texts import check_long_texts, content_of, kept
from tfdistill.datasets.vocabulary_fit import unknown_ids

__all__ = ["TextEncoder", "UnusableTextError", "check_text", "check_texts", "panics_as_errors"]


class UnusableTextError(ValueError):
    """Says that one text has nothing a model could work with, and which one it is.

    Attributes:
        text: The text.
        reason: What a text must be, as the end of a sentence.
        argument: How the caller named the text, such as "texts[3]".
    """

    def __init__(self, text: str, reason: str, argument: str = "text") -> None:
        # All three are kept as `args`, so that the error survives pickling between processes.
        super().__init__(text, reason, argument)
        self.text = text
        self.reason = reason
        self.argument = argument

    def __str__(self) -> str:
        shown = self.text if len(self.text) <= 80 else self.text[:80] + "…"
        return (
            f"`{self.argument}` must {self.reason}. Received: {self.argument}={shown!r}. "
            "Leave it out, or pass return_exceptions=True to get an error in its place."
        )

    def named(self, argument: str) -> UnusableTextError:
        """Returns the same error with the caller's name for the text."""
        return UnusableTextError(self.text, self.reason, argument)


class TextEncoder:
    """Turns a text into L token ids.

    Args:
        tokenizer_json: A tokenizer as `tokenizers` saves it, the content of `tokenizer.json`.
        sequence_length: L, ids per row.
        long_texts: What is read of a text of more than L ids: its "head", its "head+tail", or all
            of it in "windows".

    Attributes:
        token_cache: Remembers the last text of `encode_words`, of which the next one is often a
            part; encoders of one tokenizer can share it. None for a tokenizer that does not read a
            text word by word.

    Raises:
        ValueError: If it is not a tokenizer that the installed `tokenizers` reads.

    Example:
        >>> from tokenizers import Tokenizer, models, pre_tokenizers
        >>> words = {"[PAD]": 0, "[UNK]": 1, "oil": 2, "rose": 3}
        >>> tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
        >>> tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        >>> encoder = TextEncoder(tokenizer.to_str(), sequence_length=4)
        >>> encoder.encode("oil prices rose").tolist()
        [2, 1, 3, 0]
        >>> encoder.encode("rose oil oil oil oil").tolist()
        [3, 2, 2, 2]
        >>> encoder = TextEncoder(tokenizer.to_str(), sequence_length=2, long_texts="head+tail")
        >>> encoder.encode("oil prices rose").tolist()
        [2, 3]
    """

    def __init__(
        self, tokenizer_json: str, *, sequence_length: int, long_texts: str = "head"
    ) -> None:
        self.long_texts = check_long_texts(long_texts)
        try:
            with panics_as_errors():
                self._tokenizer = tokenizers.Tokenizer.from_str(tokenizer_json)
                self._tokenizer.no_padding()
                self._tokenizer.no_truncation()
                if long_texts == "head":
                    self._tokenizer.enable_truncation(max_length=sequence_length)
        except Exception as error:  # the library raises plain Exception
            raise ValueError(
                f"`tokenizer_json` must be a tokenizer that `tokenizers` {tokenizers.__version__} "
                f"reads. Received: {len(tokenizer_json)} characters that are not ({error}). Save "
                "the bundle again, or upgrade `tokenizers`."
            ) from error
        self.sequence_length = sequence_length
        special = {
            token_id
            for token_id, token in self._tokenizer.get_added_tokens_decoder().items()
            if token.special
        }
        self._unknown = frozenset(unknown_ids(json.loads(tokenizer_json)))
        self._special = frozenset(special - self._unknown)
        self._without_meaning = self._special | self._unknown
        self.token_cache = TokenCache(tokenizer_json) if tokenizes_by_word(tokenizer_json) else None

    def encode(self, text: str) -> np.ndarray:
        """Returns the ids of one text, those of the first window if it is read in several.

        Args:
            text: The text.

        Returns:
            Ids, int32 array of shape `[L]`, filled up with 0.

        Raises:
            UnusableTextError: If the text cannot be tokenized, or none of the tokens that are read
                is a word or a part of a word that the tokenizer knows.
        """
        if self.long_texts != "head":
            return self.encode_rows(text)[0]
        tokenized = self._tokenized(text)
        if tokenized is None:
            return self._row(text, self._encoding(text).ids)
        return self._row(text, tokenized.first(self.sequence_length)[0])

    def encode_rows(self, text: str) -> np.ndarray:
        """Returns all rows of ids of one text: several where a long one is read in windows.

        Args:
            text: The text.

        Returns:
            Ids, int32 array of shape `[K, L]`, K ≥ 1.

        Raises:
            UnusableTextError: As `encode`.
        """
        if self.long_texts == "head":
            return self.encode(text)[None]
        whole = self._whole(text)
        rows = [whole.joined(ranges)[0] for ranges in self._kept(whole)]
        if self._without_meaning.issuperset(token for row in rows for token in row):
            raise self._unusable(text)
        filled = np.zeros((len(rows), self.sequence_length), dtype=np.int32)
        for target, ids in zip(filled, rows, strict=True):
            target[: len(ids)] = ids[: self.sequence_length]
        return filled

    def encode_words(self, text: str) -> tuple[np.ndarray, Words]:
        """Returns the ids of one text, and where its words are; of the first window of several.

        Args:
            text: The text.

        Returns:
            Ids as `encode` gives them, and the words that begin among them.

        Raises:
            UnusableTextError: As `encode`.
        """
        ids, words = self._read(text)
        return self._row(text, ids), words

    def unknown_share(self, text: str) -> float:
        """Returns the share of a text's words that the tokenizer does not know, in [0, 1].

        Only the words that begin among the tokens that the model reads count.

        Args:
            text: The text.

        Raises:
            UnusableTextError: If the text cannot be tokenized.
        """
        tokenized = self._tokenized(text)
        if self.long_texts != "head":
            whole = self._whole(text)
            ids, words = whole.whole_words(own for row in self._kept(whole) for own in row)
        elif tokenized is None:
            ids, words = self._read(text)
        elif len(tokenized.ids) <= self.sequence_length:
            ids, words = tokenized.ids, tokenized.words
        else:  # the last word may go on behind the cut
            words = tokenized.first(self.sequence_length)[1]
            ids = tokenized.ids[: ([*tokenized.words.first, None])[len(words.first)]]
        return unknown_share(text, ids, words, unknown_ids=self._unknown, special_ids=self._special)

    def _read(self, text: str) -> tuple[list[int], Words]:
        if self.long_texts != "head":
            whole = self._whole(text)
            ids, words = whole.joined(self._kept(whole)[0])
            count = bisect_left(words.first, self.sequence_length)
            return ids, Words(words.first[:count], words.starts[:count], words.ends[:count])
        tokenized = self._tokenized(text)
        if tokenized is not None:
            return tokenized.first(self.sequence_length)
        encoding = self._encoding(text)
        words = words_of(encoding.word_ids, encoding.offsets, length=self.sequence_length)
        return encoding.ids, words

    def some_words(self) -> str:
        """Returns about L words from all over the vocabulary, as one text."""
        size = self._tokenizer.get_vocab_size()
        ids = list(range(0, size, max(1, size // self.sequence_length)))
        with panics_as_errors():
            return self._tokenizer.decode(ids, skip_special_tokens=True)

    def _tokenized(self, text: str) -> TokenizedText | None:
        """Reads the text word by word; None where that is not possible."""
        if self.token_cache is None:
            return None
        with _explained(text):
            return self.token_cache.read(text)

    def _whole(self, text: str) -> TokenizedText:
        """Reads the text without cutting it."""
        tokenized = self._tokenized(text)
        if tokenized is not None:
            return tokenized
        encoding = self._encoding(text)
        words = words_of(encoding.word_ids, encoding.offsets, length=len(encoding.ids))
        content = content_of(encoding.special_tokens_mask)
        return TokenizedText(text, encoding.ids, words, content)

    def _kept(self, whole: TokenizedText) -> tuple[tuple[tuple[int, int], ...], ...]:
        start, behind = whole.content
        room = self.sequence_length - (len(whole.ids) - (behind - start))
        return kept(behind - start, room=max(0, room), long_texts=self.long_texts)

    def _encoding(self, text: str) -> tokenizers.Encoding:
        with _explained(text):
            return self._tokenizer.encode(text)

    def _row(self, text: str, ids: list[int]) -> np.ndarray:
        ids = ids[: self.sequence_length]
        if self._without_meaning.issuperset(ids):
            raise self._unusable(text)
        row = np.zeros(self.sequence_length, dtype=np.int32)
        row[: len(ids)] = ids
        return row

    def _unusable(self, text: str) -> UnusableTextError:
        read = {
            "head": f"among its first {self.sequence_length} tokens",
            "head+tail": f"among its first and last {self.sequence_length} tokens",
            "windows": "in one of its windows",
        }
        return UnusableTextError(
            text, f"have a word that the tokenizer knows {read[self.long_texts]}"
        )


@contextmanager
def _explained(text: str) -> Iterator[None]:
    """Says of which text it was that the tokenizer failed."""
    try:
        with panics_as_errors():
            yield
    except Exception as error:  # the library raises plain Exception
        raise UnusableTextError(
            text, f"be text that the tokenizer takes ({' '.join(str(error).split())})"
        ) from error


@contextmanager
def panics_as_errors() -> Iterator[None]:
    """Turns a panic of the Rust library into a RuntimeError.

    A panic arrives as a `BaseException`, which would end a worker's thread or a worker as Ctrl-C
    does, though it is one text's fault: a regular expression that backtracks too long is enough.
    """
    try:
        yield
    except (Exception, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        raise RuntimeError(f"tokenizers panicked: {error}") from error


def check_texts(texts: Iterable[str]) -> list[str]:
    """Returns texts as a list, or refuses them: several, each a str.

    Raises:
        TypeError: If `texts` is one str, not iterable, or holds something else than str.
        ValueError: If `texts` is empty.
    """
    if isinstance(texts, str | bytes) or not isinstance(texts, Iterable):
        raise TypeError(
            "`texts` must be a list of str. Received: "
            f"texts={texts!r} ({type(texts).__name__}). Put a single text in a list."
        )
    checked = [check_text(text, argument=f"texts[{index}]") for index, text in enumerate(texts)]
    if not checked:
        raise ValueError("`texts` must hold at least one text. Received: texts=[].")
    return checked


def check_text(text: str, *, argument: str = "text") -> str:
    """Returns a text, or refuses what is not a str."""
    if not isinstance(text, str):
        raise TypeError(
            f"`{argument}` must be a str. Received: {argument}={text!r} ({type(text).__name__})."
        )
    return text
