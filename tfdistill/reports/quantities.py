"""Numbers as people read them: bytes and counts with three digits and a unit."""

from __future__ import annotations

import math

__all__ = ["MISSING", "bytes_text", "count_text", "fixed_text"]

MISSING = "–"


def bytes_text(value: int | None) -> str:
    """Writes a number of bytes; 1 KB is 1,024 bytes.

    Args:
        value: At least 0, or None.

    Returns:
        The text; `MISSING` for None.

    Example:
        >>> bytes_text(489_472), bytes_text(1023), bytes_text(None)
        ('478 KB', '1023 B', '–')
    """
    return _human(value, 1024, [" B", " KB", " MB", " GB"])


def count_text(value: int | None) -> str:
    """Writes a count with a decimal unit.

    Args:
        value: At least 0, or None.

    Returns:
        The text; `MISSING` for None.

    Example:
        >>> count_text(22_713_216), count_text(999)
        ('22.7 M', '999')
    """
    return _human(value, 1000, ["", " k", " M", " G"])


def fixed_text(value: float | None) -> str:
    """Writes a number with three decimals.

    Args:
        value: The number, or None.

    Returns:
        The text; `MISSING` for None.

    Example:
        >>> fixed_text(0.9462)
        '0.946'
    """
    return MISSING if value is None else f"{value:.3f}"


def _human(value: int | None, step: int, units: list[str]) -> str:
    if value is None:
        return MISSING
    power, number = 0, float(value)
    # 999.5 would round to 1,000 of the smaller unit.
    while power < len(units) - 1 and number >= (step if step == 1024 else 999.5):
        power, number = power + 1, number / step
    if power == 0:
        return f"{value}{units[0]}"
    digits = max(0, 2 - int(math.log10(max(number, 1.0))))
    return f"{number:.{digits}f}{units[power]}"
