"""The work follows from effort, texts and size, and stays within the limits of the effort."""

from __future__ import annotations

import re

import pytest

from tfdistill.pipelines.texts.effort import plan_run

SHORT = {"labelled_tokens": 160_000, "all_tokens": 160_000, "sequence_length": 24}
LONG = {"labelled_tokens": 3_000_000, "all_tokens": 3_000_000, "sequence_length": 600}


def test_more_effort_is_more_copies_more_training_and_more_time():
    plans = [plan_run(name, weights=400_000, **SHORT) for name in ("quick", "standard", "thorough")]
    assert [plan.copies for plan in plans] == [3, 20, 41]
    assert [plan.fine_tune_epochs for plan in plans] == [0, 4, 6]
    assert plans[0].minutes < plans[1].minutes < plans[2].minutes
    # What is expected for 15,000 short texts, not what was measured.
    assert plans[1].minutes <= 30 and plans[2].minutes <= 180


def test_long_texts_are_cut_and_read_less_often():
    plan = plan_run("standard", weights=400_000, **LONG)
    assert (plan.sequence_length, plan.copies, plan.fine_tune_epochs) == (128, 0, 1)
    assert plan.passes * 3_000_000 <= 12_000_000


def test_few_texts_are_read_often_in_many_copies():
    few = {"labelled_tokens": 9_000, "all_tokens": 9_000, "sequence_length": 20}
    plan = plan_run("standard", weights=400_000, **few)
    assert plan.copies == 20 and plan.passes == 2


def test_an_unknown_effort_is_refused():
    with pytest.raises(ValueError, match=re.escape("`effort` must be one of ('quick',")):
        plan_run("heroic", weights=1, **SHORT)


def test_answers_that_are_there_need_no_copies_and_a_given_teacher_no_training():
    size = {"sequence_length": 24, "weights": 375_000}
    plan = plan_run(
        "standard", labelled_tokens=10_000, all_tokens=10_000, most_copies=0, **size
    )  # fmt: skip
    assert plan.copies == 0 and plan.passes == 42
    given = plan.without_training()
    assert (given.fine_tune_epochs, given.seconds["train the teacher"]) == (0, 10.0)
    assert given.seconds["ask the teacher"] == plan.seconds["ask the teacher"]
