"""From a text to the rows of a bag of n-grams: hashed, or listed in a vocabulary.

==========  ======================================  =======================================
kind        row of an n-gram                        `tokenizer.json`
==========  ======================================  =======================================
"hashed"    1 + CRC-32 of it mod (R − 1)            some 150 bytes; n-grams share rows
"listed"    its place in the vocabulary, from 1     the n-grams; unknown ones are dropped
==========  ======================================  =======================================

The n-grams are those of `ngram_features`: words, pairs of words, and characters 2 to 5 inside a
word. What is hashed or listed is the n-gram in UTF-8; words and pairs have "=" before them, so
that the word "=oil" differs from the "oil" in "=boiler". The hash is that of `zlib.crc32`, equal
on every machine. Row 0 is padding.
"""

from __future__ import annotations

import itertools
import json
import zlib
from collections.abc import Iterable, Sequence
from sys import byteorder
from typing import Any, NamedTuple

import numpy as np

from tfdistill.agents.tokenization.ngram_features import character_ngrams, words_in
from tfdistill.agents.tokenization.ngram_selection import choose_ngrams
from tfdistill.agents.tokenization.ngram_vocabulary import (
    LEAST_BYTES,
    MOST_ROWS,
    SEPARATOR,
    bytes_of,
    check_characters,
    check_vocabulary,
    unlisted,
)
from tfdistill.agents.tokenization.text_encoder import (
    UnusableTextError,
    check_texts,
    panics_as_errors,
)
from tfdistill.agents.tokenization.word_spans import Words
from tfdistill.arguments import check_int
from tfdistill.bundles.long_texts import check_long_texts, cut_rows

__all__ = ["NGrams", "is_ngrams"]

_FORMAT = 1
_LONGEST_ROW = 2**16
_MOST_PIECES, _LONGEST_PIECE = 2**16, 64  # that are remembered: some 30 MB at most
_KEYS = {"tfdistill", "format", "kind", "words", "characters", "sequence_length"}
_KEYS_OF = {"hashed": _KEYS | {"num_rows"}, "listed": _KEYS | {"vocabulary"}}


class _Piece(NamedTuple):
    """What lies between two spaces of a text.

    Attributes:
        first: Its first word; "" if it has none.
        last: Its last word.
        rows: The rows of its n-grams, as the bytes of int32.
    """

    first: str
    last: str
    rows: bytes


class NGrams:
    """Turns a text into the rows of its n-grams, as `bag_of_words` takes them.

    It takes the place of a tokenizer: `save_bundle(tokenizer=...)` writes it as `tokenizer.json`,
    and an agent opens it from there. Make one by `NGrams.fit`, which lists the n-grams that a
    training set calls for, or by `num_rows` alone, which hashes.

    Not for several threads at once.

    Args:
        num_rows: R, rows of a hashed bag, row 0 for padding included. None for a listed one.
        vocabulary: The n-grams of a listed bag in the order of their rows, from row 1; words and
            pairs of words begin with "=". None for a hashed one.
        sequence_length: L, rows per text. A longer text is cut to L n-grams that are known, a
            shorter one is filled up with 0. `lengths` says how many texts that meets.
        words: 1 for words, 2 for pairs of words as well.
        characters: Characters of the shortest and the longest n-gram inside a word.
        long_texts: What is read of a text of more than L n-grams: its "head", its "head+tail", or
            all of it in "windows". A bundle keeps it in its manifest, not in the file of the
            n-grams.

    Attributes:
        kind: "hashed" or "listed".
        num_rows: R, one more than the largest row.
        sequence_length: L.
        vocabulary: The listed n-grams; empty if hashed.

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If a number is out of range, both or neither of `num_rows` and `vocabulary` are
            given, or an n-gram is listed twice or could not occur.

    Example:
        >>> ngrams = NGrams(vocabulary=["=oil", "=rose", "=oil rose", "se "], sequence_length=6)
        >>> ngrams.encode("Oil rose!").tolist()
        [1, 3, 2, 4, 0, 0]
        >>> NGrams(num_rows=1000, sequence_length=6).encode("oil").tolist()
        [944, 330, 132, 78, 994, 41]
    """

    def __init__(
        self,
        *,
        num_rows: int | None = None,
        vocabulary: Sequence[str] | None = None,
        sequence_length: int,
        words: int = 2,
        characters: tuple[int, int] = (2, 5),
        long_texts: str = "head",
    ) -> None:
        self.long_texts = check_long_texts(long_texts)
        if (num_rows is None) == (vocabulary is None):
            raise ValueError(
                "`num_rows` or `vocabulary` must be given, and not both. Received: num_rows="
                f"{num_rows!r}, vocabulary={'None' if vocabulary is None else 'a list'}. "
                "`NGrams.fit` chooses a vocabulary."
            )
        hint = "A text of ten words has some 200 n-grams."
        self.sequence_length = check_int(
            sequence_length, argument="sequence_length", at_least=1, at_most=_LONGEST_ROW, hint=hint
        )
        self.words = check_int(words, argument="words", at_least=1, at_most=2)
        self.characters = check_characters(characters)
        self.vocabulary: tuple[str, ...] = ()
        self._row_of: dict[str, int] | None = None
        if num_rows is not None:
            self.kind = "hashed"
            self.num_rows = check_int(num_rows, argument="num_rows", at_least=2, at_most=MOST_ROWS)
        elif vocabulary is not None:
            self.kind = "listed"
            self.vocabulary = check_vocabulary(
                vocabulary, words=self.words, characters=self.characters
            )
            self._row_of = {ngram: row for row, ngram in enumerate(self.vocabulary, start=1)}
            self.num_rows = len(self.vocabulary) + 1
        self._pieces: dict[str, _Piece] = {}

    @classmethod
    def fit(
        cls,
        texts: Sequence[str],
        *,
        num_rows: int | None = None,
        labels: Sequence[Any] | None = None,
        max_bytes: int | None = None,
        bytes_per_row: int = 0,
        sequence_length: int | None = None,
        words: int = 2,
        characters: tuple[int, int] = (2, 5),
        long_texts: str = "head",
    ) -> NGrams:
        """Lists the n-grams of training texts that say most.

        Args:
            texts: The training texts.
            num_rows: R at most, row 0 included; None takes as many as `max_bytes` allows.
            labels: The class of each text, or what the teacher takes it for: the n-grams are
                those whose texts are spread over the classes least evenly, by chi-square. None
                takes those of the most texts.
            max_bytes: What `tokenizer.json` and the rows of the model's table may take together,
                see `bag_of_words_for_size`; None is no limit.
            bytes_per_row: Bytes of a row of the table: its width, at 8 bits. 0 makes `max_bytes`
                a limit of `tokenizer.json` alone.
            sequence_length: L; None takes what holds 99.9 % of `texts` whole, at most 1,024.
            words: As in `NGrams`.
            characters: As in `NGrams`.
            long_texts: As in `NGrams`.

        Returns:
            A listed `NGrams`, with fewer rows if the texts have fewer n-grams.

        Raises:
            TypeError: If `texts` is not a list of str.
            ValueError: If no text has an n-gram, `labels` has another length, neither `num_rows`
                nor `max_bytes` is given, or one is too small.

        Example:
            >>> texts = ["oil rose", "oil fell", "corn rose", "corn fell"]
            >>> ngrams = NGrams.fit(texts, num_rows=3, labels=[0, 0, 1, 1])
            >>> ngrams.vocabulary
            ('=oil', '=corn')
        """
        checked = check_texts(texts)
        check_int(bytes_per_row, argument="bytes_per_row", at_least=0)
        most = MOST_ROWS - 1
        if num_rows is not None:
            most = check_int(num_rows, argument="num_rows", at_least=2, at_most=MOST_ROWS) - 1
        elif max_bytes is None:
            raise ValueError(
                "`num_rows` or `max_bytes` must be given. Received: num_rows=None, max_bytes=None. "
                "`bag_of_words_for_size` finds them."
            )
        # What an n-gram is, the class itself says, so that listing and reading agree.
        reader = cls(num_rows=2, sequence_length=1, words=words, characters=characters)
        fixed = len(reader.to_json()) + 8 + bytes_per_row  # 8: more digits of L; and row 0
        if max_bytes is not None:
            hint = "All but the n-grams takes so much."
            check_int(max_bytes, argument="max_bytes", at_least=fixed, hint=hint)
            most = min(most, (max_bytes - fixed) // (bytes_per_row + LEAST_BYTES))
        chosen = choose_ngrams(
            checked,
            reader.ngrams_of,
            most=most,
            pairs=words == 2,
            labels=labels,
            never=unlisted,
        )
        if max_bytes is not None:
            sizes = itertools.accumulate(bytes_of(ngram) + bytes_per_row for ngram in chosen)
            chosen = chosen[: sum(fixed + size <= max_bytes for size in sizes)]
        if not chosen:
            raise ValueError(
                "`texts` must have an n-gram that can be listed, and `max_bytes` leave room for "
                f"it. Received: {len(checked)} texts, max_bytes={max_bytes!r}, of which {fixed} "
                "are needed for the rest."
            )
        settings: dict[str, Any] = {"words": words, "characters": characters}
        settings["long_texts"] = long_texts
        if sequence_length is None:
            lengths = cls(vocabulary=chosen, sequence_length=1, **settings).lengths(checked)
            whole = np.quantile(lengths, 0.999, method="higher")
            sequence_length = int(np.clip(whole, 1, 1024))
        return cls(vocabulary=chosen, sequence_length=sequence_length, **settings)

    def encode(self, text: str) -> np.ndarray:
        """Returns the rows of one text, those of the first window if it is read in several.

        Args:
            text: The text.

        Returns:
            Rows, int32 array of shape `[L]`, in the order of the text, filled up with 0.

        Raises:
            UnusableTextError: If the text is not one of Unicode, or has no n-gram that is known.
        """
        return self.encode_rows(text)[0]

    def encode_rows(self, text: str) -> np.ndarray:
        """Returns all windows of the rows of one text: one, if it is not read in windows.

        Args:
            text: The text.

        Returns:
            Rows, int32 array of shape `[K, L]`, K ≥ 1.

        Raises:
            UnusableTextError: As `encode`.
        """
        rows = self._rows(text)
        if not len(rows):
            raise UnusableTextError(text, "have a word of which an n-gram is known")
        return cut_rows(rows, length=self.sequence_length, long_texts=self.long_texts)

    def encode_words(self, text: str) -> tuple[np.ndarray, Words]:
        """Returns the rows of one text and no words: a row has no place in a text to be tagged."""
        return self.encode(text), Words([], [], [])

    def encode_batch(self, texts: Iterable[str]) -> np.ndarray:
        """Returns the rows of many texts, to train on.

        Args:
            texts: The texts.

        Returns:
            Rows, int32 array of shape `[N, L]`, of the first window if texts are read in several.
            A text without a known n-gram has zeros only.

        Raises:
            TypeError: If `texts` is not a list of str.
            ValueError: If there is no text.
        """
        checked = check_texts(texts)
        filled = np.zeros((len(checked), self.sequence_length), np.int32)
        for target, text in zip(filled, checked, strict=True):
            rows, length = self._rows(text), self.sequence_length
            target[:] = cut_rows(rows, length=length, long_texts=self.long_texts)[0]
        return filled

    def lengths(self, texts: Iterable[str]) -> np.ndarray:
        """Counts the known n-grams of texts; what lies above `sequence_length` is cut off.

        Args:
            texts: The texts.

        Returns:
            Int array of shape `[N]`.

        Example:
            >>> ngrams = NGrams(vocabulary=["=oil"], sequence_length=2)
            >>> ngrams.lengths(["oil oil oil", "gas"]).tolist()
            [3, 0]
        """
        return np.array([len(self._rows(text)) for text in check_texts(texts)])

    def ngrams_of(self, piece: str) -> tuple[str, str, list[str]]:
        """Lists the n-grams of a piece of text without spaces.

        Args:
            piece: The piece.

        Returns:
            Its first word, its last one, and its n-grams as a vocabulary lists them. Both words
            are "" where it has none.

        Example:
            >>> NGrams(num_rows=2, sequence_length=1, characters=(2, 2)).ngrams_of("oil!")
            ('oil', '!', ['=oil', ' o', 'oi', 'il', 'l ', '=!', '=oil !'])
        """
        with panics_as_errors():
            words = words_in(piece)
        if not words:
            return "", "", []
        shortest, longest = self.characters
        ngrams, before = [], ""
        for word in words:
            ngrams.append(f"={word}")
            if before and self.words == 2:
                ngrams.append(f"={before} {word}")
            ngrams += character_ngrams(word, shortest=shortest, longest=longest)
            before = word
        return words[0], words[-1], ngrams

    def unknown_share(self, text: str) -> float:
        """Returns the share of a text's words that are not listed, in [0, 1].

        A word counts as known if it is listed whole, or at least half of its pieces are. A hashed
        bag knows a row for any word; its share is 0.

        Args:
            text: The text.

        Returns:
            A number in [0, 1]; 1 for a text without any word.

        Raises:
            UnusableTextError: If the text is not one of Unicode.

        Example:
            >>> ngrams = NGrams(vocabulary=["=oil", "=rose"], sequence_length=4)
            >>> ngrams.unknown_share("oil qzx fell rose!")
            0.5
        """
        self._rows(text)  # refuses what is not Unicode
        if self._row_of is None:
            return 0.0
        words = [word for word in words_in(text) if any(map(str.isalnum, word))]
        return sum(not self._knows(word) for word in words) / len(words) if words else 1.0

    def _knows(self, word: str) -> bool:
        known = self._row_of or {}
        if f"={word}" in known:
            return True
        shortest, longest = self.characters
        pieces = list(character_ngrams(word, shortest=shortest, longest=longest))
        return bool(pieces) and 2 * sum(piece in known for piece in pieces) >= len(pieces)

    def some_words(self) -> str:
        """Returns words from all over the vocabulary as one text; "" if none are listed."""
        words = [ngram[1:] for ngram in self.vocabulary if ngram[0] == "=" and " " not in ngram]
        step = max(1, 16 * len(words) // self.sequence_length)
        return " ".join(words[::step])

    def to_json(self) -> str:
        """Returns the content of `tokenizer.json`."""
        content: dict[str, Any] = {
            "tfdistill": "ngrams",
            "format": _FORMAT,
            "kind": self.kind,
            "words": self.words,
            "characters": list(self.characters),
            "sequence_length": self.sequence_length,
        }
        if self.kind == "hashed":
            content["num_rows"] = self.num_rows
        else:
            content["vocabulary"] = SEPARATOR.join(self.vocabulary)
        return json.dumps(content, ensure_ascii=False)

    @classmethod
    def from_json(cls, content: str, *, long_texts: str = "head") -> NGrams:
        """Reads what `to_json` wrote, and nothing else: the file may be a stranger's.

        Args:
            content: The content of `tokenizer.json`.
            long_texts: What is read of a text that is longer, as the bundle states it.

        Raises:
            ValueError: If it is of another form, or of a newer format.

        Example:
            >>> ngrams = NGrams(num_rows=1000, sequence_length=6)
            >>> NGrams.from_json(ngrams.to_json()).num_rows
            1000
            >>> NGrams.from_json("[]")
            Traceback (most recent call last):
            ...
            ValueError: `content` must be n-grams as `NGrams.to_json` writes them. Received: 2 ...
        """
        try:
            stated = json.loads(content)
            if not isinstance(stated, dict) or stated.get("tfdistill") != "ngrams":
                raise ValueError("it does not say that it is")
            version = check_int(stated.get("format"), argument="format", at_least=1)
            if version > _FORMAT:
                raise ValueError(
                    f"it has format {version}, and this tfdistill reads format {_FORMAT}"
                )
            keys = _KEYS_OF.get(str(stated.get("kind")))
            if keys is None or set(stated) != keys:
                raise ValueError(f"its kind is {stated.get('kind')!r}, its keys {sorted(stated)}")
            settings = {key: stated[key] for key in ("sequence_length", "words", "characters")}
            settings["long_texts"] = long_texts
            if stated["kind"] == "hashed":
                return cls(num_rows=stated["num_rows"], **settings)
            if not isinstance(stated["vocabulary"], str):
                raise TypeError("its vocabulary is not a text")
            if stated["vocabulary"].count(SEPARATOR) >= MOST_ROWS:
                raise ValueError(f"its vocabulary has more than {MOST_ROWS} n-grams")
            return cls(vocabulary=stated["vocabulary"].split(SEPARATOR), **settings)
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(
                "`content` must be n-grams as `NGrams.to_json` writes them. Received: "
                f"{len(content)} characters that are not ({error}). Save the bundle again, or "
                "upgrade with `pip install --upgrade tfdistill`."
            ) from error

    def __repr__(self) -> str:
        return (
            f"NGrams(kind={self.kind!r}, num_rows={self.num_rows}, "
            f"sequence_length={self.sequence_length})"
        )

    def _rows(self, text: str) -> np.ndarray:
        """Returns the rows of all known n-grams of a text."""
        known, parts, before = self._pieces, [], ""
        with_pairs = self.words == 2
        for piece in text.split():
            first, last, rows = known.get(piece) or self._learn(text, piece)
            if not first:
                continue
            if before and with_pairs:
                row = self._row(f"={before} {first}")
                if row:
                    parts.append(row.to_bytes(4, byteorder))
            parts.append(rows)
            before = last
        return np.frombuffer(b"".join(parts), np.int32)

    def _learn(self, text: str, piece: str) -> _Piece:
        try:
            first, last, ngrams = self.ngrams_of(piece)
        except (RuntimeError, TypeError, UnicodeError) as error:
            raise UnusableTextError(
                text, f"be text that can be cut into words ({' '.join(str(error).split())})"
            ) from error
        rows = [row for row in map(self._row, ngrams) if row]
        found = _Piece(first, last, np.array(rows, np.int32).tobytes())
        if len(piece) <= _LONGEST_PIECE:
            if len(self._pieces) >= _MOST_PIECES:
                self._pieces.clear()
            self._pieces[piece] = found
        return found

    def _row(self, ngram: str) -> int:
        if self._row_of is not None:
            return self._row_of.get(ngram, 0)
        return 1 + zlib.crc32(ngram.encode()) % (self.num_rows - 1)


def is_ngrams(content: str) -> bool:
    """Says whether the content of a `tokenizer.json` is one of this package.

    Example:
        >>> is_ngrams(NGrams(num_rows=9, sequence_length=2).to_json()), is_ngrams('{"model": 1}')
        (True, False)
    """
    if '"tfdistill"' not in content:  # most are not, and can be large
        return False
    try:
        stated = json.loads(content)
    except (ValueError, RecursionError):
        return False
    return isinstance(stated, dict) and "tfdistill" in stated
