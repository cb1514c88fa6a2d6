"""Rows of a teacher cache, read from its shards where they lie on disk.

A shard is an `.npz` file, a zip archive whose members are stored as they are. So the place of each
row in the file is known from the headers, and a batch reads its own rows and no others: a cache may
be many times larger than the memory, and what is read often stays in the system's page cache. A
cache of at most 128 MB is read once and kept, which saves some 4 µs a row.
"""

from __future__ import annotations

import os
import threading
import weakref
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

__all__ = ["ShardReader"]

_LOCAL_HEADER = 30  # bytes of a zip member's header before its name
_MOST_OPEN = 64  # files that a reader keeps open
_KEPT_BYTES = 2**27
_MOST_PIECES, _MOST_BYTES = 512, 2**28  # of one `preadv`; Linux takes 1,024 and 2 GiB


@dataclass(frozen=True)
class _Member:
    """Where the array of a name lies in a shard."""

    start: int
    dtype: np.dtype
    shape: tuple[int, ...]
    by_columns: bool = False


@dataclass(frozen=True)
class _Shard:
    path: Path
    version: tuple[int, ...]
    members: dict[str, _Member]


class ShardReader:
    """Reads rows of the arrays in several shards.

    Every byte is checked against its CRC-32 once, when the reader is made.

    Args:
        paths: The shards, in the order of their rows.
        rows: Number of rows in all.
        shard_rows: Rows of each shard but the last.
        damaged: Makes the error for a shard that cannot be read, from its number.

    Attributes:
        specs: For each name the shape of a row and the dtype.
        kept: All rows by name, if they are at most 128 MB; otherwise None.
    """

    def __init__(
        self,
        paths: list[Path],
        *,
        rows: int,
        shard_rows: int,
        damaged: Callable[[int], Exception],
    ) -> None:
        self._shard_rows, self._damaged = shard_rows, damaged
        self._open: OrderedDict[int, int] = OrderedDict()
        self._lock = threading.Lock()
        weakref.finalize(self, _close, self._open)
        self._shards = []
        for number, path in enumerate(paths):
            wanted = min(shard_rows, rows - number * shard_rows)
            try:
                # Opened here, because zipfile leaves a file open that it cannot read.
                with path.open("rb") as file:
                    self._shards.append(_inspect(path, file, rows=wanted))
                    if number < _MOST_OPEN:  # so a small cache outlives its folder
                        self._open[number] = os.dup(file.fileno())
            except (OSError, ValueError, zipfile.BadZipFile) as error:
                raise damaged(number) from error
        first = self._shards[0].members
        self.specs = {name: (member.shape[1:], member.dtype) for name, member in first.items()}
        for number, shard in enumerate(self._shards):
            found = {name: (each.shape[1:], each.dtype) for name, each in shard.members.items()}
            if found != self.specs:
                raise damaged(number)
        row_bytes = sum(
            kind.itemsize * int(np.prod(inner, dtype=np.int64))
            for inner, kind in self.specs.values()
        )
        self.kept: dict[str, np.ndarray] | None = None
        if rows * row_bytes <= _KEPT_BYTES:
            self.kept = self._read(np.arange(rows))

    def take(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Reads rows into new arrays.

        Args:
            rows: Numbers of rows, int `[n]`, in any order.

        Returns:
            By name an array `[n, ...]`, in the order of `rows`.

        Raises:
            ValueError: If a shard is no longer the file that it was.
        """
        rows = np.asarray(rows)
        if self.kept is not None:
            return {name: array[rows] for name, array in self.kept.items()}
        return self._read(rows)

    def _read(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        shape = (len(rows),)
        taken = {name: np.empty(shape + inner, kind) for name, (inner, kind) in self.specs.items()}
        if not len(rows):
            return taken
        sizes = {name: array.nbytes // len(rows) for name, array in taken.items()}
        into = {name: a.reshape(-1).view(np.uint8).data for name, a in taken.items()}
        # Rows that follow each other in a shard are read in one go.
        order = np.argsort(rows, kind="stable")
        numbers, inside = np.divmod(rows[order], self._shard_rows)
        apart = (np.diff(inside) != 1) | (np.diff(numbers) != 0)
        starts = [0, *(np.flatnonzero(apart) + 1).tolist()]
        places, numbers, inside = order.tolist(), numbers.tolist(), inside.tolist()
        with self._lock:  # another thread must not close a file that is read from
            for start, end in zip(starts, [*starts[1:], len(places)], strict=True):
                number, to = numbers[start], places[start:end]
                try:
                    file = self._file(number)
                    for name, member in self._shards[number].members.items():
                        size = sizes[name]
                        if member.by_columns:
                            taken[name][to] = _by_columns(file, member)[inside[start:end]]
                        elif size:
                            offset = member.start + inside[start] * size
                            _fill(file, into[name], to, size, offset)
                except OSError as error:
                    raise self._damaged(number) from error
        return taken

    def _file(self, number: int) -> int:
        file = self._open.get(number)
        if file is None:
            shard = self._shards[number]
            file = os.open(shard.path, os.O_RDONLY)
            self._open[number] = file
            if _version(os.fstat(file)) != shard.version:
                raise OSError(f"{shard.path} was replaced")
            if len(self._open) > _MOST_OPEN:
                os.close(self._open.popitem(last=False)[1])
        self._open.move_to_end(number)
        return file


def _fill(file: int, buffer: memoryview, places: list[int], size: int, offset: int) -> None:
    """Reads one row after the other from a place in a file to their places in a buffer."""
    step = max(1, min(_MOST_PIECES, _MOST_BYTES // size))
    for low in range(0, len(places), step):
        part = places[low : low + step]
        if part[-1] - part[0] == len(part) - 1 and part == list(range(part[0], part[-1] + 1)):
            pieces = [buffer[part[0] * size : (part[-1] + 1) * size]]
        else:
            pieces = [buffer[place * size : (place + 1) * size] for place in part]
        if os.preadv(file, pieces, offset + low * size) != len(part) * size:
            raise OSError("the file ends too early")


def _by_columns(file: int, member: _Member) -> np.ndarray:
    whole = np.empty(member.shape[::-1], member.dtype)
    pieces = [whole.reshape(-1).view(np.uint8).data]
    if os.preadv(file, pieces, member.start) != whole.nbytes:
        raise OSError("the file ends too early")
    return whole.T


def _close(files: OrderedDict[int, int]) -> None:
    for file in files.values():
        os.close(file)
    files.clear()


def _version(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _inspect(path: Path, file: IO[bytes], *, rows: int) -> _Shard:
    """Finds the arrays in a shard and checks all of it, a little at a time."""
    version = _version(os.fstat(file.fileno()))
    with zipfile.ZipFile(file) as archive:
        if (bad := archive.testzip()) is not None:
            raise ValueError(f"{bad} has another CRC-32")
        members = {
            info.filename.removesuffix(".npy"): _member(file, info) for info in archive.infolist()
        }
    if not members or any(member.shape[:1] != (rows,) for member in members.values()):
        raise ValueError(f"{path.name} must hold arrays of {rows} rows")
    return _Shard(path, version, members)


def _member(file: IO[bytes], info: zipfile.ZipInfo) -> _Member:
    if info.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{info.filename} is compressed")
    file.seek(info.header_offset)
    header = file.read(_LOCAL_HEADER)
    lengths = int.from_bytes(header[26:28], "little"), int.from_bytes(header[28:30], "little")
    begin = info.header_offset + _LOCAL_HEADER + sum(lengths)
    file.seek(begin)
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, by_columns, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, by_columns, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise ValueError(f"{info.filename} has an array of version {version}")
    if dtype.hasobject:
        raise ValueError(f"{info.filename} holds Python objects")
    size = dtype.itemsize * int(np.prod(shape, dtype=np.int64))
    if file.tell() + size != begin + info.file_size:
        raise ValueError(f"{info.filename} has another size than its header states")
    by_columns = by_columns and len(shape) > 1 and size > 0
    return _Member(file.tell(), dtype, shape, by_columns)
