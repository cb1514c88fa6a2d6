from __future__ import annotations

import io
import os
import threading
import zipfile
from pathlib import Path

import pytest

from tfdistill.agents import Agent
from tfdistill.cluster import shipping


@pytest.mark.slow
def test_unpacked_folder_answers_as_the_original(bundle: Path, tmp_path: Path):
    digest = shipping.fingerprint(bundle)
    folder = shipping.unpack(shipping.pack(bundle), digest=digest, cache=tmp_path)

    assert folder == tmp_path / digest
    assert shipping.fingerprint(folder) == digest
    assert Agent(folder).predict(["wheat"]) == Agent(bundle).predict(["wheat"])


def test_fingerprint_tells_contents_and_names_apart(tmp_path: Path):
    found = set()
    for index, (name, content) in enumerate([("a", "x"), ("b", "x"), ("a", "y"), ("c/a", "x")]):
        path = tmp_path / str(index) / name
        path.parent.mkdir(parents=True)
        path.write_text(content)
        found.add(shipping.fingerprint(tmp_path / str(index)))

    assert len(found) == 4


def test_many_workers_of_one_machine_unpack_once(bundle: Path, tmp_path: Path):
    digest, packed = shipping.fingerprint(bundle), shipping.pack(bundle)
    folders: list[Path] = []
    threads = [
        threading.Thread(
            target=lambda: folders.append(shipping.unpack(packed, digest=digest, cache=tmp_path))
        )
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert set(folders) == {tmp_path / digest} and len(folders) == 6
    assert [path.name for path in tmp_path.iterdir()] == [digest]


def test_damaged_copy_is_replaced(bundle: Path, tmp_path: Path):
    digest, packed = shipping.fingerprint(bundle), shipping.pack(bundle)
    folder = shipping.unpack(packed, digest=digest, cache=tmp_path)
    (folder / "labels.json").write_text("[]")

    again = shipping.unpack(packed, digest=digest, cache=tmp_path)

    assert again == folder
    assert shipping.fingerprint(folder) == digest


@pytest.mark.parametrize("name", ["../outside", "/absolute", "a/../../b", "a\\b"])
def test_name_that_leaves_the_folder_is_refused(tmp_path: Path, name: str):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, "x")

    with pytest.raises(ValueError, match="must stay inside its folder"):
        shipping.unpack(buffer.getvalue(), digest="0" * 64, cache=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_other_files_than_were_sent_are_refused(bundle: Path, tmp_path: Path):
    with pytest.raises(ValueError, match="must be the one that was sent"):
        shipping.unpack(shipping.pack(bundle), digest="0" * 64, cache=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_link_in_the_folder_is_refused(tmp_path: Path):
    os.symlink("/etc/hostname", tmp_path / "link")

    with pytest.raises(ValueError, match="regular files only. Received: link"):
        shipping.pack(tmp_path)


def test_path_is_used_where_it_still_holds_the_same_files(bundle: Path, tmp_path: Path):
    digest = shipping.fingerprint(bundle)

    def never() -> bytes:
        raise AssertionError("nothing had to be fetched")

    assert shipping.local_folder(str(bundle), digest=digest, packed=never) == bundle


def test_copy_is_fetched_where_the_path_is_missing_or_another(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(shipping.tempfile, "gettempdir", lambda: str(tmp_path))
    digest = shipping.fingerprint(bundle)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "labels.json").write_text("[]")
    fetched = []

    def fetch() -> bytes:
        fetched.append(1)
        return shipping.pack(bundle)

    for path in (tmp_path / "gone", tmp_path / "other"):
        folder = shipping.local_folder(str(path), digest=digest, packed=fetch)
        assert shipping.fingerprint(folder) == digest

    assert len(fetched) == 2
    assert folder.parent.stat().st_mode & 0o777 == 0o700


def test_cache_that_others_can_write_to_is_refused(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(shipping.tempfile, "gettempdir", lambda: str(tmp_path))
    (tmp_path / f"tfdistill-{os.getuid()}").mkdir()
    (tmp_path / f"tfdistill-{os.getuid()}").chmod(0o777)

    with pytest.raises(PermissionError, match="must belong to this user alone"):
        shipping.unpack(shipping.pack(bundle), digest=shipping.fingerprint(bundle))
