"""Writing a folder so that it is there in full or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from tfdistill.bundles.manifest import FILES, MANIFEST

__all__ = ["check_free", "put_in_place"]


def check_free(path: str | os.PathLike[str]) -> Path:
    """Refuses a place where a bundle would overwrite something else, before the long work.

    Args:
        path: Where the folder will be: nothing, an empty folder, or a bundle and nothing more.

    Returns:
        The absolute path.

    Raises:
        TypeError: If `path` is neither a string nor an `os.PathLike`.
        FileNotFoundError: If the folder around it does not exist.
        FileExistsError: If something else is there.
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(
            f"`path` must be a str or os.PathLike. Received: path={path!r} ({type(path).__name__})."
        )
    target = Path(path).absolute()
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"`path` must be in an existing folder. Received: path={str(path)!r}. "
            f"Make it with `pathlib.Path({str(target.parent)!r}).mkdir(parents=True)`."
        )
    if not os.path.lexists(target):
        return target
    advice = "Choose another place, or remove it yourself."
    if target.is_symlink() or not target.is_dir():
        raise FileExistsError(
            f"`path` must be free or an existing bundle folder. Received: path={str(path)!r}, a "
            f"file or a link. {advice}"
        )
    present = {entry.name for entry in target.iterdir()}
    foreign = sorted(present - {*FILES, MANIFEST})
    if foreign or (present and MANIFEST not in present):
        raise FileExistsError(
            f"`path` must be free or an existing bundle folder. Received: path={str(path)!r}, a "
            f"folder with {foreign or sorted(present)}. {advice}"
        )
    return target


def put_in_place(folder: Path, target: Path, *, scratch: Path) -> None:
    """Renames a complete folder to its place, and the old one back if that fails.

    A folder cannot replace a full one in one step, so the old one is renamed away first: for a
    moment there is nothing at `target`, but never a part of a bundle.

    Args:
        folder: The new folder, on the same file system as `target`.
        target: As returned by `check_free`.
        scratch: A temporary folder on the same file system; the old bundle is left in it.
    """
    old = scratch / "old"
    if target.exists():
        os.rename(target, old)
    try:
        os.rename(folder, target)
    except OSError:
        if old.exists():
            os.rename(old, target)
        raise
