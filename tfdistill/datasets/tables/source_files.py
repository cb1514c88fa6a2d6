"""A table's file: found, recognized by its ending, and read into memory, unpacked.

What cannot be a table is refused before anything is parsed, with what to do about it.
"""

from __future__ import annotations

import difflib
import gzip
import os
import re
import zlib
from pathlib import Path

from tfdistill.datasets.tables.columns import option

__all__ = ["FORMATS", "read_bytes", "table_format"]

# The ending before `.gz`, and the format that it stands for.
FORMATS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
}
_ENDINGS = ".csv, .tsv, .jsonl, .ndjson, .json (each also with .gz) or .parquet"
_SPREADSHEETS = {".xlsx", ".xls", ".xlsm", ".xlsb", ".ods", ".numbers"}
# The first bytes of files that are often renamed rather than converted.
_SIGNATURES = {
    b"\x1f\x8b": "gzip data: let its name end in .gz",
    b"PK\x03\x04": "a zip archive or a spreadsheet: unpack it, or export the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "an Excel workbook: export the sheet as CSV (UTF-8)",
    b"PAR1": "Parquet data: let its name end in .parquet",
    b"%PDF": "a PDF document: a table has to be exported as CSV",
    b"<!DOCTYPE": "a web page, perhaps one that asks to log in: download the file again",
}


def table_format(path: Path) -> str:
    """Tells the format of a file by its ending.

    Args:
        path: The file, which need not exist.

    Returns:
        One of the values of `FORMATS`.

    Raises:
        ValueError: If it is an address, a spreadsheet, or has another ending.

    Example:
        >>> table_format(Path("reviews.CSV.gz"))
        'csv'
    """
    received = f"Received: path={str(path)!r}."
    # Path("https://x") is "https:/x": one slash is left.
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", str(path)):
        raise ValueError(
            f"`path` must be a file on this machine. {received} Download it first, for example "
            "with `curl -LO`, and give the file's name."
        )
    suffixes = [suffix.lower() for suffix in path.suffixes]
    ending = suffixes[-1] if suffixes else ""
    if ending in _SPREADSHEETS:
        raise ValueError(
            f"`path` must end in {_ENDINGS}. {received} Export the sheet: in Excel, Save As, "
            '"CSV UTF-8 (Comma delimited)".'
        )
    if ending == ".gz":
        ending = suffixes[-2] if len(suffixes) > 1 else ""
        if ending == ".parquet":
            raise ValueError(
                f"`path` must end in {_ENDINGS}. {received} Parquet is compressed inside: "
                "unpack the .gz."
            )
    if ending not in FORMATS:
        if path.is_dir():
            raise _folder(path)
        raise ValueError(f"`path` must end in {_ENDINGS}. {received}")
    return FORMATS[ending]


def check_file(path: Path) -> None:
    """Refuses what is not a file, with what is there instead.

    Args:
        path: Where the file should be.

    Raises:
        FileNotFoundError: If nothing is there; the message lists names that are near.
        ValueError: If it is a folder.
    """
    if path.is_dir():
        raise _folder(path)
    if not path.exists():
        folder = path.parent
        if not folder.is_dir():
            raise FileNotFoundError(f"There is no file {path}: {folder} is no folder either.")
        names = [name for name in os.listdir(folder) if not name.startswith(".")]
        near = difflib.get_close_matches(path.name, names, cutoff=0.5)
        near = near or sorted(name for name in names if _is_table(name))[:3]
        advice = f" Did you mean {' or '.join(repr(str(folder / name)) for name in near)}?"
        raise FileNotFoundError(f"There is no file {path}.{advice if near else ''}")


def read_bytes(path: Path) -> bytes:
    """Reads a file that holds text, unpacked if its name ends in `.gz`.

    Args:
        path: The file.

    Returns:
        Its bytes.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is a folder, is not whole, or holds something else than text.
    """
    check_file(path)
    if path.suffix.lower() == ".gz":
        try:
            with gzip.open(path) as file:
                raw = file.read()
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise ValueError(
                f"{path} must be a whole gzip file. Received: {error}. Copy or download it again, "
                "or let its name not end in .gz."
            ) from error
    else:
        raw = path.read_bytes()
    for signature, what in _SIGNATURES.items():
        if raw.startswith(signature):
            raise ValueError(f"{path} must hold text. It holds {what}.")
    return raw


def _folder(path: Path) -> ValueError:
    tables = sorted(name for name in os.listdir(path) if _is_table(name))[:5]
    there = f" Tables in it: {', '.join(tables)}." if tables else ""
    return ValueError(
        f"`path` must be a file. Received: path={str(path)!r}, a folder.{there} Name one file; "
        f"test rows may have one of their own: {option('test')}."
    )


def _is_table(name: str) -> bool:
    return Path(name.lower().removesuffix(".gz")).suffix in FORMATS
