"""Compound SNIPS: requests of one to three SNIPS utterances, joined as people join them.

    "play jazz on deezer, and then rate this novel 4 stars"

A request carries the character spans of its parts and, for each, its intent and slots. The
utterances are those of Coucke et al. 2018, split by utterance before anything is joined, so that
no utterance is in two splits.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

INTENTS = (
    "AddToPlaylist",
    "BookRestaurant",
    "GetWeather",
    "PlayMusic",
    "RateBook",
    "SearchCreativeWork",
    "SearchScreeningEvent",
)
HELD_OUT = (
    1300  # utterances of the training files kept from the models, for thresholds and policies
)
CONNECTORS = (
    ", and then ",
    " and then ",
    ". Also, ",
    " and also ",
    ", and ",
    " and ",
    ". After that, ",
    ", then ",
    ". Then ",
    "; ",
    ". ",
    ", plus ",
)


@dataclass(frozen=True)
class Slot:
    """A named span: characters [start, end) of its text."""

    name: str
    start: int
    end: int


@dataclass(frozen=True)
class Utterance:
    """One SNIPS utterance: its number in its split, text, intent and slots."""

    number: int
    text: str
    intent: str
    slots: tuple[Slot, ...]


@dataclass(frozen=True)
class Part:
    """One part of a request: characters [start, end), the intent, the slots (of the request)."""

    start: int
    end: int
    intent: str
    slots: tuple[Slot, ...]


@dataclass(frozen=True)
class Request:
    """A text with its parts, and the numbers of the utterances that it was made of."""

    text: str
    parts: tuple[Part, ...]
    sources: tuple[int, ...]


def load(folder: Path) -> dict[str, list[Utterance]]:
    """Reads the utterances as "train", "dev" (held out of the training files) and "test"."""
    train, test = [], []
    for intent in INTENTS:
        train += _read(folder / f"train_{intent}_full.json", intent)
        test += _read(folder / f"validate_{intent}.json", intent)
    order = np.random.default_rng(0).permutation(len(train))
    shuffled = [train[index] for index in order]
    splits = {"train": shuffled[HELD_OUT:], "dev": shuffled[:HELD_OUT], "test": test}
    return {
        name: [Utterance(number, *rest) for number, rest in enumerate(rows)]
        for name, rows in splits.items()
    }


def join(utterances: Sequence[Utterance], generator: np.random.Generator) -> Request:
    """Joins utterances by connectors drawn from `CONNECTORS`, which belong to no part.

    Full stops and question marks at the end of an utterance belong to no part either; before a
    connector they are dropped.
    """
    text, parts = "", []
    for index, utterance in enumerate(utterances):
        if index:
            text += CONNECTORS[generator.integers(len(CONNECTORS))]
        kept = max([len(utterance.text.rstrip(" .?!,;")), *(s.end for s in utterance.slots)])
        offset = len(text)
        slots = tuple(Slot(s.name, s.start + offset, s.end + offset) for s in utterance.slots)
        parts.append(Part(offset, offset + kept, utterance.intent, slots))
        last = index == len(utterances) - 1
        text += utterance.text if last else utterance.text[:kept]
    return Request(text, tuple(parts), tuple(u.number for u in utterances))


def make_requests(utterances: Sequence[Utterance], *, count: int, seed: int) -> list[Request]:
    """Makes requests of one, two and three different utterances, a third of each."""
    generator = np.random.default_rng(seed)
    requests = []
    for index in range(count):
        chosen = generator.choice(len(utterances), size=index % 3 + 1, replace=False)
        requests.append(join([utterances[number] for number in chosen], generator))
    return requests


def cover(utterances: Sequence[Utterance], *, seed: int) -> list[Request]:
    """Puts every utterance into one request: half of them alone, half in twos and threes."""
    generator = np.random.default_rng(seed)
    order = list(generator.permutation(len(utterances)))
    requests, alone = [], len(order) // 2
    while order:
        size = 1 if len(order) > alone else int(generator.integers(2, 4))
        chosen, order = order[:size], order[size:]
        requests.append(join([utterances[number] for number in chosen], generator))
    return requests


def _read(path: Path, intent: str) -> list[tuple[str, str, tuple[Slot, ...]]]:
    raw = path.read_bytes()
    try:
        content = json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError:  # one of the files, as SNIPS published them
        content = json.loads(raw.decode("latin-1"))
    rows = []
    for entry in content[intent]:
        text, slots = "", []
        for piece in entry["data"]:
            start = len(text)
            text += piece["text"]
            if "entity" in piece and piece["text"].strip():
                value = piece["text"]
                left = len(value) - len(value.lstrip())
                slots.append(Slot(piece["entity"], start + left, start + len(value.rstrip())))
        blank = len(text) - len(text.lstrip())
        slots = [Slot(s.name, s.start - blank, s.end - blank) for s in slots]
        rows.append((text.strip(), intent, tuple(slots)))
    return rows
