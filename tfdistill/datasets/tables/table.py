"""`read_table`: the wanted columns of a file or a data frame, and what was found out about it."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from tfdistill.datasets.tables.cells import RowFault, cell_reader
from tfdistill.datasets.tables.columns import Column, check_columns, option
from tfdistill.datasets.tables.delimited import check_delimiter, delimited_rows
from tfdistill.datasets.tables.encodings import find_encoding
from tfdistill.datasets.tables.frames import frame_rows, pair_rows, parquet_rows
from tfdistill.datasets.tables.json_rows import json_line_rows, json_rows
from tfdistill.datasets.tables.row_source import RowSource
from tfdistill.datasets.tables.source_files import FORMATS, check_file, read_bytes, table_format

__all__ = ["SkippedRow", "Table", "read_table"]

_SHOWN = 10
_BATCH_ROWS = 1024


@dataclass(frozen=True)
class SkippedRow:
    """A row that was left out.

    Attributes:
        number: Its number, as `Table.unit` counts.
        place: Where it is, such as "line 7".
        reason: What is wrong with it.
    """

    number: int
    place: str
    reason: str


@dataclass(frozen=True, eq=False)
class Table:
    """Columns of a table, and what was found out while they were read.

    Attributes:
        columns: The values of each wanted column under the name that was asked for, N each.
        row_numbers: Where each row begins, int64 `[N]`: lines and items from 1, rows from 0.
        unit: What `row_numbers` counts: "line" of a file, "item" of a JSON array, "row" of a frame.
        source: The file's path, or the type of what was in memory.
        format: "csv", "tsv", "jsonl", "json", "parquet", or the type of what was in memory.
        delimiter: What separates fields, or None.
        encoding: Python's name of the encoding, or None.
        skipped: The rows that were left out.
        notes: What a person should hear: a delimiter that was found, names taken by nearness,
            a guessed encoding, classes of one row, classes that differ in case alone.
        guesses: Those of the notes that may be wrong and change what was read.
    """

    columns: dict[str, list[Any]] = field(repr=False)
    row_numbers: npt.NDArray[np.int64] = field(repr=False)
    unit: str
    source: str
    format: str
    delimiter: str | None = None
    encoding: str | None = None
    skipped: tuple[SkippedRow, ...] = ()
    notes: tuple[str, ...] = ()
    guesses: tuple[str, ...] = ()

    @property
    def num_rows(self) -> int:
        """Number of rows that were read."""
        return len(self.row_numbers)

    def place(self, row: int) -> str:
        """Tells where a row of the columns is in the source.

        Args:
            row: Index into the columns.

        Returns:
            Such as "line 7".
        """
        return f"{self.unit} {self.row_numbers[row]}"

    def summary(self) -> str:
        """Returns one line on what was read, how, and what was left out."""
        known = [f"delimiter {self.delimiter!r}"] if self.delimiter else []
        known += [f"encoding {self.encoding}"] if self.encoding else []
        text = f"read {self.num_rows:,} row{'s' * (self.num_rows != 1)} of {self.source}"
        if known:
            text += f": {', '.join(known)}"
        if self.skipped:
            numbers = [str(row.number) for row in self.skipped[:_SHOWN]]
            several = len(self.skipped) > 1
            text += (
                f"; {len(self.skipped):,} bad row{'s' * several} skipped: "
                f"{self.unit}{'s' * several} {', '.join(numbers)}"
                f"{' …' * (len(self.skipped) > _SHOWN)}"
            )
        return text


def read_table(
    source: Any,
    *,
    columns: Sequence[Column],
    delimiter: str | None = None,
    encoding: str | None = None,
    skip_bad_rows: bool = False,
) -> Table:
    r"""Reads columns of a table, each cell checked, and tells what was found out.

    A file's ending tells its format: `.csv`, `.tsv`, `.jsonl` (or `.ndjson`), `.json`, each also
    with `.gz`, and `.parquet`, for which pyarrow is needed. The delimiter and the encoding of a
    text file are found; an encoding that cannot be told surely is refused. Blank lines are
    skipped. The first row that is not right ends the reading, unless bad rows are to be skipped.

    Args:
        source: Path of a file; a data frame of pandas or polars, a pyarrow table, one part of a
            Hugging Face data set; a dict of columns; or a tuple with one sequence for each of
            `columns`, such as (texts, labels).
        columns: What is wanted, and of what kind.
        delimiter: What separates fields of CSV and TSV files; "tab" is the tab. None finds it.
        encoding: How bytes become characters, such as "cp1252". None finds it.
        skip_bad_rows: Whether to leave rows out that are not right, and count them.

    Returns:
        The columns, with what was found out.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If the file is Parquet and pyarrow is not installed.
        TypeError: If `source` or `columns` is of another type.
        ValueError: If the file cannot be a table, a column is missing, no row is left, or a row
            is not right; the message names file, line and what to set.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder) / "reviews.csv"
        ...     _ = file.write_text("Review;Stars\nGreat, really;5\nBad;1\n")
        ...     table = read_table(file, columns=[Column("review"), Column("stars", "number")])
        >>> table.columns
        {'review': ['Great, really', 'Bad'], 'stars': [5.0, 1.0]}
        >>> table.delimiter, table.row_numbers.tolist()
        (';', [2, 3])
    """
    columns = tuple(columns) if not isinstance(columns, str) else columns
    check_columns(columns)
    delimiter = check_delimiter(delimiter)
    if isinstance(source, (str, os.PathLike)):
        where = str(source)
        rows = _file_rows(Path(source), columns, delimiter=delimiter, encoding=encoding)
    elif isinstance(source, tuple):
        where = "sequences"
        rows = pair_rows(source, columns)
    else:
        where = f"a {type(source).__name__}"
        rows = frame_rows(source, columns)
    return _checked(rows, columns, where=where, skip_bad_rows=skip_bad_rows)


def _file_rows(
    path: Path, columns: Sequence[Column], *, delimiter: str | None, encoding: str | None
) -> RowSource:
    format = table_format(path)
    where = str(path)
    if format == "parquet":
        check_file(path)
        return parquet_rows(path, columns, where=where)
    raw = read_bytes(path)
    known = find_encoding(raw, encoding, where=where)
    if format == "jsonl":
        return json_line_rows(raw, known, columns)
    if format == "json":
        return json_rows(raw, known, columns, where=where)
    usual = "\t" if format == "tsv" else ","
    return delimited_rows(raw, known, columns, where=where, usual=usual, delimiter=delimiter)


def _checked(
    source: RowSource, columns: Sequence[Column], *, where: str, skip_bad_rows: bool
) -> Table:
    checked = _CheckedRows(source, columns, where=where, skip_bad_rows=skip_bad_rows)
    # Closed at once, also when a row is refused: the csv module's limit is set while it reads.
    with contextlib.closing(cast("Generator[tuple[int, Any]]", source.rows)) as rows:
        while batch := list(itertools.islice(rows, _BATCH_ROWS)):
            checked.add(batch)
    if not checked.numbers:
        bad = checked.skipped
        first = f" The first, {bad[0].place}: {bad[0].reason}" if bad else ""
        if bad and source.delimiter:
            first += f" Set {option('delimiter')}, which is {source.delimiter!r} here."
        elif bad:
            first += f" Set {' or '.join(dict.fromkeys(option(c.argument) for c in columns))}."
        argument = "path" if source.format in FORMATS.values() else "source"
        raise ValueError(
            f"`{argument}` must hold at least one row. Received: {where!r}, no rows"
            f"{f' but {len(bad)} bad ones' if bad else ''}.{first}"
        )
    named = dict(zip((column.name for column in columns), checked.values, strict=True))
    notes = [*source.guesses, *source.notes]
    for column in columns:
        if column.kind == "label":
            notes += _on_labels(column.name, named[column.name])
    return Table(
        columns=named,
        row_numbers=np.array(checked.numbers, np.int64),
        unit=source.unit,
        source=where,
        format=source.format,
        delimiter=source.delimiter,
        encoding=source.encoding,
        skipped=tuple(checked.skipped),
        notes=tuple(notes),
        guesses=tuple(source.guesses),
    )


class _CheckedRows:
    """Collects the rows whose cells are right, column by column, and those to be skipped."""

    def __init__(
        self, source: RowSource, columns: Sequence[Column], *, where: str, skip_bad_rows: bool
    ) -> None:
        self._source = source
        self._where = where
        self._skip_bad_rows = skip_bad_rows
        self._readers = [
            cell_reader(column, escaped_bytes=source.escaped_bytes, typed=source.typed)
            for column in columns
        ]
        self.values: list[list[Any]] = [[] for _ in columns]
        self.numbers: list[int] = []
        self.skipped: list[SkippedRow] = []

    def add(self, batch: list[tuple[int, Any]]) -> None:
        # Column by column, and again row by row if there is a fault: most tables have few.
        rows = [cells for _, cells in batch]
        if not any(isinstance(cells, RowFault) for cells in rows):
            by_column = zip(*rows, strict=True)
            with contextlib.suppress(RowFault):
                read = [
                    list(map(reader, cells))
                    for reader, cells in zip(self._readers, by_column, strict=True)
                ]
                self.numbers.extend(number for number, _ in batch)
                for column, cells in zip(self.values, read, strict=True):
                    column.extend(cells)
                return
        for number, cells in batch:
            self._add_row(number, cells)

    def _add_row(self, number: int, cells: Any) -> None:
        try:
            if isinstance(cells, RowFault):
                raise cells
            row = [reader(cell) for reader, cell in zip(self._readers, cells, strict=True)]
        except RowFault as fault:
            unit = self._source.unit
            place = self._source.place(number) if self._source.place else f"{unit} {number}"
            if not self._skip_bad_rows:
                raise ValueError(f"{self._where}, {place}: {_refusal(fault)}") from None
            self.skipped.append(SkippedRow(number, place, fault.reason))
            return
        self.numbers.append(number)
        for column, value in zip(self.values, row, strict=True):
            column.append(value)


def _refusal(fault: RowFault) -> str:
    mends = f"Mend the row, set {option(fault.argument)}, or" if fault.argument else "Mend it, or"
    return f"{fault.reason} {mends} leave such rows out: {option('skip_bad_rows')}."


def _on_labels(name: str, labels: list[str]) -> list[str]:
    counts = Counter(labels)
    notes = []
    if len(counts) == 1:
        notes.append(f"{name!r} has one class only, {labels[0]!r}")
    single = [label for label, count in counts.items() if count == 1]
    if len(single) == len(labels) > 1:
        notes.append(f"{name!r} has a class for each row: is it the right column?")
    elif single and len(counts) > 1:
        more = f" and {len(single) - 5} more" * (len(single) > 5)
        notes.append(
            f"{name!r} has classes of one row: {', '.join(map(repr, sorted(single)[:5]))}{more}"
        )
    alike: dict[str, list[str]] = {}
    for label in sorted(counts):
        alike.setdefault(" ".join(label.casefold().split()), []).append(label)
    notes += [
        f"{name!r} has classes that differ in case or blanks alone: {', '.join(map(repr, same))}"
        for same in alike.values()
        if len(same) > 1
    ]
    return notes
