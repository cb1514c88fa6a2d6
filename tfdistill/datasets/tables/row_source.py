"""Rows as a format gives them, before their cells are checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tfdistill.datasets.tables.cells import RowFault

__all__ = ["RowSource"]


@dataclass(frozen=True)
class RowSource:
    """The wanted columns of a table, row by row.

    Attributes:
        rows: The number of each row with its cells, one for each wanted column, or with what is
            wrong with it. To be read once.
        format: Name of the format, such as "csv".
        unit: What the rows' numbers count: "line", "item" or "row".
        delimiter: What separates fields, or None.
        encoding: How bytes became characters, or None.
        escaped_bytes: Whether bytes that do not decode became lone surrogates.
        typed: Whether all cells of a column are of one type, as in a data frame.
        notes: What was found out, in half-sentences.
        guesses: The same, where it may be wrong; may grow while `rows` is read.
        place: Tells where the row of a number is, for messages; None writes unit and number.
    """

    rows: Iterator[tuple[int, Sequence[Any] | RowFault]]
    format: str
    unit: str = "line"
    delimiter: str | None = None
    encoding: str | None = None
    escaped_bytes: bool = False
    typed: bool = False
    notes: list[str] = field(default_factory=list)
    guesses: list[str] = field(default_factory=list)
    place: Callable[[int], str] | None = None
