"""Rows of JSON: one object a line, an array of objects, or an object of columns."""

from __future__ import annotations

import dataclasses
import io
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from tfdistill.datasets.tables.cells import RowFault, expected
from tfdistill.datasets.tables.columns import Column, find_columns, is_near
from tfdistill.datasets.tables.encodings import Encoding
from tfdistill.datasets.tables.frames import column_rows
from tfdistill.datasets.tables.row_source import RowSource

__all__ = ["json_line_rows", "json_rows"]

_BLANK = re.compile(r"[ \t\r\n]*")
_ESCAPED_BYTES = re.compile("[\udc80-\udcff]+")
# Where exports put the rows when the object says other things, too.
_ROWS_UNDER = ("data", "rows", "records", "examples")


def json_line_rows(raw: bytes, encoding: Encoding, columns: Sequence[Column]) -> RowSource:
    """Returns the wanted keys of a file with one JSON object a line.

    Args:
        raw: The file.
        encoding: How its bytes become characters.
        columns: What is wanted.

    Returns:
        The rows, to be read once.
    """
    said = list(encoding.guesses)
    # JSON lines end with a line feed alone: U+2028 and others are characters of a string.
    stream = io.TextIOWrapper(
        io.BytesIO(raw), encoding=encoding.name, errors=encoding.errors, newline="\n"
    )
    return RowSource(
        rows=_line_rows(stream, _Keys(columns, said)),
        format="jsonl",
        encoding=encoding.name,
        guesses=said,
    )


def json_rows(
    raw: bytes, encoding: Encoding, columns: Sequence[Column], *, where: str
) -> RowSource:
    """Returns the wanted keys of a JSON file.

    It is an array of objects; an object of columns, each a list (or pandas' object of row names);
    or an object that has the array under "data", "rows", "records" or "examples".

    Args:
        raw: The file.
        encoding: How its bytes become characters.
        columns: What is wanted.
        where: The file, for messages.

    Returns:
        The rows, to be read once.

    Raises:
        ValueError: If the file is not JSON, or none of these.
    """
    content = raw.decode(encoding.name, encoding.errors)
    start = _blank_until(content, 0)
    if content.startswith("[", start):
        return _array(content, start + 1, encoding, columns, where)
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        if _first_line_is_an_object(content):
            source = json_line_rows(raw, encoding, columns)
            source.notes.append("one JSON object a line")
            return source
        raise _not_json(error, where) from error
    return _from_object(value, encoding, columns, where)


class _Keys:
    """Takes the wanted keys out of objects; near names are settled by the first that has them."""

    def __init__(self, columns: Sequence[Column], said: list[str]) -> None:
        self._columns = columns
        self._said = said
        self._keys: list[str] | None = None

    def pick(self, row: object, *, seen: object) -> list[Any] | RowFault:
        names = [column.name for column in self._columns]
        if isinstance(row, dict):
            if self._keys is None:
                self._settle(row)
            try:
                return [row[key] for key in self._keys or names]
            except KeyError:
                pass
        wanted = " and ".join(repr(name) for name in names)
        if isinstance(row, dict):
            # The nearest names, as a header would be refused.
            try:
                find_columns(self._columns, list(row), where="the object")
            except ValueError as error:
                advice = str(error).partition("The columns are ")[2]
                fault = expected(f"an object with the keys {wanted}", seen)
                return RowFault(f"{fault.reason} Its keys are {advice}")
        return expected(f"an object with the keys {wanted}", seen)

    def _settle(self, row: dict[str, Any]) -> None:
        if any(is_near(column.name, key) for key in row for column in self._columns):
            try:
                indices, near = find_columns(self._columns, list(row), where="")
            except ValueError:
                return
            keys = list(row)
            self._keys = [keys[index] for index in indices]
            self._said += near


def _line_rows(stream: io.TextIOWrapper, keys: _Keys) -> Iterator[tuple[int, list[Any] | RowFault]]:
    for line, source in enumerate(stream, start=1):
        if not source.isascii() and (escaped := _ESCAPED_BYTES.search(source)):
            received = escaped[0].encode("utf-8", "surrogateescape")
            yield line, expected("UTF-8 text", received, argument="encoding")
        elif not source.isspace():
            try:
                row = json.loads(source)
            except (ValueError, RecursionError):
                yield line, expected("one JSON object", source.rstrip("\r\n"))
                continue
            yield line, keys.pick(row, seen=row)


def _array(
    content: str, start: int, encoding: Encoding, columns: Sequence[Column], where: str
) -> RowSource:
    said = list(encoding.guesses)
    lines: list[int] = []
    return RowSource(
        rows=_array_rows(content, start, _Keys(columns, said), lines, where),
        format="json",
        unit="item",
        encoding=encoding.name,
        escaped_bytes=encoding.errors == "surrogateescape",
        guesses=said,
        place=lambda item: f"line {lines[item - 1]} (item {item})",
    )


def _array_rows(
    content: str, start: int, keys: _Keys, lines: list[int], where: str
) -> Iterator[tuple[int, list[Any] | RowFault]]:
    decode = json.JSONDecoder().raw_decode
    at = _blank_until(content, start)
    line, counted = 1, 0
    if content.startswith("]", at):
        return _end_of_array(content, at, where)
    while True:
        line, counted = line + content.count("\n", counted, at), at
        lines.append(line)
        try:
            row, end = decode(content, at)
        except (ValueError, RecursionError) as error:
            raise _not_json(error, where) from error
        yield len(lines), keys.pick(row, seen=row)
        at = _blank_until(content, end)
        if content.startswith("]", at):
            return _end_of_array(content, at, where)
        if not content.startswith(",", at):
            line += content.count("\n", counted, at)
            raise ValueError(
                f"{where}, line {line}: not JSON: expected ',' or ']' after item {len(lines)}. "
                f"Received: {content[at : at + 20]!r}. Is the file whole?"
            )
        at = _blank_until(content, at + 1)


def _end_of_array(content: str, at: int, where: str) -> None:
    end = _blank_until(content, at + 1)
    if end < len(content):
        line = content.count("\n", 0, end) + 1
        raise ValueError(
            f"{where}, line {line}: not JSON: expected nothing after the array. "
            f"Received: {content[end : end + 20]!r}."
        )


def _from_object(
    value: object, encoding: Encoding, columns: Sequence[Column], where: str
) -> RowSource:
    if isinstance(value, dict):
        held = {key: _as_list(value[key]) for key in value}
        lists = {key: cells for key, cells in held.items() if cells is not None}
        under = [key for key in _ROWS_UNDER if lists.get(key)]
        named = any(is_near(key, column.name) for key in lists for column in columns)
        if named or not under:
            if lists:
                return _columns(lists, encoding, columns, where)
        elif all(isinstance(row, dict) for row in lists[under[0]]):
            said = list(encoding.guesses)
            keys = _Keys(columns, said)
            rows = lists[under[0]]
            return RowSource(
                rows=((at, keys.pick(row, seen=row)) for at, row in enumerate(rows, start=1)),
                format="json",
                unit="item",
                encoding=encoding.name,
                notes=[f"rows under {under[0]!r}"],
                guesses=said,
                place=lambda item: f"item {item} of {under[0]!r}",
            )
        elif isinstance(names := value.get("columns"), list):
            rows = lists[under[0]]
            if all(isinstance(row, list) and len(row) == len(names) for row in rows):
                split = dict(zip(map(str, names), map(list, zip(*rows, strict=True)), strict=True))
                return _columns(split, encoding, columns, where)
    shown = list(value)[:8] if isinstance(value, dict) else value
    raise ValueError(
        f"{where}, line 1: expected an array of objects, or an object of columns. Received: "
        f"{'an object with the keys ' if isinstance(value, dict) else ''}{repr(shown)[:80]}. "
        "Write the rows as [{...}, {...}], or one object a line in a file that ends in .jsonl."
    )


def _columns(
    by_name: dict[str, list[Any]], encoding: Encoding, columns: Sequence[Column], where: str
) -> RowSource:
    source = column_rows(by_name, columns, where=where, format="json", encoding=encoding.name)
    return dataclasses.replace(source, guesses=[*encoding.guesses, *source.guesses])


def _as_list(value: object) -> list[Any] | None:
    if isinstance(value, dict) and value and all(key.isdigit() for key in value):
        return list(value.values())  # as pandas' to_json() writes a column
    return value if isinstance(value, list) else None


def _first_line_is_an_object(content: str) -> bool:
    first = content.strip().partition("\n")[0]
    try:
        return isinstance(json.loads(first), dict)
    except (ValueError, RecursionError):
        return False


def _not_json(error: Exception, where: str) -> ValueError:
    line = error.lineno if isinstance(error, json.JSONDecodeError) else 1
    what = error.msg if isinstance(error, json.JSONDecodeError) else "it is nested too deeply"
    return ValueError(
        f"{where}, line {line}: not JSON: {what}. Is the file whole? One object a line belongs in "
        "a file that ends in .jsonl."
    )


def _blank_until(content: str, at: int) -> int:
    found = _BLANK.match(content, at)
    return found.end() if found else at
