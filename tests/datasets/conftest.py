"""A small wheel of our own, so that pip's real download is tested without a network."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tfdistill.datasets import Asset

NAME = "tfdistill_testdata"
FILES = {
    f"{NAME}/data/numbers.txt": b"one two three\n" * 2000,
    f"{NAME}/data/deep/letters.txt": "a b ß\n".encode(),
    f"{NAME}/code.py": b"raise SystemExit('code of a data wheel was run')\n",
}


def write_wheel(folder: Path, files: dict[str, bytes], *, version: str = "1.0") -> Asset:
    """Writes a wheel with the given files and returns the asset that pins it."""
    info = f"{NAME}-{version}.dist-info"
    metadata = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    path = folder / f"{NAME}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (files | metadata).items():
            archive.writestr(name, content)
    return Asset(
        distribution=NAME,
        version=version,
        filename=path.name,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        size_bytes=path.stat().st_size,
        licence="Apache-2.0",
        note="made by the tests",
        folder=f"{NAME}/data/",
    )


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes wheels from, instead of any network; the cache is empty."""
    folder = tmp_path / "registry"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("TFDISTILL_CACHE", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def cache(registry: Path, tmp_path: Path) -> Path:
    """The cache folder of this test, which does not exist at the start."""
    return tmp_path / "cache"


@pytest.fixture
def asset(registry: Path) -> Asset:
    """A pinned asset that the registry offers."""
    return write_wheel(registry, FILES)


@pytest.fixture
def make_stored(cache: Path) -> Callable[[dict[str, bytes]], Asset]:
    """Puts a wheel with files of the test's choice into the cache."""

    def make(files: dict[str, bytes]) -> Asset:
        cache.mkdir()
        return write_wheel(cache, files)

    return make


@pytest.fixture
def stored(make_stored: Callable[[dict[str, bytes]], Asset]) -> Asset:
    """A pinned asset that is in the cache already."""
    return make_stored(FILES)
