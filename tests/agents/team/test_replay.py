from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tfdistill.agents import (
    Answer,
    Budget,
    Plan,
    Question,
    Span,
    Step,
    Team,
    ThresholdPolicy,
    Trace,
    UnusableTextError,
    replay,
)
from tfdistill.agents.team.replay import ReplayError

PLAN = Plan(
    steps=(
        Step("words", kind="spans"),
        Step("case", kind="label", reads={"words": "spans"}, each="words"),
    ),
    result=("words", "case"),
)


class Rule:
    def __init__(self, name: str, kind: str, tier: str, act: Callable[[Question], Any]) -> None:
        self.name, self.kind, self.tier, self.answer = name, kind, tier, act


def halves(question: Question) -> Answer:
    middle, end = question.text.index(" "), len(question.text)
    return Answer((Span(0, middle, "word"), Span(middle + 1, end, "word")), 1.0)


def guess(question: Question) -> Answer:
    if question.text == "fail":
        raise RuntimeError("no idea")
    return Answer("lower", 0.5)


def look(question: Question) -> Answer:
    return Answer("upper" if question.text.isupper() else "lower", 0.99)


def team(**settings: Any) -> Team:
    agents = {
        "words": Rule("halver", "spans", "rule", halves),
        "case": [Rule("guesser", "label", "small", guess), Rule("looker", "label", "big", look)],
    }
    return Team(agents=agents, plan=PLAN, **settings)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("", UnusableTextError, "have a word"),
        (" \t\n", UnusableTextError, "have a word"),
        ("a " * 500_000, UnusableTextError, "at most 20000 characters"),
        (3, TypeError, "must be a str"),
        (
            "word",
            RuntimeError,
            "could answer: ValueError: substring not found",
        ),
    ],
)
def test_a_request_that_cannot_be_answered_is_an_error_and_not_a_crash(
    text: Any, error: type[Exception], message: str
):
    answer = team().answer(text)

    assert type(answer) is error
    assert message in str(answer)


def test_a_request_that_no_agent_can_read_is_an_unusable_text():
    def unreadable(question: Question) -> Answer:
        raise UnusableTextError(question.text, "have a word")

    mute = Team(
        agents={"case": Rule("mute", "label", "small", unreadable)},
        plan=Plan(steps=(Step("case", kind="label"),), result=("case",)),
    )
    assert isinstance(mute.answer("\x00\x01"), UnusableTextError)
    with pytest.raises(UnusableTextError, match=r"texts\[0\]"):
        mute.predict(["\x00\x01"])


@pytest.mark.parametrize("text", ["one TWO", "fail TWO", "fail fail", "ONE 雪"])
@pytest.mark.parametrize("calls", [0, 1, 2])
def test_a_trace_comes_back_from_json_and_replays_to_the_same_result(text: str, calls: int):
    (result,) = team(budget=Budget(calls={"big": calls}, ms=1000.0)).predict([text])

    trace = Trace.from_json(result.trace.to_json())
    assert trace == result.trace
    assert replay(trace) == result


def test_a_replay_under_another_policy_uses_the_recorded_answers():
    (result,) = team().predict(["one TWO"])
    assert result.values["case[1]"] == "upper"

    again = replay(result.trace, policy=ThresholdPolicy(0.0))
    assert again.values["case[1]"] == "lower"
    assert again.trace.calls("big") == 0


def test_a_replay_refuses_a_policy_that_asks_for_what_was_not_recorded():
    (result,) = team(policy=ThresholdPolicy(0.0)).predict(["one TWO"])

    with pytest.raises(ReplayError, match="must hold the answer that is asked for.*looker"):
        replay(result.trace, policy=ThresholdPolicy(1.0))


def test_a_replay_notices_a_trace_that_was_changed():
    (result,) = team().predict(["one TWO"])
    content = json.loads(result.trace.to_json())
    content["entries"][-1]["decision"]["about"] = 0

    with pytest.raises(ReplayError, match=r"leaves at entry \d+. The plan:\n  text -> words"):
        replay(Trace.from_json(json.dumps(content)))


@pytest.mark.parametrize("text", ["", "{}", "[" * 100_000, '{"format": 2, "request": 1}'])
def test_what_is_no_trace_is_refused(text: str):
    with pytest.raises(ValueError, match="`text` must be a trace"):
        Trace.from_json(text)


def test_the_table_and_the_diagram_show_every_entry():
    (result,) = team().predict(["fail TWO"])
    trace = result.trace

    lines = trace.table().splitlines()
    assert len(lines) == len(trace.entries) + 1
    assert lines[0].split() == ["#", "field", "who", "tier", "what", "sure", "ms"]
    assert any("failed: RuntimeError: no idea" in line for line in lines)
    diagram = trace.mermaid().splitlines()
    assert diagram[:2] == ["sequenceDiagram", "    participant team"]
    assert "    a_guesser--xteam: RuntimeError: no idea" in diagram
    assert "    a_looker-->>team: upper (0.99)" in diagram
    assert "    Note over team: case[1]: escalate:big" in diagram


def test_a_requests_own_characters_cannot_change_the_diagram():
    (result,) = team().predict(["a;end\nb #"])

    assert not any(set(line) & set(";#\x00") for line in result.trace.mermaid().splitlines())
