"""Which blocks of a stack share their weights.

For four blocks in two groups:

============= ======== ====================================================================
`pattern`     groups   as in
============= ======== ====================================================================
"cyclic"      0 1 0 1  "cycle" of Takase and Kiyono; ALBERT is its case of one group
"immediate"   0 0 1 1  "sequence" of Takase and Kiyono; the block-wise sharing of MobileLLM
============= ======== ====================================================================

Takase and Kiyono find "cycle" the better one. Neither saves computing: a model of four blocks
takes the time of four, in the space of `groups`.

References:
    Lan et al. "ALBERT", 2020, section 3.1. https://arxiv.org/abs/1909.11942
    Takase, Kiyono. "Lessons on Parameter Sharing across Layers in Transformers", 2021, section 3.
    https://arxiv.org/abs/2104.06022
    Liu et al. "MobileLLM", 2024, section 2.3. https://arxiv.org/abs/2402.14905
"""

from __future__ import annotations

__all__ = ["PATTERNS", "assign_groups"]

PATTERNS = ("cyclic", "immediate")


def assign_groups(num_layers: int, *, groups: int, pattern: str = "cyclic") -> tuple[int, ...]:
    """Says which group each block of a stack belongs to.

    "cyclic" gives block i the group i mod k; "immediate" gives it ⌊i · k / n⌋, so that groups are
    neighbors and, where k does not divide n, differ by one block at most.

    Args:
        num_layers: Number of blocks n.
        groups: Number of groups k, an int in [1, n].
        pattern: "cyclic" or "immediate".

    Returns:
        n group numbers in [0, k).

    Raises:
        TypeError: If `groups` is not an int.
        ValueError: If `groups` is out of range or `pattern` unknown.

    Example:
        >>> assign_groups(4, groups=2), assign_groups(4, groups=2, pattern="immediate")
        ((0, 1, 0, 1), (0, 0, 1, 1))
    """
    if pattern not in PATTERNS:
        raise ValueError(
            f"`pattern` must be one of {PATTERNS}. Received: pattern={pattern!r}. For four blocks "
            "in two groups, 'cyclic' is 0 1 0 1 and 'immediate' is 0 0 1 1."
        )
    if isinstance(groups, bool) or not isinstance(groups, int):
        raise TypeError(
            f"`groups` must be an int in [1, {num_layers}]. Received: groups={groups!r}. "
            "It is the number of blocks that keep weights of their own."
        )
    if not 1 <= groups <= num_layers:
        raise ValueError(
            f"`groups` must be an int in [1, {num_layers}], the number of blocks. "
            f"Received: groups={groups!r}. 1 gives all blocks the same weights."
        )
    if pattern == "cyclic":
        return tuple(index % groups for index in range(num_layers))
    return tuple(index * groups // num_layers for index in range(num_layers))
