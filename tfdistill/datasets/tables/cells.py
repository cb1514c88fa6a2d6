"""Cells checked one by one: what a text, a class name and a number may be.

A reader of cells returns the value or raises `RowFault`, which says what is wrong and nothing of
where: that is known to whoever reads the rows.
"""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from tfdistill.datasets.tables.columns import Column

__all__ = ["RowFault", "cell_reader", "expected", "is_missing"]

_HALF_PAIRS = re.compile("[\ud800-\udfff]+")
_ESCAPED_BYTES = re.compile("[\udc80-\udcff]+")


class RowFault(Exception):
    """What is wrong with a row, and what mends it besides leaving it out.

    Attributes:
        reason: What is wrong.
        argument: The argument that may mend it, or an empty string.
    """

    def __init__(self, reason: str, *, argument: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.argument = argument


def expected(what: str, received: object, *, argument: str = "") -> RowFault:
    """Makes a fault out of what a row should hold and what it holds.

    Args:
        what: The constraint.
        received: What is there; shown in at most 80 characters.
        argument: The argument that may mend it.

    Returns:
        The fault, to be raised.

    Example:
        >>> expected("2 fields", ["a"]).reason
        "expected 2 fields. Received: ['a']."
    """
    shown = repr(received[:100] if isinstance(received, (str, list)) else received)
    shown = shown if len(shown) <= 80 else shown[:77] + "..."
    return RowFault(f"expected {what}. Received: {shown}.", argument=argument)


def is_missing(cell: object) -> bool:
    """Tells whether a cell is None, NaN, or what pandas has in their place.

    Example:
        >>> is_missing(None), is_missing(float("nan")), is_missing("")
        (True, True, False)
    """
    if cell is None or type(cell).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(cell, numbers.Real) and math.isnan(cell)


def cell_reader(
    column: Column, *, escaped_bytes: bool = False, typed: bool = True
) -> Callable[[Any], Any]:
    """Returns the function that checks and converts the cells of a column.

    Args:
        column: Which column, and its kind.
        escaped_bytes: Whether bytes that are not UTF-8 were decoded to lone surrogates (Python's
            "surrogateescape"), so that the row that has them can be named.
        typed: Whether a column's cells are all of one type, so that booleans are classes as well.

    Returns:
        A function from cell to value, which raises `RowFault`.

    Example:
        >>> read = cell_reader(Column("stars", "label"))
        >>> read(" good "), read(4.0), read(True)
        ('good', '4', 'True')
    """
    name = column.name
    if column.kind == "text":

        def read_text(cell: Any) -> str:
            # The usual text needs no more than this.
            if isinstance(cell, str) and cell.isascii() and "\0" not in cell and cell.strip():
                return cell
            return _text(cell, name, escaped_bytes)

        return read_text
    if column.kind == "label":
        return _Labels(name, escaped_bytes, typed).read
    if column.kind == "number":
        return lambda cell: _number(cell, name)
    return lambda cell: _whole(cell, name, escaped_bytes) if isinstance(cell, str) else cell


def _text(cell: object, name: str, escaped_bytes: bool) -> str:
    if not isinstance(cell, str):
        if is_missing(cell):
            raise expected(f"a {name!r} that is not missing", cell)
        raise expected(f"{name!r} to be a string", cell)
    if not cell or cell.isspace():
        raise expected(f"a {name!r} that is not empty", cell)
    return _whole(cell, name, escaped_bytes)


def _whole(cell: str, name: str, escaped_bytes: bool) -> str:
    if "\0" in cell:
        raise expected(f"a {name!r} without NUL characters", cell, argument="encoding")
    if not cell.isascii() and (half := _HALF_PAIRS.search(cell)):
        if escaped_bytes and (escaped := _ESCAPED_BYTES.search(cell)):
            raw = escaped[0].encode("utf-8", "surrogateescape")
            raise expected("UTF-8 text", raw, argument="encoding")
        raise expected(f"a {name!r} of whole characters, not half a surrogate pair", half[0])
    return cell


class _Labels:
    """Reads class names, each distinct one once."""

    def __init__(self, name: str, escaped_bytes: bool, typed: bool) -> None:
        self._name = name
        self._typed = typed
        self._escaped_bytes = escaped_bytes
        self._known: dict[str, str] = {}

    def read(self, cell: object) -> str:
        if not isinstance(cell, str):
            return self._from_value(cell)
        label = self._known.get(cell)
        if label is None:
            label = _text(cell, self._name, self._escaped_bytes).strip()
            self._known[cell] = label
        return label

    def _from_value(self, cell: object) -> str:
        if is_missing(cell):
            raise expected(f"a {self._name!r} that is not missing", cell)
        if isinstance(cell, (bool, np.bool_)):
            if not self._typed:
                raise expected(f"{self._name!r} to be a string or an integer, no boolean", cell)
            return str(bool(cell))
        if isinstance(cell, numbers.Integral):
            return str(int(cell))
        if isinstance(cell, numbers.Real) and math.isfinite(cell):
            number = float(cell)
            return str(int(number)) if number.is_integer() else repr(number)
        raise expected(f"{self._name!r} to be a string or a number", cell)


def _number(cell: object, name: str) -> float:
    if is_missing(cell) or (isinstance(cell, str) and not cell.strip()):
        raise expected(f"a {name!r} that is not missing", cell)
    number = math.nan
    if isinstance(cell, str) and "_" not in cell:
        try:
            number = float(cell)
        except ValueError:
            pass
    elif isinstance(cell, numbers.Real) and not isinstance(cell, (bool, np.bool_)):
        number = float(cell)
    if not math.isfinite(number):
        raise expected(f"{name!r} to be a finite number, such as 3.5", cell)
    return number
