"""Speculative decoding: a small model proposes tokens, the larger one checks them in one call.

Each proposal x, drawn from the draft's q, is kept with probability min(1, p(x) / q(x)), where p is
the larger model's distribution at the same place. At the first one that is not kept the token is
drawn from max(p − q, 0), scaled to sum to 1, and the rest is thrown away. What comes out is
distributed exactly as if the larger model had written alone.

References:
    Leviathan, Kalman, Matias. "Fast Inference from Transformers via Speculative Decoding", 2023,
    algorithm 1 and appendix A.1. https://arxiv.org/abs/2211.17192
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tfdistill.agents.generation.sampling import draw, next_probabilities
from tfdistill.runtime.kv_cache import TextCache

__all__ = ["SpeculativeText", "accept", "residual"]


def residual(target: np.ndarray, draft: np.ndarray) -> np.ndarray:
    """Computes what is drawn from after a refused proposal: max(p − q, 0), scaled.

    Args:
        target: The larger model's probabilities p, float64 `[V]`.
        draft: The draft's probabilities q, same shape.

    Returns:
        float64 `[V]`; p itself if nothing is left, which only rounding can bring about.

    Example:
        >>> residual(np.array([0.5, 0.5, 0.0]), np.array([0.2, 0.7, 0.1])).tolist()
        [1.0, 0.0, 0.0]
    """
    left = np.maximum(target - draft, 0.0)
    total = left.sum()
    return left / total if total > 0 else target


def accept(
    proposals: Sequence[int],
    draft: Sequence[np.ndarray],
    target: Sequence[np.ndarray],
    uniforms: Sequence[float],
) -> list[int]:
    """Decides which proposals stay and draws the token behind them.

    Args:
        proposals: k tokens drawn from the draft, one after the other.
        draft: The k distributions q that they were drawn from, float64 `[V]` each.
        target: The larger model's k + 1 distributions p at the same places and behind them.
        uniforms: k + 1 numbers in [0, 1), uniformly distributed.

    Returns:
        1 to k + 1 tokens.

    Example:
        >>> p, q = np.array([0.5, 0.5]), np.array([0.25, 0.75])
        >>> accept([1], [q], [p, p], [0.6, 0.0]), accept([1], [q], [p, p], [0.7, 0.0])
        ([1, 0], [0])
    """
    for index, token in enumerate(proposals):
        # q of a drawn token is above 0; the product avoids the division.
        if uniforms[index] * draft[index][token] >= target[index][token]:
            return [*proposals[:index], draw(residual(target[index], draft[index]), uniforms[-1])]
    return [*proposals, draw(target[len(proposals)], uniforms[-1])]


class SpeculativeText:
    """Writes with two models whose caches hold the same text.

    Args:
        target: Cache of the larger model; its file has a verify signature.
        draft: Cache of the draft.

    Raises:
        ValueError: If the larger model cannot verify, or one context is too short to.
    """

    def __init__(self, target: TextCache, draft: TextCache) -> None:
        self._target, self._draft = target, draft
        self._proposed = target.verify_length - 1
        shortest = min(target.context_length, draft.context_length)
        if self._proposed < 1 or shortest < 2 * target.verify_length:
            raise ValueError(
                "`bundle` must have a verify signature of at least 2 tokens, at most half of both "
                f"contexts, to take a draft. Received: verify_length={target.verify_length}, "
                f"context of {shortest}. Save it with save_language_bundle(verify_length=5)."
            )

    def tokens(
        self, ids: list[int], *, uniforms: np.random.Generator, sampling: dict[str, Any]
    ) -> Iterator[int]:
        """Writes without end.

        Args:
            ids: Tokens of the prompt, fewer than either context.
            uniforms: Where the random numbers come from.
            sampling: Settings of `next_probabilities`.

        Returns:
            An iterator of tokens, as many at a time as were accepted.

        Raises:
            ValueError: If the prompt does not fit into one of the contexts.
        """
        target, draft = self._target, self._draft
        target.clear()
        draft.clear()
        if ids[:-1]:
            target.read(ids[:-1])
            draft.read(ids[:-1])
        last = ids[-1]
        behind: list[int] = []  # what the draft has not read of the text before `last`
        while True:
            for cache in (target, draft):
                cache.slide(room=self._proposed + 2)
            start = len(target.ids)
            draft_start = len(draft.ids) + len(behind)
            proposals, beliefs = self._propose([*behind, last], uniforms, sampling)
            answers = target.verify([last, *proposals])
            judged = [next_probabilities(logits, **sampling) for logits in answers]
            new = accept(proposals, beliefs, judged, uniforms.random(len(judged)).tolist())
            yield from new
            kept = len(new) - 1
            target.cut(start + 1 + kept)
            # The draft never reads its last proposal; if that was kept, it is still to be read.
            behind = proposals[-1:] if kept == len(proposals) else []
            draft.cut(draft_start + 1 + kept)
            last = new[-1]

    def _propose(
        self, ids: list[int], uniforms: np.random.Generator, sampling: dict[str, Any]
    ) -> tuple[list[int], list[np.ndarray]]:
        proposals: list[int] = []
        beliefs: list[np.ndarray] = []
        while True:
            beliefs.append(next_probabilities(self._draft.read(ids), **sampling))
            proposals.append(draw(beliefs[-1], uniforms.random()))
            if len(proposals) == self._proposed:
                return proposals, beliefs
            ids = proposals[-1:]
