"""The real server: Ray Serve, HTTP, and a browser that looks at the page."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tfdistill
from tfdistill.agents import Agent

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("starlette") is None, reason="the extra `serve` is not installed"
    ),
]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ask(url: str, body: Any = None) -> tuple[int, Any]:
    request = urllib.request.Request(url, headers={"Content-Type": "application/json"})
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(request, data, timeout=60) as response:
            status, content = response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        status, content = error.code, error.read().decode()
    return status, json.loads(content) if content.startswith("{") else content


@contextlib.contextmanager
def started(path: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The command, as a user starts it."""
    root = Path(tfdistill.__file__).parents[1]
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "tfdistill.cli", "serve", str(path), "--port", str(port),
         "--max-request-bytes", "2000"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )  # fmt: skip
    lines: list[str] = []
    watchdog = threading.Timer(500, process.kill)  # a busy machine takes minutes
    watchdog.start()
    try:
        while not (lines and "answers" in lines[-1]):
            line = process.stdout.readline() if process.stdout else ""
            assert line, "".join(lines)
            lines.append(line)
        watchdog.cancel()
        yield f"http://127.0.0.1:{port}", process
    finally:
        watchdog.cancel()
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        finally:
            process.kill()
            if process.stdout is not None:
                process.stdout.close()


@pytest.fixture(scope="module")
def server(served_bundle: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    with started(served_bundle) as running:
        yield running


def test_answers_equal_those_of_one_agent(server: Any, served_bundle: Path):
    url, _ = server
    (wanted,) = Agent(served_bundle).predict(["wheat"])

    status, content = ask(f"{url}/predict", {"text": "wheat"})

    assert status == 200
    assert content["answer"]["label"] == wanted.label == "grain"
    assert content["answer"]["probabilities"] == list(wanted.probabilities)


def test_requests_at_the_same_time_are_answered_in_batches(server: Any):
    url, _ = server
    texts = ["wheat", "barrel", "zebra"] * 20

    status, content = ask(f"{url}/predict", {"texts": texts})
    _, metrics = ask(f"{url}/metrics")

    assert status == 200
    labels = [each.get("label", each.get("error", {}).get("type")) for each in content["answers"]]
    assert labels == ["grain", "<i>oil</i>", "UnusableTextError"] * 20
    total = float(re.search(r"tfdistill_batch_size_sum (\S+)", metrics)[1])  # type: ignore[index]
    count = float(re.search(r"tfdistill_batch_size_count (\S+)", metrics)[1])  # type: ignore[index]
    assert total / count > 4  # 60 texts at once, at most 16 together


def test_health_names_what_is_served(server: Any):
    url, _ = server

    assert ask(f"{url}/health") == (
        200,
        {"status": "ok", "name": "topics", "labels": ["grain", "<i>oil</i>"]},
    )


def test_large_request_is_refused(server: Any):
    url, _ = server
    status, content = ask(f"{url}/predict", {"text": "x" * 1_000_000})

    assert status == 413
    assert "at most 2000 bytes" in content["error"]["message"]


def test_port_in_use_is_one_line(server: Any, served_bundle: Path):
    url, _ = server
    port = url.rpartition(":")[2]
    done = subprocess.run(
        [sys.executable, "-m", "tfdistill.cli", "serve", str(served_bundle), "--port", port],
        capture_output=True, text=True, timeout=120,
        env={**os.environ, "PYTHONPATH": str(Path(tfdistill.__file__).parents[1])},
    )  # fmt: skip

    assert done.returncode == 1
    assert f"tfdistill: [Errno 98] `port` must be free on 127.0.0.1. Received: port={port}" in (
        done.stderr
    )
    assert "Traceback" not in done.stderr


def look(url: str, folder: Path) -> str:
    """Returns what a headless browser has on the page when it is done."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("no chromium on this machine")
    done = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
         "--no-first-run", "--disable-background-networking", "--disable-component-update",
         "--disable-sync", f"--user-data-dir={folder}", "--virtual-time-budget=15000",
         "--dump-dom", url],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    return done.stdout


def test_page_shows_the_answer_in_a_browser(server: Any, tmp_path: Path):
    url, _ = server
    page = look(f"{url}/?text=barrel", tmp_path / "profile")

    assert 'data-done="yes"' in page
    # A label is shown as the text that it is, not as markup. The mean over four words is
    # 8 / 4 = 2 for one class and 0 for the other: 1 / (1 + exp(-2)) = 0.881.
    assert "<h2>&lt;i&gt;oil&lt;/i&gt; (88.1 %)</h2>" in page
    assert '<small id="servable">topics</small>' in page


def test_page_shows_what_is_wrong_in_a_browser(server: Any, tmp_path: Path):
    url, _ = server
    page = look(f"{url}/?text=%3Cscript%3Ealert(1)%3C/script%3E", tmp_path / "profile")

    assert 'data-done="error"' in page
    assert "have a word that the tokenizer knows" in page
    assert "<script>alert" not in page


def test_ctrl_c_ends_it_cleanly(server: Any):
    url, process = server
    process.send_signal(signal.SIGINT)
    process.wait(90)
    rest = process.stdout.read()

    assert "Ended." in rest
    assert "Traceback" not in rest
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            urllib.request.urlopen(url, timeout=2)
        except OSError:
            return
        time.sleep(0.2)
    raise AssertionError("the port still answers")


def test_a_team_is_served_with_its_values_and_its_trace(served_team: Path, tmp_path: Path):
    with started(served_team) as (url, _):
        status, content = ask(f"{url}/predict", {"text": "sell barrel wheat"})
        refused = ask(f"{url}/predict", {"text": "zebra"})
        page = look(f"{url}/?text=wheat", tmp_path / "profile")

    assert status == 200
    assert content["answer"]["answer"] == {"topic": "grain", "things": [[12, 17, "crop"]]}
    trace = content["answer"]["trace"]
    senders = [entry["message"]["by"] for entry in trace if "message" in entry]
    assert senders == ["topics", "tags"]
    assert refused[0] == 422
    assert f"<h2>Trace: {len(trace)} entries</h2>" in page
    assert "<td>topics (small)</td>" in page
    assert "<mark>wheat</mark><small> crop</small>" in page
