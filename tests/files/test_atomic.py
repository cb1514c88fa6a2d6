from __future__ import annotations

import os
import resource
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tfdistill.files import atomic
from tfdistill.files.atomic import (
    abandoned,
    check_target,
    is_temporary,
    replacing,
    temporary_beside,
)

LEFT_BY_ANOTHER = """
import sys
from pathlib import Path
from tfdistill.files.atomic import temporary_beside
path = temporary_beside(Path(sys.argv[1]))
path.touch()
print(path)
"""


def test_a_reader_sees_the_old_file_until_the_new_one_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with replacing(path) as temporary:
        temporary.write_text("ne")
        assert path.read_text() == "old"
        assert temporary.parent == tmp_path and temporary.suffix == ".txt"
        temporary.write_text("new")
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file_and_no_other(
    error: type[BaseException], tmp_path: Path
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(error), replacing(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_full_disk_is_one_clear_error_and_leaves_nothing(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The kernel lets no file grow over 10 KB, as on a disk that is nearly full.
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with (
            pytest.raises(OSError, match="a.bin could not be written: File too large. Nothing was"),
            replacing(tmp_path / "a.bin") as temporary,
        ):
            temporary.write_bytes(bytes(20_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert os.listdir(tmp_path) == []


def test_an_error_without_a_number_is_told_in_its_own_words(tmp_path: Path) -> None:
    with (
        pytest.raises(OSError, match="a.txt could not be written: the tape broke. Nothing was"),
        replacing(tmp_path / "a.txt"),
    ):
        raise OSError("the tape broke")


def test_what_a_killed_writer_left_goes_with_the_next_write_of_the_same_file(
    tmp_path: Path,
) -> None:
    script = (
        "import os, sys; from pathlib import Path; from tfdistill.files.atomic import replacing\n"
        "with replacing(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half'); os.kill(os.getpid(), 9)"
    )
    root = str(Path(atomic.__file__).parents[2])
    for name in ("a.txt", "b.txt"):
        done = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / name)],
            env={**os.environ, "PYTHONPATH": root},
            check=False,
        )
        assert done.returncode == -signal.SIGKILL
    assert len(os.listdir(tmp_path)) == 2

    with replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("all")
    hidden, written = sorted(os.listdir(tmp_path))
    assert written == "a.txt"
    assert hidden.endswith("-b.txt")  # may be of use to whoever writes that one


def test_the_file_has_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    with replacing(tmp_path / "ours") as temporary:
        temporary.write_text("x")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "ours")]
    assert modes[0] == modes[1]


def test_a_folder_as_target_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="`path` must be the name of a file"):
        check_target(tmp_path)


def test_a_missing_folder_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"`path` must be in an existing folder.*mkdir\("):
        check_target(tmp_path / "absent" / "a.txt")


def test_a_target_that_is_no_path_is_refused() -> None:
    with pytest.raises(
        TypeError,
        match=r"`model_path` must be a str or os.PathLike. Received: model_path=3 \(int\)",
    ):
        check_target(3, argument="model_path")  # type: ignore[arg-type]


def left_by_another_process(path: Path) -> Path:
    root = str(Path(atomic.__file__).parents[2])
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
