from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tfdistill.files import temporary
from tfdistill.files.atomic import replacing
from tfdistill.files.temporary import abandoned, is_temporary, temporary_beside

LEFT_BY_ANOTHER = """
import sys
from pathlib import Path
from tfdistill.files.temporary import temporary_beside
path = temporary_beside(Path(sys.argv[1]))
path.touch()
print(path)
"""


def left_by_another_process(path: Path) -> Path:
    root = str(Path(temporary.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", LEFT_BY_ANOTHER, str(path)],
        env={**os.environ, "PYTHONPATH": root}, capture_output=True, check=True, text=True,
    )  # fmt: skip
    return Path(done.stdout.strip())


def test_what_a_process_left_is_abandoned_when_it_is_gone_and_not_before(tmp_path: Path):
    mine = temporary_beside(tmp_path / "a.txt")
    mine.touch()
    theirs = left_by_another_process(tmp_path / "a.txt")
    assert abandoned(tmp_path, target="a.txt") == [theirs]
    assert abandoned(tmp_path, target="b.txt") == []
    assert abandoned(tmp_path, target="a.txt", role="old") == []


def test_another_process_of_the_same_number_does_not_keep_it(tmp_path: Path):
    mine = temporary_beside(tmp_path / "a.txt")
    machine, process, start = mine.name.split("-")[2:5]
    assert int(process) == os.getpid()
    earlier = mine.with_name(mine.name.replace(f"-{start}-", f"-{int(start) - 1}-"))
    for path in (mine, earlier):
        path.touch()
    assert abandoned(tmp_path) == [earlier]


def test_what_another_machine_left_is_abandoned_after_a_day(tmp_path: Path):
    mine = temporary_beside(tmp_path / "a.txt")
    machine = mine.name.split("-")[2]
    paths = [mine.with_name(mine.name.replace(machine, other)) for other in ("00000000", "1" * 8)]
    for path in paths:
        path.touch()
    yesterday = time.time() - 25 * 60 * 60
    os.utime(paths[1], (yesterday, yesterday))
    assert abandoned(tmp_path) == [paths[1]]


def test_a_file_that_a_killed_writer_left_is_swept_by_the_next_write(tmp_path: Path):
    left_by_another_process(tmp_path / "a.txt")
    other = left_by_another_process(tmp_path / "b.txt")
    with replacing(tmp_path / "a.txt") as new:
        new.write_text("new")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([other.name, "a.txt"])


@pytest.mark.parametrize("name", ["x" * 255, "ü" * 127, "a.weights.h5", "b\nc"])
def test_a_name_of_any_length_has_a_temporary_one_with_its_end(tmp_path: Path, name: str):
    (tmp_path / name).touch()
    path = temporary_beside(tmp_path / name)
    path.touch()
    assert is_temporary(path.name)
    assert path.name.endswith(name[-12:])


@pytest.mark.parametrize(
    "name", ["a.txt", ".a.txt", ".tfdistill-new-a", ".tfdistill-new-0-1-2-3-a", ".partial-abcdefgh"]
)
def test_names_of_others_are_never_taken_for_ours(tmp_path: Path, name: str):
    (tmp_path / name).touch()
    assert not is_temporary(name)
    assert abandoned(tmp_path) == []
