from __future__ import annotations

import os
from pathlib import Path

import pytest

from tfdistill.bundles.folder import check_free, put_in_place


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A new folder, an old one where it shall go, and a place for what is replaced."""
    for name in ("new", "target", "scratch"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    return tmp_path / "new", tmp_path / "target", tmp_path / "scratch"


def test_new_folder_replaces_the_old_one(folders: tuple[Path, Path, Path]):
    new, target, scratch = folders

    put_in_place(new, target, scratch=scratch)

    assert (target / "file").read_text() == "new"
    assert not new.exists()


def test_old_folder_comes_back_when_the_new_one_cannot_be_moved(
    folders: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
):
    new, target, scratch = folders
    rename = os.rename

    def fail_for_new(source: Path, destination: Path) -> None:
        if source == new:
            raise OSError(28, "No space left on device")
        rename(source, destination)

    monkeypatch.setattr(os, "rename", fail_for_new)
    with pytest.raises(OSError, match="No space left"):
        put_in_place(new, target, scratch=scratch)

    assert (target / "file").read_text() == "target"


def test_relative_path_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)

    assert check_free("bundle") == tmp_path / "bundle"


def test_path_of_another_type_is_refused():
    with pytest.raises(TypeError, match=r"`path` must be a str or os.PathLike. Received: path=5"):
        check_free(5)  # type: ignore[arg-type]
