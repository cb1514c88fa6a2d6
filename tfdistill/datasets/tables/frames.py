"""Rows of what is in memory by columns: data frames, dicts of lists, Parquet files.

Frames are known by what they can do: names under `columns` or `column_names`, and a column by its
name. So pandas, polars, pyarrow and Hugging Face data sets are read without importing any of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tfdistill.datasets.tables.columns import Column, find_columns
from tfdistill.datasets.tables.row_source import RowSource

__all__ = ["column_rows", "frame_rows", "pair_rows", "parquet_rows"]


def column_rows(
    by_name: Mapping[str, Any],
    columns: Sequence[Column],
    *,
    where: str,
    format: str,
    encoding: str | None = None,
) -> RowSource:
    """Returns the wanted columns of a mapping from name to column.

    Args:
        by_name: Columns: lists, or arrays of any library that can give a list.
        columns: What is wanted.
        where: What it is, for messages.
        format: Name of the format.
        encoding: How bytes became characters, or None.

    Returns:
        The rows, counted from 0, to be read once.

    Raises:
        ValueError: If a column is not there, or they are of several lengths.
    """
    names = [str(name) for name in by_name]
    indices, near = find_columns(columns, names, where=where)
    keys = list(by_name)
    return RowSource(
        rows=_rows([_values(by_name[keys[index]]) for index in indices], columns, where),
        format=format,
        unit="row",
        encoding=encoding,
        typed=encoding is None,
        guesses=near,
    )


def frame_rows(frame: Any, columns: Sequence[Column]) -> RowSource:
    """Returns the wanted columns of a data frame, or of a mapping from name to column.

    Args:
        frame: What has `columns` or `column_names`, and a column under each name.
        columns: What is wanted.

    Returns:
        The rows, counted from 0, to be read once.

    Raises:
        TypeError: If it is none of these.
        ValueError: If a column is not there.
    """
    kind = type(frame).__name__
    several = isinstance(frame, Mapping) and any(
        hasattr(part, "column_names") or hasattr(part, "columns") for part in frame.values()
    )
    if isinstance(frame, Mapping) and not several:
        return column_rows(frame, columns, where=f"the {kind}", format=kind)
    names = getattr(frame, "columns", None)
    # A pyarrow table has `columns`, too, but they are its data.
    names = getattr(frame, "column_names", names)
    if several or names is None or callable(names):
        raise TypeError(
            "`source` must be the path of a file, a data frame, a dict of columns or a tuple with "
            f"one sequence for each column. Received: source={frame!r:.80} ({kind}). A data set "
            'with several parts is read part by part, such as dataset["train"].'
        )
    keys = list(names)
    indices, near = find_columns(columns, [str(key) for key in keys], where=f"the {kind}")
    return RowSource(
        rows=_rows([_values(frame[keys[index]]) for index in indices], columns, f"the {kind}"),
        format=kind,
        unit="row",
        typed=True,
        guesses=near,
    )


def pair_rows(parts: Sequence[Any], columns: Sequence[Column]) -> RowSource:
    """Returns sequences as columns, such as texts and their labels.

    Args:
        parts: One sequence for each column, in the same order.
        columns: What they are.

    Returns:
        The rows, counted from 0, to be read once.

    Raises:
        ValueError: If they are not as many as the columns.
    """
    if len(parts) != len(columns):
        raise ValueError(
            "`source` must hold one sequence for each column, "
            f"{', '.join(column.name for column in columns)}. Received: {len(parts)} sequences."
        )
    return RowSource(
        rows=_rows([_values(part) for part in parts], columns, "`source`"),
        format="sequences",
        unit="row",
        typed=True,
    )


def parquet_rows(path: Path, columns: Sequence[Column], *, where: str) -> RowSource:
    """Returns the wanted columns of a Parquet file; the others are not read.

    Args:
        path: The file.
        columns: What is wanted.
        where: The file, for messages.

    Returns:
        The rows, counted from 0, to be read once.

    Raises:
        ImportError: If pyarrow is not installed.
        ValueError: If the file is not Parquet, or a column is not there.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(
            f"{where} needs pyarrow to be read. Install it with `pip install 'tfdistill[tables]'`, "
            "or export the table as CSV."
        ) from error
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            indices, near = find_columns(columns, names, where=where)
            table = file.read(columns=[names[index] for index in indices])
            parts = [table.column(names[index]).to_pylist() for index in indices]
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{where} must be a whole Parquet file. Received: {error} Write it again."
        ) from error
    return RowSource(
        rows=_rows(parts, columns, where),
        format="parquet",
        unit="row",
        typed=True,
        guesses=near,
    )


def _values(column: Any) -> list[Any]:
    if isinstance(column, str):
        raise TypeError(
            "`source` must hold sequences of cells, one for each column. Received: the string "
            f"{column[:40]!r} as a column."
        )
    for method in ("to_pylist", "to_list", "tolist"):
        if hasattr(column, method):
            return list(getattr(column, method)())
    return list(column)


def _rows(
    parts: list[list[Any]], columns: Sequence[Column], where: str
) -> Iterator[tuple[int, Sequence[Any]]]:
    lengths = [len(part) for part in parts]
    if len(set(lengths)) > 1:
        counted = ", ".join(
            f"{length} of {column.name!r}" for length, column in zip(lengths, columns, strict=True)
        )
        raise ValueError(f"{where} must have columns of one length. Received: {counted}.")
    return ((index, cells) for index, cells in enumerate(zip(*parts, strict=True)))
