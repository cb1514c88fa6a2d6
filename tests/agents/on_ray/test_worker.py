"""A pool on Ray workers: equal answers, and nothing lost when the processes die."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tfdistill.agents import Agent, AgentPool, QuarantinedTextError, UnusableTextError
from tfdistill.agents.execution import quarantine
from tfdistill.agents.on_ray import actors, worker_process

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def pool(ray_session: Any, bundle: Path) -> Iterator[AgentPool]:
    with AgentPool(bundle, executor="ray", num_agents=2) as pool:
        yield pool


def deadly_worker() -> type:
    """A pool worker that dies on some texts: a segmentation fault cannot be had on demand."""
    base = _make_pool_worker()

    class DeadlyWorker(base):  # type: ignore[misc, valid-type]
        def answer(self, text: str) -> Any:
            import os
            import signal
            import time

            if "panic" in text:
                raise BaseException("not an Exception, as panics in Rust")
            if "poison" in text:
                os.kill(os.getpid(), signal.SIGKILL)
            if "slow-death" in text:
                time.sleep(0.25)
                os.kill(os.getpid(), signal.SIGKILL)
            return super().answer(text)

    return DeadlyWorker


_make_pool_worker = actors.make_pool_worker


@pytest.fixture
def deadly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actors, "make_pool_worker", deadly_worker)


def test_answers_equal_those_of_one_agent(pool: AgentPool, bundle: Path, texts: list[str]):
    wanted = Agent(bundle).predict(texts)

    assert pool.predict(texts) == wanted
    assert list(pool.map(iter(texts))) == wanted
    assert pool.submit(texts[7]).result(timeout=60) == wanted[7]
    assert {index: each.result() for index, each in pool.as_completed(texts)} == dict(
        enumerate(wanted)
    )


def test_all_executors_give_identical_predictions(pool: AgentPool, bundle: Path, texts: list[str]):
    answers = [pool.predict(texts)]
    for executor in ("inline", "threads"):
        with AgentPool(bundle, executor=executor) as other:
            answers.append(other.predict(texts))

    assert answers[0] == answers[1] == answers[2]


def test_workers_are_two_other_processes(pool: AgentPool):
    workers = pool.stats()["workers"]

    assert len({worker["pid"] for worker in workers} | {os.getpid()}) == 3
    assert {worker["state"] for worker in workers} == {"ready"}


def test_chunk_is_measured(pool: AgentPool):
    # A Ray call costs many times what this tiny model does.
    assert 2 <= pool.chunk_size <= 64


def test_unusable_text_is_an_error_of_its_own_only(pool: AgentPool):
    good, bad, last = pool.predict(["wheat", "zebra", "brent"], return_exceptions=True)

    assert (good.label, last.label) == ("grain", "oil")
    assert isinstance(bad, UnusableTextError)
    assert bad.argument == "texts[1]"


def test_nothing_is_lost_while_workers_are_killed(ray_session: Any, bundle: Path, texts: list[str]):
    wanted = Agent(bundle).predict(texts)
    with AgentPool(bundle, executor="ray", num_agents=2, chunk_size=8) as pool:
        stop = threading.Event()
        killed: list[int] = []

        def kill() -> None:
            while not stop.wait(0.4) and len(killed) < 6:
                for worker in pool.stats()["workers"]:
                    if worker["state"] == "ready" and worker["pid"] not in killed:
                        os.kill(worker["pid"], signal.SIGKILL)
                        killed.append(worker["pid"])
                        break

        killer = threading.Thread(target=kill)
        killer.start()
        rounds = 0
        while len(killed) < 3:
            assert list(pool.map(texts * 4)) == wanted * 4
            rounds += 1
        stop.set()
        killer.join()
        assert list(pool.map(texts * 4)) == wanted * 4
        rounds += 1
        stats = pool.stats()

    assert len(killed) >= 3
    assert stats["restarts"] >= 1
    assert stats["failed"] == 0
    assert stats["submitted"] == stats["completed"] == rounds * 4 * len(texts)


@pytest.mark.slow
def test_poisonous_text_is_quarantined_and_the_rest_goes_on(
    ray_session: Any, bundle: Path, deadly: None
):
    stream = ["wheat", "brent"] * 20
    stream[13] = "wheat poison"
    with AgentPool(bundle, executor="ray", num_agents=2, chunk_size=8) as pool:
        answers = pool.predict(stream, return_exceptions=True)
        stats = pool.stats()

    (error,) = [answer for answer in answers if isinstance(answer, Exception)]
    assert answers.index(error) == 13
    assert isinstance(error, QuarantinedTextError)
    # One death with the batch, two failed attempts, three alone and at once.
    assert "'wheat poison' is quarantined: 5 workers died on it" in str(error)
    assert stats["failed"] == 1
    labels = ["grain", "oil"] * 20
    assert all(answers[i].label == labels[i] for i in range(40) if i != 13)


@pytest.mark.slow
def test_text_that_kills_slowly_is_given_up_at_last(
    ray_session: Any, bundle: Path, deadly: None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(quarantine, "MAX_ATTEMPTS", 6)
    with AgentPool(bundle, executor="ray", num_agents=1) as pool:
        future = pool.submit("wheat slow-death")
        with pytest.raises(QuarantinedTextError, match="is given up: 6 workers died"):
            future.result(timeout=60)
        assert pool.predict(["wheat"])[0].label == "grain"


def test_text_that_fails_its_worker_leaves_the_others_and_the_worker_alone(
    ray_session: Any, bundle: Path, deadly: None
):
    with AgentPool(bundle, executor="ray", num_agents=1, chunk_size=8) as pool:
        texts = ["wheat", "panic oil", "brent", "panic", "tariff"]
        answers = pool.predict(texts, return_exceptions=True)
        (worker,) = pool.stats()["workers"]

    assert [each.label for each in answers[::2]] == ["grain", "oil", "trade"]
    for error in answers[1::2]:
        assert isinstance(error, RuntimeError) and "failed" in str(error)
        assert "not an Exception" in str(error)
    assert (worker["state"], worker["restarts"]) == ("ready", 0)


def test_actor_that_ray_gave_up_is_replaced(ray_session: Any, bundle: Path):
    with AgentPool(bundle, executor="ray", num_agents=1) as pool:
        before = pool.stats()["workers"][0]["pid"]
        # For good: Ray will not restart it.
        ray_session.kill(ray_session.get_actor(pool.stats()["workers"][0]["name"]))

        assert pool.predict(["wheat"])[0].label == "grain"
        (worker,) = pool.stats()["workers"]

    assert worker["pid"] != before
    assert worker["restarts"] == 1


@pytest.mark.slow
def test_bundle_that_is_deleted_or_replaced_is_answered_from_the_copy(
    ray_session: Any, bundle: Path, tmp_path: Path
):
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    with AgentPool(copy, executor="ray", num_agents=1) as pool:
        wanted = pool.predict(["wheat", "brent"])
        shutil.rmtree(copy)
        os.kill(pool.stats()["workers"][0]["pid"], signal.SIGKILL)
        without = pool.predict(["wheat", "brent"])
        shutil.copytree(bundle, copy)
        (copy / "labels.json").write_text('["a", "b", "c"]')  # another model, by now
        os.kill(pool.stats()["workers"][0]["pid"], signal.SIGKILL)
        replaced = pool.predict(["wheat", "brent"])
        restarts = pool.stats()["restarts"]

    assert without == replaced == wanted
    assert restarts == 2


@pytest.mark.slow
def test_workers_that_cannot_come_back_fail_the_texts_and_hang_nobody(
    ray_session: Any, bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    flag = tmp_path / "broken"

    def fragile_worker() -> type:
        base = _make_pool_worker()
        mark = str(flag)

        class FragileWorker(base):  # type: ignore[misc, valid-type]
            def __init__(self, *arguments: Any) -> None:
                import os

                if os.path.exists(mark):
                    raise OSError("the disk is gone")
                super().__init__(*arguments)

        return FragileWorker

    monkeypatch.setattr(actors, "make_pool_worker", fragile_worker)
    with AgentPool(bundle, executor="ray", num_agents=1) as pool:
        flag.touch()
        os.kill(pool.stats()["workers"][0]["pid"], signal.SIGKILL)

        with pytest.raises(RuntimeError, match="workers of this AgentPool are gone.*disk is gone"):
            pool.submit("wheat").result(timeout=60)
        with pytest.raises(RuntimeError, match="are gone"):
            pool.submit("wheat")
        assert pool.stats()["workers"][0]["state"] == "lost"


def test_workers_that_find_no_cpu_are_an_error_with_the_numbers(
    ray_session: Any, bundle: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(worker_process, "READY_S", 1.0)
    cpus = int(ray_session.cluster_resources()["CPU"])
    # Ray was seen to start a worker of one CPU on a node that had none free; never a larger one
    # than the node.
    options = {**actors.WORKER_OPTIONS, "num_cpus": cpus + 1}
    monkeypatch.setattr(actors, "WORKER_OPTIONS", options)

    class Holder:
        def ready(self) -> None:
            pass

    holder = ray_session.remote(Holder).options(num_cpus=cpus).remote()
    ray_session.get(holder.ready.remote(), timeout=60)
    try:
        with pytest.raises(
            RuntimeError,
            match=rf"not ready within 1 s: 0 of 2 .*Requested CPUs: 2. Free CPUs: 0 of {cpus}",
        ):
            AgentPool(bundle, executor="ray", num_agents=2)
    finally:
        ray_session.kill(holder)


def test_session_of_the_user_stays_when_pools_close(ray_session: Any, bundle: Path):
    with AgentPool(bundle, executor="ray", num_agents=1) as pool:
        pid = pool.stats()["workers"][0]["pid"]

    assert ray_session.is_initialized()
    end = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()
