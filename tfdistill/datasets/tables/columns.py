"""Which columns are wanted, and which of a table's columns they are.

A name that differs from the header's in case or outer blanks alone is taken, and said. Any other
name that is not there is refused, with the nearest ones.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

__all__ = ["Column", "check_columns", "find_columns", "is_near", "option"]

_Kind = Literal["text", "label", "number", "raw"]
_SHOWN = 30


@dataclass(frozen=True)
class Column:
    """A column that is wanted, and what its cells must be.

    Attributes:
        name: Its name in the header, or its key in JSON.
        kind: `"text"`: a string that is not blank. `"label"`: the name of a class; numbers become
            strings (1 and 1.0 are "1"), and booleans of a data frame ("True"); outer blanks go.
            `"number"`: finite, becomes a float. `"raw"`: whatever is there, also nothing.
        argument: The caller's argument that gave `name`, which errors tell the user to set.

    Raises:
        ValueError: If `name` is empty or `kind` is none of the four.

    Example:
        >>> Column("stars", "label", argument="label")
        Column(name='stars', kind='label', argument='label')
    """

    name: str
    kind: _Kind = "text"
    argument: str = "columns"

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ValueError(
                f"`{self.argument}` must be the name of a column. Received: "
                f"{self.argument}={self.name!r}."
            )
        if self.kind not in get_args(_Kind):
            raise ValueError(
                f"`kind` must be one of {', '.join(map(repr, get_args(_Kind)))}. "
                f"Received: kind={self.kind!r}."
            )


def option(argument: str) -> str:
    """Names an argument for callers in Python and on the command line.

    Args:
        argument: Name of the Python argument.

    Returns:
        Both names; the argument alone if no option of the command line sets it.

    Example:
        >>> option("skip_bad_rows")
        '`skip_bad_rows` (--skip-bad-rows)'
    """
    if argument == "columns":
        return "`columns`"
    return f"`{argument}` (--{argument.replace('_', '-')})"


def is_near(name: str, other: str) -> bool:
    """Tells whether two names are the same but for case and outer blanks.

    Example:
        >>> is_near("text", " Text"), is_near("text", "texts")
        (True, False)
    """
    return name.strip().casefold() == other.strip().casefold()


def check_columns(columns: Sequence[Column]) -> None:
    """Refuses an empty sequence of columns, and two columns of one name.

    Args:
        columns: What is wanted.

    Raises:
        TypeError: If it is not a sequence of `Column`.
        ValueError: If it is empty or names a column twice.
    """
    if isinstance(columns, str) or not all(isinstance(column, Column) for column in columns):
        raise TypeError(
            f"`columns` must be a sequence of Column. Received: columns={columns!r}. "
            'Write columns=[Column("text", "text"), Column("label", "label")].'
        )
    if not columns:
        raise ValueError(f"`columns` must name a column or more. Received: columns={columns!r}.")
    for index, column in enumerate(columns):
        for earlier in columns[:index]:
            if earlier.name == column.name:
                names = dict.fromkeys((earlier.argument, column.argument))
                raise ValueError(
                    f"{' and '.join(f'`{name}`' for name in names)} must name two columns. "
                    f"Received: {earlier.argument}={earlier.name!r}, "
                    f"{column.argument}={column.name!r}."
                )


def find_columns(
    columns: Sequence[Column], header: Sequence[str], *, where: str, hint: str = ""
) -> tuple[list[int], list[str]]:
    """Finds each column in a header.

    Args:
        columns: What is wanted.
        header: The names that there are.
        where: The table, for messages.
        hint: A sentence for messages about names that nothing is near to.

    Returns:
        The index of each column in `header`, and a sentence for each name taken by nearness.

    Raises:
        ValueError: If a name is not that of exactly one column.

    Example:
        >>> find_columns([Column("text")], ["id", "Text"], where="a.csv")
        ([1], ["column 'Text' taken for 'text'"])
    """
    found: list[int] = []
    notes = []
    for column in columns:
        exact = [index for index, name in enumerate(header) if name == column.name]
        near = [index for index, name in enumerate(header) if is_near(name, column.name)]
        taken = exact or near
        if len(taken) != 1 or taken[0] in found:
            raise ValueError(_not_one(column, header, exact=exact, near=near, where=where) + hint)
        if not exact:
            notes.append(f"column {header[taken[0]]!r} taken for {column.name!r}")
        found += taken
    return found, notes


def _not_one(
    column: Column, header: Sequence[str], *, exact: list[int], near: list[int], where: str
) -> str:
    shown = [name if len(name) <= 40 else name[:37] + "..." for name in header[:_SHOWN]]
    more = f" and {len(header) - _SHOWN} more" * (len(header) > _SHOWN)
    message = (
        f"`{column.argument}` must name one column of {where}. Received: "
        f"{column.argument}={column.name!r}. The columns are {shown}{more}. "
    )
    if len(exact) > 1:
        return message + (
            f"{len(exact)} of them have this name: rename all but one, or set "
            f"{option(column.argument)}."
        )
    if not header:
        return message + "It is empty."
    folded = {name.strip().casefold(): name for name in reversed(header)}
    close = [header[index] for index in near] or [
        folded[name]
        for name in difflib.get_close_matches(column.name.strip().casefold(), folded, cutoff=0.5)
    ]
    advice = f"Did you mean {' or '.join(map(repr, close))}? " if close else ""
    return message + f"{advice}Set {option(column.argument)}."
