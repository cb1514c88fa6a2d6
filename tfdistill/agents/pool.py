"""A pool: many texts, several agents, every answer tied to its text.

One interface over three ways to run. "inline" is a plain loop; "threads" uses all cores of one
machine and costs nothing to start; "ray" runs each agent in a process of its own, here or on other
machines, and survives their death. The answers are equal in all three.
"""

from __future__ import annotations

import functools
import os
import queue
import threading
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, wait
from types import TracebackType
from typing import Any, Literal, overload

from tfdistill.agents.agent import Prediction
from tfdistill.agents.encoding import UnusableTextError, check_text, check_texts
from tfdistill.agents.executors import on_lane
from tfdistill.agents.opening import check_count, open_executor
from tfdistill.agents.work import CLOSED

__all__ = ["AgentPool"]

_GATHER_S = 0.05


class AgentPool:
    """Answers texts with several agents of one bundle at once.

    Use it in a `with` statement, or call `close` when done. All methods may be called from any
    thread. A text that cannot be answered (no word that the tokenizer knows, or it ends the
    process that works on it) is an error of that text only, never of its neighbours.

    Args:
        bundle: A folder written by `tfdistill.save_bundle`. Ray workers open the same path.
        executor: "inline", "threads" or "ray"; "auto" tries the model for a fraction of a second
            and chooses (see `reason`). With "ray" a session that runs already is used and left
            running; otherwise one is started here, and ended by `close`.
        num_agents: How many agents, at least 1. More than cores is of no use for threads.
        chunk_size: How many texts an agent takes at once when many are waiting; "auto" measures
            and keeps the cost of handing over near a tenth.
        max_in_flight: How many texts may be waiting or under way before `submit` blocks and
            `map` stops reading its input. None takes 4 chunks for each agent, at least 256.
        threads_per_agent: Threads for one call of the model.

    Attributes:
        executor: The way chosen: "inline", "threads" or "ray".
        reason: Why, in words.
        num_agents: As given.
        chunk_size: As given or measured.
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
    """

    def __init__(
        self,
        bundle: str | os.PathLike[str],
        *,
        executor: str = "auto",
        num_agents: int = 2,
        chunk_size: int | Literal["auto"] = "auto",
        max_in_flight: int | None = None,
        threads_per_agent: int = 1,
    ) -> None:
        if max_in_flight is not None:
            check_count("max_in_flight", max_in_flight, hint=" or None")
        opened = open_executor(
            bundle,
            executor=executor,
            num_agents=num_agents,
            chunk_size=chunk_size,
            threads_per_agent=threads_per_agent,
        )
        self.bundle = opened.bundle
        self.executor = opened.name
        self.reason = opened.reason
        self.num_agents = num_agents
        self.chunk_size = opened.chunk_size
        self.max_in_flight = max_in_flight or max(256, 4 * num_agents * opened.chunk_size)
        self._slots = threading.Semaphore(self.max_in_flight)
        self._executor = opened.executor
        # Also runs when a pool that nobody closed is collected, or the program ends.
        self._finalizer = weakref.finalize(self, opened.shut_down, cancel=True, patience_s=5.0)
        self._opened = opened

    @overload
    def predict(
        self, texts: Iterable[str], *, return_exceptions: Literal[False] = ...
    ) -> list[Prediction]: ...

    @overload
    def predict(
        self, texts: Iterable[str], *, return_exceptions: bool
    ) -> list[Prediction | Exception]: ...

    def predict(
        self, texts: Iterable[str], *, return_exceptions: bool = False
    ) -> list[Prediction] | list[Prediction | Exception]:
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
        """
        checked = check_texts(texts)
        return list(self.map(checked, return_exceptions=return_exceptions))

    def submit(self, text: str) -> Future[Prediction]:
        """Hands over one text.

        Blocks while `max_in_flight` texts are under way, except in a callback of a future.

        Returns:
            The future of its `Prediction`. What is wrong with the text is the future's exception.

        Raises:
            TypeError: If `text` is not a str.
            RuntimeError: If the pool is closed, or its workers are gone for good.
        """
        check_text(text)
        has_slot = self._slots.acquire(blocking=not on_lane())
        try:
            future = self._executor.submit(text)
        except BaseException:
            if has_slot:
                self._slots.release()
            raise
        if has_slot:
            slots = self._slots
            future.add_done_callback(lambda _: slots.release())
        return future

    @overload
    def map(
        self, texts: Iterable[str], *, return_exceptions: Literal[False] = ...
    ) -> Iterator[Prediction]: ...

    @overload
    def map(
        self, texts: Iterable[str], *, return_exceptions: bool
    ) -> Iterator[Prediction | Exception]: ...

    def map(
        self, texts: Iterable[str], *, return_exceptions: bool = False
    ) -> Iterator[Prediction] | Iterator[Prediction | Exception]:
        """Answers a stream of texts, in order, while it is read.

        Args:
            texts: Any iterable, endless ones too. It is read at most `max_in_flight` texts ahead.
            return_exceptions: As in `predict`.

        Returns:
            An iterator over one answer per text.
        """
        self._check_open()
        return self._map(texts, return_exceptions)

    def as_completed(self, texts: Iterable[str]) -> Iterator[tuple[int, Future[Prediction]]]:
        """Answers a stream of texts, each as soon as it is ready.

        Args:
            texts: Any iterable. It is read at most `max_in_flight` texts ahead.

        Returns:
            An iterator over pairs: the position of a text, and its future, which is done.
        """
        self._check_open()
        return self._as_completed(texts)

    def stats(self) -> dict[str, Any]:
        """Returns counts: texts submitted, completed, failed and in flight, and each worker."""
        counts = self._executor.queue
        workers = self._executor.describe()
        return {
            "executor": self.executor,
            "submitted": counts.submitted,
            "completed": counts.completed,
            "failed": counts.failed,
            "in_flight": counts.unfinished,
            "restarts": sum(worker["restarts"] for worker in workers),
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
            f"AgentPool({str(self.bundle.path)!r}, executor={self.executor!r}, "
            f"num_agents={self.num_agents}, chunk_size={self.chunk_size})"
        )

    def _map(self, texts: Iterable[str], return_exceptions: bool) -> Iterator[Any]:
        window: deque[tuple[int, Future[Prediction]]] = deque()
        try:
            for index, text in enumerate(texts):
                check_text(text, argument=f"texts[{index}]")
                window.append((index, self.submit(text)))
                while window and (window[0][1].done() or len(window) >= self.max_in_flight):
                    yield _next_answer(window, return_exceptions=return_exceptions)
            while window:
                yield _next_answer(window, return_exceptions=return_exceptions)
        finally:
            for _, future in window:
                future.cancel()

    def _as_completed(self, texts: Iterable[str]) -> Iterator[tuple[int, Future[Prediction]]]:
        done: queue.SimpleQueue[tuple[int, Future[Prediction]]] = queue.SimpleQueue()
        waiting: dict[int, Future[Prediction]] = {}
        try:
            for index, text in enumerate(texts):
                check_text(text, argument=f"texts[{index}]")
                waiting[index] = self.submit(text)
                waiting[index].add_done_callback(functools.partial(_put, done, index))
                while waiting and (not done.empty() or len(waiting) >= self.max_in_flight):
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

    def _check_open(self) -> None:
        if self._executor.queue.closed:
            raise RuntimeError(CLOSED)

    def _shut(self, *, cancel: bool) -> None:
        # `detach` gives None to all but the first caller.
        if self._finalizer.detach() is not None:
            self._opened.shut_down(cancel=cancel, patience_s=None)


def _put(
    done: queue.SimpleQueue[tuple[int, Future[Prediction]]], index: int, future: Future[Prediction]
) -> None:
    done.put((index, future))


def _next_answer(window: deque[tuple[int, Future[Prediction]]], *, return_exceptions: bool) -> Any:
    """Takes the first future of the window and returns its answer, or raises its error."""
    if not window[0][1].done():
        # Woken for each answer, this thread would compete with the agents for Python's lock.
        wait([window[len(window) // 2][1]], timeout=_GATHER_S)
    index, future = window.popleft()
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, UnusableTextError):
        error = error.named(f"texts[{index}]")
    if return_exceptions and isinstance(error, Exception):
        return error
    raise error
