"""Runs a trace again without any model: the same answers, the same decisions, the same result."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from typing import Any

from tfdistill.agents.team.member import Answer, Question, RecordedFailure, moved
from tfdistill.agents.team.messages import Message
from tfdistill.agents.team.plan import Plan
from tfdistill.agents.team.policy import Budget, Policy, View
from tfdistill.agents.team.team import Team, TeamResult
from tfdistill.agents.team.trace import Decision, Failure, Trace

__all__ = ["ReplayError", "replay"]


class ReplayError(RuntimeError):
    """Says where a replay left its trace."""


def replay(trace: Trace, *, policy: Policy | None = None) -> TeamResult:
    """Lets a team of recorded agents answer the request of a trace.

    With the recorded decisions the result is the recorded one, entry by entry; that is checked.
    With another policy the answers are still the recorded ones, as far as the trace has them;
    the margins are not recorded, and each is given as the confidence.

    Args:
        trace: The record.
        policy: Decides instead of the record; None repeats the record's decisions.

    Returns:
        The result.

    Raises:
        ReplayError: If the trace is not one that its plan makes, or the policy asks for what was
            not recorded.
    """
    answers: dict[tuple[str, str], deque[Message | Failure]] = defaultdict(deque)
    for entry in trace.entries:
        if not isinstance(entry, Decision):
            answers[entry.by, entry.field].append(entry)
    try:
        plan = Plan.from_dict(trace.team["plan"])
        agents = {
            step: [
                _Recorded(name, tier, expected_ms, plan.step(step).kind, plan, answers)
                for name, tier, expected_ms in members
            ]
            for step, members in trace.team["agents"].items()
        }
        team = Team(
            agents=agents,
            plan=plan,
            policy=policy or _RecordedPolicy(trace),
            budget=Budget(**trace.team["budget"]),
            max_rounds=trace.team["max_rounds"],
            max_characters=max(len(trace.request), 1),
        )
    except (KeyError, TypeError, ValueError, AttributeError, StopIteration) as error:
        raise ReplayError(
            f"A trace must describe its team. Received one that does not: {error}"
        ) from error
    result = team.answer(trace.request)
    if isinstance(result, Exception):
        raise ReplayError(f"The trace could not be replayed: {result}") from result
    missing = [entry for entry in result.trace.entries if _not_recorded(entry)]
    if missing:
        raise ReplayError(f"The trace must hold the answer that is asked for: {missing[0]}")
    if policy is None and result.trace != trace:
        place = _first_difference(result.trace, trace)
        raise ReplayError(
            "A trace must be one that its plan made. Received: a trace that a replay leaves at "
            f"entry {place}. The plan:\n{plan.draw()}"
        )
    return result


class _Recorded:
    """Answers what an agent of a trace answered."""

    def __init__(
        self,
        name: str,
        tier: str,
        expected_ms: float,
        kind: str,
        plan: Plan,
        answers: Mapping[tuple[str, str], deque[Message | Failure]],
    ) -> None:
        self.name, self.tier, self.kind, self.expected_ms = name, tier, kind, expected_ms
        self.hints = tuple(step.name for step in plan.steps)
        self._answers = answers

    def answer(self, question: Question) -> Answer:
        waiting = self._answers.get((self.name, question.field))
        if not waiting:
            raise RecordedFailure(Failure(question.field, self.name, self.tier, _NOT_RECORDED, 0.0))
        entry = waiting.popleft()
        if isinstance(entry, Failure):
            raise RecordedFailure(entry)
        value = moved(entry.value, -question.start)
        return Answer(value, entry.confidence, cost_ms=entry.cost_ms)


class _RecordedPolicy:
    """Decides as a trace says."""

    def __init__(self, trace: Trace) -> None:
        self._left: dict[str, deque[Decision]] = defaultdict(deque)
        for entry in trace.entries:
            if isinstance(entry, Decision):
                self._left[entry.field].append(entry)

    def decide(
        self, views: Sequence[View], *, board: Mapping[str, Message], budget: Budget
    ) -> list[str]:
        return [self._choose(view) for view in views]

    def _choose(self, view: View) -> str:
        waiting = self._left.get(view.field)
        return waiting.popleft().choice if waiting else "abstain"


_NOT_RECORDED = "not in the trace"


def _not_recorded(entry: Any) -> bool:
    return isinstance(entry, Failure) and entry.error == _NOT_RECORDED


def _first_difference(one: Trace, other: Trace) -> int:
    pairs = zip(one.entries, other.entries, strict=False)
    return next(
        (index for index, (a, b) in enumerate(pairs) if a != b),
        min(len(one.entries), len(other.entries)),
    )
