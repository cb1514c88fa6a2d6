from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tfdistill.agents import Agent
from tfdistill.agents.execution import servable, stats
from tfdistill.agents.execution.stats import Latencies


def test_folder_without_a_kind_is_a_bundle(bundle: Path):
    opened = servable.open_servable(bundle)

    assert isinstance(opened, Agent)
    assert opened.path == bundle.resolve()


def test_kind_of_the_manifest_says_who_opens_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "manifest.json").write_text('{"kind": "echo"}')
    monkeypatch.setitem(servable._OPENERS, "echo", ("os.path", "join"))
    monkeypatch.setattr("os.path.join", lambda path, threads: ("opened", path, threads))

    opened: Any = servable.open_servable(tmp_path, threads=3)

    assert opened == ("opened", tmp_path, 3)


def test_unknown_kind_is_refused(tmp_path: Path):
    (tmp_path / "manifest.json").write_text(json.dumps({"kind": "swarm"}))

    with pytest.raises(ValueError, match=r"a kind in \['bundle', .*'team'\].*kind='swarm'"):
        servable.open_servable(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "[" * 100_000, "\xff"])
def test_folder_with_a_damaged_manifest_is_no_bundle(tmp_path: Path, content: str):
    (tmp_path / "manifest.json").write_text(content, encoding="latin-1")

    with pytest.raises(ValueError, match="manifest.json"):
        servable.open_servable(tmp_path)


def test_ctrl_c_is_not_the_fault_of_a_text(bundle: Path, monkeypatch: pytest.MonkeyPatch):
    agent = Agent(bundle)

    def interrupted(text: str) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(agent, "answer", interrupted)
    with pytest.raises(KeyboardInterrupt):
        servable.answer_of(agent, "wheat")


def test_percentiles_are_values_that_occurred():
    values = [float(value) for value in range(100, 0, -1)]

    found = [stats.percentile(values, share) for share in (0.5, 0.95, 0.99, 1.0)]

    assert found == [50.0, 95.0, 99.0, 100.0]
    assert stats.percentile([7.0], 0.01) == 7.0


def test_latencies_and_throughput_by_a_clock_that_the_test_sets():
    now = [100.0]
    record = Latencies(clock=lambda: now[0])
    assert record.figures() == {
        "throughput_per_s": 0.0,
        "p50_ms": None,
        "p95_ms": None,
        "p99_ms": None,
    }
    for _ in range(4):  # four answers in four seconds, each after half a second
        now[0] += 1.0
        record.add(now[0] - 0.5)

    assert record.figures() == {
        "throughput_per_s": 1.0,
        "p50_ms": 500.0,
        "p95_ms": 500.0,
        "p99_ms": 500.0,
    }
    now[0] += 60.0  # idle since
    assert record.figures()["throughput_per_s"] == 0.0


def test_memory_of_this_process_is_private_and_shared():
    import os

    found = stats.memory_of(os.getpid())

    assert found["private_bytes"] is not None and found["private_bytes"] > 2**20
    assert found["shared_bytes"] is not None


def test_memory_of_nobody_is_unknown():
    nobody = stats.memory_of(2**22 + 1)

    assert nobody == {"private_bytes": None, "shared_bytes": None}
    assert stats.total_memory([nobody]) == nobody
