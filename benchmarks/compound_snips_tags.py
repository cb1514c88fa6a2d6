"""Requests as rows of token ids and tags, for the models of Compound SNIPS."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from compound_snips_data import INTENTS, Request, Slot
from tokenizers import Tokenizer

# The longest test utterance has 32 tokens and the longest test request 63.
PART_LENGTH, REQUEST_LENGTH = 40, 80
SPLIT_TAGS = ("O", "B-part", "I-part")


@dataclass(frozen=True)
class Rows:
    """Requests as arrays; N of them, L tokens.

    Attributes:
        ids: int32 `[N, L]`, 0 is padding.
        split: Number of the split tag of each token, int32 `[N, L]`.
        slots: Number of the slot tag of each token, int32 `[N, L]`.
        intent: Number of the intent, int32 `[N]`; 0 where a request has several parts.
        is_first: 1 at the first token of each word, else 0, float32 `[N, L]`.
        is_single: 1 for a request of one part, else 0, float32 `[N]`.
    """

    ids: np.ndarray
    split: np.ndarray
    slots: np.ndarray
    intent: np.ndarray
    is_first: np.ndarray
    is_single: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, index: np.ndarray, *, length: int | None = None) -> Rows:
        """Returns some of the rows, cut to a length."""
        cut = slice(None, length)
        return Rows(
            self.ids[index][:, cut],
            self.split[index][:, cut],
            self.slots[index][:, cut],
            self.intent[index],
            self.is_first[index][:, cut],
            self.is_single[index],
        )


def slot_tags(names: Sequence[str]) -> tuple[str, ...]:
    """Lists the tags of slots: "O", then "B-x" and "I-x" for each name."""
    return ("O", *(f"{kind}-{name}" for name in names for kind in "BI"))


def make_rows(
    requests: Sequence[Request], tokenizer: Tokenizer, *, tags: Sequence[str], length: int
) -> Rows:
    """Encodes requests with the tags of their words' first tokens."""
    own = Tokenizer.from_str(tokenizer.to_str())
    own.no_padding()
    own.enable_truncation(length)
    number = {tag: index for index, tag in enumerate(tags)}
    shape = (len(requests), length)
    ids, split, slots = (np.zeros(shape, np.int32) for _ in range(3))
    is_first, is_single = np.zeros(shape, np.float32), np.zeros(len(requests), np.float32)
    intent = np.zeros(len(requests), np.int32)
    encodings = own.encode_batch([request.text for request in requests])
    for row, (request, encoding) in enumerate(zip(requests, encodings, strict=True)):
        ids[row, : len(encoding.ids)] = encoding.ids
        parts = [Slot("part", part.start, part.end) for part in request.parts]
        named = [slot for part in request.parts for slot in part.slots]
        before = None
        for position, word in enumerate(encoding.word_ids):
            if word is None or word == before:
                continue
            before = word
            is_first[row, position] = 1
            start = encoding.offsets[position][0]
            split[row, position] = SPLIT_TAGS.index(_tag(parts, start))
            slots[row, position] = number[_tag(named, start)]
        if len(request.parts) == 1:
            is_single[row] = 1
            intent[row] = INTENTS.index(request.parts[0].intent)
    return Rows(ids, split, slots, intent, is_first, is_single)


def batches(
    rows: Rows, *, tokens: int, largest: int, generator: np.random.Generator
) -> Iterator[np.ndarray]:
    """Groups rows of like length, in random order: at most `tokens` ids and `largest` rows each."""
    lengths = np.sum(rows.ids != 0, axis=1)
    order = np.argsort(lengths + generator.uniform(0, 2, len(lengths)), kind="stable")
    groups, start = [], 0
    while start < len(order):
        size = largest
        while size > 1 and size * lengths[order[start : start + size]].max() > tokens:
            size -= 1
        groups.append(order[start : start + size])
        start += size
    for index in generator.permutation(len(groups)):
        yield groups[index]


def _tag(spans: Sequence[Slot], start: int) -> str:
    for span in spans:
        if span.start <= start < span.end:
            return f"{'B' if start == span.start else 'I'}-{span.name}"
    return "O"
