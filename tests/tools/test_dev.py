from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
SOURCE = CHECKOUT / "tools" / "dev.py"
if not SOURCE.is_file():
    pytest.skip("the tests were copied out of the checkout", allow_module_level=True)

spec = importlib.util.spec_from_file_location("dev", SOURCE)
dev = importlib.util.module_from_spec(spec)
spec.loader.exec_module(dev)


@pytest.mark.parametrize("version", [(3, 11, 0), (3, 12, 5), (3, 13, 1)])
def test_supported_pythons_are_accepted(version: tuple[int, ...]):
    dev.check_python(version, "python")


@pytest.mark.parametrize("version", [(3, 9, 18), (3, 10, 13), (3, 14, 0)])
def test_other_pythons_are_refused_with_their_version(version: tuple[int, ...]):
    said = rf"needs Python 3.11, 3.12 or 3.13. This is Python 3.{version[1]} \(old-python\)"
    with pytest.raises(dev.DevError, match=said):
        dev.check_python(version, "old-python")


def test_missing_venv_module_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(dev.importlib.util, "find_spec", lambda name: None)

    with pytest.raises(dev.DevError, match="venv or ensurepip module is missing"):
        dev.check_python((3, 11, 0), "python")


def test_old_pythons_can_read_the_file_to_say_so():
    ast.parse(SOURCE.read_text(encoding="utf-8"), feature_version=(3, 7))


def test_unknown_target_prints_the_targets(capsys: pytest.CaptureFixture[str]):
    assert dev.main(["nothing"]) == 2
    assert dev.main([]) == 2

    said = capsys.readouterr().err
    assert [name for name in dev.TARGETS if name not in said] == []


def test_error_is_one_line_and_exit_code_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(dev.sys, "version_info", (3, 9, 1, "final", 0))

    assert dev.main(["test"]) == 1
    assert capsys.readouterr().err.startswith("dev.py: tfdistill needs Python 3.11")


def checkout(folder: Path) -> Path:
    for name in (*dev.INSTALL_FILES, "README.md"):
        (folder / name).write_text("content of " + name)
    return folder


@pytest.mark.parametrize("name", ["setup.cfg", "pyproject.toml", "constraints.txt"])
def test_fingerprint_changes_with_each_file_that_decides_the_installation(
    name: str, tmp_path: Path
):
    before = dev.fingerprint(checkout(tmp_path))
    (tmp_path / name).write_text("other")

    assert dev.fingerprint(tmp_path) != before


def test_fingerprint_ignores_other_files(tmp_path: Path):
    before = dev.fingerprint(checkout(tmp_path))
    (tmp_path / "README.md").write_text("other")

    assert dev.fingerprint(tmp_path) == before


def test_set_up_makes_the_environment_once_and_installs_when_the_files_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    ran = []

    def need(*command: str | Path) -> None:
        # The environment is real; of the installation only the command is looked at.
        ran.append("venv" if "venv" in command else "install")
        if "venv" in command:
            subprocess.run([*map(str, command), "--without-pip"], check=True)

    monkeypatch.setattr(dev, "CHECKOUT", checkout(tmp_path))
    monkeypatch.setattr(dev, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(dev, "STAMP", tmp_path / ".venv" / "stamp")
    monkeypatch.setattr(dev, "need", need)

    python = dev.set_up()
    assert subprocess.run([str(python), "-c", ""], check=False).returncode == 0
    dev.set_up()
    assert ran == ["venv", "install"]

    (tmp_path / "constraints.txt").write_text("other")
    dev.set_up()
    assert ran == ["venv", "install", "install"]

    python.unlink()
    dev.set_up()
    assert ran == ["venv", "install", "install", "venv", "install"]


def test_failed_installation_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def need(*command: str | Path) -> None:
        if "venv" not in command:
            raise dev.DevError("no network")
        subprocess.run([*map(str, command), "--without-pip"], check=True)

    monkeypatch.setattr(dev, "CHECKOUT", checkout(tmp_path))
    monkeypatch.setattr(dev, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(dev, "STAMP", tmp_path / ".venv" / "stamp")
    monkeypatch.setattr(dev, "need", need)

    for _ in range(2):
        with pytest.raises(dev.DevError, match="no network"):
            dev.set_up()


def test_command_that_fails_is_said():
    with pytest.raises(dev.DevError, match="The command above failed"):
        dev.need(sys.executable, "-c", "raise SystemExit(3)")


@pytest.mark.parametrize("inside", [True, False])
def test_wheel_check_refuses_a_package_from_elsewhere(inside: bool, tmp_path: Path):
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    for folder in (site, elsewhere):
        (folder / "tfdistill").mkdir(parents=True)
        (folder / "tfdistill" / "__init__.py").write_text("")
    code = dev.WHEEL_CONFTEST.format(checkout=str(CHECKOUT), site=str(site))
    first = site if inside else elsewhere

    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(first)!r})\n{code}"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode == 0) is inside
    assert ("and not from the wheel" in done.stderr) is not inside


def test_every_make_target_is_a_target_of_dev():
    makefile = (CHECKOUT / "Makefile").read_text(encoding="utf-8")
    targets = re.search(r"^TARGETS = (.*)$", makefile, re.MULTILINE)[1].split()

    assert set(targets) == set(dev.TARGETS) - {"setup", "test-slow"}


def test_ci_runs_only_targets_that_exist():
    script = (CHECKOUT / ".ci" / "run").read_text(encoding="utf-8")
    steps = re.findall(r"^step ([\w-]+)$", script, re.MULTILINE)

    assert steps == ["check", "test", "test-slow", "wheel"]
    assert set(steps) <= set(dev.TARGETS)
