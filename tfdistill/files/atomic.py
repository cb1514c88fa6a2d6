"""Writing a file so that it is either there in full or not there at all."""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tfdistill.files.temporary import abandoned, temporary_beside

__all__ = ["check_target", "flush", "flush_folder", "gzip_bytes", "replacing"]


def check_target(path: str | os.PathLike[str], *, argument: str = "path") -> Path:
    """Refuses a path that could not be written to, before the long work starts.

    Args:
        path: File that will be written; an existing file there will be replaced.
        argument: Name of the caller's argument, for the message.

    Returns:
        The path as a `Path`.

    Raises:
        TypeError: If `path` is neither a string nor an `os.PathLike`.
        FileNotFoundError: If the folder it names does not exist.
        IsADirectoryError: If it names a folder.

    Example:
        >>> check_target(".")
        Traceback (most recent call last):
        ...
        IsADirectoryError: `path` must be the name of a file. Received: path='.', a folder.
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(
            f"`{argument}` must be a str or os.PathLike. Received: {argument}={path!r} "
            f"({type(path).__name__})."
        )
    target = Path(path)
    if target.is_dir():
        raise IsADirectoryError(
            f"`{argument}` must be the name of a file. Received: {argument}={str(path)!r}, "
            "a folder."
        )
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"`{argument}` must be in an existing folder. Received: {argument}={str(path)!r}. "
            f"Make it with `pathlib.Path({str(target.parent)!r}).mkdir(parents=True)`."
        )
    return target


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a temporary name beside `path`, and renames it to `path` if all goes well.

    A reader sees the old file or the new one, never a part of either, and whatever fails inside
    the `with` (a full disk, Ctrl-C) leaves the old file as it was and no other file behind. The
    content is on the disk before the name is, so the same holds when the power fails. What a
    killed process left of the same file is removed.

    Args:
        path: The file to create or replace; its folder exists.

    Yields:
        The temporary path to write to. It has the suffixes of `path`.

    Raises:
        OSError: Whatever writing raised; the message names `path`.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with replacing(folder / "a.txt") as temporary:
        ...     _ = temporary.write_text("all of it")
        >>> [file.name for file in folder.iterdir()]
        ['a.txt']
    """
    # Created with open(), so that it gets the permissions of any new file (mkstemp's are private).
    temporary = temporary_beside(path)
    try:
        _sweep(path)
        yield temporary
        flush(temporary)
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(
            error.errno,
            f"{path} could not be written: {error.strerror or error}. Nothing was changed there. "
            "Free some space, or choose another place.",
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    flush_folder(path.parent)


def flush(path: Path) -> None:
    """Has the system write a file to its disk.

    Args:
        path: An existing file.

    Raises:
        OSError: If the disk is full or broken.
    """
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def flush_folder(path: Path) -> None:
    """Has the system write the names in a folder to its disk, where it can.

    Args:
        path: An existing folder.
    """
    with contextlib.suppress(OSError):  # some file systems keep names by themselves, and refuse
        flush(path)


def _sweep(path: Path) -> None:
    for left in abandoned(path.parent, target=path.name):
        if not left.is_dir():
            left.unlink(missing_ok=True)


_GZIP = 16 + zlib.MAX_WBITS  # tells zlib to write gzip's header and trailer


def gzip_bytes(chunks: Any) -> int:
    """Returns the size in bytes of the gzip file (level 9, no name, no time) of some data.

    Args:
        chunks: An iterable of bytes, which are compressed as one stream.

    Example:
        >>> import gzip
        >>> gzip_bytes([b"ab" * 500, b"c"]) == len(gzip.compress(b"ab" * 500 + b"c", 9, mtime=0))
        True
    """
    stream = zlib.compressobj(9, zlib.DEFLATED, _GZIP)
    return sum(len(stream.compress(chunk)) for chunk in chunks) + len(stream.flush())
