from __future__ import annotations

from typing import Any

import pytest

from tfdistill.agents import Answer, Budget, Plan, Question, Step, Team, Trace, replay

PLAN = Plan(steps=(Step("tone", kind="label"),), result=("tone",))


class Speaker:
    kind = "label"

    def __init__(self, tier: str) -> None:
        self.name = self.tier = tier

    def answer(self, question: Question) -> Answer:
        return Answer(self.tier, 0.5, cost_ms=2.0)


def team(**budget: Any) -> Team:
    return Team(
        agents={"tone": [Speaker("tiny"), Speaker("teacher")]}, plan=PLAN, budget=Budget(**budget)
    )


def test_requests_of_a_batch_share_the_calls_and_the_next_batch_has_them_again():
    results = team(calls={"teacher": 2}, requests=4).predict(["a", "b", "c", "d"] * 2)

    answered = [result.values["tone"] for result in results]
    assert answered == ["teacher", "teacher", "tiny", "tiny"] * 2


def test_requests_of_a_batch_share_the_milliseconds():
    crew = team(ms=5.0, requests=3)
    results = crew.predict(["a", "b"])

    # 2 + 2 ms, then 1 ms is left: one more answer may begin, and nothing after it.
    assert [len(result.trace.messages) for result in results] == [2, 1]
    assert "nobody was allowed to" in str(crew.answer("c"))


def test_a_trace_of_the_middle_of_a_batch_is_replayed_with_what_was_left_then():
    results = team(calls={"teacher": 2}, requests=4).predict(["a", "b", "c"])

    assert results[1].trace.team["budget"] == {"calls": {"teacher": 1}, "ms": None, "requests": 3}
    for result in results:
        assert replay(Trace.from_json(result.trace.to_json())) == result


@pytest.mark.parametrize("requests", [0, True, 1.5])
def test_a_batch_of_no_request_is_refused(requests: Any):
    with pytest.raises(ValueError, match="`requests` must be an int of at least 1"):
        Budget(requests=requests)
