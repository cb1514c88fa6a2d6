"""Executors of one's own in a pool: order, errors, timeouts, counts, close."""

from __future__ import annotations

import doctest
import threading
from pathlib import Path
from typing import Any

import pytest
from shared_fixtures.own_executors import Processes, Recorder, Timed

from tfdistill.agents import Agent, AgentPool, TextTimeoutError, UnusableTextError
from tfdistill.agents.execution.executor import Job
from tfdistill.agents.execution.worker_executor import on_worker_thread


def job_of(bundle: Path, **changes: Any) -> Job:
    settings: dict[str, Any] = {"num_agents": 2, "chunk_size": "auto", "threads_per_agent": 1}
    return Job(bundle, **{**settings, "timeout_s": None, **changes})


def test_processes_of_the_standard_library_answer_as_one_agent_does(bundle: Path, texts: list[str]):
    asked = [*texts[:20], "???", *texts[20:40]]
    wanted = Agent(bundle).predict(asked, return_exceptions=True)
    with AgentPool(bundle, executor=Processes(), num_agents=2) as pool:
        found = pool.predict(asked, return_exceptions=True)
        stats = pool.stats()
        with pytest.raises(UnusableTextError, match=r"`texts\[1\]` must have a word"):
            pool.predict(["wheat", "???"])

    assert found[:20] + found[21:] == wanted[:20] + wanted[21:]
    assert isinstance(found[20], UnusableTextError) and found[20].argument == "texts[20]"
    assert (pool.executor, pool.reason, pool.chunk_size) == ("processes", "it was given", 1)
    counts = [stats[name] for name in ("submitted", "completed", "failed", "in_flight", "queued")]
    assert counts == [41, 41, 1, 0, 0]
    assert stats["latency_ms"]["p50"] > 0 and len(stats["workers"]) == 1


def test_the_example_of_the_docstring_runs(bundle: Path):
    example = next(
        each for each in doctest.DocTestFinder().find(AgentPool, "AgentPool") if each.examples
    )
    (definition,) = [
        each.source for each in example.examples if "class StandardThreads" in each.source
    ]
    names: dict[str, Any] = {}
    imports = "".join(e.source for e in example.examples if e.source.startswith(("import", "from")))
    exec(imports + definition, names)

    with AgentPool(bundle, executor=names["StandardThreads"](), num_agents=2) as pool:
        assert [each.label for each in pool.predict(["wheat", "brent"] * 10)] == [
            "grain",
            "oil",
        ] * 10
        with pytest.raises(UnusableTextError):
            pool.predict(["???"])


def test_an_executor_gets_the_job_the_texts_and_the_end(bundle: Path):
    recorder = Recorder()
    with AgentPool(bundle, executor=recorder, num_agents=3, chunk_size=7, timeout_s=2.5) as pool:
        futures = [pool.submit(text) for text in ("a", "b")]
        recorder.answer("b")
        assert (futures[1].result(0), futures[0].done()) == ("B", False)
        recorder.answer("a")
        with pytest.raises(RuntimeError, match="`num_agents` cannot be changed with the executor"):
            pool.scale(4)

    job = recorder.job
    assert (job.path, job.num_agents, job.timeout_s) == (bundle.resolve(), 3, 2.5)
    assert recorder.calls == ["start", "a", "b", ("close", False, None)]
    assert (pool.chunk_size, pool.max_in_flight) == (7, 256)


def test_answers_keep_the_order_of_the_texts_whichever_comes_first(bundle: Path):
    recorder, found, done = Recorder(), list[Any](), list[Any]()
    with AgentPool(bundle, executor=recorder) as pool:
        reader = threading.Thread(target=lambda: found.extend(pool.map(["a", "b", "c"])))
        reader.start()
        recorder.answer("c", "b", "a")
        reader.join(20)
        reader = threading.Thread(target=lambda: done.extend(pool.as_completed(["d", "e"])))
        reader.start()
        recorder.answer("e", "d")
        reader.join(20)

    assert found == ["A", "B", "C"]
    assert [(index, future.result()) for index, future in done] == [(1, "E"), (0, "D")]


def test_after_an_error_in_the_block_close_is_told_to_cancel(bundle: Path):
    recorder = Recorder()
    with (
        pytest.raises(KeyboardInterrupt),
        AgentPool(bundle, executor=recorder) as pool,
    ):
        raise KeyboardInterrupt
    assert recorder.calls == ["start", ("close", True, None)]
    pool.close()
    with pytest.raises(RuntimeError, match="This AgentPool is closed"):
        pool.submit("late")
    assert len(recorder.calls) == 2


def test_a_submit_that_fails_leaves_room_for_the_next(bundle: Path):
    recorder = Recorder()
    with AgentPool(bundle, executor=recorder, max_in_flight=1) as pool:
        recorder.trouble = ZeroDivisionError("not now")
        with pytest.raises(ZeroDivisionError):
            pool.submit("a")
        recorder.trouble = None
        asking = threading.Thread(target=lambda: pool.submit("b"), daemon=True)
        asking.start()
        asking.join(20)
        assert not asking.is_alive()
        assert list(recorder.futures) == ["b"]
        recorder.answer("b")


def test_cancelled_and_failed_texts_are_counted(bundle: Path):
    recorder = Recorder()
    with AgentPool(bundle, executor=recorder) as pool:
        futures = {text: pool.submit(text) for text in "abcd"}
        futures["a"].cancel()
        recorder.futures["b"].set_exception(ValueError("b"))
        recorder.futures["c"].set_running_or_notify_cancel()
        stats = pool.stats()
        names = ("submitted", "completed", "failed", "in_flight", "queued")
        assert [stats[name] for name in names] == [4, 2, 1, 2, 1]
        assert not futures["c"].cancel() and futures["c"].running()
        recorder.answer("c", "d")
        assert pool.stats()["completed"] == 4
    assert isinstance(futures["b"].exception(), ValueError)
    assert futures["a"].cancelled() and futures["d"].result() == "D"


def test_a_callback_on_an_executors_own_thread_may_submit_to_a_full_pool(bundle: Path):
    recorder, done = Recorder(), threading.Event()
    with AgentPool(bundle, executor=recorder, max_in_flight=1) as pool:

        def more(_: Any) -> None:
            for text in ("b", "c"):  # the second finds the only place taken
                pool.submit(text)
            done.set()

        pool.submit("a").add_done_callback(more)
        threading.Thread(target=recorder.answer, args=("a",), daemon=True).start()
        assert done.wait(20)
        assert list(recorder.futures) == ["a", "b", "c"]
    assert not on_worker_thread()


def test_a_text_that_takes_too_long_is_the_executors_to_give_up(bundle: Path):
    release = threading.Event()
    executor = Timed(lambda text: release.wait(60) if text == "hang" else text.upper())
    with AgentPool(bundle, executor=executor, timeout_s=0.2) as pool:
        late = pool.submit("hang")
        assert isinstance(late.exception(20), TextTimeoutError)
    release.set()


def test_agents_that_were_opened_to_measure_are_given_out_first(bundle: Path):
    job = job_of(bundle)
    tried = job.try_agents()
    opened = job.open_agents(3)

    assert [each is other for each, other in zip(opened, tried, strict=False)] == [True, True]
    assert len(tried) == 2 and len({id(each) for each in opened}) == 3


def test_a_chunk_is_as_asked_for_or_measured(bundle: Path):
    assert job_of(bundle, chunk_size=9).chunk_for(handover_s=1.0, most=5) == 9
    # A second to hand over is more than twenty times what a text takes.
    assert job_of(bundle).chunk_for(handover_s=1.0, most=5) == 5


def test_what_is_no_executor_is_refused(bundle: Path):
    with pytest.raises(ValueError, match="a class that derives from `tfdistill.agents.Executor`"):
        AgentPool(bundle, executor=object())  # type: ignore[arg-type]
