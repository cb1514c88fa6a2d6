"""Tables on the command line: the options that say how to read one, and what was found out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from tfdistill.datasets import Table

__all__ = ["read_labelled_table", "table_options"]

_OPTIONS = (
    click.option("--text", default="text", show_default=True, help="Column, or key, of the text."),
    click.option(
        "--label", default="label", show_default=True, help="Column, or key, of the class."
    ),
    click.option("--delimiter", help="What separates columns, or 'tab'; else it is found."),
    click.option("--encoding", help="Of the file, such as cp1252; else it is found."),
    click.option(
        "--skip-bad-rows", is_flag=True, help="Leave out rows that are not right, and count them."
    ),
)


def table_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --text, --label, --delimiter, --encoding and --skip-bad-rows to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def read_labelled_table(
    path: Path,
    *,
    text: str,
    label: str,
    delimiter: str | None,
    encoding: str | None,
    skip_bad_rows: bool,
) -> Table:
    """Reads texts and labels, and tells on standard error what was found out.

    Args:
        path: The file.
        text: Name of the column, or key, of the text.
        label: Name of the column, or key, of the class.
        delimiter: What separates columns, or None.
        encoding: How bytes become characters, or None.
        skip_bad_rows: Whether to leave out rows that are not right.

    Returns:
        The table, with the columns `text` and `label`.
    """
    from tfdistill.datasets import Column, read_table

    table = read_table(
        path,
        columns=(
            Column(text, "text", argument="text"),
            Column(label, "label", argument="label"),
        ),
        delimiter=delimiter,
        encoding=encoding,
        skip_bad_rows=skip_bad_rows,
    )
    tell_about(table)
    return table


def tell_about(table: Table) -> None:
    """Writes what was found out about a table to standard error.

    Args:
        table: Which one.
    """
    click.echo(f"tfdistill: {table.summary()}", err=True)
    for row in table.skipped[:3]:
        click.echo(f"tfdistill: skipped {row.place}: {row.reason}", err=True)
    said_in_the_summary = f"delimiter {table.delimiter!r}"
    for note in table.notes:
        if note != said_in_the_summary:
            click.echo(f"tfdistill: {note}", err=True)
