"""Ray workers that hang, and a pool of them that changes its size."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tfdistill.agents import AgentPool, Prediction, TextTimeoutError
from tfdistill.agents.on_ray import actors

pytestmark = pytest.mark.ray


def hanging_worker() -> type:
    """A pool worker that hangs on some texts, asleep or with Python's lock in its hands."""
    base = _make_pool_worker()

    class HangingWorker(base):  # type: ignore[misc, valid-type]
        def answer(self, text: str) -> Any:
            import re
            import time

            if "asleep" in text:
                time.sleep(600)
            if "backtracking" in text:
                re.match(r"(a+)+$", "a" * 60 + "b")  # for ever, and nobody else runs
            return super().answer(text)

    return HangingWorker


_make_pool_worker = actors.make_pool_worker


@pytest.fixture
def hanging_pool(
    ray_session: Any, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[AgentPool]:
    monkeypatch.setattr(actors, "make_pool_worker", hanging_worker)
    with AgentPool(bundle, executor="ray", num_agents=1, chunk_size=4, timeout_s=1.0) as pool:
        yield pool


@pytest.mark.slow
def test_text_that_hangs_is_given_up_and_its_process_ended(hanging_pool: AgentPool):
    before = hanging_pool.stats()["workers"][0]["pid"]

    answers = hanging_pool.predict(
        ["wheat", "wheat asleep", "brent", "tariff"], return_exceptions=True
    )
    stats = hanging_pool.stats()

    assert [each.label for each in (answers[0], *answers[2:])] == ["grain", "oil", "trade"]
    assert isinstance(answers[1], TextTimeoutError)
    assert "'wheat asleep' took an agent longer than timeout_s=1 s" in str(answers[1])
    assert (stats["failed"], stats["restarts"]) == (1, 1)
    assert not Path(f"/proc/{before}").exists()


@pytest.mark.slow
def test_text_that_holds_pythons_lock_is_found_and_given_up(hanging_pool: AgentPool):
    answers = hanging_pool.predict(
        ["wheat", "backtracking", "brent", "tariff"], return_exceptions=True
    )

    assert [each.label for each in (answers[0], *answers[2:])] == ["grain", "oil", "trade"]
    assert isinstance(answers[1], TextTimeoutError)
    assert hanging_pool.stats()["failed"] == 1


def test_pool_of_processes_grows_and_shrinks_and_shows_itself(ray_session: Any, bundle: Path):
    with AgentPool(bundle, executor="ray", num_agents=1) as pool:
        first = pool.stats()["workers"]
        pool.scale(2)
        grown = pool.stats()
        answers = pool.predict(["wheat", "brent"] * 20)
        pool.scale(1)
        shrunk = pool.stats()["workers"]

    names = [worker["name"] for worker in grown["workers"]]
    assert names == [f"{names[0][:-1]}{index}" for index in (0, 1)]
    assert names[0].startswith(f"tfdistill-pool-{os.getpid()}-")
    assert len({worker["pid"] for worker in grown["workers"]} | {os.getpid()}) == 3
    assert {worker["node"] for worker in grown["workers"]} == {
        ray_session.get_runtime_context().get_node_id()
    }
    assert all(isinstance(answer, Prediction) for answer in answers)
    assert [worker["pid"] for worker in shrunk] == [first[0]["pid"]]
    # Two processes: what each has for itself is added up, what they share is counted once.
    private = [worker["private_bytes"] for worker in grown["workers"]]
    assert grown["private_bytes"] == sum(private)
    assert grown["shared_bytes"] == max(worker["shared_bytes"] for worker in grown["workers"])
