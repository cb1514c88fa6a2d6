"""A pool: many texts, several agents, every answer tied to its text.

One interface over several executors. "inline" is a plain loop; "threads" uses all cores of one
machine and costs nothing to start; "ray" runs each agent in a process of its own, here or on other
machines, and survives their death. The answers are equal in all of them.

`map` and `as_completed` answer a stream of texts while it is read. They read at most
`max_in_flight` texts ahead, so an endless one is no trouble, and cancel what no agent has begun
when the reader stops early.
"""

from __future__ import annotations

import functools
import os
import queue
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from types import TracebackType
from typing import Any, Literal

from tfdistill.agents.execution.executor import Executor, Job
from tfdistill.agents.execution.future_counter import FutureCounter
from tfdistill.agents.execution.stats import Counts, total_memory
from tfdistill.agents.execution.work_queue import CLOSED
from tfdistill.agents.execution.worker_executor import on_worker_thread
from tfdistill.agents.executor_selection import check_executor, find_executor
from tfdistill.agents.tokenization.text_encoder import UnusableTextError, check_text, check_texts
from tfdistill.arguments.numeric import check_int

__all__ = ["AgentPool"]


class AgentPool:
    """Answers texts with several agents of one bundle, or several copies of one team, at once.

    Use it in a `with` statement, or call `close` when done. All methods may be called from any
    thread. A text that cannot be answered (no word that the tokenizer knows, or it ends the
    process that works on it) is an error of that text only, never of its neighbours.

    Args:
        bundle: A folder written by `tfdistill.save_bundle`, or a team's. Ray workers open the
            same path, or on machines without it a copy that is sent there once.
        executor: "inline", "threads" or "ray"; "auto" tries the model for a fraction of a second
            and chooses (see `reason`). With "ray" a session that runs already is used and left
            running; otherwise one is started here, and ended by `close`. An `Executor` of one's
            own runs the agents in another way; it serves one pool.
        num_agents: How many agents, at least 1. More than cores is of no use for threads.
        chunk_size: How many texts an agent takes at once when many are waiting; "auto" measures
            and keeps the cost of handing over near a twentieth.
        max_in_flight: How many texts may be waiting or under way before `submit` blocks and
            `map` stops reading its input. None takes 4 chunks for each agent, at least 256.
        threads_per_agent: Threads for one call of the model; fewer where all agents together
            would have more than the machine has cores.
        timeout_s: The longest that an agent may work on one text, in seconds, to a tenth or two.
            A text that takes longer gets a `TextTimeoutError`, and the agent is replaced: its
            process is ended ("ray"), or its thread left behind ("threads"). None waits for ever.

    Attributes:
        path: The folder, absolute.
        executor: Name of the executor chosen, such as "inline", "threads" or "ray".
        reason: Why, in words.
        num_agents: As given, or as last scaled.
        chunk_size: As given or measured.
        threads_per_agent: As given, or fewer.
        max_in_flight: As given or derived.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If the bundle is damaged or an argument is out of range.
        ImportError: If Ray is asked for and not installed.
        RuntimeError: If Ray's workers are not ready within 60 s.

    Example:
        >>> from tfdistill.agents import AgentPool
        >>> with AgentPool("bundle/", num_agents=2) as pool:  # doctest: +SKIP
        ...     answers = pool.predict(["oil prices rose", "wheat harvest fell"])

        An executor of one's own, here on the standard library's threads:

        >>> import threading
        >>> from concurrent.futures import ThreadPoolExecutor
        >>> from tfdistill.agents import Executor
        >>> class StandardThreads(Executor):
        ...     name = "standard threads"
        ...
        ...     def start(self, job):
        ...         self._mine = threading.local()
        ...         self._threads = ThreadPoolExecutor(
        ...             job.num_agents,
        ...             initializer=lambda: setattr(self._mine, "agent", job.open_agents(1)[0]),
        ...         )
        ...
        ...     def submit(self, text):
        ...         return self._threads.submit(self._answer, text)
        ...
        ...     def _answer(self, text):
        ...         answer = self._mine.agent.answer(text)
        ...         if isinstance(answer, Exception):
        ...             raise answer
        ...         return answer
        ...
        ...     def close(self, *, cancel, patience_s):
        ...         self._threads.shutdown(cancel_futures=cancel)
        >>> with AgentPool("bundle/", executor=StandardThreads()) as pool:  # doctest: +SKIP
        ...     answers = pool.predict(["oil prices rose", "wheat harvest fell"])
    """

    def __init__(
        self,
        bundle: str | os.PathLike[str],
        *,
        executor: str | Executor = "auto",
        num_agents: int = 2,
        chunk_size: int | Literal["auto"] = "auto",
        max_in_flight: int | None = None,
        threads_per_agent: int = 1,
        timeout_s: float | None = None,
    ) -> None:
        check_executor(executor)
        if max_in_flight is not None:
            check_int(max_in_flight, argument="max_in_flight", at_least=1, hint="Or give None.")
        job = Job(
            bundle,
            num_agents=num_agents,
            chunk_size=chunk_size,
            threads_per_agent=threads_per_agent,
            timeout_s=timeout_s,
        )
        self._executor, self.reason = find_executor(executor, job)
        self._executor.start(job)
        self.path = job.path
        self.executor = self._executor.name
        self.num_agents = job.num_agents
        self.chunk_size = self._executor.chunk_size
        self.threads_per_agent = job.threads
        self.max_in_flight = max_in_flight or max(256, 4 * num_agents * self.chunk_size)
        self._room = threading.Semaphore(self.max_in_flight)
        counted = self._executor.counts
        self._counts: Counts = FutureCounter() if counted is None else counted
        # Also runs when a pool that nobody closed is collected, or the program ends.
        self._finalizer = weakref.finalize(self, self._executor.close, cancel=True, patience_s=5.0)

    def predict(self, texts: Iterable[str], *, return_exceptions: bool = False) -> list[Any]:
        """Answers all texts, in order: the same list as `Agent.predict`, sooner.

        Args:
            texts: Raw texts, at least one.
            return_exceptions: True puts the error of a text in its place; False raises the first
                one, and takes back the texts that nobody has started.

        Raises:
            TypeError: If `texts` is not a list of str.
            ValueError: If `texts` is empty, or a text has no known word (`UnusableTextError`).
            RuntimeError: If the pool is closed, or its workers are gone for good.
            QuarantinedTextError: If a text ends the process that works on it.
            TextTimeoutError: If a text takes longer than `timeout_s`.

        Returns:
            One answer per text: a `Prediction`, or what the team makes of it.
        """
        checked = check_texts(texts)
        return list(self.map(checked, return_exceptions=return_exceptions))

    def submit(self, text: str) -> Future[Any]:
        """Hands over one text.

        Blocks while `max_in_flight` texts are under way, except in a callback of a future.

        Returns:
            The future of its answer. What is wrong with the text is the future's exception.

        Raises:
            TypeError: If `text` is not a str.
            RuntimeError: If the pool is closed, or its workers are gone for good.
        """
        check_text(text)
        self._check_open()
        has_room = self._room.acquire(blocking=not on_worker_thread())
        try:
            future = self._executor.submit(text)
        except BaseException:
            if has_room:
                self._room.release()
            raise
        if isinstance(self._counts, FutureCounter):
            future = self._counts.follow(future)
        if has_room:
            room = self._room
            future.add_done_callback(lambda _: room.release())
        return future

    def map(self, texts: Iterable[str], *, return_exceptions: bool = False) -> Iterator[Any]:
        """Answers a stream of texts, in order, while it is read.

        Args:
            texts: Any iterable, endless ones too. It is read at most `max_in_flight` texts ahead.
            return_exceptions: As in `predict`.

        Returns:
            An iterator over one answer per text.
        """
        self._check_open()
        return _in_order(
            texts,
            submit=self.submit,
            window=self.max_in_flight,
            return_exceptions=return_exceptions,
        )

    def as_completed(self, texts: Iterable[str]) -> Iterator[tuple[int, Future[Any]]]:
        """Answers a stream of texts, each as soon as it is ready.

        Args:
            texts: Any iterable. It is read at most `max_in_flight` texts ahead.

        Returns:
            An iterator over pairs: the position of a text, and its future, which is done.
        """
        self._check_open()
        return _as_completed(texts, submit=self.submit, window=self.max_in_flight)

    def scale(self, num_agents: int) -> None:
        """Changes the number of agents while the pool goes on answering.

        Returns when the new ones are ready, or those that leave have finished their batch.

        Args:
            num_agents: How many agents there shall be, at least 1.

        Raises:
            ValueError: If `num_agents` is below 1.
            RuntimeError: If the pool is closed, answers inline, or new agents cannot start.
        """
        check_int(num_agents, argument="num_agents", at_least=1)
        self._executor.scale(num_agents)
        self.num_agents = num_agents

    def stats(self) -> dict[str, Any]:
        """Returns what the pool has done and how it is.

        Returns:
            Counts of texts: "submitted", "completed", "failed" (of the completed), "in_flight",
            "queued" (of those in flight, not begun). "throughput_per_s" of the last 10 s.
            "latency_ms" from submitting to the answer: "p50", "p95", "p99" of the last 4,096.
            "restarts" of workers. "private_bytes" of all workers together and "shared_bytes",
            counted once; None where the system does not say. "workers": each one's "pid",
            "state", "restarts", "private_bytes" and "shared_bytes", and with Ray "node", "name".
        """
        counts = self._counts
        workers = self._executor.describe()
        figures = counts.latencies.figures()
        return {
            "executor": self.executor,
            "submitted": counts.submitted,
            "completed": counts.completed,
            "failed": counts.failed,
            "in_flight": counts.unfinished,
            "queued": counts.waiting,
            "throughput_per_s": figures.pop("throughput_per_s"),
            "latency_ms": {name.removesuffix("_ms"): each for name, each in figures.items()},
            "restarts": sum(worker["restarts"] for worker in workers),
            **total_memory({worker["pid"]: worker for worker in workers}.values()),
            "workers": workers,
        }

    def close(self) -> None:
        """Answers what has been submitted, then ends the agents. A second call does nothing."""
        self._shut(cancel=False)

    def __enter__(self) -> AgentPool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # After an error (Ctrl-C too) nobody waits for the rest any more.
        self._shut(cancel=error is not None)

    def __repr__(self) -> str:
        return (
            f"AgentPool({str(self.path)!r}, executor={self.executor!r}, "
            f"num_agents={self.num_agents}, chunk_size={self.chunk_size})"
        )

    def _check_open(self) -> None:
        if not self._finalizer.alive:
            raise RuntimeError(CLOSED)

    def _shut(self, *, cancel: bool) -> None:
        # `detach` gives None to all but the first caller.
        if self._finalizer.detach() is not None:
            self._executor.close(cancel=cancel, patience_s=None)


_GATHER_S = 0.05

Submit = Callable[[str], "Future[Any]"]


def _in_order(
    texts: Iterable[str], *, submit: Submit, window: int, return_exceptions: bool
) -> Iterator[Any]:
    """Yields the answer of each text, in the order of the texts.

    Args:
        texts: Any iterable of str.
        submit: Hands a text over and returns the future of its answer.
        window: How many texts may be handed over and not yet yielded.
        return_exceptions: Whether an error takes the place of an answer, or is raised.
    """
    handed: deque[tuple[int, Future[Any]]] = deque()
    try:
        for index, text in enumerate(texts):
            check_text(text, argument=f"texts[{index}]")
            handed.append((index, submit(text)))
            while handed and (handed[0][1].done() or len(handed) >= window):
                yield _next_answer(handed, return_exceptions=return_exceptions)
        while handed:
            yield _next_answer(handed, return_exceptions=return_exceptions)
    finally:
        for _, future in handed:
            future.cancel()


def _as_completed(
    texts: Iterable[str], *, submit: Submit, window: int
) -> Iterator[tuple[int, Future[Any]]]:
    """Yields the position and the future of each text, as soon as its answer is there.

    Args:
        texts: Any iterable of str.
        submit: Hands a text over and returns the future of its answer.
        window: How many texts may be handed over and not yet yielded.
    """
    done: queue.SimpleQueue[tuple[int, Future[Any]]] = queue.SimpleQueue()
    waiting: dict[int, Future[Any]] = {}
    try:
        for index, text in enumerate(texts):
            check_text(text, argument=f"texts[{index}]")
            waiting[index] = submit(text)
            waiting[index].add_done_callback(functools.partial(_put, done, index))
            while waiting and (not done.empty() or len(waiting) >= window):
                pair = done.get()
                del waiting[pair[0]]
                yield pair
        while waiting:
            pair = done.get()
            del waiting[pair[0]]
            yield pair
    finally:
        for future in waiting.values():
            future.cancel()


def _put(done: queue.SimpleQueue[tuple[int, Future[Any]]], index: int, future: Future[Any]) -> None:
    done.put((index, future))


def _next_answer(handed: deque[tuple[int, Future[Any]]], *, return_exceptions: bool) -> Any:
    """Takes the first future of the window and returns its answer, or raises its error."""
    if not handed[0][1].done():
        # Woken for each answer, this thread would compete with the agents for Python's lock.
        wait([handed[len(handed) // 2][1]], timeout=_GATHER_S)
    index, future = handed.popleft()
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, UnusableTextError):
        error = error.named(f"texts[{index}]")
    if return_exceptions and isinstance(error, Exception):
        return error
    raise error
