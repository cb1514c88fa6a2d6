"""Teams of scripted agents: what is tested here is what a team does with answers."""

from __future__ import annotations

import contextlib
import math
import queue
import threading
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from tfdistill.agents import (
    Answer,
    Budget,
    Plan,
    PlanError,
    Question,
    Span,
    Step,
    Team,
    TeamResult,
    ThresholdPolicy,
)

PLAN = Plan(
    steps=(
        Step("parts", kind="spans"),
        Step("intent", kind="label", reads={"parts": "spans"}, each="parts"),
        Step("slots", kind="spans", reads={"parts": "spans"}, each="parts"),
        Step("verdict", kind="verdict", reads={"intent": "label", "slots": "spans"}, each="parts"),
    ),
    result=("parts", "intent", "slots"),
)
TEXT = "play jazz and book rome"


class Scripted:
    """Answers by a function of the question, and remembers the questions."""

    def __init__(
        self,
        name: str,
        kind: str,
        act: Callable[[Question], Any],
        *,
        tier: str = "small",
        hints: Sequence[str] = (),
        expected_ms: float = 0.0,
    ) -> None:
        self.name, self.kind, self.tier, self.hints = name, kind, tier, tuple(hints)
        self.expected_ms = expected_ms
        self.act = act
        self.asked: list[Question] = []

    def answer(self, question: Question) -> Answer:
        self.asked.append(question)
        return self.act(question)


def split(question: Question) -> Answer:
    middle = question.text.index(" and ")
    end = len(question.text)
    return Answer((Span(0, middle, "part"), Span(middle + 5, end, "part")), 0.99)


def last_word(question: Question) -> Answer:
    start = question.text.rindex(" ") + 1
    return Answer((Span(start, len(question.text), "what"),), 0.95)


def intent(confidence: float, *, right: bool = True) -> Callable[[Question], Answer]:
    def act(question: Question) -> Answer:
        verb = question.text.split()[0]
        return Answer(verb.upper() if right else "WRONG", confidence)

    return act


def agree(question: Question) -> Answer:
    return Answer((), 1.0)


def crew(**changes: Any) -> dict[str, Any]:
    return {
        "parts": Scripted("splitter", "spans", split),
        "intent": [
            Scripted("small_intent", "label", intent(0.6, right=False)),
            Scripted("teacher_intent", "label", intent(0.97), tier="teacher"),
        ],
        "slots": Scripted("tagger", "spans", last_word),
        "verdict": Scripted("verifier", "verdict", agree, tier="rule"),
    } | changes


def run(team: Team, text: str = TEXT) -> TeamResult:
    result = team.answer(text)
    if isinstance(result, Exception):
        raise result
    return result


def test_unsure_answers_go_to_the_better_tier_and_sure_ones_do_not():
    agents = crew()
    result = run(Team(agents=agents, plan=PLAN))

    assert result.values == {
        "parts": (Span(0, 9, "part"), Span(14, 23, "part")),
        "intent[0]": "PLAY",
        "intent[1]": "BOOK",
        "slots[0]": (Span(5, 9, "what"),),
        "slots[1]": (Span(19, 23, "what"),),
    }
    assert result.abstained == ()
    assert result.trace.calls("teacher") == 2
    assert [q.text for q in agents["intent"][1].asked] == ["play jazz", "book rome"]
    assert agents["verdict"].asked[1].inputs["slots"] == (Span(5, 9, "what"),)


def test_a_better_tiers_answer_replies_to_the_answer_it_replaces():
    trace = run(Team(agents=crew(), plan=PLAN)).trace
    number = next(
        i for i, e in enumerate(trace.entries) if getattr(e, "by", "") == "teacher_intent"
    )

    replaced = trace.entries[trace.entries[number].in_reply_to]
    assert (replaced.by, replaced.field) == ("small_intent", "intent[0]")


@pytest.mark.parametrize("calls", [0, 1])
def test_the_budget_of_calls_is_never_passed(calls: int):
    team = Team(agents=crew(), plan=PLAN, budget=Budget(calls={"teacher": calls}))
    result = run(team)

    assert result.trace.calls("teacher") == calls
    wanted = ["PLAY", "WRONG"] if calls else ["WRONG", "WRONG"]
    assert [result.values["intent[0]"], result.values["intent[1]"]] == wanted


def test_an_agent_that_takes_more_milliseconds_than_are_left_is_not_asked():
    slow = Scripted("teacher_intent", "label", intent(0.97), tier="teacher", expected_ms=50.0)
    agents = crew(intent=[Scripted("small_intent", "label", intent(0.6, right=False)), slow])
    result = run(Team(agents=agents, plan=PLAN, budget=Budget(ms=40.0)))

    assert slow.asked == []
    assert result.values["intent[0]"] == "WRONG"


def wrong_type(question: Question) -> Any:
    return "PLAY"


def raising(question: Question) -> Answer:
    raise RuntimeError("broken")


@pytest.mark.parametrize(
    ("act", "error"),
    [
        (raising, "RuntimeError: broken"),
        (wrong_type, "must return an `Answer`. Received from 'small_intent'"),
        (lambda q: Answer("PLAY", math.nan), "`confidence` must be in [0, 1]"),
        (lambda q: Answer("PLAY", 0.9, margin=math.nan), "`margin` must be in [0, 1]"),
        (lambda q: Answer((Span(0, 99, "a"),), 0.9), "'small_intent'"),
    ],
)
def test_what_a_broken_agent_leaves_undone_goes_to_the_next_tier(act: Any, error: str):
    agents = crew()
    agents["intent"][0].act = act
    result = run(Team(agents=agents, plan=PLAN))

    assert result.values["intent[0]"] == "PLAY"
    assert error in failures(result)[0]


def test_an_answer_stays_where_no_better_tier_has_one():
    agents = crew()
    agents["intent"][1].act = raising
    result = run(Team(agents=agents, plan=PLAN))

    assert [result.values["intent[0]"], result.values["intent[1]"]] == ["WRONG", "WRONG"]
    assert result.abstained == ()
    assert len(failures(result)) == 2  # the teacher's, one for each part


def test_spans_outside_of_the_text_are_refused_with_the_senders_name():
    agents = crew(slots=Scripted("tagger", "spans", lambda q: Answer((Span(0, 99, "a"),), 1.0)))
    result = run(Team(agents=agents, plan=PLAN))

    assert result.abstained == ("slots[0]", "slots[1]")
    assert any("inside the text. Received from 'tagger'" in f for f in failures(result))


def failures(result: TeamResult) -> list[str]:
    return [entry.error for entry in result.trace.entries if hasattr(entry, "error")]


def test_an_agent_that_hangs_is_given_up_and_not_asked_again_while_it_hangs(
    monkeypatch: pytest.MonkeyPatch,
):
    release, hangs = threading.Event(), threading.Event()

    class Box(queue.Queue):
        """Waits for an answer as long as it takes, unless the agent has begun to hang."""

        def get(self, timeout: float) -> Any:  # type: ignore[override]
            while not hangs.is_set():
                with contextlib.suppress(queue.Empty):
                    return super().get(timeout=0.01)
            hangs.clear()
            raise queue.Empty

    def hang(_: Question) -> Any:
        hangs.set()
        release.wait(60)

    queues = SimpleNamespace(SimpleQueue=Box, Empty=queue.Empty)
    monkeypatch.setattr("tfdistill.agents.team.member.queue", queues)
    agents = crew()
    agents["intent"][0].act = hang
    result = run(Team(agents=agents, plan=PLAN, time_limit_s=0.05))
    release.set()

    assert [result.values["intent[0]"], result.values["intent[1]"]] == ["PLAY", "BOOK"]
    assert len(agents["intent"][0].asked) == 1
    assert [text.partition("'small_intent' ")[2] for text in failures(result)] == [
        "did not answer within 0.05 seconds",
        "has not come back from an earlier question",
    ]


def test_a_veto_sends_the_refused_field_to_a_better_tier_though_it_was_sure():
    def veto(question: Question) -> Answer:
        return Answer(("intent",) if question.inputs["intent"] == "WRONG" else (), 1.0)

    agents = crew(verdict=Scripted("verifier", "verdict", veto, tier="rule"))
    agents["intent"][0].act = intent(0.99, right=False)
    result = run(Team(agents=agents, plan=PLAN))

    assert [result.values["intent[0]"], result.values["intent[1]"]] == ["PLAY", "BOOK"]


def test_what_is_vetoed_to_the_end_is_dropped():
    refuse = Scripted("verifier", "verdict", lambda q: Answer(("intent",), 1.0), tier="rule")
    result = run(Team(agents=crew(verdict=refuse), plan=PLAN))

    assert result.abstained == ("intent[0]", "intent[1]")
    assert result.values["slots[0]"] == (Span(5, 9, "what"),)


class AskFirst:
    """Asks a peer as often as it may, then accepts."""

    def decide(self, views: Any, *, board: Any, budget: Any) -> list[str]:
        return [next((c for c in v.choices if c.startswith("ask:")), "accept") for v in views]


def test_a_peer_is_asked_once_for_each_of_its_answers():
    def act(question: Question) -> Answer:
        hint = question.hints.get("slots")
        return Answer("HINTED" if hint else "ALONE", 0.5)

    agents = crew(intent=Scripted("intent", "label", act, hints=("slots",)))
    result = run(Team(agents=agents, plan=PLAN, policy=AskFirst()))

    assert result.values["intent[1]"] == "HINTED"
    assert len(agents["intent"].asked) == 4  # each of two parts: alone, then with the peer's answer


def test_without_a_limit_on_rounds_a_policy_that_never_accepts_would_not_end():
    agents = crew()
    result = run(Team(agents=agents, plan=PLAN, policy=ThresholdPolicy(1.0), max_rounds=2))

    assert len(agents["intent"][0].asked) == 2
    assert result.values["intent[0]"] == "PLAY"


class Rogue:
    def __init__(self, choices: list[str]) -> None:
        self.choices = choices

    def decide(self, views: Any, *, board: Any, budget: Any) -> list[str]:
        return self.choices


@pytest.mark.parametrize(
    ("choices", "message"),
    [(["fire"], "must pick one of .* from Rogue: 'fire'"), ([], "about every open field")],
)
def test_a_policy_that_breaks_the_rules_is_named(choices: list[str], message: str):
    with pytest.raises(ValueError, match=message):
        run(Team(agents=crew(), plan=PLAN, policy=Rogue(choices)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mood": Scripted("m", "label", intent(1.0))}, r"agents\['mood'\], which nothing can re"),
        ({"slots": ()}, "Every step must have an agent. Received: none for 'slots'"),
        ({"slots": Scripted("m", "label", intent(1.0))}, "answers with 'label', and 'slots' is"),
    ],
)
def test_a_team_that_does_not_fit_its_plan_is_refused_with_a_drawing(
    changes: dict[str, Any], message: str
):
    with pytest.raises(PlanError, match=rf"(?s){message}.*  text -> parts\n"):
        Team(agents=crew(**changes), plan=PLAN)


def test_agents_with_one_name_or_one_tier_are_refused():
    twice = [Scripted("a", "label", intent(1.0)), Scripted("a", "label", intent(1.0), tier="big")]
    with pytest.raises(ValueError, match=r"different names. Received: \['a'\]"):
        Team(agents=crew(intent=twice), plan=PLAN)
    twice[1].name, twice[1].tier = "b", "small"
    with pytest.raises(ValueError, match="different tiers"):
        Team(agents=crew(intent=twice), plan=PLAN)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threshold": 1.5}, r"`threshold` must be .* in \[0, 1\]. Received: threshold=1.5"),
        ({"threshold": {"tone": 0.5, "mood": -0.1}}, r"`mood` must be .* Received: mood=-0.1"),
        ({"abstain_below": math.nan}, "`abstain_below` must be .* Received: abstain_below=nan"),
    ],
)
def test_a_threshold_that_is_no_probability_is_refused(arguments: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        ThresholdPolicy(**arguments)
