"""Executors that this package does not have, as a user would write them.

They lie here and not in a test because processes that are spawned import them by name.
"""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any

from tfdistill.agents import Agent, Executor, Job, TextTimeoutError
from tfdistill.agents.execution.worker_executor import Worker, WorkerExecutor

_agent: Agent | None = None


def _open(path: Path, threads: int) -> None:
    global _agent
    _agent = Agent(path, threads=threads)


def _answer(text: str) -> Any:
    assert _agent is not None
    return _agent.predict([text])[0]


class Processes(Executor):
    """The standard library's pool of processes."""

    name = "processes"

    def start(self, job: Job) -> None:
        self._pool = ProcessPoolExecutor(
            job.num_agents,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_open,
            initargs=(job.path, job.threads),
        )

    def submit(self, text: str) -> Future[Any]:
        return self._pool.submit(_answer, text)

    def close(self, *, cancel: bool, patience_s: float | None) -> None:
        self._pool.shutdown(cancel_futures=cancel)


class GivenWorkers(WorkerExecutor):
    """Answers with workers that are there from the start, without a job."""

    def __init__(self, workers: Sequence[Worker], *, chunk_size: int) -> None:
        super().__init__()
        self.run_workers(workers, chunk_size=chunk_size, label="test")

    def start(self, job: Job) -> None:
        raise NotImplementedError


class Recorder(Executor):
    """Keeps what it is called with, and answers when the test says so."""

    name = "recorder"

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.futures: dict[str, Future[Any]] = {}
        self.trouble: Exception | None = None
        self._arrived = threading.Condition()

    def start(self, job: Job) -> None:
        self.job = job
        self.calls.append("start")
        self.chunk_size = 1 if job.chunk_size == "auto" else job.chunk_size

    def submit(self, text: str) -> Future[Any]:
        if self.trouble is not None:
            raise self.trouble
        with self._arrived:
            self.calls.append(text)
            self.futures[text] = Future()
            self._arrived.notify_all()
            return self.futures[text]

    def answer(self, *texts: str) -> None:
        """Answers texts in this order, once all of them have been submitted."""
        with self._arrived:
            if not self._arrived.wait_for(lambda: set(texts) <= set(self.futures), timeout=20):
                raise TimeoutError(f"of {texts} only {list(self.futures)} came")
        for text in texts:
            self.futures[text].set_result(text.upper())

    def close(self, *, cancel: bool, patience_s: float | None) -> None:
        self.calls.append(("close", cancel, patience_s))


class Timed(Executor):
    """Answers in a thread for each text, and gives one up that takes too long."""

    name = "timed"

    def __init__(self, answer: Callable[[str], Any]) -> None:
        self._answer = answer

    def start(self, job: Job) -> None:
        self._timeout_s = job.timeout_s

    def submit(self, text: str) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        threading.Thread(target=self._serve, args=(text, future), daemon=True).start()
        return future

    def _serve(self, text: str, future: Future[Any]) -> None:
        found: list[Any] = []
        thread = threading.Thread(target=lambda: found.append(self._answer(text)), daemon=True)
        thread.start()
        thread.join(self._timeout_s)
        if found:
            future.set_result(found[0])
        else:
            future.set_exception(TextTimeoutError(f"{text!r} took too long"))

    def close(self, *, cancel: bool, patience_s: float | None) -> None:
        pass
