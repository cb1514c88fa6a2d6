"""A cache of tokens: the words of texts, and the last text, whose parts are not tokenized again.

A team splits a request and asks several models about each part. BERT's tokenizer takes a text word
by word, so the tokens of a part that begins and ends with whole words are those that the request
has there.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import tokenizers

from tfdistill.agents.tokenization.word_spans import Words, words_of

__all__ = ["TokenCache", "TokenizedText", "tokenizes_by_word"]

# Of printable ASCII, BERT takes letters and digits together and all else but spaces alone.
_WORD = re.compile(r"[a-zA-Z0-9]+|[^ a-zA-Z0-9]")
_MOST_WORDS, _LONGEST_WORD = 2**16, 64  # that are remembered: some 20 MB at most


@dataclass(frozen=True, slots=True)
class TokenizedText:
    """A text as tokens.

    Attributes:
        text: The text.
        ids: Its tokens' ids, special ones included.
        words: Its words; `first` are places in `ids`.
        content: Places of the first token that belongs to a word, and behind the last one.
    """

    text: str
    ids: list[int]
    words: Words
    content: tuple[int, int]

    def first(self, length: int) -> tuple[list[int], Words]:
        """Cuts the text to a number of tokens, special ones included, as `tokenizers` does.

        Returns:
            The ids, and the words that begin among them, whole.
        """
        if len(self.ids) <= length:
            return self.ids, self.words
        start, behind = self.content
        kept = max(length - (len(self.ids) - behind), start)
        words, count = self.words, bisect_left(self.words.first, kept)
        own = Words(words.first[:count], words.starts[:count], words.ends[:count])
        return self.ids[:kept] + self.ids[behind:], own

    def joined(self, ranges: Iterable[tuple[int, int]]) -> tuple[list[int], Words]:
        """Joins ranges of the text's tokens, between its special ones.

        Args:
            ranges: Ranges [start, stop) of tokens, counted from the first that is not special.

        Returns:
            The ids, and the words that begin among them, whole.
        """
        start, behind = self.content
        ids, words = self.ids[:start], Words([], [], [])
        for begin, end in ranges:
            moved = len(ids) - start - begin
            low, high = (bisect_left(self.words.first, start + place) for place in (begin, end))
            words.first.extend(place + moved for place in self.words.first[low:high])
            words.starts.extend(self.words.starts[low:high])
            words.ends.extend(self.words.ends[low:high])
            ids += self.ids[start + begin : start + end]
        return ids + self.ids[behind:], words

    def whole_words(self, ranges: Iterable[tuple[int, int]]) -> tuple[list[int], Words]:
        """Collects the words that begin in ranges of the text's tokens, with all their tokens.

        Args:
            ranges: As for `joined`; words that begin in several of them count once.

        Returns:
            Their ids, without special ones, and the words.
        """
        start, behind = self.content
        ids, words, ends = list[int](), Words([], [], []), [*self.words.first[1:], behind]
        chosen: set[int] = set()
        for begin, end in ranges:
            low, high = (bisect_left(self.words.first, start + place) for place in (begin, end))
            chosen.update(range(low, high))
        for place in sorted(chosen):
            words.first.append(len(ids))
            words.starts.append(self.words.starts[place])
            words.ends.append(self.words.ends[place])
            ids += self.ids[self.words.first[place] : ends[place]]
        return ids, words

    def part(self, text: str) -> TokenizedText | None:
        """Reads a part of the text from what is known; None if it is no part of whole words."""
        begin = self.text.find(text)
        if begin < 0:
            return None
        words = self.words
        low = bisect_left(words.starts, begin)
        high = bisect_left(words.ends, begin + len(text), low)
        whole = (
            high < len(words.ends)
            and words.starts[low] == begin
            and words.ends[high] == begin + len(text)
        )
        if not whole:
            return None
        start, behind = self.content
        from_token = words.first[low]
        to_token = words.first[high + 1] if high + 1 < len(words.first) else behind
        moved = start - from_token
        own = Words(
            [place + moved for place in words.first[low : high + 1]],
            [place - begin for place in words.starts[low : high + 1]],
            [place - begin for place in words.ends[low : high + 1]],
        )
        ids = self.ids[:start] + self.ids[from_token:to_token] + self.ids[behind:]
        return TokenizedText(text, ids, own, (start, start + to_token - from_token))


class TokenCache:
    """Tokenizes texts word by word and remembers the tokens of the words and of the last text.

    What the tokenizer makes of a word is the same in every text, so plain texts (printable ASCII)
    are cut here, and only words that are new are shown to it.

    Not for several threads at once.

    Args:
        tokenizer_json: A tokenizer of which `tokenizes_by_word` is true.
    """

    def __init__(self, tokenizer_json: str) -> None:
        self._tokenizer = tokenizers.Tokenizer.from_str(tokenizer_json)
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._lowers = bool(json.loads(tokenizer_json)["normalizer"].get("lowercase", True))
        normalized = self._tokenizer.normalizer.normalize_str
        added = [token.content for token in self._tokenizer.get_added_tokens_decoder().values()]
        self._added = {each.lower() for text in added for each in (text, normalized(text))}
        self._pieces: dict[str, list[int]] = {}
        self._last: TokenizedText | None = None

    def known(self, text: str) -> TokenizedText | None:
        """Returns what is known of a text, if it is a part of whole words of the last one."""
        if self._last is None or self._last.text == text:
            return self._last
        return self._last.part(text)

    def read(self, text: str) -> TokenizedText | None:
        """Reads a text whole.

        Returns:
            Its tokens; None if they do not lie between special ones as words do, for instance
            where the text itself has a special token.
        """
        known = self.known(text)
        if known is not None:
            return known
        found = self._read_plain(text)
        if found is None:
            found = self._read_any(text)
        if found is not None:
            self._last = found
        return found

    def _read_plain(self, text: str) -> TokenizedText | None:
        if not (text.isascii() and text.isprintable()):
            return None
        lowered = text.lower()
        if any(token in lowered for token in self._added):
            return None
        if self._around is None:
            return None
        words = Words([], [], [])
        before, behind = self._around
        ids = list(before)
        for match in _WORD.finditer(lowered if self._lowers else text):
            start, end = match.span()
            words.first.append(len(ids))
            words.starts.append(start)
            words.ends.append(end)
            ids += self._pieces.get(match[0]) or self._learn(match[0])
        content = len(before), len(ids)
        return TokenizedText(text, ids + behind, words, content) if words.first else None

    @cached_property
    def _around(self) -> tuple[list[int], list[int]] | None:
        """The special tokens before a text and behind it; None if that cannot be found out."""
        try:
            encoding = self._tokenizer.encode("a")
        except Exception:  # the library raises plain Exception: "a" is unknown, and nothing says so
            return None
        inside = [place for place, word in enumerate(encoding.word_ids) if word is not None]
        if not inside:
            return None
        return encoding.ids[: inside[0]], encoding.ids[inside[-1] + 1 :]

    def _learn(self, word: str) -> list[int]:
        pieces: list[int] = self._tokenizer.encode(word, add_special_tokens=False).ids
        if len(word) <= _LONGEST_WORD:
            if len(self._pieces) >= _MOST_WORDS:
                self._pieces.clear()
            self._pieces[word] = pieces
        return pieces

    def _read_any(self, text: str) -> TokenizedText | None:
        encoding = self._tokenizer.encode(text)
        ids, places = encoding.ids, encoding.word_ids
        start, behind = 0, len(ids)
        while start < behind and places[start] is None:
            start += 1
        while behind > start and places[behind - 1] is None:
            behind -= 1
        if start == behind or None in places[start:behind]:
            return None
        words = words_of(places, encoding.offsets, length=len(ids))
        return TokenizedText(text, ids, words, (start, behind))


def tokenizes_by_word(tokenizer_json: str) -> bool:
    """Says whether a tokenizer's words have the same tokens in every text.

    That is certain for BERT's: it cuts a text at spaces and punctuation before anything else.

    Args:
        tokenizer_json: A tokenizer as `tokenizers` saves it.

    Example:
        >>> tokenizes_by_word('{"pre_tokenizer": {"type": "ByteLevel"}, "model": {"type": "BPE"}}')
        False
    """
    content = json.loads(tokenizer_json)
    kinds = [(content.get(key) or {}).get("type") for key in ("normalizer", "pre_tokenizer")]
    word_piece = (content.get("model") or {}).get("type", "WordPiece") == "WordPiece"
    return word_piece and kinds == ["BertNormalizer", "BertPreTokenizer"]
