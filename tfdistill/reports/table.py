"""A table of texts, and how it looks in a terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Table"]


@dataclass(frozen=True)
class Table:
    """Holds the cells of a table; the first column is of names, the others of numbers.

    Attributes:
        head: Names of the columns.
        rows: One list of cells for each row, as many as there are columns.

    Example:
        >>> print(Table(["layer", "bits"], [["dense", "8"], ["table", "4"]]).terminal())
        layer  bits
        -----  ----
        dense     8
        table     4
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def terminal(self) -> str:
        """Returns aligned columns, the first to the left and the others to the right."""
        widths = [max(map(len, column)) for column in zip(self.head, *self.rows, strict=True)]
        return "\n".join(
            "  ".join(
                cell.rjust(width) if column else cell.ljust(width)
                for column, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in (self.head, ["-" * width for width in widths], *self.rows)
        )

    def markdown(self) -> str:
        """Returns the same in Markdown."""
        rule = ["---", *["--:"] * (len(self.head) - 1)]
        return "\n".join("| " + " | ".join(line) + " |" for line in (self.head, rule, *self.rows))
