"""Reads a text once for all who ask about it: its parts are not tokenized again.

A team splits a request and asks about each part, with three or four reads of the same words. BERT's
tokenizer takes a text word by word, so the tokens of a part that begins and ends with whole words
are those that the request has there.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from dataclasses import dataclass

import tokenizers

from tfdistill.agents.tagging import Words, words_of

__all__ = ["Reading", "WordReader", "reads_by_word"]


@dataclass(frozen=True, slots=True)
class Reading:
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

    def part(self, text: str) -> Reading | None:
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
        return Reading(text, ids, own, (start, start + to_token - from_token))


class WordReader:
    """Reads texts with a tokenizer that takes them word by word, and remembers the last one.

    Not for several threads at once.

    Args:
        tokenizer_json: A tokenizer of which `reads_by_word` is true.
    """

    def __init__(self, tokenizer_json: str) -> None:
        self._tokenizer = tokenizers.Tokenizer.from_str(tokenizer_json)
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._last: Reading | None = None

    def known(self, text: str) -> Reading | None:
        """Returns what is known of a text, if it is a part of whole words of the last one."""
        return None if self._last is None else self._last.part(text)

    def read(self, text: str) -> Reading | None:
        """Reads a text whole.

        Returns:
            Its tokens; None if they do not lie between special ones as words do, for instance
            where the text itself has a special token.
        """
        known = self.known(text)
        if known is not None:
            return known
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
        self._last = Reading(text, ids, words, (start, behind))
        return self._last


def reads_by_word(tokenizer_json: str) -> bool:
    """Says whether a tokenizer's words have the same tokens in every text.

    That is certain for BERT's: it cuts a text at spaces and punctuation before anything else.

    Args:
        tokenizer_json: A tokenizer as `tokenizers` saves it.

    Example:
        >>> reads_by_word('{"pre_tokenizer": {"type": "ByteLevel"}, "model": {"type": "BPE"}}')
        False
    """
    content = json.loads(tokenizer_json)
    kinds = [(content.get(key) or {}).get("type") for key in ("normalizer", "pre_tokenizer")]
    word_piece = (content.get("model") or {}).get("type", "WordPiece") == "WordPiece"
    return word_piece and kinds == ["BertNormalizer", "BertPreTokenizer"]
