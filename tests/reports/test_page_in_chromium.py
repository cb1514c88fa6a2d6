"""The page as a browser sees it: nothing to complain about, everything there."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tfdistill.reports.confusions import LostExample
from tfdistill.reports.html_page import write_page
from tfdistill.reports.stage_table import StageRow

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
]


def opened(page: Path, profile: Path) -> subprocess.CompletedProcess[str]:
    """Returns the page after loading as standard output, console lines on standard error."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs Debian's chromium: apt-get install chromium")
    command = [chromium, *FLAGS, f"--user-data-dir={profile}", "--dump-dom", page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


def test_the_page_opens_without_a_console_error(tmp_path: Path):
    rows = [
        StageRow("teacher", 0.95, 0.9, 9_000, 9_000, 90_000, 80_000, 8.0, 9.0, 1.0),
        StageRow("tflite", 0.92, 0.8, 300, 150, 4_000, 2_000, 0.04, 0.05, 0.9),
    ]
    lost = [LostExample("<img src=x onerror=console.error(1)> 雨", "a", "b")]
    page = write_page(tmp_path / "report.html", stages=rows, lost=lost)
    done = opened(page, tmp_path / "profile")
    assert "CONSOLE" not in done.stderr
    assert (done.stdout.count("<table"), done.stdout.count("<svg")) == (2, 2)
    assert len(re.findall("<circle", done.stdout)) == 4
    assert "雨" in done.stdout and "<img" not in done.stdout


def test_the_check_for_console_errors_can_fail(tmp_path: Path):
    page = tmp_path / "page.html"
    page.write_text("<script>console.error('wrong')</script>")
    assert "CONSOLE" in opened(page, tmp_path / "profile").stderr
