"""Poison messages: the rule that decides between another attempt and giving a text up.

1. A batch whose worker died goes back to the queue, and each of its texts is a *possible poison
   message*: from then on it is run by itself, and the worker says "started" before it touches it.
2. A death after "started" is a failed attempt of that text, and of no other.
3. From the second failed attempt on a text is run on a worker that has nothing else to do. When
   three workers have died there, each within 100 ms, the text is *quarantined*: its future
   receives a `QuarantinedTextError`, and everything else goes on. Processes that are killed from
   outside do not fit this pattern.
4. A text that is slower to kill would be tried for ever. It is given up after `MAX_ATTEMPTS`.

A text that takes too long is no death: it receives a `TextTimeoutError` at once, and whoever
worked on it is replaced.
"""

from __future__ import annotations

from tfdistill.agents.execution.work_queue import WorkItem, WorkQueue

__all__ = [
    "MAX_ATTEMPTS",
    "QUICK_S",
    "QuarantinedTextError",
    "TextTimeoutError",
    "count_attempt",
    "outcome",
    "retry_in_isolation",
    "shown",
    "timeout_of",
]

QUICK_S = 0.1
MAX_ATTEMPTS = 20


class QuarantinedTextError(RuntimeError):
    """Says that a text ends the process that works on it, and will not be tried again."""


class TextTimeoutError(TimeoutError):
    """Says that a text took an agent longer than the pool's `timeout_s`, and was given up."""


def retry_in_isolation(items: list[WorkItem], queue: WorkQueue) -> None:
    """Puts back texts of which one may be a poison message; each will be run by itself."""
    for item in items:
        item.possible_poison = True
    queue.put_back(items)


def count_attempt(item: WorkItem, *, quick: bool) -> None:
    """Counts a failed attempt: a worker died on a text.

    Args:
        item: The text, which the worker had acknowledged and held alone.
        quick: Whether the worker died within `QUICK_S` of its start.
    """
    # What counts as isolated is each attempt after the second that failed.
    if item.failed_attempts >= 2 and quick:
        item.isolated_attempts += 1
    item.failed_attempts += 1


def outcome(item: WorkItem) -> Exception | None:
    """Returns the error that ends a text's attempts, or None if it may be tried again."""
    text = shown(item.text)
    if item.isolated_attempts >= 3:
        return QuarantinedTextError(
            f"The text {text} is quarantined: {item.failed_attempts} workers died on it, the last "
            "ones alone and at once. The other texts were not affected. Try it in a process "
            "that you can lose: `Agent(bundle).predict([text])`."
        )
    if item.failed_attempts >= MAX_ATTEMPTS:
        return QuarantinedTextError(
            f"The text {text} is given up: {item.failed_attempts} workers died while they had it. "
            "The other texts were not affected."
        )
    return None


def timeout_of(item: WorkItem, timeout_s: float) -> TextTimeoutError:
    """Returns the error of a text that took too long."""
    return TextTimeoutError(
        f"The text {shown(item.text)} took an agent longer than timeout_s={timeout_s:g} s and was "
        "given up. The other texts were not affected. Give the pool a longer `timeout_s`, or "
        "leave the text out."
    )


def shown(text: str) -> str:
    """Returns a text as an error shows it: quoted, and not more than its beginning."""
    return repr(text if len(text) <= 80 else text[:80] + "…")
