"""Rows of a teacher cache, read from its shards where they lie on disk.

A shard is an `.npz` file, a zip archive whose members are stored as they are. So the place of each
row in the file is known from the headers, and a batch reads its own rows and no others: a cache may
be many times larger than the memory, and what is read often stays in the system's page cache.
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

    def take(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Reads rows into new arrays.

        Args:
            rows: Numbers of rows, int `[n]`, in any order.

        Returns:
            By name an array `[n, ...]`, in the order of `rows`.

        Raises:
            ValueError: If a shard is no longer the file that it was.
        """
        shape = (len(rows),)
        taken = {name: np.empty(shape + inner, kind) for name, (inner, kind) in self.specs.items()}
        order = np.argsort(rows, kind="stable")
        numbers, inside = np.divmod(rows[order], self._shard_rows)
        cuts = np.flatnonzero(np.diff(numbers)) + 1
        with self._lock:  # another thread must not close a file that is read from
            for places, at in zip(np.split(order, cuts), np.split(inside, cuts), strict=True):
                if not len(places):  # no rows at all
                    continue
                number = int(rows[places[0]]) // self._shard_rows
                try:
                    self._read(number, at, places, taken)
                except OSError as error:
                    raise self._damaged(number) from error
        return taken

    def _read(
        self, number: int, at: np.ndarray, places: np.ndarray, taken: dict[str, np.ndarray]
    ) -> None:
        """Reads the rows `at` of a shard to `places` of the new arrays."""
        file = self._file(number)
        starts = np.concatenate([[0], np.flatnonzero(np.diff(at) != 1) + 1])
        ends = np.append(starts[1:], len(at))
        for name, member in self._shards[number].members.items():
            size = member.dtype.itemsize * int(np.prod(member.shape[1:], dtype=np.int64))
            if not size:
                continue
            if member.by_columns and len(member.shape) > 1:
                whole = np.empty(member.shape[::-1], member.dtype)
                _fill(file, [whole.reshape(-1).view(np.uint8)], member.start)
                taken[name][places] = whole.T[at]
                continue
            flat = taken[name].reshape(len(taken[name]), -1).view(np.uint8)
            step = max(1, min(_MOST_PIECES, _MOST_BYTES // size))
            for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
                for low in range(start, end, step):
                    to = places[low : min(low + step, end)].tolist()
                    _fill(file, [flat[place] for place in to], member.start + int(at[low]) * size)

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


def _fill(file: int, pieces: list[np.ndarray], offset: int) -> None:
    if os.preadv(file, [piece.data for piece in pieces], offset) != sum(
        piece.nbytes for piece in pieces
    ):
        raise OSError("the file ends too early")


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
    return _Member(file.tell(), dtype, shape, by_columns)
