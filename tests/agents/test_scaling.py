"""A pool that grows and shrinks while it answers."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from tfdistill.agents import Agent, AgentPool


def test_pool_grows_and_shrinks_while_it_answers(bundle: Path, texts: list[str]):
    wanted = Agent(bundle).predict(texts)
    with AgentPool(bundle, executor="threads", num_agents=1, chunk_size=2) as pool:
        stop = threading.Event()
        rounds: list[bool] = []

        def ask() -> None:
            while not stop.is_set():
                rounds.append(pool.predict(texts) == wanted)

        asking = threading.Thread(target=ask)
        asking.start()
        counts = []
        for num_agents in (3, 1, 4, 2):
            pool.scale(num_agents)
            counts.append((pool.num_agents, len(pool.stats()["workers"])))
        stop.set()
        asking.join(30)
        stats = pool.stats()

    assert counts == [(3, 3), (1, 1), (4, 4), (2, 2)]
    assert rounds and all(rounds)
    assert stats["submitted"] == stats["completed"] == len(rounds) * len(texts)


def test_idle_workers_leave_at_once(bundle: Path):
    with AgentPool(bundle, executor="threads", num_agents=3) as pool:
        before = sum("tfdistill-pool" in each.name for each in threading.enumerate())
        pool.scale(1)
        after = sum("tfdistill-pool" in each.name for each in threading.enumerate())

        assert before - after == 2
        assert pool.predict(["wheat"])[0].label == "grain"


def test_callback_may_shrink_the_pool_it_runs_in(bundle: Path):
    with AgentPool(bundle, executor="threads", num_agents=2) as pool:
        done = threading.Event()

        def shrink(_: Any) -> None:
            pool.scale(1)
            done.set()

        pool.submit("wheat").add_done_callback(shrink)
        assert done.wait(20)
        assert pool.predict(["brent"])[0].label == "oil"
        assert len(pool.stats()["workers"]) == 1


def test_inline_pool_stays_one(bundle: Path):
    with AgentPool(bundle, executor="inline", num_agents=1) as pool:
        pool.scale(1)
        with pytest.raises(RuntimeError, match="must be 1 for executor='inline'"):
            pool.scale(2)


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        (0, ValueError, "`num_agents` must be an int of at least 1"),
        (True, TypeError, "`num_agents` must be an int"),
    ],
)
def test_nonsense_is_refused(bundle: Path, value: Any, kind: type[Exception], message: str):
    with (
        AgentPool(bundle, executor="threads", num_agents=1) as pool,
        pytest.raises(kind, match=message),
    ):
        pool.scale(value)


def test_closed_pool_does_not_grow(bundle: Path):
    pool = AgentPool(bundle, executor="threads", num_agents=1)
    pool.close()

    with pytest.raises(RuntimeError, match="This AgentPool is closed"):
        pool.scale(2)
