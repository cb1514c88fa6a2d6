from __future__ import annotations

import os
import resource
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tfdistill.files import atomic
from tfdistill.files.atomic import check_target, replacing


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
