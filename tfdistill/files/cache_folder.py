"""The folder where the package keeps what can be had again."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["cache_dir"]


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
