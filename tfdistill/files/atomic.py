"""Writing a file so that it is either there in full or not there at all.

A new version is written beside its target, under a hidden name that says which process on which
machine writes it and what it will be, and renamed when it is complete::

    .tfdistill-new-<machine>-<process>-<start of the process>-<random>-<name of the target>

So whatever a killed process left behind is known as this package's own, and can be removed as soon
as its writer is gone. Nothing else is ever swept.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import secrets
import socket
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = [
    "abandoned",
    "check_target",
    "flush",
    "flush_folder",
    "gzip_bytes",
    "is_temporary",
    "replacing",
    "temporary_beside",
]

_NAME = re.compile(
    r"\.tfdistill-(?P<role>new|old)-(?P<machine>[0-9a-f]{8})-(?P<process>\d+)-(?P<start>\d+)"
    r"-[0-9a-f]{8}-(?P<target>.+)",
    re.DOTALL,
)
# Of a writer on another machine only its last sign of life is known.
_STALE_SECONDS = 24 * 60 * 60
_LONGEST_TARGET = 180  # bytes; a file name has at most 255
_GZIP = 16 + zlib.MAX_WBITS  # tells zlib to write gzip's header and trailer


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


def temporary_beside(path: Path, *, role: str = "new") -> Path:
    """Returns a free hidden name in the folder of `path`, with the same suffixes.

    Args:
        path: The file or folder that is going to be written.
        role: "new" for the version to come, "old" for the one that makes way for it.

    Example:
        >>> temporary_beside(Path("a/model.tflite")).name
        '.tfdistill-new-...-model.tflite'
    """
    process = os.getpid()
    who = f"{_machine()}-{process}-{_start_of(process) or 0}"
    return path.with_name(f".tfdistill-{role}-{who}-{secrets.token_hex(4)}-{_shortened(path.name)}")


def is_temporary(name: str) -> bool:
    """Tells whether a file name is one that `temporary_beside` gives.

    Example:
        >>> is_temporary(temporary_beside(Path("a.txt")).name), is_temporary(".a.txt")
        (True, False)
    """
    return _NAME.fullmatch(name) is not None


def abandoned(folder: Path, *, target: str | None = None, role: str | None = None) -> list[Path]:
    """Lists the temporary files and folders whose writer is gone.

    The writer is gone if no process of its number and start runs on this machine; on another
    machine, if nothing was written for a day.

    Args:
        folder: Where to look.
        target: Only what would have become this file name; None for all.
        role: Only "new" or only "old" ones; None for both.
    """
    found = []
    with os.scandir(folder) as listed:
        entries = list(listed)
    for entry in entries:
        name = _NAME.fullmatch(entry.name)
        if name is None or (role is not None and name["role"] != role):
            continue
        if target is not None and name["target"] != _shortened(target):
            continue
        if name["machine"] == _machine():
            gone = not _runs(int(name["process"]), int(name["start"]))
        else:
            gone = _age(entry) > _STALE_SECONDS
        if gone:
            found.append(Path(entry.path))
    return sorted(found)


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


def _sweep(path: Path) -> None:
    for left in abandoned(path.parent, target=path.name):
        if not left.is_dir():
            left.unlink(missing_ok=True)


def _runs(process: int, start: int) -> bool:
    if start:
        return _start_of(process) == start
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _start_of(process: int) -> int | None:
    """Returns when a process started, in the kernel's ticks; None if it or /proc is not there."""
    try:
        with open(f"/proc/{process}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return None


@functools.cache
def _machine() -> str:
    """Names what process numbers are unique in: a container, or a machine since its start."""
    parts = [socket.gethostname()]
    for path in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        try:
            parts.append(os.readlink(path) if path.endswith("pid") else Path(path).read_text())
        except OSError:
            parts.append("")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]


def _age(entry: os.DirEntry[str]) -> float:
    try:
        return time.time() - entry.stat(follow_symlinks=False).st_mtime
    except FileNotFoundError:  # its writer is done at this moment
        return 0.0


def _shortened(name: str) -> str:
    while len(os.fsencode(name)) > _LONGEST_TARGET:
        name = name[1:]
    return name
