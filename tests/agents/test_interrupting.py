"""Ctrl-C while a pool works: it ends soon, says so once, and leaves no process behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import tfdistill

PROGRAM = """
import itertools, sys
sys.path.insert(0, sys.argv[1])
from tfdistill.agents import AgentPool
with AgentPool(sys.argv[2], executor=sys.argv[3], num_agents=2) as pool:
    for number, _ in enumerate(pool.map(itertools.repeat("wheat"))):
        if number == 100:
            print(*[worker["pid"] for worker in pool.stats()["workers"]], flush=True)
"""


@pytest.mark.parametrize(
    "executor", ["threads", pytest.param("ray", marks=[pytest.mark.ray, pytest.mark.slow])]
)
def test_ctrl_c_ends_a_working_pool_and_its_processes(bundle: Path, executor: str):
    root = str(Path(tfdistill.__file__).parents[1])
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, root, str(bundle), executor],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        line = process.stdout.readline()  # type: ignore[union-attr]
        workers = [int(pid) for pid in line.split()]
        os.kill(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=120)
    finally:
        process.kill()

    assert len(workers) == 2, errors
    assert errors.count("Traceback") == 1 and errors.rstrip().endswith("KeyboardInterrupt")
    end = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < end:
        time.sleep(0.1)
    assert [pid for pid in workers if Path(f"/proc/{pid}").exists()] == []
