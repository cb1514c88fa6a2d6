"""What the verifier of a team refuses, and what becomes of it."""

from __future__ import annotations

from typing import Any

from tfdistill.agents import Answer, Plan, Question, Step, Team

PLAN = Plan(
    steps=(
        Step("intent", kind="label"),
        Step("mood", kind="label"),
        Step("check", kind="verdict", reads={"intent": "label", "mood": "label"}),
    ),
    result=("intent", "mood"),
)


class Says:
    """Answers with its tier, and is sure."""

    kind = "label"

    def __init__(self, step: str, tier: str) -> None:
        self.name, self.tier = f"{tier} {step}", tier
        self.asked = 0

    def answer(self, question: Question) -> Answer:
        self.asked += 1
        return Answer(self.tier, 0.99)


class Refuses:
    """Refuses every intent but one."""

    kind, name, tier = "verdict", "verifier", "rule"

    def __init__(self, taken: str) -> None:
        self.taken = taken
        self.seen: list[str] = []

    def answer(self, question: Question) -> Answer:
        self.seen.append(question.inputs["intent"])
        return Answer(() if self.seen[-1] == self.taken else ("intent",), 1.0)


def answered(*, taken: str, max_rounds: int) -> tuple[Any, list[str], list[int]]:
    intents = [Says("intent", tier) for tier in ("a", "b", "c", "d")]
    verifier = Refuses(taken)
    agents: dict[str, Any] = {"intent": intents, "mood": Says("mood", "a"), "check": verifier}
    (result,) = Team(agents=agents, plan=PLAN, max_rounds=max_rounds).predict(["hello"])
    return result, verifier.seen, [each.asked for each in intents]


def test_what_is_still_refused_after_the_last_round_is_dropped_though_a_better_tier_is_left():
    result, seen, asked = answered(taken="d", max_rounds=2)

    assert seen == ["a", "b"]
    assert asked == [1, 1, 1, 0]  # "c" answered after the last refusal, and nobody judged it
    assert result.values == {"intent": None, "mood": "a"}
    assert result.abstained == ("intent",)


def test_what_the_verifier_takes_within_the_rounds_is_kept():
    result, seen, _ = answered(taken="b", max_rounds=2)

    assert seen == ["a", "b"]
    assert result.values == {"intent": "b", "mood": "a"}


def test_what_is_refused_with_no_better_tier_left_is_dropped():
    result, seen, asked = answered(taken="none", max_rounds=9)

    assert (seen, asked) == (["a", "b", "c", "d"], [1, 1, 1, 1])
    assert result.values == {"intent": None, "mood": "a"}
