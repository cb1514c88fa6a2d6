r"""Rows of CSV and TSV, each with the number of the line on which it begins.

The delimiter is the one that splits the header into the wanted columns and the rows after it into
as many fields. Quotes are RFC 4180's. In a table of tabs they are that only where they must be
(the header is quoted, or quoted fields hold a tab, a line end or a doubled quote), and plain
characters otherwise: TSV files are written both ways.
"""

from __future__ import annotations

import collections
import contextlib
import csv
import io
import itertools
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from tfdistill.datasets.tables.cells import RowFault, expected
from tfdistill.datasets.tables.columns import Column, find_columns, is_near, option
from tfdistill.datasets.tables.encodings import Encoding
from tfdistill.datasets.tables.row_source import RowSource

if TYPE_CHECKING:
    import _csv

__all__ = ["check_delimiter", "delimited_rows"]

_DELIMITERS = (",", ";", "\t", "|")
_SPELLED = {"\\t": "\t", "tab": "\t"}
_LARGEST_FIELD = 1 << 30
_SAMPLE_LINES = 200
_SAMPLE_CHARACTERS = 1 << 16
# Excel writes this line where its delimiter is not the country's.
_SEP_LINE = re.compile(r"sep=(.)\r?\n?", re.IGNORECASE)
_FIELD_LIMIT_LOCK = threading.RLock()


def check_delimiter(delimiter: str | None) -> str | None:
    r"""Refuses what cannot separate fields.

    Args:
        delimiter: What the user says, or None. "tab" and a backslash with a t mean the tab.

    Returns:
        One character, or None.

    Raises:
        ValueError: If it is not one character, or a quote or a line end.

    Example:
        >>> check_delimiter("tab")
        '\t'
    """
    if delimiter is None:
        return None
    found = _SPELLED.get(delimiter, delimiter) if isinstance(delimiter, str) else ""
    if len(found) != 1 or found in '"\r\n\0':
        raise ValueError(
            "`delimiter` must be one character that separates fields, or 'tab'. Received: "
            f"delimiter={delimiter!r}. Set {option('delimiter')}."
        )
    return found


def delimited_rows(
    raw: bytes,
    encoding: Encoding,
    columns: Sequence[Column],
    *,
    where: str,
    usual: str,
    delimiter: str | None,
) -> RowSource:
    """Returns the wanted columns of a CSV or TSV file.

    Args:
        raw: The file.
        encoding: How its bytes become characters.
        columns: What is wanted.
        where: The file, for messages.
        usual: The delimiter that the file's ending promises.
        delimiter: What the user says, or None to find it.

    Returns:
        The rows, to be read once.

    Raises:
        ValueError: If a column is not there.
    """
    first = _stream(raw, encoding).readline()
    sep_line = _SEP_LINE.fullmatch(first)
    skipped = 1 if sep_line else 0
    if delimiter is None:
        if sep_line:
            delimiter = sep_line[1]
        else:
            delimiter = _sniff(_sample(raw, encoding), columns, usual)
    notes = []
    if delimiter != usual or sep_line:
        notes.append(f"delimiter {delimiter!r}")
    options: dict[str, Any] = {"delimiter": delimiter, "strict": True}
    if delimiter == "\t" and b'"' in raw:
        quoted = _has_quoted_fields(_stream(raw, encoding), skipped, options)
        if quoted:
            notes.append("quotes enclose fields")
        else:
            options["quoting"] = csv.QUOTE_NONE
            notes.append("quotes read as plain characters")

    lines, header, line = _after_header(raw, encoding, skipped, options, where)
    if len(header) > 1 and all(name.startswith(" ") for name in header[1:]):
        # As in "text, label": a quote after the blank would be read as a character.
        options["skipinitialspace"] = True
        notes.append("blanks after the delimiter skipped")
        lines, header, line = _after_header(raw, encoding, skipped, options, where)
    hint = ""
    if any("\0" in name for name in header):
        hint = f" It holds NUL characters: is it text? Else set {option('encoding')}."
    elif header and not any(is_near(name, column.name) for name in header for column in columns):
        hint = (
            f" The first line must name the columns. If it is cut in the wrong places, set "
            f"{option('delimiter')}, which is {delimiter!r} here."
        )
    header_at = f"{where}, line {line}" if header else where
    indices, near = find_columns(columns, header, where=header_at, hint=hint)
    return RowSource(
        rows=_rows(lines, options, width=len(header), indices=indices),
        format="tsv" if delimiter == "\t" else "csv",
        delimiter=delimiter,
        encoding=encoding.name,
        escaped_bytes=encoding.errors == "surrogateescape",
        notes=notes,
        guesses=[*encoding.guesses, *near],
    )


def _stream(raw: bytes, encoding: Encoding) -> io.TextIOWrapper:
    # BytesIO shares the memory of the bytes. Line ends stay as they are, for quoted fields.
    return io.TextIOWrapper(
        io.BytesIO(raw), encoding=encoding.name, errors=encoding.errors, newline=""
    )


class _Lines:
    """Lines of a file, those of the row that is being read kept so that some can be read again.

    Attributes:
        start: Number of the line on which the row begins.
        held: The lines of the row so far.
    """

    def __init__(self, stream: Iterator[str]) -> None:
        self._stream = stream
        self._again: collections.deque[str] = collections.deque()
        self.start = 1
        self.held: list[str] = []

    def __iter__(self) -> Iterator[str]:
        hold = self.held.append
        while True:
            line = self._again.popleft() if self._again else next(self._stream, None)
            if line is None:
                return
            hold(line)
            yield line

    def row_ends(self) -> int:
        """Returns the line on which the row began; the next line begins a new one."""
        start = self.start
        self.start += len(self.held)
        self.held.clear()
        return start

    def only_first_line_ends(self) -> None:
        """Lets the lines after the row's first be read again."""
        self._again.extendleft(reversed(self.held[1:]))
        del self.held[1:]
        self.row_ends()

    def skip(self, count: int) -> None:
        """Reads lines that are no rows."""
        for _ in zip(range(count), self, strict=False):
            pass
        self.row_ends()


@contextlib.contextmanager
def _long_fields() -> Iterator[None]:
    # The limit belongs to the csv module as a whole, and documents are often longer than it.
    with _FIELD_LIMIT_LOCK:
        limit = csv.field_size_limit(_LARGEST_FIELD)
        try:
            yield
        finally:
            csv.field_size_limit(limit)


def _after_header(
    raw: bytes, encoding: Encoding, skipped: int, options: dict[str, Any], where: str
) -> tuple[_Lines, list[str], int]:
    lines = _Lines(_stream(raw, encoding))
    lines.skip(skipped)
    try:
        with _long_fields():
            for header in csv.reader(lines, **options):
                start = lines.row_ends()
                if header:
                    return lines, header, start
    except csv.Error as error:
        raise ValueError(
            f"{where}, line {lines.start}: not a header ({error}). Set {option('delimiter')}, "
            f"which is {options['delimiter']!r} here, or mend the line."
        ) from error
    return lines, [], 1


def _rows(
    lines: _Lines, options: dict[str, Any], *, width: int, indices: list[int]
) -> Iterator[tuple[int, list[str] | RowFault]]:
    with _long_fields():
        while True:
            reader = csv.reader(lines, **options)
            try:
                yield from _rows_until_error(reader, lines, width, indices)
                return
            except csv.Error as error:
                # What a stray quote has swallowed is given back but for its own line.
                start = lines.start
                fault = _not_a_row(error, start, start + len(lines.held) - 1)
                lines.only_first_line_ends()
                yield start, fault


def _rows_until_error(
    reader: _csv.Reader, lines: _Lines, width: int, indices: list[int]
) -> Iterator[tuple[int, list[str] | RowFault]]:
    held = lines.held
    for row in reader:
        count = len(held)
        start = lines.row_ends()
        if len(row) == width:
            yield start, [row[index] for index in indices]
        elif row:
            until = f" The row goes on to line {start + count - 1}." if count > 1 else ""
            fault = expected(f"{width} fields", row, argument="delimiter")
            yield start, RowFault(fault.reason + until, argument=fault.argument)


def _not_a_row(error: csv.Error, first: int, last: int) -> RowFault:
    why = ""
    if "unexpected end" in str(error):
        why = ": a quote opens on this line and is never closed"
    elif last > first:
        why = f": a quote opens on this line and closes on line {last}, inside a field"
    return RowFault(f"not a table row ({error}){why}.")


def _sample(raw: bytes, encoding: Encoding) -> list[str]:
    lines: list[str] = []
    size = 0
    for line in itertools.islice(_stream(raw, encoding), _SAMPLE_LINES):
        lines.append(line[:_SAMPLE_CHARACTERS])
        size += len(line)
        if size > _SAMPLE_CHARACTERS:
            break
    return lines


def _sniff(sample: list[str], columns: Sequence[Column], usual: str) -> str:
    # The most wanted columns found, then several columns at all, then the most rows that fit.
    def fit(delimiter: str) -> tuple[int, bool, float]:
        try:
            with _long_fields():
                reader = csv.reader(sample, delimiter=delimiter, skipinitialspace=True)
                rows = [row for row in reader if row]
        except csv.Error:
            rows = []
        if not rows:
            return 0, False, 0.0
        header, *others = rows
        found = sum(any(is_near(name, column.name) for name in header) for column in columns)
        regular = sum(len(row) == len(header) for row in others) / max(1, len(others))
        return found, len(header) > 1, regular

    return max(sorted(_DELIMITERS, key=lambda delimiter: delimiter != usual), key=fit)


def _has_quoted_fields(stream: io.TextIOWrapper, skipped: int, options: dict[str, Any]) -> bool:
    lines = _Lines(stream)
    lines.skip(skipped)
    needs_quotes: Callable[[str], re.Match[str] | None] = re.compile('["\t\r\n]').search
    evident = False
    width = 0
    try:
        with _long_fields():
            for row in csv.reader(lines, **options):
                first = lines.held[0]
                lines.row_ends()
                if row and not width:
                    width = len(row)
                    evident = first.startswith('"') and len(row) > 1
                if row and len(row) != width:
                    return False
                evident = evident or any(needs_quotes(cell) for cell in row)
    except csv.Error:
        return False
    return evident
