"""The command line: thin, and clear when something is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

import tfdistill
from tfdistill.cli.application import main


def run(*arguments: str):
    return CliRunner().invoke(main, list(arguments))


def test_the_version_is_that_of_the_package():
    assert run("--version").output.strip().endswith(tfdistill.__version__)


@pytest.mark.parametrize("command", sorted(main.commands))
def test_every_command_shows_an_example(command: str):
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f"Example: tfdistill {command}" in result.output


def test_labels_that_are_no_number_are_refused():
    result = run("demo", "--labels", "many")
    assert result.exit_code == 2
    assert "'many' is neither a number nor 'all'" in result.output


def test_a_cache_that_cannot_be_written_is_one_clear_line(tmp_path: Path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("TFDISTILL_CACHE", str(blocked / "cache"))
    result = run("demo")
    assert result.exit_code == 1
    assert result.output.startswith("tfdistill: The cache ")
    assert "TFDISTILL_CACHE" in result.output
    assert result.output.count("\n") == 1


@pytest.mark.slow
@pytest.mark.network
def test_too_few_labels_are_one_clear_line(r8, minilm_folder, tmp_path: Path):
    result = run("demo", "--labels", "3", "--out", str(tmp_path))
    assert result.exit_code == 1
    assert "`labels` must be an int in [8, 5485]" in result.output
