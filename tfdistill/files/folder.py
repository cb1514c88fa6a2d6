"""Writing a folder so that it is there in full or not at all, and nobody else's files are lost.

The new folder is built under a hidden name beside its target, opened again, written to the disk and
then put in place: on Linux old and new are exchanged in one step, elsewhere the old one makes way
first. Only then is the old one removed, file by file, and only what this package wrote: its
manifest, whose `kind` says what the folder is, and the files that belong to that kind.

A process that is killed leaves the old folder or the new one. What else it leaves is hidden, and
goes with the next write to the same target. `cache_dir` is the folder for what can be had again.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfdistill.files.atomic import (
    abandoned,
    flush,
    flush_folder,
    is_temporary,
    temporary_beside,
)

__all__ = ["FolderKind", "cache_dir", "check_place", "replacing_folder", "scratch_folder"]

_LARGEST_MANIFEST = 16 * 2**20
_SHOWN = 10  # names in a message

# Names of the files in an existing folder that this package wrote, in the order in which they can
# be removed; None if it is not its folder.
OwnFiles = Callable[[Path], Sequence[str] | None]


@dataclass(frozen=True)
class FolderKind:
    """A kind of folder that this package writes, and how it is told from any other.

    Attributes:
        name: What its manifest states as `kind`.
        files: From the content of a manifest to the names of the folder's files, the manifest
            excepted. It may raise what a damaged manifest causes.
        keys: Keys that are in every manifest of the kind, also in one that states no `kind`
            because it was written before there were any.
        manifest: File name of the manifest.
    """

    name: str
    files: Callable[[Mapping[str, Any]], Collection[str]]
    keys: frozenset[str]
    manifest: str = "manifest.json"

    def describes(self, content: object) -> bool:
        """Tells whether the content of a manifest is one of this kind."""
        if not isinstance(content, dict) or not self.keys <= content.keys():
            return False
        return content.get("kind", self.name) == self.name

    def own_files(self, folder: Path) -> list[str] | None:
        """Names the files of a folder of this kind, the manifest last; None if it is no such."""
        path = folder / self.manifest
        try:
            if path.is_symlink() or path.stat().st_size > _LARGEST_MANIFEST:
                return None
            content = json.loads(path.read_text(encoding="utf-8"))
            if not self.describes(content):
                return None
            return [*sorted(map(str, self.files(content))), self.manifest]
        except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError):
            return None


def check_place(
    path: str | os.PathLike[str], *, replaces: Sequence[OwnFiles], what: str, argument: str = "path"
) -> Path:
    """Refuses a place where a folder would overwrite something else, before the long work.

    Args:
        path: Where the folder will be: nothing, an empty folder, or one that may be replaced.
        replaces: `own_files` of what may be replaced.
        what: What is written, for messages: "bundle".
        argument: Name of the caller's argument, for messages.

    Returns:
        The absolute path.

    Raises:
        TypeError: If `path` is neither a string nor an `os.PathLike`.
        FileNotFoundError: If the folder around it does not exist.
        FileExistsError: If something else is there, or files besides those of the folder.
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(
            f"`{argument}` must be a str or os.PathLike. Received: {argument}={path!r} "
            f"({type(path).__name__})."
        )
    target = Path(path).absolute()
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"`{argument}` must be in an existing folder. Received: {argument}={str(path)!r}. "
            f"Make it with `pathlib.Path({str(target.parent)!r}).mkdir(parents=True)`."
        )
    _put_back(target, replaces)
    _own(target, replaces=replaces, what=what, argument=argument)
    return target


@contextlib.contextmanager
def replacing_folder(
    path: str | os.PathLike[str],
    *,
    replaces: Sequence[OwnFiles],
    what: str,
    reopen: Callable[[Path], object],
) -> Iterator[Path]:
    """Gives a new folder beside `path`, and puts it in the place of `path` if all goes well.

    Args:
        path: Where the folder will be: nothing, an empty folder, or one that may be replaced.
        replaces: `own_files` of what may be replaced.
        what: What is written, for messages: "bundle".
        reopen: Opens the complete folder and raises if it is not what it should be; nothing is
            replaced then.

    Yields:
        An empty folder to fill.

    Raises:
        TypeError: If `path` is neither a string nor an `os.PathLike`.
        FileNotFoundError: If the folder around it does not exist.
        FileExistsError: If something else is at `path`, or files that this package did not write;
            also if they came while the folder was filled.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "a"
        >>> with replacing_folder(target, replaces=[], what="note", reopen=os.listdir) as folder:
        ...     _ = (folder / "note.txt").write_text("all of it")
        >>> [file.name for file in target.iterdir()]
        ['note.txt']
    """
    target = check_place(path, replaces=replaces, what=what)
    _sweep(target, replaces)
    folder = temporary_beside(target)
    folder.mkdir()
    try:
        yield folder
        reopen(folder)
        for name in _files(folder):
            if not (folder / name).is_symlink():
                flush(folder / name)
        for inner in _folders(folder):
            flush_folder(inner)
        own = _own(target, replaces=replaces, what=what)
        old = _put_in_place(folder, target)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    flush_folder(target.parent)
    if old is not None:
        _remove(old, own)


@contextlib.contextmanager
def scratch_folder(beside: Path) -> Iterator[Path]:
    """Gives a hidden folder beside a path, which is gone afterwards.

    What a killed process left of one beside the same path is removed.

    Args:
        beside: A path in the existing folder that is on the right disk.

    Yields:
        The new, empty folder.
    """
    _sweep(beside, ())
    folder = temporary_beside(beside)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def cache_dir() -> Path:
    """Returns the folder that downloads and notes are kept in, without creating it.

    It is the value of the environment variable `TFDISTILL_CACHE` where that is set, otherwise
    `tfdistill` in the place for caches of the platform: `$XDG_CACHE_HOME` or `~/.cache` on Linux,
    `~/Library/Caches` on macOS, `%LOCALAPPDATA%` on Windows.
    """
    chosen = os.environ.get("TFDISTILL_CACHE")
    if chosen:
        return Path(chosen).expanduser().absolute()
    if sys.platform == "darwin":
        home = Path.home() / "Library" / "Caches"
    elif sys.platform == "win32":
        home = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "tfdistill"


def _own(
    target: Path, *, replaces: Sequence[OwnFiles], what: str, argument: str = "path"
) -> list[str]:
    """Names the files of a folder that may be replaced; none if there is nothing or it is empty.

    Raises:
        FileExistsError: If it may not be replaced.
    """
    if not os.path.lexists(target):
        return []
    wanted = (
        f"`{argument}` must be free or an existing {what} folder"
        if replaces
        else f"`{argument}` must be free or an empty folder"
    )
    wanted += f". Received: {argument}={str(target)!r}, "
    advice = "Nothing was changed there. Choose another place, or move them away yourself."
    if target.is_symlink() or not target.is_dir():
        raise FileExistsError(f"{wanted}a file or a link. {advice}")
    present = {name for name in _files(target) if not _temporary(name)}
    own = _own_files(target, replaces)
    if own is None and present:
        raise FileExistsError(
            f"{wanted}a folder with {sorted(present)[:_SHOWN]}, which is none that tfdistill "
            f"wrote as a {what}. {advice}"
        )
    if foreign := sorted(present - set(own or ())):
        raise FileExistsError(
            f"{wanted}a folder with {foreign[:_SHOWN]} besides, which tfdistill did not write. "
            f"{advice}"
        )
    return _removable(target, own or ())


def _put_in_place(folder: Path, target: Path) -> Path | None:
    """Renames a complete folder to its place; returns where the old one is now."""
    if not os.path.lexists(target):
        os.rename(folder, target)
        return None
    old = temporary_beside(target, role="old")
    if _exchange(folder, target):
        os.rename(folder, old)
        return old
    os.rename(target, old)
    try:
        os.rename(folder, target)
    except OSError:
        os.rename(old, target)
        raise
    return old


def _exchange(one: Path, other: Path) -> bool:
    """Swaps two names in one step; False where the system has no such step."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        rename = ctypes.CDLL(None).renameat2
    except (OSError, AttributeError):  # a C library older than glibc 2.28
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    names = [os.fsencode(name) for name in (one, other)]
    return rename(here, names[0], here, names[1], exchange) == 0


def _removable(folder: Path, own: Sequence[str]) -> list[str]:
    """Names the own files that are there, after unfinished ones of killed writers."""
    present = set(_files(folder))
    unfinished = sorted(name for name in present if _temporary(name))
    return unfinished + [name for name in own if name in present]


def _remove(folder: Path, own: Sequence[str]) -> None:
    """Removes the named files of a folder in their order, then what is empty."""
    for name in own:
        (folder / name).unlink(missing_ok=True)
    for inner in _folders(folder):
        with contextlib.suppress(OSError):  # not empty: somebody put a file there at this moment
            inner.rmdir()


def _put_back(target: Path, replaces: Sequence[OwnFiles]) -> None:
    """Puts back the old folder of a writer that was killed between its two renames."""
    for old in abandoned(target.parent, target=target.name, role="old"):
        own = _own_files(old, replaces)
        whole = own is not None and set(own) <= set(_files(old))
        if whole and not os.path.lexists(target):
            os.rename(old, target)


def _sweep(target: Path, replaces: Sequence[OwnFiles]) -> None:
    """Removes what killed writers of the same target left, except for files of somebody else."""
    unfinished = abandoned(target.parent, target=target.name, role="new")
    for left in [*unfinished, *abandoned(target.parent, target=target.name, role="old")]:
        if left.is_symlink() or not left.is_dir():
            continue
        own = _own_files(left, replaces)
        if own is not None:
            _remove(left, _removable(left, own))
        elif left in unfinished:
            shutil.rmtree(left, ignore_errors=True)
        else:  # killed when all of its files were removed: what is empty goes, and no file
            _remove(left, [])


def _own_files(folder: Path, replaces: Sequence[OwnFiles]) -> Sequence[str] | None:
    named = (own_files(folder) for own_files in replaces)
    return next((own for own in named if own is not None), None)


def _temporary(name: str) -> bool:
    return is_temporary(name.rpartition("/")[2])


def _files(folder: Path) -> list[str]:
    """Names all that is in a folder but folders, relative to it; links are not followed."""
    found = []
    for root, folders, names in os.walk(folder):
        inside = Path(root).relative_to(folder)
        links = [name for name in folders if (Path(root) / name).is_symlink()]
        found += [(inside / name).as_posix() for name in (*names, *links)]
    return found


def _folders(folder: Path) -> list[Path]:
    """Lists the folder and those inside of it, the innermost first."""
    return [Path(root) for root, _, _ in os.walk(folder, topdown=False)]
