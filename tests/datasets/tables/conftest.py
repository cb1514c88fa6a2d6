"""Files of a test's own, read as texts and labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tfdistill.datasets import Column, Table, read_table

LABELLED = (Column("text", argument="text"), Column("label", "label", argument="label"))


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    """Writes a file into the test's folder."""

    def write(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.fixture
def read(write: Callable[[str, str | bytes], Path]) -> Callable[..., Table]:
    """Writes a file and reads its texts and labels."""

    def read(name: str, content: str | bytes, **options: object) -> Table:
        return read_table(write(name, content), **({"columns": LABELLED} | options))

    return read


@pytest.fixture
def labelled() -> tuple[Column, ...]:
    """The columns of labelled texts."""
    return LABELLED
