"""Whose fault a death was: the rule that decides between another attempt and giving a text up.

1. A batch whose worker died goes back to the queue, and its texts become *suspects*: from then on
   each is run by itself, and the worker says "started" before it touches it.
2. A death after "started" is charged to that text. Other texts are never charged.
3. From its second charge on a text is run on a worker that has nothing else to do. When three
   workers have died there, each within 100 ms, the text is *quarantined*: its future receives a
   `QuarantinedTextError`, and everything else goes on. Processes that are killed from outside do
   not fit this pattern.
4. A text that is slower to kill would be tried for ever. It is given up after `MAX_CHARGES`.

A text that takes too long is no death: it receives a `TextTimeoutError` at once, and whoever
worked on it is replaced.
"""

from __future__ import annotations

from tfdistill.agents.execution.work_queue import WorkItem, WorkQueue

__all__ = [
    "MAX_CHARGES",
    "QUICK_S",
    "QuarantinedTextError",
    "TextTimeoutError",
    "charge",
    "shown",
    "suspect",
    "timeout_of",
    "verdict",
]

QUICK_S = 0.1
MAX_CHARGES = 20


class QuarantinedTextError(RuntimeError):
    """Says that a text ends the process that works on it, and will not be tried again."""


class TextTimeoutError(TimeoutError):
    """Says that a text took an agent longer than the pool's `timeout_s`, and was given up."""


def suspect(items: list[WorkItem], queue: WorkQueue) -> None:
    """Puts back texts of which one may have ended its worker; each will be run by itself."""
    for item in items:
        item.suspect = True
    queue.put_back(items)


def charge(item: WorkItem, *, quick: bool) -> None:
    """Charges a death to a text.

    Args:
        item: The text, which the worker had acknowledged and held alone.
        quick: Whether the worker died within `QUICK_S` of its start.
    """
    # A lane runs a suspect only when its worker has nothing else; what counts as "alone" is the
    # attempt after the second charge.
    if item.charges >= 2 and quick:
        item.lonely_charges += 1
    item.charges += 1


def verdict(item: WorkItem) -> Exception | None:
    """Returns the error that ends a text's attempts, or None if it may be tried again."""
    text = shown(item.text)
    if item.lonely_charges >= 3:
        return QuarantinedTextError(
            f"The text {text} is quarantined: {item.charges} workers died on it, the last "
            "ones alone and at once. The other texts were not affected. Try it in a process "
            "that you can lose: `Agent(bundle).predict([text])`."
        )
    if item.charges >= MAX_CHARGES:
        return QuarantinedTextError(
            f"The text {text} is given up: {item.charges} workers died while they had it. "
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
