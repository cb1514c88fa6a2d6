"""Labelled texts of your own: read from CSV, TSV or JSON lines, checked row by row.

    reviews.csv ─ read_labelled_text ─▶ texts, labels ─ text_data ─▶ TextData

`TextData` is what every data set of this folder returns, so a domain of your own goes through
the same functions as the examples do.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import _csv

__all__ = ["TextData", "read_labelled_text", "text_data"]

_LARGEST_FIELD = 1 << 30


@dataclass(frozen=True, eq=False)
class TextData:
    """Texts with their classes, split into training and test.

    Attributes:
        train_texts: Raw strings, N of them.
        train_labels: Class ids in [0, C), int32 array of shape `[N]`.
        test_texts: Raw strings, M of them.
        test_labels: Class ids in [0, C), int32 array of shape `[M]`.
        label_names: Name of each class, C of them, sorted.
    """

    train_texts: list[str]
    train_labels: npt.NDArray[np.int32]
    test_texts: list[str]
    test_labels: npt.NDArray[np.int32]
    label_names: tuple[str, ...]


def text_data(
    train: tuple[Sequence[str], Sequence[str]], test: tuple[Sequence[str], Sequence[str]]
) -> TextData:
    """Turns named labels into class ids.

    The classes are the labels of the training part, sorted, so that the ids depend on
    nothing but their names.

    Args:
        train: Texts and as many labels.
        test: Texts and as many labels; none that the training part lacks.

    Returns:
        The data set.

    Raises:
        ValueError: If a part has not as many texts as labels, or a test label is unknown.

    Example:
        >>> data = text_data((["rain", "sun"], ["wet", "dry"]), (["fog"], ["wet"]))
        >>> data.label_names, data.train_labels.tolist(), data.test_labels.tolist()
        (('dry', 'wet'), [1, 0], [1])
    """
    for name, (texts, labels) in (("train", train), ("test", test)):
        if len(texts) != len(labels):
            raise ValueError(
                f"`{name}` must have as many texts as labels. Received: "
                f"{len(texts)} texts, {len(labels)} labels."
            )
    names = tuple(sorted(set(train[1])))
    ids = {name: index for index, name in enumerate(names)}
    for row, label in enumerate(test[1]):
        if label not in ids:
            raise ValueError(
                f"`test` must only have labels that `train` has. Received: {label!r} at "
                f"index {row}. Known labels: {', '.join(names[:8])}{' …' * (len(names) > 8)}."
            )
    return TextData(
        train_texts=list(train[0]),
        train_labels=np.array([ids[label] for label in train[1]], dtype=np.int32),
        test_texts=list(test[0]),
        test_labels=np.array([ids[label] for label in test[1]], dtype=np.int32),
        label_names=names,
    )


def read_labelled_text(
    path: str | os.PathLike[str], *, text: str = "text", label: str = "label"
) -> tuple[list[str], list[str]]:
    r"""Reads texts and their labels from a UTF-8 file.

    `.csv` has a header line and quotes as RFC 4180 describes; `.tsv` has a header line and no
    quoting at all, so a text must not hold a tab; `.jsonl` has one JSON object per line.
    Numbers are accepted as labels in JSON and become strings. Nothing is dropped silently: the
    first row that is not right ends the reading.

    Args:
        path: The file; its ending tells the format.
        text: Name of the column, or key, that holds the text.
        label: Name of the column, or key, that holds the class.

    Returns:
        Texts and labels, two lists of one length.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the ending is unknown, a column is missing, there is no row, or a row
            is not right; the message names its line.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder) / "weather.csv"
        ...     _ = file.write_text('text,label\n"rain, then snow",wet\n')
        ...     read_labelled_text(file)
        (['rain, then snow'], ['wet'])
    """
    path = Path(path)
    readers = {".csv": _read_table, ".tsv": _read_table, ".jsonl": _read_json_lines}
    if path.suffix.lower() not in readers:
        raise ValueError(f"`path` must end in {', '.join(readers)}. Received: path={str(path)!r}.")
    if text == label:
        raise ValueError(
            f"`text` and `label` must name two columns. Received: text={text!r}, label={label!r}."
        )
    raw = path.read_bytes()
    try:
        content = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise _wrong_row(path, line, "UTF-8 text", raw[error.start : error.end]) from error

    texts, labels = [], []
    for line, one_text, one_label in readers[path.suffix.lower()](path, content, text, label):
        for name, value in ((text, one_text), (label, one_label)):
            if not value.strip():
                raise _wrong_row(path, line, f"a {name!r} that is not empty", value)
        texts.append(one_text)
        labels.append(one_label.strip())
    if not texts:
        raise ValueError(f"`path` must hold at least one row. Received: {str(path)!r}, no rows.")
    return texts, labels


def _read_table(path: Path, content: str, text: str, label: str) -> list[tuple[int, str, str]]:
    # The limit belongs to the csv module as a whole, and documents are often longer than it.
    limit = csv.field_size_limit(_LARGEST_FIELD)
    try:
        lines = io.StringIO(content, newline="")
        if path.suffix.lower() == ".tsv":
            reader = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        else:
            reader = csv.reader(lines, strict=True)
        return list(_table_rows(path, reader, text, label))
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: not a table row ({error}).") from error
    finally:
        csv.field_size_limit(limit)


def _table_rows(
    path: Path, reader: _csv.Reader, text: str, label: str
) -> Iterator[tuple[int, str, str]]:
    header = next(reader, [])
    for name, value in (("text", text), ("label", label)):
        if header.count(value) != 1:
            raise ValueError(
                f"`{name}` must name one column of {path}. Received: {name}={value!r}. "
                f"The columns are {header}."
            )
    at_text, at_label = header.index(text), header.index(label)
    line = reader.line_num + 1
    for row in reader:
        if row and len(row) != len(header):
            raise _wrong_row(path, line, f"{len(header)} fields", row)
        if row:
            yield line, row[at_text], row[at_label]
        # A quoted field may go over several lines: the row starts after the last one's end.
        line = reader.line_num + 1


def _read_json_lines(path: Path, content: str, text: str, label: str) -> list[tuple[int, str, str]]:
    rows = []
    for line, source in enumerate(content.split("\n"), start=1):
        if not source.strip():
            continue
        try:
            row = json.loads(source)
        except (ValueError, RecursionError) as error:
            raise _wrong_row(path, line, "one JSON object", source) from error
        if not isinstance(row, dict) or not {text, label} <= row.keys():
            raise _wrong_row(path, line, f"an object with the keys {text!r} and {label!r}", row)
        if not isinstance(row[text], str):
            raise _wrong_row(path, line, f"{text!r} to be a string", row[text])
        if isinstance(row[label], bool) or not isinstance(row[label], (str, int)):
            raise _wrong_row(path, line, f"{label!r} to be a string or an integer", row[label])
        rows.append((line, row[text], str(row[label])))
    return rows


def _wrong_row(path: Path, line: int, expected: str, received: object) -> ValueError:
    shown = repr(received)
    shown = shown if len(shown) <= 80 else shown[:77] + "..."
    return ValueError(f"{path}, line {line}: expected {expected}. Received: {shown}.")
