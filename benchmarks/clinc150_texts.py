"""CLINC150 as token ids, and varied copies of its training texts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from tokenizers import Tokenizer

from tfdistill import datasets, teachers
from tfdistill.students import cut_vocabulary, encode, token_features

LENGTH = 24  # tokens, [CLS] and [SEP] among them; 99.7 % of the test texts have no more
PADDING, SPECIAL = 0, (0, 100, 101, 102, 103)
NEIGHBORS = 8
COMMON = 12_000


@dataclass(frozen=True)
class Intents:
    """The in-scope texts of CLINC150 as ids of a vocabulary cut to the training texts.

    Attributes:
        ids: For "train", "val" and "test", int32 `[N, LENGTH]`.
        teacher_ids: The same texts in the teacher's whole vocabulary.
        labels: For the same, int32 `[N]`.
        kept_ids: The teacher's id of each id, int32 `[V]`.
        num_classes: Number of intents.
        checkpoint: Folder of the teacher's weights.
    """

    ids: dict[str, np.ndarray]
    teacher_ids: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]
    kept_ids: np.ndarray
    num_classes: int
    checkpoint: Path


def load(folder: Path) -> Intents:
    """Reads `data_full.json` (Larson et al. 2019) without its out-of-scope texts."""
    splits = json.loads((folder / "data_full.json").read_text(encoding="utf-8"))
    names = sorted({intent for _, intent in splits["train"]})
    number = {name: index for index, name in enumerate(names)}
    checkpoint = datasets.extract(datasets.MINILM)
    whole = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    train = [text for text, _ in splits["train"]]
    # BERT's vocabulary is in order of frequency: words that users say and no training text has.
    common = [whole.id_to_token(token) for token in range(COMMON)]
    common = [word for word in common if word.isalpha() and len(word) > 1]
    tokenizer, kept_ids = cut_vocabulary(whole, [*train, *common], sequence_length=LENGTH)
    ids, teacher_ids, labels = {}, {}, {}
    for split in ("train", "val", "test"):
        texts = [text for text, _ in splits[split]]
        teacher_ids[split] = encode(whole, texts, sequence_length=LENGTH)
        ids[split] = encode(tokenizer, texts, sequence_length=LENGTH)
        labels[split] = np.array([number[intent] for _, intent in splits[split]], np.int32)
    return Intents(ids, teacher_ids, labels, kept_ids, len(names), checkpoint)


def word_vectors(features: keras.Model, data: Intents) -> np.ndarray:
    """Returns what the teacher knows of each word, float32 `[V, 2 D]`.

    Half of it is the word's row in the teacher's table, half the fine-tuned teacher's features
    of a text of that one word; each half centered, and its rows of length one.

    Args:
        features: The teacher without its head, on the ids of the whole vocabulary.
        data: The texts.
    """
    backbone = teachers.load_backbone(data.checkpoint)
    table = keras.ops.convert_to_numpy(backbone.token_embedding.embeddings)[data.kept_ids]
    start, end = (101,), (102,)
    answers = token_features(features, token_ids=data.kept_ids, before=start, after=end)
    return np.concatenate([_unit_rows(table), _unit_rows(answers)], axis=1)


def _unit_rows(table: np.ndarray) -> np.ndarray:
    centered = table - table.mean(axis=0)
    return centered / np.linalg.norm(centered, axis=1, keepdims=True)


def augment(
    data: Intents, vectors: np.ndarray, *, copies: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Makes varied copies of each training text, for the teacher to label.

    One copy in six is the beginning of one text and the end of another of the same intent. Then,
    in every copy, up to 20 % of the tokens are dropped and up to 30 % swapped: in the first half
    of the copies for one of the 8 nearest by their vectors, in the others for a word that counts
    the token among *its* 9 nearest, the rarer the likelier. The latter is how the student hears
    what the teacher makes of words that few or no training texts have. Each copy draws its own
    two rates.

    Args:
        data: The texts.
        vectors: From `word_vectors`, float32 `[V, D]`.
        copies: How many of each text.
        seed: Seed of the draws.

    Returns:
        The originals and their copies sorted by length, so that the teacher can be asked in
        short batches, int32 `[N · (1 + copies), LENGTH]`; and the label of the text that each
        was made from, int32 `[N · (1 + copies)]`.
    """
    generator = np.random.default_rng(seed)
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    special = np.isin(data.kept_ids, SPECIAL)
    near = _Near(vectors, special)
    rare = _Rare(vectors, special, np.bincount(data.ids["train"].ravel(), minlength=len(vectors)))
    rows, labels = [data.ids["train"]], data.labels["train"]
    for number in range(copies):
        made = _splice(data.ids["train"], labels, generator, share=1 / 6)
        made = _swap(made, near if number < copies // 2 else rare, generator, highest_rate=0.3)
        rows.append(_drop(made, special, generator, highest_rate=0.2))
    ids, labels = np.concatenate(rows), np.tile(labels, copies + 1)
    order = np.argsort(np.sum(ids != PADDING, axis=1), kind="stable")
    return ids[order], labels[order]


class _Near:
    """Draws one of the nearest words of each token; special tokens stay and are never drawn."""

    def __init__(self, vectors: np.ndarray, special: np.ndarray) -> None:
        self._words = np.argsort(-(vectors @ vectors.T), axis=1)[:, 1 : NEIGHBORS + 1]
        self._special = special

    def draw(self, ids: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        chosen = self._words[ids, generator.integers(0, NEIGHBORS, ids.shape)]
        return np.where(self._special[ids] | self._special[chosen], ids, chosen)


class _Rare:
    """Draws a word that has each token among its nearest training words, with odds 1 / (1 + n).

    n is how often the training texts have the word.
    """

    def __init__(self, vectors: np.ndarray, special: np.ndarray, counts: np.ndarray) -> None:
        training = np.flatnonzero((counts > 0) & ~special)
        nearest = training[np.argsort(-(vectors @ vectors[training].T), axis=1)[:, :9]]
        pairs = [
            (token, word)
            for word in np.flatnonzero(~special)
            for token in nearest[word]
            if token != word
        ]
        tokens, self._words = np.array(sorted(pairs)).T
        # All words of a token lie side by side; a draw is a place between its first and its last.
        odds = np.cumsum(1.0 / (1.0 + counts[self._words]))
        ends = np.searchsorted(tokens, np.arange(len(vectors)), side="right")
        self._odds = odds
        self._high = np.concatenate([[0.0], odds])[ends]
        self._low = np.concatenate([[0.0], self._high])[:-1]

    def draw(self, ids: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        low, high = self._low[ids], self._high[ids]
        place = low + (high - low) * generator.random(ids.shape)
        index = np.minimum(np.searchsorted(self._odds, place, side="right"), len(self._words) - 1)
        return np.where(high > low, self._words[index], ids)


def _splice(
    ids: np.ndarray, labels: np.ndarray, generator: np.random.Generator, *, share: float
) -> np.ndarray:
    """Gives a share of the texts the end of another text of the same intent."""
    spliced = ids.copy()
    lengths = np.sum(ids != PADDING, axis=1)
    of_intent = {label: np.flatnonzero(labels == label) for label in np.unique(labels)}
    for row in np.flatnonzero(generator.random(len(ids)) < share):
        other = generator.choice(of_intent[labels[row]])
        # [CLS] stays in front; at least one word of each, and the other's [SEP].
        head = ids[row, : 1 + generator.integers(1, max(2, lengths[row] - 2))]
        tail = ids[other, generator.integers(1, max(2, lengths[other] - 2)) : lengths[other]]
        made = np.concatenate([head, tail])
        if len(made) <= LENGTH:
            spliced[row] = np.pad(made, (0, LENGTH - len(made)))
    return spliced


def _swap(
    ids: np.ndarray,
    words: _Near | _Rare,
    generator: np.random.Generator,
    *,
    highest_rate: float,
) -> np.ndarray:
    """Swaps tokens for other words."""
    rates = generator.uniform(0, highest_rate, (len(ids), 1))
    chosen = words.draw(ids, generator)
    return np.where(generator.random(ids.shape) < rates, chosen, ids).astype(np.int32)


def _drop(
    ids: np.ndarray, special: np.ndarray, generator: np.random.Generator, *, highest_rate: float
) -> np.ndarray:
    """Drops tokens, special ones excepted, and closes the gaps."""
    rates = generator.uniform(0, highest_rate, (len(ids), 1))
    dropped = (generator.random(ids.shape) < rates) & ~special[ids]
    order = np.argsort(dropped, axis=1, kind="stable")
    return np.take_along_axis(np.where(dropped, PADDING, ids), order, axis=1)
