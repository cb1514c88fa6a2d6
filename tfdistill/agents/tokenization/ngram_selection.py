"""Which n-grams of training texts a vocabulary lists.

The score of an n-gram is the number of texts that have it, or how unevenly those texts are spread
over the classes, by chi-square. N-grams that occur in exactly the same texts tell those apart no
better than one of them, so only one is listed: "transfer", and not "ransf" and "ansfe" as well.
Accuracy of `bag_of_words` at width 32 on CLINC150, trained on 5,000 labels:

======  =====================  ======================  =====================  ======================
rows    all, by frequency      all, by chi-square      one, by frequency      one, by chi-square
======  =====================  ======================  =====================  ======================
3,000   0.854                  0.846                   0.865                  0.871
12,000  0.889                  0.886                   0.890                  0.890
======  =====================  ======================  =====================  ======================
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

__all__ = ["choose_ngrams", "class_scores"]

_BLOCK = 4096  # texts whose n-grams are counted at once
_Reader = Callable[[str], tuple[str, str, list[str]]]


def choose_ngrams(
    texts: Sequence[str],
    read: _Reader,
    *,
    most: int,
    pairs: bool = True,
    labels: Sequence[Any] | None = None,
    never: Callable[[str], bool] = lambda ngram: False,
) -> list[str]:
    """Chooses the n-grams of texts that say most, the best one first.

    Args:
        texts: The texts.
        read: Gives the first word, the last word and the n-grams of a piece without spaces.
        most: The largest number of n-grams.
        pairs: Whether the last word of a piece and the first one of the next make an n-gram.
        labels: The class of each text; None takes the most frequent n-grams.
        never: Says of an n-gram that it cannot be listed.

    Returns:
        At most `most` n-grams. Of equal scores, single words come first, then the shorter ones.

    Raises:
        ValueError: If `labels` has another length than `texts`.
    """
    if labels is None:
        classes = np.zeros(len(texts), np.int64)
    else:
        if len(labels) != len(texts):
            raise ValueError(
                f"`labels` must have one entry for each of the {len(texts)} texts. "
                f"Received: {len(labels)} labels."
            )
        classes = np.unique(np.asarray(labels), return_inverse=True)[1]
    order = np.argsort(classes, kind="stable")
    counter = _Counter(read, pairs=pairs)
    # One random number a text: n-grams of the same texts have the same sum, and hardly any others.
    marks = np.random.default_rng(0).random(len(texts))
    counts, sums, spread = np.zeros(0), np.zeros(0), np.zeros(0)
    for label in range(int(classes[order[-1]]) + 1):
        members = order[classes[order] == label]
        inside = np.zeros(0)
        for start in range(0, len(members), _BLOCK):
            block = members[start : start + _BLOCK]
            ids, owners = counter.distinct([texts[index] for index in block])
            size = len(counter.ngrams)
            inside = _grown(inside, size) + np.bincount(ids, minlength=size)
            weights = marks[block][owners]
            sums = _grown(sums, size) + np.bincount(ids, weights=weights, minlength=size)
        counts = _grown(counts, len(inside)) + inside
        spread = _grown(spread, len(inside)) + inside**2 * (len(texts) / len(members))
    scores = counts if labels is None else class_scores(counts, spread)
    return _best(counter.ngrams, scores, counts, sums, most=most, never=never)


def class_scores(counts: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Computes chi-square of n-grams against classes, from what can be summed class by class.

    With O the texts of class c that have the n-gram, n = Σ O those of any class and p the share
    of the class, it is Σ (O − p n)² / (p n) = (Σ O² / p) / n − n, as in `sklearn.feature_selection.
    chi2` for n-grams that a text has or has not.

    Args:
        counts: n, float array `[F]` above 0.
        spread: Σ O² / p, float array `[F]`.

    Returns:
        Float array `[F]`.

    Example:
        Two classes of equal size, and n-grams in 4 texts: of one class, of both alike.

        >>> class_scores(np.array([4.0, 4.0]), np.array([16 / 0.5, 2 * 4 / 0.5])).tolist()
        [4.0, 0.0]
    """
    return spread / counts - counts


class _Counter:
    """Numbers n-grams in the order of their first appearance and finds those of a text."""

    def __init__(self, read: _Reader, *, pairs: bool) -> None:
        self._read, self._pairs = read, pairs
        self._number: dict[str, int] = {}
        self._pieces: dict[str, tuple[str, str, frozenset[int]]] = {}

    @property
    def ngrams(self) -> list[str]:
        return list(self._number)

    def distinct(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Returns the numbers of each text's different n-grams, and of which text each is."""
        found, lengths = array("i"), []
        for text in texts:
            own: set[int] = set()
            before = ""
            for piece in text.split():
                first, last, numbers = self._pieces.get(piece) or self._learn(piece)
                if first:
                    own |= numbers
                    if before and self._pairs:
                        own.add(self._numbered(f"={before} {first}"))
                    before = last
            found.extend(own)
            lengths.append(len(own))
        return np.frombuffer(found, np.int32), np.repeat(np.arange(len(texts)), lengths)

    def _learn(self, piece: str) -> tuple[str, str, frozenset[int]]:
        first, last, ngrams = self._read(piece)
        learned = first, last, frozenset(map(self._numbered, ngrams))
        self._pieces[piece] = learned
        return learned

    def _numbered(self, ngram: str) -> int:
        return self._number.setdefault(ngram, len(self._number))


def _grown(values: np.ndarray, size: int) -> np.ndarray:
    return np.concatenate([values, np.zeros(size - len(values))])


def _best(
    ngrams: Sequence[str],
    scores: np.ndarray,
    counts: np.ndarray,
    sums: np.ndarray,
    *,
    most: int,
    never: Callable[[str], bool],
) -> list[str]:
    def rank(index: int) -> tuple[float, bool, int, str]:
        ngram = ngrams[index]
        return -scores[index], not ngram.startswith("=") or " " in ngram, len(ngram), ngram

    ranks = sorted(range(len(ngrams)), key=rank)
    seen: set[tuple[float, float]] = set()
    chosen: list[str] = []
    for index in ranks:
        texts = counts[index], sums[index]
        if texts not in seen and not never(ngrams[index]):
            seen.add(texts)
            chosen.append(ngrams[index])
            if len(chosen) == most:
                break
    return chosen
