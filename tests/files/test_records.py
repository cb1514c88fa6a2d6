from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from tfdistill.files.records import FileRecord, check_file, file_sha256, record_of, safe_file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.txt").write_text("hello")
    (tmp_path / "secret").write_text("mine")
    return tmp_path / "folder"


def test_a_record_is_the_size_and_the_sha256(folder: Path):
    digest = hashlib.sha256(b"hello").hexdigest()
    assert record_of(folder / "a.txt") == FileRecord(digest, 5)
    assert file_sha256(folder / "a.txt") == digest


def test_the_stated_file_is_returned(folder: Path):
    stated = record_of(folder / "a.txt")
    path = check_file(folder, "a.txt", stated, largest=5, what="team")
    assert path == (folder / "a.txt").resolve()


@pytest.mark.parametrize(
    ("stated", "found"),
    [(FileRecord("0" * 64, 5), "5 bytes, SHA-256 2cf24dba"), (FileRecord("0", 4), "not computed")],
)
def test_another_file_than_the_stated_one_is_refused(folder: Path, stated: FileRecord, found: str):
    with pytest.raises(ValueError, match=f"a.txt in the team .* must have the hash .*{found}"):
        check_file(folder, "a.txt", stated, largest=5, what="team")


@pytest.mark.parametrize("name", ["../secret", "a.txt/../../secret", "\0", "gone"])
@pytest.mark.parametrize("inner_links", [True, False])
def test_a_name_that_leaves_the_folder_is_refused(folder: Path, name: str, inner_links: bool):
    with pytest.raises(ValueError, match="The team .* must hold "):
        safe_file(folder, name, largest=99, what="team", inner_links=inner_links)


def test_a_name_by_way_of_a_missing_folder_is_refused(folder: Path):
    with pytest.raises(ValueError, match="must hold gone/../a.txt, which cannot be read"):
        safe_file(folder, "gone/../a.txt", largest=99, what="team", inner_links=True)


def test_an_absolute_name_is_refused(folder: Path):
    name = str(folder.parent / "secret")
    with pytest.raises(ValueError, match="must hold .* itself. Received: a link to .*outside"):
        safe_file(folder, name, largest=99, what="team", inner_links=True)


def test_a_link_out_of_the_folder_is_refused_and_one_inside_where_links_are(folder: Path):
    (folder / "out").symlink_to(folder.parent / "secret")
    (folder / "in").symlink_to("a.txt")
    for inner_links in (True, False):
        with pytest.raises(ValueError, match="must hold out .*a link"):
            safe_file(folder, "out", largest=99, what="team", inner_links=inner_links)
    assert safe_file(folder, "in", largest=99, what="team", inner_links=True).name == "a.txt"
    with pytest.raises(ValueError, match="must hold in as a regular file of its own, and no link"):
        safe_file(folder, "in", largest=99, what="team")


def test_a_pipe_and_a_large_file_are_refused(folder: Path):
    os.mkfifo(folder / "pipe")  # reading it would wait for ever
    with pytest.raises(ValueError, match=r"must hold pipe as a regular file. Received: a folder"):
        safe_file(folder, "pipe", largest=99, what="team")
    with pytest.raises(ValueError, match=r"must be at most 4 bytes. Received: 5 bytes"):
        safe_file(folder, "a.txt", largest=4, what="team")
