"""Tables on the command line: the options that say how to read one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

__all__ = ["table_options"]

_OPTIONS = (
    click.option("--text", default="text", show_default=True, help="Column, or key, of the text."),
    click.option(
        "--label", default="label", show_default=True, help="Column, or key, of what is asked."
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
