"""From logits to the next token: equations in NumPy, without state.

The order is the usual one: temperature, then `top_k`, then `top_p` on what is left, then one draw.
"""

from __future__ import annotations

import numpy as np

from tfdistill.arguments.numeric import check_int, check_number

__all__ = ["check_sampling", "draw", "keep_top_k", "keep_top_p", "next_probabilities"]


def next_probabilities(
    logits: np.ndarray,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> np.ndarray:
    """Turns logits into the probabilities that the next token is drawn from.

    p = softmax(z / T); at T = 0 all of it lies on the largest logit, the first if several are.

    Args:
        logits: Float array `[V]`.
        temperature: T, a float of at least 0.
        top_k: Keep the k most probable tokens; None keeps all.
        top_p: Keep the fewest most probable tokens whose mass reaches p; None keeps all.

    Returns:
        float64 `[V]`; sums to 1.

    Example:
        >>> next_probabilities(np.log([0.5, 0.25, 0.25]), temperature=0.5).round(4).tolist()
        [0.6667, 0.1667, 0.1667]
    """
    logits = np.asarray(logits, np.float64)
    if temperature == 0:
        probabilities = np.zeros_like(logits)
        probabilities[int(np.argmax(logits))] = 1.0
        return probabilities
    # The maximum goes first: a tiny temperature then cannot overflow.
    exponentials = np.exp((logits - logits.max()) / temperature)
    probabilities = exponentials / exponentials.sum()
    if top_k is not None:
        probabilities = keep_top_k(probabilities, top_k)
    if top_p is not None:
        probabilities = keep_top_p(probabilities, top_p)
    return probabilities


def keep_top_k(probabilities: np.ndarray, top_k: int) -> np.ndarray:
    """Keeps the k most probable tokens and scales them to sum to 1; of equal ones the first.

    Args:
        probabilities: float64 `[V]`.
        top_k: k, an int of at least 1.

    Returns:
        float64 `[V]`.

    Example:
        >>> keep_top_k(np.array([0.1, 0.4, 0.2, 0.3]), 2).round(4).tolist()
        [0.0, 0.5714, 0.0, 0.4286]

    References:
        Fan, Lewis, Dauphin. "Hierarchical Neural Story Generation", 2018, section 5.4.
    """
    return _only(probabilities, np.argsort(-probabilities, kind="stable")[:top_k])


def keep_top_p(probabilities: np.ndarray, top_p: float) -> np.ndarray:
    """Keeps the smallest set of most probable tokens whose mass reaches p (the nucleus).

    Args:
        probabilities: float64 `[V]`.
        top_p: p, a float in (0, 1].

    Returns:
        float64 `[V]`, scaled to sum to 1; never empty.

    Example:
        >>> keep_top_p(np.array([0.1, 0.4, 0.2, 0.3]), 0.6).round(4).tolist()
        [0.0, 0.5714, 0.0, 0.4286]

    References:
        Holtzman et al. "The Curious Case of Neural Text Degeneration", 2020, section 3.1.
        https://arxiv.org/abs/1904.09751
    """
    order = np.argsort(-probabilities, kind="stable")
    mass = np.cumsum(probabilities[order])
    # A rounding error of the sum must not take one token too many.
    count = int(np.searchsorted(mass, top_p - 1e-12)) + 1
    return _only(probabilities, order[:count])


def draw(probabilities: np.ndarray, uniform: float) -> int:
    """Draws a token by inverting the cumulative distribution.

    Args:
        probabilities: float64 `[V]`.
        uniform: A number in [0, 1), uniformly distributed; one that was rounded up to 1 is taken.

    Returns:
        The first token whose cumulative probability exceeds `uniform`; never one of probability 0.

    Example:
        >>> [draw(np.array([0.5, 0.0, 0.5]), u) for u in (0.0, 0.49, 0.5, 0.99)]
        [0, 0, 2, 2]
    """
    cumulative = np.cumsum(probabilities)
    index = int(np.searchsorted(cumulative, uniform * cumulative[-1], side="right"))
    return min(index, int(np.flatnonzero(probabilities)[-1]))


def check_sampling(
    *, temperature: object, top_k: object, top_p: object, max_new_tokens: object, seed: object
) -> None:
    """Refuses settings of generation that are out of range.

    Args:
        temperature: A float of at least 0.
        top_k: An int of at least 1, or None.
        top_p: A float in (0, 1], or None.
        max_new_tokens: An int of at least 1.
        seed: An int of at least 0.

    Raises:
        TypeError: If one is of the wrong type.
        ValueError: If one is out of range.
    """
    hint = "0 takes the most probable token each time."
    check_number(temperature, argument="temperature", interval="[0, inf)", hint=hint)
    if top_k is not None:
        check_int(top_k, argument="top_k", at_least=1, hint="None draws from all tokens.")
    if top_p is not None:
        hint = "None or 1.0 keeps all tokens."
        check_number(top_p, argument="top_p", interval="(0, 1]", hint=hint)
    check_int(max_new_tokens, argument="max_new_tokens", at_least=1)
    check_int(seed, argument="seed", at_least=0)


def _only(probabilities: np.ndarray, kept: np.ndarray) -> np.ndarray:
    result = np.zeros_like(probabilities)
    result[kept] = probabilities[kept]
    return result / result.sum()
