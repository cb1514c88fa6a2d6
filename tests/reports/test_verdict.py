"""Who won, and what the line says of it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from tfdistill.reports import Comparison, Estimate, Verdict, compare_with_rivals, shipped

ROWS = 400
LABELS = np.arange(ROWS) % 4


def wrong_on(*rows: slice) -> np.ndarray:
    """Predictions that are right everywhere else."""
    said = LABELS.copy()
    for part in rows:
        said[part] = (said[part] + 1) % 4
    return said


STUDENT = wrong_on(slice(0, 20))  # 0.95
TEACHER = wrong_on(slice(0, 16))  # 0.96
CONTROL = wrong_on(slice(0, 40))  # 0.90: wrong wherever the student is, and 20 times more
EQUAL = wrong_on(slice(100, 120))  # 0.95, wrong elsewhere
BETTER = wrong_on(slice(0, 4))  # 0.99


def test_the_line_of_the_three_outcomes() -> None:
    verdict = compare_with_rivals(
        LABELS,
        student=STUDENT,
        teacher=TEACHER,
        rivals={"control": CONTROL, "bag_of_words_teacher": EQUAL, "teacher_8bit": BETTER},
        sizes={"student": 489_472, "bag_of_words_teacher": 217_088},
    )
    assert verdict.outcomes == {
        "control": "won",
        "bag_of_words_teacher": "tied",
        "teacher_8bit": "lost",
    }
    line = verdict.line()
    assert line.startswith(
        "The student (file 478 KB, accuracy 0.950 on 400 test rows) keeps 99.0 % of its teacher [9"
    )
    assert "]; won against control (+5.0 points [" in line
    assert "tied with bag of words on the teacher's answers (212 KB, +0.0 points [-" in line
    assert ", lost to teacher in 8 bits (-4.0 points [-" in line
    assert verdict.headline() == (
        "The student won against 1, tied with 1 and lost to 1 of its 3 rivals"
    )


def test_the_interval_is_that_of_the_rows_that_differ() -> None:
    # 20 of 400 rows differ, all in the student's favour. The difference of a resample is that of
    # a binomial: mean 0.05, deviation √(0.05·0.95/400) = 0.0109; 95 % within 1.96 of them.
    verdict = compare_with_rivals(LABELS, student=STUDENT, rivals={"control": CONTROL})
    difference = verdict.comparisons[0].difference

    assert difference.value == pytest.approx(0.05)
    assert difference.low == pytest.approx(0.05 - 1.96 * 0.0109, abs=0.003)
    assert difference.high == pytest.approx(0.05 + 1.96 * 0.0109, abs=0.003)


def test_what_is_hard_for_both_cancels_because_the_rows_are_paired() -> None:
    # Half of the rows are wrong for both. Unpaired, a difference of 0.02 would have a deviation
    # of 0.035 and be a tie; here only the 8 rows that differ count.
    both = slice(0, 200)
    verdict = compare_with_rivals(
        LABELS, student=wrong_on(both), rivals={"control": wrong_on(both, slice(300, 308))}
    )
    assert verdict.outcomes == {"control": "won"}


def test_relative_is_the_ratio_and_its_interval() -> None:
    verdict = compare_with_rivals(LABELS, student=STUDENT, teacher=TEACHER, rivals={})
    kept = verdict.relative

    assert kept is not None and kept.value == pytest.approx(0.95 / 0.96)
    assert kept.low < 0.95 / 0.96 < kept.high <= 1.0  # the teacher is right wherever it is
    assert verdict.headline() == "The student keeps 99.0 % of its teacher"


def test_a_smaller_error_wins_and_keeps_more_than_all_of_its_teacher() -> None:
    labels = np.linspace(0.0, 10.0, 200)
    verdict = compare_with_rivals(
        labels,
        student=labels + 0.1,
        teacher=labels - 0.2,
        rivals={"control": labels + 0.4, "bag_of_words_labels": labels + 0.05},
        metric="mae",
    )
    assert verdict.score == pytest.approx(0.1)
    assert verdict.relative is not None and verdict.relative.value == pytest.approx(2.0)
    assert verdict.line() == (
        "The student (MAE 0.100 on 200 test rows) keeps 200.0 % of its teacher [200.0, 200.0]; "
        "won against control (MAE better by 0.300 [0.300, 0.300]), "
        "lost to bag of words on labels (MAE worse by 0.050 [0.050, 0.050])"
    )


def test_there_is_no_share_of_a_teacher_that_is_worth_nothing() -> None:
    labels = np.array([0.0, 1.0, 2.0, 3.0] * 10)
    verdict = compare_with_rivals(
        labels, student=labels, teacher=-labels, rivals={}, metric="r2", resamples=50
    )
    assert verdict.teacher_score == pytest.approx(1 - 4 * 14 / 5)  # Σ(2y)² / Σ(y - 1.5)²
    assert verdict.relative is None
    assert verdict.line() == (
        "The student (R² 1.000 on 40 test rows) has a teacher of -10.2; compared with no rival"
    )


def test_several_labels_a_row_are_compared_in_macro_f1() -> None:
    labels = np.array([[1, 0], [0, 1], [1, 1], [0, 0]] * 50)
    none_of_the_second = labels * [1, 0]
    verdict = compare_with_rivals(
        labels, student=labels, rivals={"control": none_of_the_second}, metric="macro_f1"
    )
    assert verdict.comparisons[0].score == 0.5  # F1 of 1 and of 0
    assert verdict.line().endswith("won against control (+50.0 points [50.0, 50.0])")


def test_a_function_serves_as_the_metric() -> None:
    def far_off(labels: np.ndarray, predictions: np.ndarray) -> float:
        return float((np.abs(labels - predictions) > 1).mean())

    verdict = compare_with_rivals(
        LABELS,
        student=STUDENT,
        rivals={"control": LABELS + 2},
        metric=far_off,
        higher_is_better=False,
        resamples=100,
    )
    # One class on is 3 off where class 3 turns into class 0: 5 of the 20 rows.
    assert verdict.score == 5 / ROWS
    assert verdict.outcomes == {"control": "won"}
    assert "(far off 0.013 on 400" in verdict.line()
    assert Verdict.from_json(verdict.to_json()) == verdict


ANSWERS = st.lists(st.integers(0, 3), min_size=1, max_size=40)


@given(labels=ANSWERS, data=st.data(), metric=st.sampled_from(["accuracy", "macro_f1", "mae"]))
@settings(max_examples=40, deadline=None)
def test_a_copy_of_itself_ties_with_no_difference_at_all(
    labels: list[int], data: Any, metric: str
) -> None:
    said = data.draw(st.lists(st.integers(0, 3), min_size=len(labels), max_size=len(labels)))
    verdict = compare_with_rivals(
        labels, student=said, rivals={"copy": list(said)}, metric=metric, resamples=50
    )
    assert verdict.outcomes == {"copy": "tied"}
    assert verdict.comparisons[0].difference == Estimate(0.0, 0.0, 0.0)


@given(labels=ANSWERS, data=st.data(), metric=st.sampled_from(["accuracy", "macro_f1", "rmse"]))
@settings(max_examples=40, deadline=None)
def test_who_wins_against_a_rival_is_who_the_rival_loses_to(
    labels: list[int], data: Any, metric: str
) -> None:
    size = len(labels)
    one, other = (
        data.draw(st.lists(st.integers(0, 3), min_size=size, max_size=size)) for _ in range(2)
    )
    (there,), (back,) = (
        compare_with_rivals(
            labels, student=first, rivals={"r": second}, metric=metric, resamples=50
        ).comparisons
        for first, second in ((one, other), (other, one))
    )
    swapped = {"won": "lost", "lost": "won", "tied": "tied"}
    assert back.outcome == swapped[there.outcome]
    assert back.difference.value == -there.difference.value
    assert back.difference.low == pytest.approx(-there.difference.high, abs=1e-12)
    assert back.difference.high == pytest.approx(-there.difference.low, abs=1e-12)


@pytest.mark.parametrize(
    ("low", "high", "outcome"),
    [(0.001, 0.2, "won"), (0.0, 0.2, "tied"), (-0.2, 0.0, "tied"), (-0.2, -0.001, "lost")],
)
def test_an_interval_that_touches_0_is_a_tie(low: float, high: float, outcome: str) -> None:
    assert Comparison("r", 0.5, Estimate(0.0, low, high)).outcome == outcome


@pytest.mark.parametrize(
    ("rivals", "headline"),
    [
        ({"a": CONTROL}, "The student won against its only rival"),
        ({"a": CONTROL, "b": CONTROL}, "The student won against all 2 rivals"),
        ({"a": BETTER, "b": CONTROL}, "The student won against 1 and lost to 1 of its 2 rivals"),
        ({}, "The student has no rival here"),
    ],
)
def test_the_headline_counts(rivals: dict[str, Any], headline: str) -> None:
    assert compare_with_rivals(LABELS, student=STUDENT, rivals=rivals).headline() == headline


def test_a_win_by_a_hair_is_not_shown_as_0() -> None:
    hair = Verdict("accuracy", 0.9, 100_000, (Comparison("r", 0.9, Estimate(4e-4, 1e-5, 9e-4)),))
    assert hair.line().endswith("won against r (+0.04 points [0.001, 0.1])")


def test_the_json_is_plain_and_says_the_outcome() -> None:
    verdict = compare_with_rivals(
        LABELS, student=STUDENT, teacher=TEACHER, rivals={"control": CONTROL}, sizes={"student": 9}
    )
    content = json.loads(verdict.to_json())

    assert list(content) == [
        "metric", "score", "rows", "comparisons", "size_bytes", "teacher_score", "relative",
        "higher_is_better", "resamples", "stage",
    ]  # fmt: skip
    assert content["comparisons"][0]["outcome"] == "won"
    assert set(content["relative"]) == {"value", "low", "high"}
    assert Verdict.from_dict(content) == verdict


def a_verdict(**changes: Any) -> dict[str, Any]:
    verdict = compare_with_rivals(LABELS, student=STUDENT, teacher=TEACHER, rivals={"c": CONTROL})
    return {**verdict.to_dict(), **changes}


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ([], "KeyError|TypeError"),
        (a_verdict(extra=1), "extra"),
        (a_verdict(score="0.9"), "'0.9' is not a number"),
        (a_verdict(score=float("nan")), "nan is not finite"),
        (a_verdict(rows=-1), "at least 0"),
        (a_verdict(higher_is_better="yes"), "'yes' is neither true nor false"),
        (a_verdict(metric=3), "are not all text"),
        (a_verdict(relative={"value": 1.0}), "low"),
        (
            a_verdict(comparisons=[{**a_verdict()["comparisons"][0], "outcome": "lost"}]),
            "'lost' does not follow from the interval of 'c'",
        ),
    ],
)
def test_what_is_no_verdict_is_refused(content: Any, what: str) -> None:
    with pytest.raises(ValueError, match=f"A verdict must have the parts.*({what})"):
        Verdict.from_dict(content)


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(ValueError, match=r"A verdict must be JSON. Received: '\{'"):
        Verdict.from_json("{")


def test_a_rival_may_not_be_called_teacher() -> None:
    with pytest.raises(ValueError, match=r"`rivals` must have other names.*\['teacher'\]"):
        compare_with_rivals(LABELS, student=STUDENT, rivals={"teacher": TEACHER})


def test_a_size_of_nobody_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`sizes` must be of models that are compared.*'contrl'"):
        compare_with_rivals(
            LABELS, student=STUDENT, rivals={"control": CONTROL}, sizes={"contrl": 1}
        )


def test_the_better_candidate_ships_though_it_is_larger() -> None:
    choice = shipped(
        LABELS, candidates={"file": STUDENT, "bag_of_words_teacher": CONTROL},
        sizes={"file": 489_472, "bag_of_words_teacher": 217_088},
    )  # fmt: skip
    assert (choice.name, choice.best) == ("file", "file")
    assert choice.reason.startswith(
        "encoder's file (478 KB, accuracy 0.950) ships: it is better than bag of words on the "
        "teacher's "
        "answers (+5.0 points ["
    )


def test_the_smaller_candidate_ships_where_the_difference_may_be_luck() -> None:
    almost = wrong_on(slice(100, 121))  # one row worse, and wrong elsewhere
    choice = shipped(
        LABELS, candidates={"file": STUDENT, "bag_of_words_teacher": almost},
        sizes={"file": 489_472, "bag_of_words_teacher": 217_088},
    )  # fmt: skip
    assert (choice.name, choice.best) == ("bag_of_words_teacher", "file")
    assert choice.reason.startswith(
        "bag of words on the teacher's answers (212 KB, accuracy 0.948) ships: it is within a "
        "standard error of encoder's file (-0.2 points ["
    )
    assert choice.reason.endswith("]), which has 478 KB.")


def test_a_tie_that_is_more_than_a_standard_error_ships_the_better_one() -> None:
    # 8 of 400 rows differ, all in favor of the encoder but one: -1.5 points, standard error 0.7.
    right = np.zeros(400, int)
    encoder, bag = right.copy(), right.copy()
    encoder[0], bag[1:8] = 1, 1
    choice = shipped(
        right, candidates={"file": encoder, "bag_of_words_teacher": bag},
        sizes={"file": 2, "bag_of_words_teacher": 1},
    )  # fmt: skip
    assert choice.name == "file"
    encoder[:5], bag[5:11] = 1, 1  # 5 against 6: -0.25 points, standard error 0.8
    bag[:5] = 0
    again = shipped(
        right, candidates={"file": encoder, "bag_of_words_teacher": bag},
        sizes={"file": 2, "bag_of_words_teacher": 1},
    )  # fmt: skip
    assert again.name == "bag_of_words_teacher"


def test_the_smallest_of_many_ships_only_if_it_ties_with_the_best() -> None:
    choice = shipped(
        LABELS,
        candidates={"large": STUDENT, "middle": EQUAL, "small": CONTROL},
        sizes={"large": 300, "middle": 200, "small": 100},
    )
    assert choice.name == "middle"
    assert [(each.rival, each.outcome) for each in choice.comparisons] == [
        ("large", "tied"),
        ("small", "won"),
    ]


def test_an_only_candidate_ships() -> None:
    choice = shipped(LABELS, candidates={"file": STUDENT}, sizes={"file": 100})
    assert (
        choice.reason == "encoder's file (100 B, accuracy 0.950) ships: it is the only candidate."
    )


def test_a_smaller_error_ships() -> None:
    numbers = np.linspace(0.0, 1.0, 50)
    choice = shipped(
        numbers,
        candidates={"a": numbers + 0.2, "b": numbers + 0.1},
        sizes={"a": 1, "b": 2},
        metric="mae",
    )
    assert choice.name == "b"


def test_no_candidate_is_refused() -> None:
    with pytest.raises(ValueError, match="`candidates` must hold at least one"):
        shipped(LABELS, candidates={}, sizes={})


def test_a_candidate_without_a_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`sizes` must have the bytes of every.*\['b'\]"):
        shipped(LABELS, candidates={"a": STUDENT, "b": EQUAL}, sizes={"a": 1})
