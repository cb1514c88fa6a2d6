from __future__ import annotations

import importlib
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tfdistill.agents import (
    Agent,
    Executor,
    Prediction,
    UnusableTextError,
    executor_selection,
)
from tfdistill.agents.execution import timing


@pytest.fixture(scope="module")
def agents(bundle: Path) -> list[Agent]:
    return [Agent(bundle), Agent(bundle)]


def test_every_executor_that_is_named_can_be_imported_and_has_its_name():
    for name, (module, class_name) in executor_selection.EXECUTORS.items():
        found = getattr(importlib.import_module(module), class_name)
        assert issubclass(found, Executor) and found.name == name
    assert set(executor_selection.EXECUTORS) == {"inline", "threads", "ray"}


def test_sample_text_is_one_that_the_agent_answers(agents: list[Agent]):
    text = agents[0].sample_text()

    assert isinstance(agents[0].answer(text), Prediction)
    assert len(text.split()) >= 6


def test_time_per_text_is_that_of_a_loop(agents: list[Agent], monkeypatch: pytest.MonkeyPatch):
    now, answered = [0.0], []
    answer = agents[0].answer

    def slow(text: str) -> Any:
        now[0] += 0.5 if not answered else 0.004  # the first call allocates
        answered.append(answer(text))
        return answered[-1]

    monkeypatch.setattr(agents[0], "answer", slow)
    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    seconds = timing.time_per_text(agents[0], "wheat", seconds=0.05)

    assert seconds == pytest.approx(0.004)
    assert len(answered) == 1 + 13  # 13 times 4 ms pass 50 ms
    assert all(isinstance(each, Prediction) for each in answered)


def test_refusal_is_never_what_is_timed(agents: list[Agent], monkeypatch: pytest.MonkeyPatch):
    runs: list[str] = []
    agent = agents[0]
    monkeypatch.setattr(agent, "answer", lambda text: UnusableTextError(text, "be known"))
    monkeypatch.setattr(
        agent._interpreter,
        "run",
        lambda inputs, run=agent._interpreter.run: (
            runs.append(next(iter(inputs.values())).shape) or run(inputs)
        ),
    )

    assert agent.sample_text() is None
    assert timing.time_per_text(agent, None, seconds=0.0) > 0
    assert runs == [(1, agent.bundle.sequence_length)] * 2


@pytest.mark.parametrize(
    ("asked", "agents_count", "cores", "wanted"),
    [(1, 2, 8, 1), (8, 2, 8, 4), (8, 3, 8, 2), (4, 8, 8, 1), (4, 16, 8, 1), (2, 1, 8, 2)],
)
def test_cores_are_never_given_out_twice(
    monkeypatch: pytest.MonkeyPatch, asked: int, agents_count: int, cores: int, wanted: int
):
    monkeypatch.setattr(timing, "available_cores", lambda: cores)

    assert timing.threads_for(asked, num_agents=agents_count) == wanted


def test_text_that_must_end_is_never_left_to_a_loop(agents: list[Agent]):
    assert executor_selection.select_executor(agents[:1], "wheat", must_end=True) == (
        "threads",
        "`timeout_s` needs a thread beside the caller's",
    )


def test_single_agent_is_a_loop(agents: list[Agent]):
    assert executor_selection.select_executor(agents[:1], "wheat") == (
        "inline",
        "one agent has nobody to run beside",
    )


def test_single_core_is_a_loop(agents: list[Agent], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(executor_selection, "available_cores", lambda: 1)

    assert executor_selection.select_executor(agents, "wheat")[0] == "inline"


@pytest.mark.parametrize(
    ("threads_per_second", "name", "words"),
    [(1e9, "threads", "Ray pays on several machines"), (1.0, "inline", "threads do not pay")],
)
def test_measurement_decides_and_is_quoted(
    agents: list[Agent],
    monkeypatch: pytest.MonkeyPatch,
    threads_per_second: float,
    name: str,
    words: str,
):
    monkeypatch.setattr(executor_selection, "available_cores", lambda: 2)
    monkeypatch.setattr(executor_selection, "_threads_per_second", lambda *_: threads_per_second)

    chosen, reason = executor_selection.select_executor(agents, "wheat")

    assert chosen == name
    assert words in reason
    assert f"2 threads {threads_per_second:,.0f}" in reason


def test_threads_are_really_measured(agents: list[Agent], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(executor_selection, "available_cores", lambda: 2)

    chosen, reason = executor_selection.select_executor(agents, agents[0].sample_text())

    assert chosen in {"inline", "threads"}
    assert "texts/s and 2 threads" in reason


def test_session_of_several_machines_means_ray(
    agents: list[Agent], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(executor_selection, "_connected_nodes", lambda: 3)

    assert executor_selection.select_executor(agents, "wheat") == (
        "ray",
        "a Ray session with 3 machines is running",
    )


@pytest.mark.parametrize(
    ("text_s", "handover_s", "most", "wanted"),
    [
        (1e-3, 1e-3, 64, 20),  # twenty texts of 1 ms for a hand-over of 1 ms: a twentieth
        (6e-4, 1e-3, 64, 34),
        (1e-5, 1e-3, 64, 64),
        (1.0, 1e-3, 64, 1),
    ],
)
def test_chunk_keeps_the_handing_over_at_a_twentieth(
    text_s: float, handover_s: float, most: int, wanted: int
):
    assert timing.chunk_for(text_s, handover_s=handover_s, most=most) == wanted


def test_cores_are_those_that_this_process_may_use():
    assert 1 <= timing.available_cores() <= (os.cpu_count() or 1)
