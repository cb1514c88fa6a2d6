"""A learner's state in a file: named arrays in an `.npz`, and nothing that could run."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfdistill.export.atomic import check_target, replacing

__all__ = ["read_state", "write_state"]

_KIND = "learner"


def write_state(path: str | os.PathLike[str], state: Mapping[str, Any], *, kind: str) -> None:
    """Writes named variables, whole or not at all.

    Args:
        path: File to write, ending in `.npz`.
        state: Variables by name.
        kind: Class of the learner.

    Raises:
        ValueError: If the name does not end in `.npz`.
    """
    target = check_target(path)
    if target.suffix != ".npz":
        raise ValueError(f"`path` must end in .npz. Received: path={str(path)!r}.")
    arrays: dict[str, Any] = {name: np.asarray(variable) for name, variable in state.items()}
    arrays[_KIND] = np.array(kind)
    with replacing(target) as temporary:
        np.savez_compressed(temporary, **arrays)


def read_state(
    path: str | os.PathLike[str], state: Mapping[str, Any], *, kind: str
) -> list[np.ndarray]:
    """Reads the values for named variables and checks every one before any is used.

    Args:
        path: File that `write_state` wrote.
        state: The variables that want values, by name.
        kind: Class of the learner.

    Returns:
        Values in the order of `state`.

    Raises:
        ValueError: If the file is of another learner, or no such file at all.
    """
    try:
        # Opened here: np.load leaves a file open that turns out to be no archive.
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"`path` must be a file that `save` wrote. Received: path={str(path)!r} ({error})."
        ) from error
    wanted = {name: np.shape(variable) for name, variable in state.items()}
    other = str(found.pop(_KIND, "something else"))
    shapes = {name: value.shape for name, value in found.items()}
    if other != kind or shapes != wanted:
        differing = sorted(
            name for name in wanted.keys() | shapes.keys() if wanted.get(name) != shapes.get(name)
        )
        raise ValueError(
            f"`path` must be a file of a {kind} with the same game and settings. Received: "
            f"path={str(path)!r}, of {other}; differing: {', '.join(differing[:5]) or 'the class'}."
        )
    return [found[name] for name in state]
