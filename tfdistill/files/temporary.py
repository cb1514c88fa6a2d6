"""Names of unfinished files and folders, from which it can be told whose they are.

A new version is written beside its target, under a hidden name that says which process on which
machine writes it and what it will be::

    .tfdistill-new-<machine>-<process>-<start of the process>-<random>-<name of the target>

So whatever a killed process left behind is known as this package's own, and can be removed as soon
as its writer is gone. Nothing else is ever swept.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import secrets
import socket
import time
from pathlib import Path

__all__ = ["abandoned", "is_temporary", "temporary_beside"]

_NAME = re.compile(
    r"\.tfdistill-(?P<role>new|old)-(?P<machine>[0-9a-f]{8})-(?P<process>\d+)-(?P<start>\d+)"
    r"-[0-9a-f]{8}-(?P<target>.+)",
    re.DOTALL,
)
# Of a writer on another machine only its last sign of life is known.
_STALE_SECONDS = 24 * 60 * 60
_LONGEST_TARGET = 180  # bytes; a file name has at most 255


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
