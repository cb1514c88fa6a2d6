"""Hashes of files, and files of a folder that are safe to open.

A folder may come from a stranger: a name that its manifest gives is opened only if it stays within
the folder, is a regular file of bounded size, and has the hash that is stated.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["FileRecord", "check_file", "file_sha256", "record_of", "safe_file"]


@dataclass(frozen=True)
class FileRecord:
    """What a manifest states about one file.

    Attributes:
        sha256: SHA-256 in hexadecimal.
        size_bytes: Its size.
    """

    sha256: str
    size_bytes: int


def file_sha256(path: str | os.PathLike[str]) -> str:
    """Returns the SHA-256 of a file as 64 hexadecimal digits.

    Example:
        >>> file_sha256(os.devnull)[:16]
        'e3b0c44298fc1c14'
    """
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def record_of(path: Path) -> FileRecord:
    """Measures a file."""
    return FileRecord(file_sha256(path), path.stat().st_size)


def safe_file(
    folder: Path, name: str, *, largest: int, what: str, inner_links: bool = False
) -> Path:
    """Returns a file of a folder that is safe to open: regular, inside of it, not huge.

    Args:
        folder: The folder.
        name: Name of the file, relative to the folder.
        largest: The largest size in bytes.
        what: What the folder is, for messages: "bundle", "team".
        inner_links: Whether a link to another file of the folder will do.

    Returns:
        The path of the file itself, links resolved.

    Raises:
        ValueError: If the file is missing, not regular, too large, or leaves the folder by its
            name or by a link.
    """
    where, again = f"The {what} {str(folder)!r}", f"Save or copy the {what} again."
    root = folder.resolve()
    try:
        resolved = (root / name).resolve(strict=True)
        status = resolved.stat()
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: a loop of links
        raise ValueError(
            f"{where} must hold {name}, which cannot be read ({error}). {again}"
        ) from error
    if not inner_links and resolved != root / name:
        raise ValueError(
            f"{where} must hold {name} as a regular file of its own, and no link. "
            f"Received: a link to {str(resolved)!r}. {again}"
        )
    if not resolved.is_relative_to(root):
        raise ValueError(
            f"{where} must hold {name} itself. Received: a link to {str(resolved)!r}, outside the "
            f"folder. Copy the file into the {what}."
        )
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(
            f"{where} must hold {name} as a regular file. Received: a folder or a device. {again}"
        )
    if status.st_size > largest:
        raise ValueError(
            f"{name} in the {what} {str(folder)!r} must be at most {largest} bytes. "
            f"Received: {status.st_size} bytes."
        )
    return resolved


def check_file(
    folder: Path, name: str, stated: Any, *, largest: int, what: str, inner_links: bool = False
) -> Path:
    """Returns a file that is safe to open and is the one that the manifest states.

    Args:
        folder: The folder.
        name: Name of the file, relative to the folder.
        stated: Its `FileRecord`.
        largest: As in `safe_file`.
        what: As in `safe_file`.
        inner_links: As in `safe_file`.

    Raises:
        ValueError: As `safe_file`, or if the file has another size or hash.
    """
    path = safe_file(folder, name, largest=largest, what=what, inner_links=inner_links)
    size_bytes = path.stat().st_size
    # A wrong size needs no hash, which matters when someone puts a huge file there.
    sha256 = file_sha256(path) if size_bytes == stated.size_bytes else "not computed"
    if sha256 != stated.sha256:
        raise ValueError(
            f"{name} in the {what} {str(folder)!r} must have the hash that its manifest states. "
            f"Received: {size_bytes} bytes, SHA-256 {sha256}; stated: {stated.size_bytes} bytes, "
            f"{stated.sha256!r}. The file was changed or cut off: save or copy the {what} again."
        )
    return path
