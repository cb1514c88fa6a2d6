"""Varied copies of texts, for a teacher to label: more to learn from than the texts themselves.

A student that sees 15,000 texts learns those; the same texts with words dropped, swapped for
near or rare ones, and spliced together show it how the teacher generalizes. The copies have no
label of their own: soft targets come from the teacher.

All of it works on rows of token ids, 0 where padded, and needs nothing but NumPy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from tfdistill.arguments import check_int, check_number

__all__ = [
    "NearWords",
    "RareWords",
    "WordChoice",
    "drop_tokens",
    "nearest_rows",
    "splice_texts",
    "swap_words",
    "varied_copies",
]

PADDING = 0
_ROWS_AT_ONCE = 1024  # of a similarity matrix: 50 MB for a vocabulary of 12,000


class WordChoice(Protocol):
    """Draws another token for each token."""

    def draw(self, ids: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Returns ids of the shape of `ids`; a token that has no other stays."""


def varied_copies(
    ids: np.ndarray,
    *,
    vectors: np.ndarray,
    copies: int,
    groups: np.ndarray | None = None,
    special_ids: Sequence[int] = (PADDING,),
    splice_share: float = 1 / 6,
    swap_rate: float = 0.3,
    drop_rate: float = 0.2,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Makes varied copies of each text.

    In this order, in every copy: a share of the texts gets the end of another text of its group;
    up to `swap_rate` of the tokens are swapped, in the first half of the copies for one of the 8
    nearest words (`NearWords`), in the others for a rare word that is near (`RareWords`); up to
    `drop_rate` are dropped. Each text draws its own two rates, so that copies near to the
    original and far from it both occur.

    Args:
        ids: Token ids, int array `[N, L]`, 0 where padded; the special tokens lie around each
            text.
        vectors: What is known of each token, float array `[V, D]`; nearness is their cosine. The
            teacher's embedding table, or `tfdistill.students.token_features`.
        copies: Number of copies of each text, an int of at least 0.
        groups: The group of each text, int array `[N]`, such as its label. Texts are spliced
            within their group. None splices nothing.
        special_ids: Tokens that stay and are never drawn, padding among them.
        splice_share: Share of the texts that are spliced, in [0, 1].
        swap_rate: Largest share of a text's tokens that are swapped, in [0, 1].
        drop_rate: Largest share of a text's tokens that are dropped, in [0, 1].
        seed: Seed of all draws.

    Returns:
        The originals and then their copies, int32 `[N · (1 + copies), L]`, and the row of `ids`
        that each was made from, int32 `[N · (1 + copies)]`.

    Raises:
        TypeError: If `copies` or a rate is not a number.
        ValueError: If a number is out of range, or `ids`, `groups` and `vectors` do not fit.

    Example:
        >>> ids = np.array([[1, 3, 4, 2], [1, 5, 2, 0]])
        >>> rows, sources = varied_copies(ids, vectors=np.eye(6), copies=1, special_ids=(0, 1, 2))
        >>> rows.shape, sources.tolist()
        ((4, 4), [0, 1, 0, 1])
    """
    ids, vectors = _checked(ids, vectors)
    copies = check_int(copies, argument="copies", at_least=0)
    for name, rate in (
        ("splice_share", splice_share),
        ("swap_rate", swap_rate),
        ("drop_rate", drop_rate),
    ):
        check_number(rate, argument=name, interval="[0, 1]")
    if groups is not None and np.shape(groups) != (len(ids),):
        raise ValueError(
            "`groups` must hold one number for each text. Received: groups of shape "
            f"{np.shape(groups)}, ids of shape {ids.shape}."
        )
    special = np.zeros(len(vectors), bool)
    special[list(special_ids)] = True
    counts = np.bincount(ids.ravel(), minlength=len(vectors))
    generator = np.random.default_rng(seed)
    rows = [ids]
    if copies:
        near = NearWords(vectors, special=special)
        rare = RareWords(vectors, special=special, counts=counts)
    for number in range(copies):
        made = ids
        if groups is not None:
            made = splice_texts(made, np.asarray(groups), generator, share=splice_share)
        choice = near if number < copies // 2 else rare
        made = swap_words(made, choice, generator, highest_rate=swap_rate)
        rows.append(drop_tokens(made, generator, special=special, highest_rate=drop_rate))
    return np.concatenate(rows), np.tile(np.arange(len(ids), dtype=np.int32), copies + 1)


def _checked(ids: np.ndarray, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    ids, vectors = np.asarray(ids), np.asarray(vectors, np.float32)
    if ids.ndim != 2 or not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(
            "`ids` must be an int array of shape [N, L]. Received: ids of shape "
            f"{ids.shape}, {ids.dtype}. `tfdistill.students.encode` makes it."
        )
    if vectors.ndim != 2 or (ids.size and not 0 <= ids.min() <= ids.max() < len(vectors)):
        raise ValueError(
            "`vectors` must hold one row for each token id. Received: vectors of shape "
            f"{vectors.shape}, ids up to {ids.max(initial=0)}."
        )
    return ids.astype(np.int32), vectors


def nearest_rows(queries: np.ndarray, rows: np.ndarray, *, count: int) -> np.ndarray:
    """Finds the most similar rows by cosine, in pieces that fit into memory.

    Args:
        queries: Float array `[Q, D]`.
        rows: Float array `[R, D]`.
        count: How many to find, an int in [1, R].

    Returns:
        Indices of `rows`, int64 `[Q, count]`, the most similar first.

    Example:
        >>> nearest_rows(np.array([[1.0, 0.1]]), np.array([[0.0, 1.0], [2.0, 0.0]]), count=2)
        array([[1, 0]])
    """
    count = check_int(count, argument="count", at_least=1, at_most=len(rows))
    queries, rows = _unit(queries), _unit(rows)
    found = []
    for start in range(0, len(queries), _ROWS_AT_ONCE):
        similar = queries[start : start + _ROWS_AT_ONCE] @ rows.T
        kept = np.argpartition(-similar, count - 1, axis=1)[:, :count]
        order = np.argsort(-np.take_along_axis(similar, kept, axis=1), axis=1, kind="stable")
        found.append(np.take_along_axis(kept, order, axis=1))
    return np.concatenate(found) if found else np.zeros((0, count), np.int64)


def _unit(rows: np.ndarray) -> np.ndarray:
    rows = np.asarray(rows, np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.maximum(lengths, np.finfo(np.float32).tiny)


class NearWords:
    """Draws one of the nearest words of each token, each with the same odds.

    Args:
        vectors: What is known of each token, float array `[V, D]`.
        special: Tokens that stay and are never drawn, bool array `[V]`.
        neighbors: From how many words to draw.
    """

    def __init__(self, vectors: np.ndarray, *, special: np.ndarray, neighbors: int = 8) -> None:
        count = min(neighbors + 1, len(vectors))
        # The nearest of all is the token itself.
        self._words = nearest_rows(vectors, vectors, count=count)[:, 1:]
        self._special = special

    def draw(self, ids: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Returns a near word for each token."""
        chosen = self._words[ids, generator.integers(0, self._words.shape[1], ids.shape)]
        return np.where(self._special[ids] | self._special[chosen], ids, chosen)


class RareWords:
    """Draws a word that counts the token among its own 9 nearest words of the texts.

    The odds of a word are 1 / (1 + n), where n is how often the texts use it. So a student hears
    what the teacher makes of words that few or no training texts have.

    Args:
        vectors: What is known of each token, float array `[V, D]`.
        special: Tokens that stay and are never drawn, bool array `[V]`.
        counts: How often the texts use each token, int array `[V]`.
        neighbors: How many words of the texts each word counts as near.
    """

    def __init__(
        self, vectors: np.ndarray, *, special: np.ndarray, counts: np.ndarray, neighbors: int = 9
    ) -> None:
        known = np.flatnonzero((counts > 0) & ~special)
        words = np.flatnonzero(~special)
        if not len(known) or not len(words):
            empty = np.zeros(0, np.int64)
            tokens, owners = empty, empty
        else:
            near = known[
                nearest_rows(vectors[words], vectors[known], count=min(neighbors, len(known)))
            ]
            tokens, owners = near.ravel(), np.repeat(words, near.shape[1])
            others = tokens != owners
            order = np.lexsort((owners[others], tokens[others]))
            tokens, owners = tokens[others][order], owners[others][order]
        # All words of a token lie side by side; a draw is a place between its first and last one.
        self._words = owners
        self._odds = np.cumsum(1.0 / (1.0 + counts[owners]))
        ends = np.searchsorted(tokens, np.arange(len(vectors)), side="right")
        self._high = np.concatenate([[0.0], self._odds])[ends]
        self._low = np.concatenate([[0.0], self._high])[:-1]

    def draw(self, ids: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Returns a rare near word for each token, the token itself where it has none."""
        if not len(self._words):
            return ids
        low, high = self._low[ids], self._high[ids]
        place = low + (high - low) * generator.random(ids.shape)
        index = np.minimum(np.searchsorted(self._odds, place, side="right"), len(self._words) - 1)
        return np.where(high > low, self._words[index], ids)


def splice_texts(
    ids: np.ndarray, groups: np.ndarray, generator: np.random.Generator, *, share: float
) -> np.ndarray:
    """Gives a share of the texts the end of another text of the same group.

    The beginning keeps its first token and at least one word, the end at least one word and its
    last token. What would be longer than a row stays as it was.

    Args:
        ids: Token ids, int array `[N, L]`, 0 where padded.
        groups: The group of each text, int array `[N]`.
        generator: Draws the texts and the places.
        share: Share of the texts, in [0, 1].

    Returns:
        int32 `[N, L]`.

    Example:
        >>> ids = np.array([[1, 3, 4, 2], [1, 5, 6, 2]])
        >>> splice_texts(ids, np.array([0, 1]), np.random.default_rng(0), share=0.0).tolist()
        [[1, 3, 4, 2], [1, 5, 6, 2]]
    """
    spliced = np.array(ids, np.int32)
    lengths = np.sum(ids != PADDING, axis=1)
    members = {group: np.flatnonzero(groups == group) for group in np.unique(groups)}
    for row in np.flatnonzero(generator.random(len(ids)) < share):
        other = generator.choice(members[groups[row]])
        head = ids[row, : 1 + generator.integers(1, max(2, lengths[row] - 2))]
        tail = ids[other, generator.integers(1, max(2, lengths[other] - 2)) : lengths[other]]
        made = np.concatenate([head, tail])
        if len(made) <= ids.shape[1]:
            spliced[row] = np.pad(made, (0, ids.shape[1] - len(made)))
    return spliced


def swap_words(
    ids: np.ndarray, choice: WordChoice, generator: np.random.Generator, *, highest_rate: float
) -> np.ndarray:
    """Swaps tokens for those that a choice draws; each text draws its rate.

    Args:
        ids: Token ids, int array `[N, L]`.
        choice: What is drawn in their place.
        generator: Draws rates and places.
        highest_rate: Largest share of a text's tokens, in [0, 1].

    Returns:
        int32 `[N, L]`.
    """
    rates = generator.uniform(0, highest_rate, (len(ids), 1))
    chosen = choice.draw(ids, generator)
    return np.where(generator.random(ids.shape) < rates, chosen, ids).astype(np.int32)


def drop_tokens(
    ids: np.ndarray, generator: np.random.Generator, *, special: np.ndarray, highest_rate: float
) -> np.ndarray:
    """Drops tokens, special ones excepted, and closes the gaps; each text draws its rate.

    Args:
        ids: Token ids, int array `[N, L]`, 0 where padded.
        generator: Draws rates and places.
        special: Tokens that stay, bool array `[V]`.
        highest_rate: Largest share of a text's tokens, in [0, 1].

    Returns:
        int32 `[N, L]`.

    Example:
        >>> special = np.array([True, True, True, False])
        >>> drop_tokens(np.array([[1, 3, 3, 2]]), np.random.default_rng(1), special=special,
        ...             highest_rate=1.0).tolist()
        [[1, 3, 2, 0]]
    """
    rates = generator.uniform(0, highest_rate, (len(ids), 1))
    dropped = (generator.random(ids.shape) < rates) & ~special[ids]
    order = np.argsort(dropped, axis=1, kind="stable")
    kept = np.where(dropped, PADDING, ids)
    return np.take_along_axis(kept, order, axis=1).astype(np.int32)
