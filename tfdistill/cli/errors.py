"""How a command fails: one clear line on standard error, and an exit code for scripts."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import click

__all__ = ["Failure", "told", "write"]

# What the public functions raise when something is wrong with what they were given.
_EXPECTED = (ImportError, LookupError, OSError, RuntimeError, TypeError, ValueError)


class Failure(click.ClickException):
    """One clear line on standard error and exit code 1."""

    def show(self, file: object = None) -> None:
        """Prints the line."""
        click.echo(f"tfdistill: {self.message}", err=True)


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Turns the errors of the public functions into a `Failure`.

    Raises:
        Failure: With the message of the error.

    Example:
        >>> with told():
        ...     raise ValueError("`alpha` must be small.")
        Traceback (most recent call last):
        ...
        tfdistill.cli.errors.Failure: `alpha` must be small.
    """
    try:
        yield
    except click.exceptions.Exit:  # a RuntimeError, but not a failure
        raise
    except _EXPECTED as error:
        raise Failure(str(error) or type(error).__name__) from error


def write(value: Any, *, as_json: bool, text: str) -> None:
    """Prints a result for people or for programs.

    Args:
        value: What `json` can write.
        as_json: Whether to print `value` on one line.
        text: What to print otherwise.
    """
    click.echo(json.dumps(value, ensure_ascii=False) if as_json else text)
