"""Sending a folder to the machines of a cluster: packed once, unpacked once on each.

A worker looks first at the path that the caller named, because a shared disk or a second worker
beside the caller needs no copy. Where that folder is missing or is another one by now (deleted,
replaced, another machine), the worker takes the packed bytes from Ray's object store, which moves
them to each machine once, and unpacks them into a folder named by their hash. So a pool goes on
answering with exactly the files it was opened with, whatever becomes of the original.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from tfdistill.files.records import file_sha256

__all__ = ["fingerprint", "local_folder", "own_cache", "pack", "same_folder", "unpack"]

_LARGEST = 2**31


def fingerprint(folder: Path) -> str:
    """Returns the SHA-256 over the names, sizes and contents of all files of a folder.

    Raises:
        ValueError: If the folder holds a link, a device, or more than 2 GiB.
    """
    total = hashlib.sha256()
    for name, path in _files(folder):
        total.update(f"{file_sha256(path)} {name}\n".encode())
    return total.hexdigest()


def pack(folder: Path) -> bytes:
    """Packs the files of a folder as an uncompressed zip archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, path in _files(folder):
            archive.write(path, name)
    return buffer.getvalue()


def unpack(packed: bytes, *, digest: str, cache: Path | None = None) -> Path:
    """Unpacks what `pack` made, once per machine, and returns the folder.

    Args:
        packed: The archive.
        digest: The `fingerprint` of the folder that was packed; the result has the same.
        cache: Where to; None is a folder of this user under the system's temporary folder.

    Raises:
        ValueError: If the archive has a name that leaves its folder, or another fingerprint.
    """
    cache = own_cache() if cache is None else cache
    target = cache / digest
    # Another worker may have been faster; a damaged copy is replaced below.
    if target.is_dir() and fingerprint(target) == digest:
        return target
    with tempfile.TemporaryDirectory(dir=cache, prefix=".unpacking-") as scratch:
        folder = Path(scratch) / "folder"
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            for entry in archive.infolist():
                _check_name(entry.filename)
                path = folder / entry.filename
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(archive.read(entry))
        if fingerprint(folder) != digest:
            raise ValueError("The folder that arrived must be the one that was sent. It is not.")
        try:
            folder.rename(target)
        except OSError:
            # Somebody's copy is there. A sound one is as good as ours; the other is put aside.
            if fingerprint(target) != digest:
                target.rename(Path(scratch) / "damaged")
                folder.rename(target)
    return target


def same_folder(path: str, *, digest: str) -> Path | None:
    """Returns a folder if it is there and holds exactly the files that were meant.

    Args:
        path: Where the folder was when it was sent.
        digest: Its `fingerprint`.
    """
    folder = Path(path)
    try:
        if folder.is_dir() and fingerprint(folder) == digest:
            return folder
    except (OSError, ValueError):  # it is being deleted or written to at this moment
        pass
    return None


def local_folder(path: str, *, digest: str, packed: Callable[[], bytes]) -> Path:
    """Returns a folder on this machine with exactly the files that were meant.

    Args:
        path: Where the folder was when it was sent.
        digest: Its `fingerprint`.
        packed: Fetches the archive; called only where `path` will not do.
    """
    return same_folder(path, digest=digest) or unpack(packed(), digest=digest)


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    total = 0
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        if stat.S_ISDIR(status.st_mode):
            continue
        name = path.relative_to(folder).as_posix()
        total += status.st_size
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(
                f"The folder {str(folder)!r} must hold regular files only. Received: {name}, a "
                "link or a device. Copy the file itself into the folder."
            )
        if total > _LARGEST:
            raise ValueError(
                f"The folder {str(folder)!r} must be at most {_LARGEST} bytes to be sent to other "
                f"machines. Received: more than {total}. Put it on a disk that all of them see."
            )
        yield name, path


def _check_name(name: str) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or not path.parts:
        raise ValueError(f"A packed name must stay inside its folder. Received: {name!r}.")


def own_cache() -> Path:
    """Returns this user's folder of unpacked bundles and packed weights, and makes it if need be.

    Raises:
        PermissionError: If somebody else can write to it.
    """
    cache = Path(tempfile.gettempdir()) / f"tfdistill-{os.getuid()}"
    cache.mkdir(mode=0o700, exist_ok=True)
    status = cache.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise PermissionError(
            f"The folder {str(cache)!r} must belong to this user alone. It does not: remove it."
        )
    return cache
