"""Texts in, answers out, while both are still coming: the loops behind `AgentPool.map`.

Both read the source at most `window` texts ahead, so an endless one is no trouble, and both take
back what nobody has begun when the reader stops early.
"""

from __future__ import annotations

import functools
import queue
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from typing import Any

from tfdistill.agents.encoding import UnusableTextError, check_text

__all__ = ["as_completed", "in_order"]

_GATHER_S = 0.05

Submit = Callable[[str], "Future[Any]"]


def in_order(
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


def as_completed(
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
