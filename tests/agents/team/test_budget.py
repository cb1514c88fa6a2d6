from __future__ import annotations

import json
from typing import Any

import pytest

from tfdistill.agents import (
    Answer,
    Budget,
    Plan,
    Question,
    Step,
    Team,
    ThresholdPolicy,
    Trace,
    replay,
)
from tfdistill.agents.team.replay import ReplayError

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


def test_a_blank_run_spends_nothing_of_the_budget():
    crew = team(calls={"teacher": 1}, requests=2)
    crew.run_blank()
    assert [result.values["tone"] for result in crew.predict(["a", "b"])] == ["teacher", "tiny"]


def test_a_trace_of_the_middle_of_a_batch_is_replayed_with_what_was_left_then():
    results = team(calls={"teacher": 2}, requests=4).predict(["a", "b", "c"])

    assert results[1].trace.team["budget"] == {"calls": {"teacher": 1}, "ms": None, "requests": 3}
    for result in results:
        assert replay(Trace.from_json(result.trace.to_json())) == result


@pytest.mark.parametrize(
    ("requests", "kind"), [(0, ValueError), (True, TypeError), (1.5, TypeError)]
)
def test_a_batch_of_no_request_is_refused(requests: Any, kind: type[Exception]):
    with pytest.raises(kind, match="`requests` must be an int of at least 1"):
        Budget(requests=requests)


@pytest.mark.parametrize(("count", "kind"), [(-1, ValueError), (True, TypeError), (0.5, TypeError)])
def test_a_limit_that_counts_nothing_is_refused_with_its_tier(count: Any, kind: type[Exception]):
    with pytest.raises(kind, match=r"`calls\['teacher'\]` must be an int of at least 0"):
        Budget(calls={"tiny": 1, "teacher": count})


def test_a_limit_for_a_tier_that_no_agent_has_is_refused_with_the_teams_tiers():
    message = (
        r"`budget` must limit tiers of the team, which are \('tiny', 'teacher'\). Received: "
        r"calls={'large': 0}, and no agent is of the tier 'large'"
    )
    with pytest.raises(ValueError, match=message):
        team(calls={"large": 0})
    with pytest.raises(ValueError, match=message):
        team().with_policy(ThresholdPolicy(), budget=Budget(calls={"large": 0}))
    (result,) = team().predict(["a"])
    content = json.loads(result.trace.to_json())
    content["team"]["budget"]["calls"] = {"large": 0}
    with pytest.raises(ReplayError, match=message):
        replay(Trace.from_json(json.dumps(content)))


def test_a_limit_of_any_step_of_the_team_is_taken():
    assert team(calls={"teacher": 0}).predict(["a"])[0].values["tone"] == "tiny"
