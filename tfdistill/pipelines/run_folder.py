"""The folder of a run: steps that are done once, found again, and shared with later runs.

=============================  ==================================================================
`run.json`                     says that the folder is a run's, and how far it came
`steps/NAME-HASH/`             what a step made; `step.json` in it says that it is complete
`bundle/`, `report.*`          what the user came for
=============================  ==================================================================

HASH is that of all that decides what a step makes (the texts, the settings, the steps before it).
A run that was killed finds its finished steps, and unfinished ones go on inside of their folder. A
step of an earlier run with the same hash serves as it is.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from tfdistill.files.atomic import replacing

__all__ = ["RunFolder", "hash_of", "save_array", "write_json"]

_RUN, _STEP, _FORMAT = "run.json", "step.json", 1


def hash_of(content: Any) -> str:
    """Names JSON content by its SHA-256.

    Example:
        >>> hash_of({"b": 1, "a": 2}) == hash_of({"a": 2, "b": 1})
        True
    """
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def write_json(path: Path, content: Any) -> None:
    """Writes JSON that is there whole or not at all."""
    with replacing(path) as temporary:
        text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def save_array(path: Path, array: np.ndarray) -> None:
    """Writes a `.npy` file that is there whole or not at all."""
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, array, allow_pickle=False)


class RunFolder:
    """Opens the folder of a run; nothing is written before the first step.

    Args:
        path: The folder; the first step makes it if it is not there.
        earlier: Folders of runs whose steps may serve.

    Raises:
        FileExistsError: If the folder holds something else than a run.
        FileNotFoundError: If an earlier run is not there.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, earlier: tuple[str | os.PathLike[str], ...] = ()
    ) -> None:
        self.path = Path(path).absolute()
        if self.path.is_dir() and any(self.path.iterdir()) and not _is_run(self.path):
            raise FileExistsError(
                "`out` must be a new folder, an empty one, or that of an earlier run. "
                f"Received: out={str(path)!r}, which holds other files. Choose another folder."
            )
        self._earlier = tuple(Path(one).absolute() for one in earlier)
        for one in self._earlier:
            if not _is_run(one):
                raise FileNotFoundError(
                    f"`previous` must be an earlier run. Received: previous={str(one)!r}, where "
                    "there is none."
                )
        self._used: set[str] = set()

    def step(self, name: str, key: Mapping[str, Any], make: Callable[[Path], None]) -> Path:
        """Makes what a step makes, unless it was made before.

        Args:
            name: Name of the step, for people.
            key: All that decides what is made, as JSON.
            make: Writes into the folder that it is given. What it finds there is its own, from a
                run that was killed.

        Returns:
            The folder of the finished step.
        """
        folder = self.folder_of(name, key)
        if not (folder / _STEP).exists():
            folder.mkdir(parents=True, exist_ok=True)
            make(folder)
            write_json(folder / _STEP, {"kind": "step", "name": name, "key": dict(key)})
        return folder

    def base_seed(self, seed: int) -> int:
        """Returns the seed of what all students share: that of the earlier run, if there is one.

        Args:
            seed: The seed of this run.
        """
        for run in self._earlier:
            known = json.loads((run / _RUN).read_text(encoding="utf-8")).get("base_seed")
            if isinstance(known, int):
                seed = known
        return seed

    def start(self, seed: int) -> None:
        """Makes the folder and writes down the seed of what all students share."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.path / _RUN, {"kind": "run", "format": _FORMAT, "base_seed": seed})

    @contextlib.contextmanager
    def used_alone(self) -> Iterator[None]:
        """Keeps other processes out of the folder; the lock ends with its process, kills included.

        Raises:
            RuntimeError: If another process makes a run in it.
        """
        lock = FileLock(self.path / ".lock", timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            raise RuntimeError(
                "`out` must be the folder of one run at a time. Received: "
                f"out={str(self.path)!r}, where another process makes one. Wait for it, or choose "
                "another folder."
            ) from error
        try:
            yield
        finally:
            lock.release()

    def has(self, name: str, key: Mapping[str, Any]) -> bool:
        """Tells whether a step is finished, here or in an earlier run."""
        return (self.folder_of(name, key) / _STEP).exists()

    def folder_of(self, name: str, key: Mapping[str, Any]) -> Path:
        """Returns the folder of a step: where it was finished, or where it is to be made."""
        own = f"{name}-{hash_of(dict(key))[:16]}"
        self._used.add(own)
        for run in (self.path, *self._earlier):
            if (run / "steps" / own / _STEP).exists():
                return run / "steps" / own
        return self.path / "steps" / own

    def remove_unused(self) -> None:
        """Removes the steps of this folder that were not asked for, such as of other settings."""
        for folder in (self.path / "steps").iterdir():
            if folder.name not in self._used and (folder / _STEP).exists():
                shutil.rmtree(folder)


def _is_run(path: Path) -> bool:
    try:
        content = json.loads((path / _RUN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("kind") == "run"
