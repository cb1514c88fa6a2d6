"""A folder is replaced whole, only by its own kind, and nobody else's files are lost."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tfdistill.files import folder as folders
from tfdistill.files.folder import FolderKind, check_place, replacing_folder, scratch_folder

NOTE = FolderKind("note", lambda content: content["files"], frozenset({"files"}))


def write(path: Path, text: str, *names: str, reopen=os.listdir, meanwhile=lambda: None) -> None:
    """Writes a note: its files with the text in each, and a manifest that lists them."""
    with replacing_folder(path, replaces=[NOTE.own_files], what="note", reopen=reopen) as new:
        for name in names or ("a.txt",):
            (new / name).parent.mkdir(exist_ok=True)
            (new / name).write_text(text)
        content = {"kind": "note", "files": list(names or ("a.txt",))}
        (new / "manifest.json").write_text(json.dumps(content))
        meanwhile()


def tree(path: Path) -> dict[str, str]:
    return {
        file.relative_to(path).as_posix(): file.read_text()
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }


@pytest.fixture
def note(tmp_path: Path) -> Path:
    write(tmp_path / "note", "old", "a.txt", "in/b.txt")
    return tmp_path / "note"


@pytest.fixture(params=[True, False], ids=["exchange", "two renames"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to put a folder in place: the system's single step, and what does without it."""
    if not request.param:
        monkeypatch.setattr(folders, "_exchange", lambda one, other: False)


@pytest.mark.usefixtures("way")
def test_new_folder_replaces_the_old_one_with_all_its_files(note: Path):
    write(note, "new", "a.txt")
    content = tree(note)
    assert content.pop("manifest.json")
    assert content == {"a.txt": "new"}
    assert os.listdir(note.parent) == ["note"]


def test_this_system_exchanges_folders_in_one_step(tmp_path: Path):
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    assert folders._exchange(tmp_path / "a", tmp_path / "b")
    assert (os.listdir(tmp_path / "a"), os.listdir(tmp_path / "b")) == (["b"], ["a"])
    assert not folders._exchange(tmp_path / "a", tmp_path / "gone")


def test_a_c_library_without_the_single_step_does_it_in_two_renames(
    note: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(folders.ctypes, "CDLL", lambda name: object())  # as before glibc 2.28
    write(note, "new", "a.txt")
    assert tree(note)["a.txt"] == "new"
    assert os.listdir(note.parent) == ["note"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_while_writing_leaves_the_old_folder_and_no_other(note: Path, error):
    before = tree(note)

    def fail() -> None:
        raise error

    with pytest.raises(error):
        write(note, "new", meanwhile=fail)
    assert tree(note) == before
    assert os.listdir(note.parent) == ["note"]


def test_a_folder_that_cannot_be_opened_again_never_takes_the_place(note: Path):
    before, seen = tree(note), []

    def reopen(new: Path) -> None:
        seen.append(tree(new)["a.txt"])
        raise ValueError("damaged")

    with pytest.raises(ValueError, match="damaged"):
        write(note, "new", reopen=reopen)
    assert seen == ["new"]
    assert tree(note) == before


def test_old_folder_comes_back_when_the_new_one_cannot_be_moved(
    note: Path, monkeypatch: pytest.MonkeyPatch
):
    before, rename = tree(note), os.rename

    def fail_for_new(source: Path, destination: Path) -> None:
        if destination == note and "-new-" in source.name:
            raise OSError(28, "No space left on device")
        rename(source, destination)

    monkeypatch.setattr(folders, "_exchange", lambda one, other: False)
    monkeypatch.setattr(os, "rename", fail_for_new)
    with pytest.raises(OSError, match="No space left"):
        write(note, "new")
    assert tree(note) == before


@pytest.mark.parametrize(
    "foreign", [{"notes.txt": "mine"}, {"in/notes.txt": "mine"}, {".hidden": "mine"}]
)
def test_files_of_somebody_else_in_our_folder_are_named_and_kept(note: Path, foreign):
    for name, text in foreign.items():
        (note / name).write_text(text)
    before = tree(note)
    with pytest.raises(
        FileExistsError,
        match=f"`path` must be free or an existing note folder.*{next(iter(foreign))}.*besides, whi"
        "ch tfdistill did not write. Nothing was changed there. Choose another place",
    ):
        write(note, "new")
    assert tree(note) == before


def test_a_file_that_came_while_the_new_folder_was_written_is_kept(note: Path):
    before = tree(note)
    with pytest.raises(FileExistsError, match=r"notes\.txt"):
        write(note, "new", meanwhile=lambda: (note / "notes.txt").write_text("mine"))
    assert tree(note) == {**before, "notes.txt": "mine"}
    assert os.listdir(note.parent) == ["note"]


@pytest.mark.parametrize(
    "content", [{"a.txt": "x"}, {"manifest.json": "{}"}, {"manifest.json": '{"kind": "team"}'},
                {"manifest.json": '{"kind": "team", "files": ["a.txt"]}', "a.txt": "x"},
                {"manifest.json": "[" * 99_999}, {"manifest.json": '{"files": 3}'}]
)  # fmt: skip
def test_a_folder_of_another_kind_is_not_replaced(tmp_path: Path, content: dict[str, str]):
    target = tmp_path / "mine"
    target.mkdir()
    for name, text in content.items():
        (target / name).write_text(text)
    with pytest.raises(FileExistsError, match="which is none that tfdistill wrote as a note"):
        write(target, "new")
    assert tree(target) == content


def test_a_folder_whose_manifest_is_a_link_is_not_replaced(note: Path):
    (note / "manifest.json").rename(note.parent / "elsewhere.json")
    (note / "manifest.json").symlink_to(note.parent / "elsewhere.json")
    with pytest.raises(FileExistsError, match="which is none that tfdistill wrote as a note"):
        write(note, "new")
    assert tree(note)["a.txt"] == "old"


def test_a_manifest_from_before_kinds_were_stated_is_known_by_its_keys(tmp_path: Path):
    target = tmp_path / "note"
    target.mkdir()
    (target / "manifest.json").write_text('{"files": ["a.txt"]}')
    (target / "a.txt").write_text("old")
    write(target, "new")
    assert tree(target)["a.txt"] == "new"


def test_where_nothing_may_be_replaced_even_our_own_folder_stays(note: Path):
    with (
        pytest.raises(FileExistsError, match="`path` must be free or an empty folder. Received"),
        replacing_folder(note, replaces=[], what="note", reopen=os.listdir),
    ):
        pass
    assert tree(note)["a.txt"] == "old"


def test_a_link_to_a_folder_is_neither_replaced_nor_followed(note: Path):
    link = note.parent / "link"
    link.symlink_to(note)
    with pytest.raises(FileExistsError, match="a file or a link"):
        write(link, "new")
    outside = note.parent / "outside"
    outside.mkdir()
    (outside / "b.txt").write_text("mine")
    (note / "in" / "b.txt").unlink()
    (note / "in").rmdir()
    (note / "in").symlink_to(outside)
    with pytest.raises(FileExistsError, match=r"\['in'\] besides"):
        write(note, "new")
    assert (outside / "b.txt").read_text() == "mine"


def test_empty_folder_is_filled(tmp_path: Path):
    (tmp_path / "note").mkdir()
    write(tmp_path / "note", "new")
    assert tree(tmp_path / "note")["a.txt"] == "new"


def test_relative_path_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert check_place("note", replaces=[], what="note") == tmp_path / "note"


def test_path_of_another_type_is_refused():
    with pytest.raises(TypeError, match=r"`path` must be a str or os.PathLike. Received: path=5"):
        check_place(5, replaces=[], what="note")  # type: ignore[arg-type]


def test_missing_folder_around_it_is_refused_with_the_remedy(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"`to` must be in an existing folder.*mkdir\("):
        check_place(tmp_path / "a" / "b", replaces=[], what="note", argument="to")


CHILD = """
import os, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_folder import folders, write
target, stop = Path(sys.argv[1]), sys.argv[3]
def wait(*_):
    print("here", flush=True)
    time.sleep(60)
if stop == "writing":
    write(target, "new", meanwhile=wait)
if stop == "renaming":
    folders._exchange = lambda one, other: False
    rename = os.rename
    os.rename = lambda one, other: wait() if "-new-" in one.name else rename(one, other)
if stop == "removing":
    folders._remove = wait
if stop == "random":
    print("here", flush=True)
    while True:
        write(target, "even" * 1000, *(f"{n}.txt" for n in range(20)))
        write(target, "odd" * 1000, *(f"{n}.txt" for n in range(20)))
write(target, "new")
"""


def killed(target: Path, stop: str, after_s: float = 0.0) -> None:
    """Kills a process at a point of its writing."""
    root, here = str(Path(folders.__file__).parents[2]), str(Path(__file__).parent)
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(target), here, stop],
        stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": root},
    )  # fmt: skip
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == b"here\n"
        time.sleep(after_s)
        process.send_signal(signal.SIGKILL)
        process.wait()


def test_what_killed_writers_left_is_swept_by_the_next_write_to_the_same_target(note: Path):
    before = tree(note)
    killed(note, "writing")
    assert tree(note) == before
    killed(note.parent / "another", "writing")
    assert len(os.listdir(note.parent)) == 3
    (note.parent / ".tfdistill-notes").write_text("mine")  # hidden, but not one of ours

    write(note, "new")
    left = sorted(os.listdir(note.parent))
    assert left[-2:] == [".tfdistill-notes", "note"]
    assert len(left) == 3 and left[0].endswith("-another")
    assert tree(note)["a.txt"] == "new"


def test_a_writer_that_was_killed_between_two_renames_has_its_old_folder_put_back(note: Path):
    before = tree(note)
    killed(note, "renaming")
    assert not note.exists()

    check_place(note, replaces=[NOTE.own_files], what="note")
    assert tree(note) == before
    write(note, "new")
    assert tree(note)["a.txt"] == "new"
    assert os.listdir(note.parent) == ["note"]


def test_an_old_folder_that_a_killed_writer_did_not_remove_is_swept_but_not_what_was_added(
    note: Path,
):
    killed(note, "removing")
    assert tree(note)["a.txt"] == "new"
    (left,) = (path for path in note.parent.iterdir() if path != note)
    (left / "notes.txt").write_text("mine")

    write(note, "newer")
    assert tree(left) == {"notes.txt": "mine"}
    assert tree(note)["a.txt"] == "newer"


def test_a_kill_at_any_moment_leaves_one_whole_folder(tmp_path: Path):
    random.seed(4)
    target = tmp_path / "note"
    write(target, "even" * 1000)
    for _ in range(8):
        killed(target, "random", after_s=random.uniform(0.0, 0.05))
        content = tree(target)
        assert set(json.loads(content.pop("manifest.json"))["files"]) == set(content)
        assert len(set(content.values())) == 1
    write(target, "new")
    assert os.listdir(tmp_path) == ["note"]


def test_an_old_folder_whose_files_were_all_removed_goes_and_one_with_a_file_stays(tmp_path: Path):
    target = tmp_path / "note"
    write(target, "old")
    program = (
        "import sys; from pathlib import Path\n"
        "from tfdistill.files.atomic import temporary_beside\n"
        "for _ in range(2): temporary_beside(Path(sys.argv[1]), role='old').mkdir()"
    )
    root = str(Path(folders.__file__).parents[2])
    command = [sys.executable, "-c", program, str(target)]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": root})
    empty, kept = sorted(path for path in tmp_path.iterdir() if path != target)
    (kept / "mine.txt").write_text("mine")
    write(target, "new")
    assert not empty.exists() and (kept / "mine.txt").read_text() == "mine"


def test_a_scratch_folder_is_gone_afterwards_and_its_killed_like_with_the_next(tmp_path: Path):
    killed(tmp_path / "a", "writing")
    assert len(os.listdir(tmp_path)) == 1
    with scratch_folder(tmp_path / "a") as scratch:
        assert os.listdir(tmp_path) == [scratch.name]
        (scratch / "x").touch()
    assert os.listdir(tmp_path) == []
