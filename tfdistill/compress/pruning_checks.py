"""What pruning refuses, and what it says then."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence

from tfdistill.compress.pruning_slots import pattern_axis
from tfdistill.compress.targets import Target

__all__ = [
    "check_block_size",
    "check_divides",
    "check_pattern",
    "check_pooling",
    "check_regrow",
    "check_schedule",
    "check_scope",
    "check_sparsity",
    "check_steps",
]

Pair = tuple[int, int]


def check_sparsity(sparsity: object, *, pattern: Pair | None) -> float:
    """Returns the sparsity to reach, which an N:M pattern decides; refuses percentages."""
    if isinstance(sparsity, bool) or not isinstance(sparsity, numbers.Real):
        raise TypeError(
            f"`sparsity` must be a fraction in [0, 1). Received: sparsity={sparsity!r}."
        )
    value = float(sparsity)
    if not 0.0 <= value < 1.0:
        percent = 1.0 < value < 100.0
        hint = f"Did you mean {value / 100:g}?" if percent else "0.5 is a safe start."
        raise ValueError(
            f"`sparsity` must be a fraction in [0, 1). Received: sparsity={sparsity!r}. {hint}"
        )
    if pattern is None:
        return value
    own = 1.0 - pattern[0] / pattern[1]
    if value not in (0.5, own) and not math.isclose(value, own):  # 0.5 is the default
        raise ValueError(
            f"`sparsity` must be 1 − N/M = {own:g} with a pattern. Received: "
            f"sparsity={sparsity!r}, pattern={pattern!r}. Leave one of them out."
        )
    return own


def check_schedule(target_sparsity: float | None, *, pattern: Pair | None) -> None:
    """Refuses a schedule that ends with another sparsity than the pattern."""
    if pattern is None or target_sparsity is None:
        return
    own = 1.0 - pattern[0] / pattern[1]
    if not math.isclose(target_sparsity, own, rel_tol=1e-6):
        raise ValueError(
            f"`pruning_schedule` must end at 1 − N/M = {own:g} with a pattern. Received: "
            f"pruning_schedule to {target_sparsity!r}, pattern={pattern!r}. Give `steps` instead."
        )


def check_steps(steps: object) -> None:
    """Refuses what is no positive int."""
    if isinstance(steps, bool) or not isinstance(steps, numbers.Integral) or steps < 1:
        raise ValueError(
            f"`steps` must be an int of at least 1. Received: steps={steps!r}. "
            "Epochs times batches per epoch is the number of training steps."
        )


def check_pattern(pattern: object) -> Pair | None:
    """Returns the pattern as a tuple; refuses what is no N of M."""
    if pattern is None:
        return None
    pair = _pair(pattern)
    if pair is None or not 0 < pair[0] < pair[1]:
        raise ValueError(
            f"`pattern` must be a pair of ints N < M. Received: pattern={pattern!r}. "
            "(2, 4) keeps 2 of each 4 neighbors."
        )
    return pair


def check_block_size(block_size: object, *, pattern: Pair | None) -> Pair:
    """Returns the block's height and width; refuses others, and blocks with a pattern."""
    pair = _pair(block_size)
    if pair is None or min(pair) < 1:
        raise ValueError(
            "`block_size` must be a pair of ints of at least 1, height and width. "
            f"Received: block_size={block_size!r}. (1, 4) removes 4 outputs of an input at a time."
        )
    if pattern is not None and pair != (1, 1):
        raise ValueError(
            "`block_size` must be (1, 1) with a pattern. Received: "
            f"block_size={block_size!r}, pattern={pattern!r}. Leave one of them out."
        )
    return pair


def check_pooling(block_pooling_type: object) -> str:
    """Returns the pooling; refuses others than TF-MOT's two."""
    if block_pooling_type not in ("AVG", "MAX"):
        raise ValueError(
            "`block_pooling_type` must be 'AVG' or 'MAX'. "
            f"Received: block_pooling_type={block_pooling_type!r}. TF-MOT has no other."
        )
    return str(block_pooling_type)


def check_scope(scope: object) -> str:
    """Returns the scope; refuses others than the two."""
    if scope not in ("tensor", "global"):
        raise ValueError(
            f"`scope` must be 'tensor' or 'global'. Received: scope={scope!r}. "
            "'tensor' gives each tensor the same sparsity, 'global' one threshold to all."
        )
    return str(scope)


def check_regrow(regrow: object) -> bool:
    """Returns the flag; refuses what is none."""
    if not isinstance(regrow, bool):
        raise TypeError(
            f"`regrow` must be True or False. Received: regrow={regrow!r}. "
            "False sets removed weights to zero after each optimizer step."
        )
    return regrow


def check_divides(pattern: Pair, targets: Sequence[Target]) -> None:
    """Refuses weights whose neighbors cannot be divided into groups of M."""
    for target in targets:
        axis = pattern_axis(target)
        length = target.matrix_shape[axis]
        if length % pattern[1]:
            side = "width" if axis else "input axis"
            layer = target.path.rpartition("/")[0]
            raise ValueError(
                f"`pattern` must divide the {side} of each weight. Received: pattern={pattern!r} "
                f"for {target.path!r}, whose {side} has {length} entries. "
                f"Leave the layer out with exclude={layer!r}."
            )


def _pair(value: object) -> Pair | None:
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        return None
    if any(isinstance(item, bool) or not isinstance(item, numbers.Integral) for item in value):
        return None
    return int(value[0]), int(value[1])
