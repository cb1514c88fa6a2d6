from __future__ import annotations

import pytest

from tfdistill.agents import Plan, PlanError, Step

PARTS = Step("parts", kind="spans")
INTENT = Step("intent", kind="label", reads={"parts": "spans"}, each="parts")
SLOTS = Step("slots", kind="spans", reads={"parts": "spans"}, each="parts")
VERDICT = Step("verdict", kind="verdict", reads={"intent": "label", "slots": "spans"}, each="parts")
RESULT = ("parts", "intent", "slots")


def test_steps_are_ordered_by_what_they_read_whatever_order_they_are_given_in():
    plan = Plan(steps=(VERDICT, SLOTS, PARTS, INTENT), result=RESULT)

    assert plan.levels == (("parts",), ("slots", "intent"), ("verdict",))


def test_a_plan_comes_back_from_json_as_it_was():
    plan = Plan(steps=(PARTS, INTENT, SLOTS, VERDICT), result=RESULT)

    assert Plan.from_json(plan.to_json()) == plan


@pytest.mark.parametrize(
    ("steps", "result", "message"),
    [
        ((INTENT,), ("intent",), r"must have a producer.*'parts'.*\n  \?parts -> intent \(for"),
        (
            (Step("a", kind="label", reads={"b": "label"}), Step("b", "label", {"a": "label"})),
            ("a",),
            r"no cycle.*\['a', 'b'\].*\n  b -> a\n  a -> b",
        ),
        (
            (PARTS, Step("intent", kind="label", reads={"parts": "label"})),
            ("intent",),
            r"kind that is produced.*'parts' as 'label', and it is 'spans'.*\n  text -> parts\n",
        ),
        ((Step("a", kind="label"), Step("b", "label", each="a")), ("b",), "for each of a field"),
        (
            (PARTS, INTENT, Step("sum", kind="label", reads={"intent": "label"})),
            ("sum",),
            "per part must be for each of the same parts",
        ),
        ((PARTS, INTENT), ("parts",), r"must lead to the result.*\['intent'\]"),
        ((PARTS, PARTS), ("parts",), r"one producer.*\['parts'\]"),
        ((PARTS,), ("slots",), "result must name fields"),
        ((PARTS,), (), "result must name fields"),
        ((Step("parts", kind="number"),), ("parts",), "kind must be one of"),
        ((Step("text", kind="label"),), ("text",), "name of a step"),
        ((Step("A b", kind="label"),), ("A b",), "name of a step"),
    ],
)
def test_a_plan_that_cannot_work_is_refused_with_a_drawing(
    steps: tuple[Step, ...], result: tuple[str, ...], message: str
):
    with pytest.raises(PlanError, match=f"(?s){message}.*The plan:|(?s:{message})"):
        Plan(steps=steps, result=result)


@pytest.mark.parametrize("text", ["", "[]", '{"steps": [{}], "result": []}', "[" * 100_000])
def test_what_is_no_plan_is_refused(text: str):
    with pytest.raises(PlanError, match="A plan must"):
        Plan.from_json(text)


def test_what_no_verdict_needs_waits_for_the_verdict_on_what_it_reads():
    judged = {"intent": "label", "slots": "spans"}
    plan = Plan(
        steps=(
            Step("intent", kind="label"),
            Step("slots", kind="spans", reads={"intent": "label"}),
            Step("verdict", kind="verdict", reads=judged),
            Step("tone", kind="label"),
            Step("route", kind="label", reads={"intent": "label"}),
            Step("reply", kind="text", reads={"route": "label", "tone": "label"}),
        ),
        result=("reply", "slots"),
    )
    # "slots" reads a judged field too, but the verdict is about it.
    assert plan.levels == (("intent", "tone"), ("slots",), ("verdict",), ("route",), ("reply",))
