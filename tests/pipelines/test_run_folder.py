"""Steps are made once, found again, and nothing that was not written here is touched."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tfdistill.pipelines.run_folder import RunFolder


def make_counted(folder: Path) -> None:
    count = folder / "count"
    count.write_text(str(int(count.read_text()) + 1 if count.exists() else 1))


def test_a_finished_step_is_not_made_again_and_another_key_is_another_step(tmp_path: Path):
    run = RunFolder(tmp_path / "run")
    run.start(0)
    first = run.step("sum", {"a": 1}, make_counted)
    assert run.step("sum", {"a": 1}, make_counted) == first
    assert (first / "count").read_text() == "1"
    assert run.step("sum", {"a": 2}, make_counted) != first


def test_a_step_that_failed_goes_on_in_its_own_folder(tmp_path: Path):
    run = RunFolder(tmp_path / "run")
    run.start(0)

    def stopped(folder: Path) -> None:
        make_counted(folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.step("sum", {"a": 1}, stopped)
    assert not run.has("sum", {"a": 1})
    folder = run.step("sum", {"a": 1}, make_counted)
    assert (folder / "count").read_text() == "2" and run.has("sum", {"a": 1})


def test_steps_and_seed_of_an_earlier_run_serve_again(tmp_path: Path):
    first = RunFolder(tmp_path / "first")
    first.start(7)
    made = first.step("sum", {"a": 1}, make_counted)
    second = RunFolder(tmp_path / "second", earlier=(tmp_path / "first",))
    assert second.base_seed(3) == 7
    second.start(7)
    assert second.step("sum", {"a": 1}, make_counted) == made
    assert (made / "count").read_text() == "1"
    assert RunFolder(tmp_path / "third").base_seed(3) == 3


def test_nothing_is_written_before_a_run_starts(tmp_path: Path):
    RunFolder(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_only_finished_steps_of_other_settings_are_removed(tmp_path: Path):
    run = RunFolder(tmp_path / "run")
    run.start(0)
    old = run.step("sum", {"a": 1}, make_counted)
    foreign = tmp_path / "run" / "steps" / "mine"
    foreign.mkdir()
    (foreign / "notes.txt").write_text("mine")
    again = RunFolder(tmp_path / "run")
    again.start(0)
    new = again.step("sum", {"a": 2}, make_counted)
    again.remove_unused()
    assert not old.exists() and new.exists() and (foreign / "notes.txt").exists()


def test_a_folder_of_other_files_is_refused(tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(FileExistsError, match=re.escape("`out` must be a new folder")):
        RunFolder(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_an_earlier_run_that_is_not_there_is_refused(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=re.escape("`previous` must be an earlier run")):
        RunFolder(tmp_path / "run", earlier=(tmp_path / "none",))


def test_a_folder_is_of_one_process_at_a_time_and_free_after_a_kill(tmp_path: Path):
    run = RunFolder(tmp_path / "run")
    run.start(0)
    code = (
        "import sys, time\n"
        "from tfdistill.pipelines.run_folder import RunFolder\n"
        "with RunFolder(sys.argv[1]).used_alone():\n"
        "    print('mine', flush=True)\n"
        "    time.sleep(60)\n"
    )
    command = [sys.executable, "-c", code, str(run.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "mine\n"
        with pytest.raises(RuntimeError, match="`out` must be the folder of one run at a time"):
            run.used_alone().__enter__()
        other.kill()
    with run.used_alone():
        pass
