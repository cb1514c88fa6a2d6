"""Reads a zip file with care: names are looked up, paths stay inside, folders appear whole."""

from __future__ import annotations

import difflib
import os
import shutil
import warnings
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from tfdistill.datasets.download import AssetError, scratch_folder

__all__ = ["find_member", "unpack"]


def find_member(archive: zipfile.ZipFile, member: str, *, prefix: str = "") -> str:
    """Returns the full name of a file in the archive.

    Args:
        archive: An open zip file.
        member: Path of the file, without the prefix.
        prefix: Folder of the archive to look in, ending in a slash.

    Returns:
        `prefix + member`.

    Raises:
        ValueError: If there is no such file; the message lists the nearest names.
    """
    names = archive.namelist()
    name = prefix + member
    if name not in names or name.endswith("/"):
        inside = [other.removeprefix(prefix) for other in names if other.startswith(prefix)]
        near = difflib.get_close_matches(member, inside, n=3, cutoff=0.4) or sorted(inside)[:3]
        raise ValueError(
            f"`member` must be a file of {archive.filename}. Received: member={member!r}. "
            f"Did you mean one of {near}?"
        )
    return name


def unpack(
    archive: zipfile.ZipFile, names: Sequence[str], target: Path, *, prefix: str = ""
) -> None:
    """Makes `target` a folder with the named files, unless it is that already.

    Files are compared with the archive by size and CRC-32. A folder that differs is replaced,
    with a warning. A new one is filled under another name and renamed, so that
    nobody sees half of it.

    Args:
        archive: An open zip file.
        names: Full names of files in it.
        target: The folder to be.
        prefix: Leading part of the names that is not wanted in the folder, ending in a slash.

    Raises:
        AssetError: If a name leads out of the folder.
    """
    files = {_relative(name, prefix, archive): archive.getinfo(name) for name in names}
    if _is_whole(target, files):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with scratch_folder(target.parent) as scratch:
        fresh = scratch / "new"
        for path, info in files.items():
            destination = fresh / path
            destination.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(info) as source, destination.open("wb") as sink:
                shutil.copyfileobj(source, sink)
        if _is_whole(target, files):
            return  # another process was quicker
        if target.exists():
            warnings.warn(f"{target} is damaged: unpacking it again.", stacklevel=3)
            os.replace(target, scratch / "old")
        os.replace(fresh, target)


def _relative(name: str, prefix: str, archive: zipfile.ZipFile) -> str:
    path = PurePosixPath(name.removeprefix(prefix))
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name:
        raise AssetError(f"{archive.filename} holds {name!r}, which leads out of its folder.")
    return str(path)


def _is_whole(folder: Path, files: dict[str, zipfile.ZipInfo]) -> bool:
    for path, info in files.items():
        file = folder / path
        if not file.is_file() or file.stat().st_size != info.file_size:
            return False
        if zlib.crc32(file.read_bytes()) != info.CRC:
            return False
    return True
