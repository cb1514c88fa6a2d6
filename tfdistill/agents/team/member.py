"""What a team asks and what an agent answers; how one call is made, timed, limited and checked."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field as made
from typing import Any, Protocol

from tfdistill.agents.team.messages import (
    MalformedMessageError,
    Message,
    Span,
    check_envelope,
    check_value,
    malformed,
)
from tfdistill.agents.team.trace import Failure

__all__ = ["Answer", "Caller", "Member", "Question"]


@dataclass(frozen=True, slots=True)
class Question:
    """Is what a team asks an agent.

    Attributes:
        field: The field, such as "intent[1]".
        text: The text it is about: the request, or one part of it.
        start: Where that text starts in the request.
        inputs: Value of each field that the plan says the agent reads. Spans count from the
            start of `text`.
        hints: Peers' answers, if the agent is asked again with them.
    """

    field: str
    text: str
    start: int = 0
    inputs: Mapping[str, Any] = made(default_factory=dict)
    hints: Mapping[str, Message] = made(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """Is what an agent answers.

    Attributes:
        value: A value of the agent's kind. Spans count from the start of the question's text.
        confidence: Probability that it is right, in [0, 1].
        margin: How far ahead of the runner-up it is; None takes the confidence.
        cost_ms: What it took, if the agent knows better than the clock.
    """

    value: Any
    confidence: float
    margin: float | None = None
    cost_ms: float | None = None


class Member(Protocol):
    """Is an agent of a team: a name, a tier, the kind of its values, and `answer`.

    It may also have `expected_ms`, what a call takes, which a budget of milliseconds counts with,
    `hints`, the names of the fields whose answers it can use when it is asked again, and `needs`,
    those that its step has to read.
    """

    name: str
    tier: str
    kind: str

    def answer(self, question: Question) -> Answer:
        """Answers a question."""


class Caller:
    """Calls agents, so that whatever one does wrong is a `Failure` and nothing else.

    Args:
        limit_s: Seconds after which an agent is given up; None waits for ever, and saves the
            tenth of a millisecond that a thread costs. What an agent does after that is lost; its
            thread goes on until it returns, and it is not asked again before.
    """

    def __init__(self, limit_s: float | None = None) -> None:
        if limit_s is not None and not (math.isfinite(limit_s) and limit_s > 0):
            raise ValueError(
                f"`time_limit_s` must be above 0 seconds. Received: time_limit_s={limit_s!r}. "
                "None waits for ever."
            )
        self.limit_s = limit_s
        self._stuck: dict[str, threading.Thread] = {}

    def call(
        self, member: Member, question: Question, *, reply: int | None
    ) -> tuple[Message, float] | tuple[Failure, None]:
        """Asks one agent.

        Args:
            member: The agent.
            question: What it is asked.
            reply: Number of the message that this answers.

        Returns:
            The checked message and its margin; or a failure and None.
        """
        start = time.perf_counter()
        try:
            answer = self._patiently(member, question)
            cost = (time.perf_counter() - start) * 1e3
            return _message(member, question, answer, cost, reply)
        except Exception as error:  # whatever it is, it is this agent's
            cost = (time.perf_counter() - start) * 1e3
            text = str(error) if isinstance(error, RecordedFailure) else describe(error)
            if isinstance(error, RecordedFailure):
                cost = error.cost_ms
            return Failure(question.field, member.name, member.tier, text, cost), None

    def _patiently(self, member: Member, question: Question) -> Answer:
        if self.limit_s is None:
            return member.answer(question)
        old = self._stuck.get(member.name)
        if old is not None and old.is_alive():
            raise TimeoutError(f"{member.name!r} has not come back from an earlier question")
        box: queue.SimpleQueue[Any] = queue.SimpleQueue()

        def work() -> None:
            try:
                box.put(member.answer(question))
            except BaseException as error:  # handed to the caller's thread
                box.put(_Raised(error))

        thread = threading.Thread(target=work, daemon=True, name=f"tfdistill-{member.name}")
        thread.start()
        try:
            answer = box.get(timeout=self.limit_s)
        except queue.Empty:
            self._stuck[member.name] = thread
            raise TimeoutError(
                f"{member.name!r} did not answer within {self.limit_s} seconds"
            ) from None
        if isinstance(answer, _Raised):
            raise answer.error
        return answer


class RecordedFailure(Exception):
    """Raises a failure of a trace again, as it was."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.error)
        self.cost_ms = failure.cost_ms


def describe(error: BaseException) -> str:
    """Returns the type and the text of an error on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]


def moved(value: Any, by: int) -> Any:
    """Returns a value with its spans moved; what has no spans stays as it is."""
    if not by or not isinstance(value, tuple):
        return value
    return tuple(
        Span(item.start + by, item.end + by, item.label) if isinstance(item, Span) else item
        for item in value
    )


@dataclass(frozen=True)
class _Raised:
    error: BaseException


def _message(
    member: Member, question: Question, answer: Any, cost: float, reply: int | None
) -> tuple[Message, float]:
    if not isinstance(answer, Answer):
        raise malformed(member.name, "An agent must return an `Answer`", "answer", answer)
    value = answer.value
    if member.kind == "spans":
        check_value(value, kind="spans", by=member.name, length=len(question.text))
        value = moved(value, question.start)
    else:
        check_value(value, kind=member.kind, by=member.name)
    message = Message(
        question.field,
        value,
        answer.confidence,
        member.tier,
        cost if answer.cost_ms is None else answer.cost_ms,
        member.name,
        reply,
    )
    check_envelope(message)  # its value is checked above
    margin = answer.confidence if answer.margin is None else answer.margin
    if not 0.0 <= margin <= 1.0:
        raise MalformedMessageError(
            f"`margin` must be in [0, 1]. Received from {member.name!r}: margin={margin!r}.",
            by=member.name,
        )
    return message, margin
