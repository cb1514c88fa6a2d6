from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from shared_fixtures.own_executors import GivenWorkers

from tfdistill.agents import Agent, Prediction
from tfdistill.agents.execution.thread_worker import ThreadWorker
from tfdistill.agents.execution.work_queue import WorkItem, WorkQueue
from tfdistill.agents.execution.worker_executor import WorkerLostError, on_worker_thread


class FaultyWorker:
    """A worker that answers one text and then fails in a way that nobody foresaw."""

    def __init__(self, error: BaseException) -> None:
        self.error = error
        self.closed = False

    def serve(self, items: list[WorkItem], queue: WorkQueue) -> None:
        queue.finish(items[0], "answered")
        if isinstance(self.error, WorkerLostError):
            queue.put_back(items[1:])
        raise self.error

    def describe(self) -> dict[str, Any]:
        return {"pid": 0, "state": "ready", "restarts": 0}

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def slow_start(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Holds the workers back until all texts of a test are in the queue."""
    start = threading.Event()
    take = WorkQueue.take

    def wait_and_take(queue: WorkQueue, limit: int, **kwargs: Any) -> list[WorkItem]:
        start.wait(10)
        return take(queue, limit, **kwargs)

    monkeypatch.setattr(WorkQueue, "take", wait_and_take)
    return start


@pytest.mark.parametrize("kind", [ZeroDivisionError, BaseException])
def test_defect_in_a_worker_fails_its_texts_and_hangs_nobody(
    slow_start: threading.Event, kind: type[BaseException]
):
    worker = FaultyWorker(kind("a defect"))
    executor = GivenWorkers([worker], chunk_size=2)
    futures = [executor.submit(text) for text in "abc"]
    slow_start.set()

    assert futures[0].result(timeout=10) == "answered"
    for future in futures[1:]:
        with pytest.raises(RuntimeError, match="a defect"):
            future.result(timeout=10)
    executor.close(cancel=False)
    assert worker.closed


def test_texts_of_a_lost_worker_are_answered_by_the_others(
    slow_start: threading.Event, bundle: Path
):
    workers = [FaultyWorker(WorkerLostError("gone")), ThreadWorker(Agent(bundle))]
    executor = GivenWorkers(workers, chunk_size=4)
    futures = [executor.submit("wheat") for _ in range(8)]
    slow_start.set()

    answers = [future.result(timeout=10) for future in futures]
    executor.close(cancel=False)

    assert all(each == "answered" or each.label == "grain" for each in answers)
    assert sum(isinstance(each, Prediction) for each in answers) >= 7


def test_losing_the_last_worker_fails_what_waits(slow_start: threading.Event):
    executor = GivenWorkers([FaultyWorker(WorkerLostError("all gone"))], chunk_size=2)
    futures = [executor.submit(text) for text in "abcd"]
    slow_start.set()

    assert futures[0].result(timeout=10) == "answered"
    for future in futures[1:]:
        with pytest.raises(RuntimeError, match="all gone"):
            future.result(timeout=10)
    executor.close(cancel=False)


def test_only_threads_of_workers_count_as_such(slow_start: threading.Event, bundle: Path):
    executor = GivenWorkers([ThreadWorker(Agent(bundle))], chunk_size=1)
    inside: list[bool] = []
    executor.submit("wheat").add_done_callback(lambda _: inside.append(on_worker_thread()))
    slow_start.set()
    executor.close(cancel=False)

    assert inside == [True]
    assert not on_worker_thread()
