"""A pool on threads whose agents misbehave: they raise, hang, and panic."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shared_fixtures.own_executors import GivenWorkers

from tfdistill.agents import Agent, AgentPool, TextTimeoutError
from tfdistill.agents.execution import thread_worker
from tfdistill.agents.execution.thread_worker import ThreadWorker


class Clock:
    """What a thread worker takes for the time; it moves when an agent begins to hang."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


class BadAgent:
    """Answers with the text, unless the text tells it to misbehave."""

    path = Path("nowhere")

    def __init__(self, release: threading.Event, clock: Clock) -> None:
        self.release, self.clock = release, clock
        self.seen: list[str] = []

    def answer(self, text: str) -> Any:
        self.seen.append(text)
        if text == "raise":
            raise ZeroDivisionError("a defect")
        if text == "panic":
            raise BaseException("a panic")
        if text == "hang":
            self.clock.now += 60.0
            self.release.wait(60)
        return text.upper()

    def sample_text(self) -> str | None:
        return None

    def run_blank(self) -> None:
        pass


@pytest.fixture
def release() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def executor_of(
    release: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> Callable[[float | None], GivenWorkers]:
    """Makes an executor with one agent, whose timeout no slow machine can reach."""
    clock = Clock()
    monkeypatch.setattr(thread_worker, "time", clock)

    def opened() -> BadAgent:
        return BadAgent(release, clock)

    return lambda timeout_s: GivenWorkers(
        [ThreadWorker(opened(), timeout_s=timeout_s, reopen=opened)], chunk_size=4
    )


@pytest.mark.parametrize("timeout_s", [None, 30.0])
def test_agent_that_raises_spoils_its_own_text_only(
    executor_of: Callable[..., Any], timeout_s: float | None
):
    executor = executor_of(timeout_s)
    futures = {text: executor.submit(text) for text in ("a", "raise", "b", "panic", "c")}

    assert [futures[text].result(10) for text in "abc"] == ["A", "B", "C"]
    with pytest.raises(ZeroDivisionError, match="a defect"):
        futures["raise"].result(10)
    with pytest.raises(RuntimeError, match="failed on this text: BaseException.*a panic"):
        futures["panic"].result(10)
    executor.close(cancel=False)


def test_text_that_hangs_is_given_up_and_the_rest_goes_on(executor_of: Callable[..., Any]):
    executor = executor_of(0.2)
    futures = [executor.submit(text) for text in ["a", "b", "hang", "c", "d", "hang", "e"]]

    answers = [future.exception(20) or future.result() for future in futures]
    (worker,) = executor.describe()
    executor.close(cancel=False)

    assert answers[:2] + answers[3:5] + answers[6:] == ["A", "B", "C", "D", "E"]
    for error in (answers[2], answers[5]):
        assert isinstance(error, TextTimeoutError)
        assert "'hang' took an agent longer than timeout_s=0.2 s" in str(error)
    assert (worker["state"], worker["restarts"]) == ("ready", 2)
    assert (executor.queue.completed, executor.queue.failed) == (7, 2)


def test_answer_that_comes_after_the_timeout_counts_for_nothing(
    release: threading.Event, executor_of: Callable[..., Any]
):
    executor = executor_of(0.1)
    late = executor.submit("hang")

    assert isinstance(late.exception(10), TextTimeoutError)
    assert executor.submit("a").result(10) == "A"
    ((helper,),) = [each.worker._left_behind for each in executor._slots]
    release.set()
    helper._thread.join(10)  # it has answered, and ends because nobody waits
    assert not helper.is_alive()
    assert executor.submit("a").result(10) == "A"
    assert (executor.queue.submitted, executor.queue.completed) == (3, 3)
    executor.close(cancel=False)


def test_too_many_hanging_threads_end_the_worker_and_hang_nobody(
    executor_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(thread_worker, "_MOST_LEFT_BEHIND", 2)
    executor = executor_of(0.1)
    futures = [executor.submit(text) for text in ("hang", "hang", "a")]

    assert [type(each.exception(20)) for each in futures[:2]] == [TextTimeoutError] * 2
    with pytest.raises(RuntimeError, match="2 threads hang and cannot be ended. executor='ray'"):
        futures[2].result(20)
    executor.close(cancel=False)


def test_callback_of_a_timed_pool_may_submit_to_it_when_full(bundle: Path):
    with AgentPool(
        bundle, executor="threads", num_agents=1, max_in_flight=1, timeout_s=30.0
    ) as pool:
        done = threading.Event()
        again: list[Any] = []

        def more(_: Any) -> None:
            again.extend(pool.submit("brent") for _ in range(2))
            done.set()

        pool.submit("wheat").add_done_callback(more)
        assert done.wait(20)
        assert [future.result(20).label for future in again] == ["oil"] * 2


def test_pool_with_a_timeout_answers_as_one_without(bundle: Path, texts: list[str]):
    with AgentPool(bundle, executor="threads", timeout_s=30.0, chunk_size=4) as pool:
        assert pool.predict(texts) == Agent(bundle).predict(texts)


def test_auto_with_a_timeout_is_never_inline(bundle: Path):
    with AgentPool(bundle, num_agents=1, timeout_s=30.0) as pool:
        assert pool.executor == "threads"
        assert pool.reason == "`timeout_s` needs a thread beside the caller's"


@pytest.mark.parametrize("executor", ["inline", "threads"])
def test_model_that_answers_nan_is_an_error_of_the_text(
    bundle: Path, executor: str, monkeypatch: pytest.MonkeyPatch
):
    with AgentPool(bundle, executor=executor, num_agents=1) as pool:
        monkeypatch.setattr(
            "tfdistill.runtime.interpreter.Interpreter.run",
            lambda self, inputs, signature=None: {"logits": np.full((1, 3), np.nan)},
        )
        with pytest.raises(RuntimeError, match="logits that are not finite"):
            pool.submit("wheat").result(20)
        monkeypatch.undo()
        assert pool.submit("wheat").result(20).label == "grain"


@pytest.mark.parametrize("executor", ["inline", "threads"])
def test_text_of_a_megabyte_is_answered_by_its_beginning(bundle: Path, executor: str):
    with AgentPool(bundle, executor=executor, num_agents=1) as pool:
        huge = "wheat harvest " * 75_000
        assert len(huge) > 2**20
        assert pool.submit(huge).result(60) == pool.submit("wheat harvest " * 50).result(60)


@pytest.mark.parametrize("text", ["", " \n\t", "\x00\x01\x02\x1b[31m", "\ud800", "\u202e\ufeff"])
def test_text_without_words_is_refused_alone(bundle: Path, text: str):
    with AgentPool(bundle, executor="threads", num_agents=1) as pool:
        answers = pool.predict(["wheat", text, "brent"], return_exceptions=True)

    assert (answers[0].label, answers[2].label) == ("grain", "oil")
    assert isinstance(answers[1], ValueError)


def test_bundle_that_is_deleted_is_still_answered_and_cannot_grow(bundle: Path, tmp_path: Path):
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    with AgentPool(copy, executor="threads", num_agents=1) as pool:
        shutil.rmtree(copy)
        assert pool.predict(["wheat"])[0].label == "grain"
        with pytest.raises(FileNotFoundError, match="existing bundle folder"):
            pool.scale(2)
        assert pool.predict(["brent"])[0].label == "oil"


def test_model_of_another_shape_is_refused_when_the_pool_opens(bundle: Path, tmp_path: Path):
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    manifest = json.loads((copy / "manifest.json").read_text())
    (signature,) = manifest["signatures"].values()
    (output,) = signature["outputs"].values()
    output["shape"] = [1, 7]
    (copy / "manifest.json").write_text(json.dumps(manifest))

    with pytest.raises(ValueError, match="one classifier that fits its manifest"):
        AgentPool(copy, executor="threads")
