"""Numbers as arguments: whole ones with a least value, real ones in an interval."""

from __future__ import annotations

import math
import numbers

__all__ = ["check_int", "check_number"]


def check_int(
    value: object,
    *,
    argument: str,
    at_least: int | None = None,
    at_most: int | None = None,
    hint: str = "",
) -> int:
    """Refuses what is not a whole number in a range.

    NumPy's integers are taken. `True` and 2.0 are not: they are mistakes more often than counts.

    Args:
        value: What the caller passed.
        argument: Name of the caller's argument, for the message.
        at_least: The least value that is taken, or None.
        at_most: The largest one, or None.
        hint: A sentence that says what to do.

    Returns:
        The value as an `int`.

    Raises:
        TypeError: If `value` is not a whole number.
        ValueError: If it is out of range.

    Example:
        >>> check_int(3, argument="threads", at_least=1)
        3
        >>> check_int(0, argument="threads", at_least=1)
        Traceback (most recent call last):
        ...
        ValueError: `threads` must be an int of at least 1. Received: threads=0.
    """
    constraint = "an int"
    if at_least is not None and at_most is not None:
        constraint = f"an int in [{at_least}, {at_most}]"
    elif at_least is not None:
        constraint = f"an int of at least {at_least}"
    elif at_most is not None:
        constraint = f"an int of at most {at_most}"
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(_refusal(argument, constraint, value, hint, with_type=True))
    number = int(value)
    if (at_least is not None and number < at_least) or (at_most is not None and number > at_most):
        raise ValueError(_refusal(argument, constraint, value, hint))
    return number


def check_number(value: object, *, argument: str, interval: str, hint: str = "") -> float:
    """Refuses what is not a finite real number in an interval.

    Args:
        value: What the caller passed.
        argument: Name of the caller's argument, for the message.
        interval: The interval as it is written, such as "[0, 1)", "(0, inf)" or "(-inf, inf)".
            A round bracket excludes its end.
        hint: A sentence that says what to do.

    Returns:
        The value as a `float`.

    Raises:
        TypeError: If `value` is not a real number.
        ValueError: If it is not in the interval, or not finite.

    Example:
        >>> check_number(0.5, argument="sparsity", interval="[0, 1)")
        0.5
        >>> check_number(1, argument="sparsity", interval="[0, 1)")
        Traceback (most recent call last):
        ...
        ValueError: `sparsity` must be a number in [0, 1). Received: sparsity=1.
    """
    constraint = f"a number in {interval}"
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(_refusal(argument, constraint, value, hint, with_type=True))
    number = float(value)
    low, high = (float(end) for end in interval[1:-1].split(","))
    above = number >= low if interval.startswith("[") else number > low
    below = number <= high if interval.endswith("]") else number < high
    if not (math.isfinite(number) and above and below):
        raise ValueError(_refusal(argument, constraint, value, hint))
    return number


def _refusal(
    argument: str, constraint: str, value: object, hint: str, *, with_type: bool = False
) -> str:
    kind = f" ({type(value).__name__})" if with_type else ""
    text = f"`{argument}` must be {constraint}. Received: {argument}={value!r}{kind}."
    return f"{text} {hint}" if hint else text
