"""Whether the student won: each rival against it on the same test rows, in words and intervals.

A difference between two models on a few thousand rows is partly luck of the rows. So each has an
interval from a paired bootstrap (`tfdistill.reports.resampling`), and the word follows from it: the
student *won* where the interval is above 0, *lost* where it is below, and is *tied* where it holds
0. The interval is about the rows alone: other seeds of the training would move the models too.

Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13; paired on test rows as in
Koehn, Statistical Significance Tests for Machine Translation Evaluation, EMNLP 2004.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfdistill.arguments import check_int
from tfdistill.reports.comparisons import (
    Comparison,
    checked_sizes,
    compared,
    difference_text,
    listed,
    score_text,
)
from tfdistill.reports.quantities import bytes_text
from tfdistill.reports.resampling import (
    METRICS,
    Estimate,
    Metric,
    estimate,
    metric_of,
    paired_scores,
)
from tfdistill.reports.stage_names import stage_title

__all__ = ["Shipped", "Verdict", "compare_with_rivals", "shipped"]

OUTCOMES = ("won", "tied", "lost")
_VERBS = {"won": "won against", "tied": "tied with", "lost": "lost to"}
_STUDENT, _TEACHER = "student", "teacher"


@dataclass(frozen=True)
class Verdict:
    """What the student is worth beside its teacher and its rivals.

    Attributes:
        metric: Name of the metric.
        score: The student's.
        rows: How many test rows it is measured on.
        comparisons: One for each rival.
        size_bytes: What the student's file weighs; None if that is not known.
        teacher_score: The teacher's; None without a teacher.
        relative: Student divided by teacher (for an error, teacher by student), so that 1 is as
            good as the teacher. None without a teacher, or where a ratio means nothing because
            what it divides by is not above 0 on every resample.
        higher_is_better: False if the metric is an error.
        resamples: How many times the rows were drawn.
        stage: Name of the student's row in the results table.

    Example:
        >>> verdict = compare_with_rivals([0, 1] * 50, student=[0, 1] * 50,
        ...                               rivals={"control": [0, 0] * 50}, resamples=200)
        >>> verdict.outcomes
        {'control': 'won'}
        >>> Verdict.from_json(verdict.to_json()) == verdict
        True
    """

    metric: str
    score: float
    rows: int
    comparisons: tuple[Comparison, ...]
    size_bytes: int | None = None
    teacher_score: float | None = None
    relative: Estimate | None = None
    higher_is_better: bool = True
    resamples: int = 2000
    stage: str = "file"

    @property
    def metric_title(self) -> str:
        """The metric's name as a sentence has it."""
        return self._metric().title

    @property
    def outcomes(self) -> dict[str, str]:
        """The word for each rival."""
        return {each.rival: each.outcome for each in self.comparisons}

    def line(self) -> str:
        """Says it in one line: the student, what it keeps of its teacher, whom it won against."""
        metric = self._metric()
        size = f"file {bytes_text(self.size_bytes)}, " if self.size_bytes is not None else ""
        text = (
            f"The student ({size}{metric.title} {score_text(self.score)} on {self.rows:,} test "
            f"row{'' if self.rows == 1 else 's'})"
        )
        if self.relative is not None:
            ends = f"[{100 * self.relative.low:.1f}, {100 * self.relative.high:.1f}]"
            text += f" keeps {_percent(self.relative)} of its teacher {ends};"
        elif self.teacher_score is not None:
            text += f" has a teacher of {score_text(self.teacher_score)};"
        groups = []
        for outcome in OUTCOMES:
            named = [
                f"{stage_title(each.rival)} ({_size(each)}"
                f"{difference_text(each.difference, metric)})"
                for each in self.comparisons
                if each.outcome == outcome
            ]
            if named:
                groups.append(f"{_VERBS[outcome]} {listed(named)}")
        return f"{text} {', '.join(groups) or 'compared with no rival'}"

    def headline(self) -> str:
        """Says in a few words how often the student won, tied and lost."""
        words = list(self.outcomes.values())
        if not words:
            kept = self.relative
            said = "has no rival here" if kept is None else f"keeps {_percent(kept)} of its teacher"
            return f"The student {said}"
        told = {word: words.count(word) for word in OUTCOMES if word in words}
        if len(told) > 1:
            counts = listed([f"{_VERBS[word]} {number}" for word, number in told.items()])
            return f"The student {counts} of its {len(words)} rivals"
        all_of_them = f"all {len(words)} rivals" if len(words) > 1 else "its only rival"
        return f"The student {_VERBS[words[0]]} {all_of_them}"

    def difference_text(self, difference: Estimate) -> str:
        """Writes a difference of one of the comparisons, in points or in the metric's units."""
        return difference_text(difference, self._metric())

    def to_dict(self) -> dict[str, Any]:
        """Returns the verdict as plain lists, dicts, numbers and strings."""
        content = dataclasses.asdict(self)
        content["comparisons"] = [
            {**dataclasses.asdict(each), "outcome": each.outcome} for each in self.comparisons
        ]
        return content

    def to_json(self) -> str:
        """Returns the verdict as JSON text."""
        return json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_dict(cls, content: Any) -> Verdict:
        """Reads what `to_dict` wrote.

        Raises:
            ValueError: If it is not a verdict.
        """
        try:
            rest = dict(content)
            relative = rest.pop("relative")
            comparisons = tuple(_comparison(each) for each in rest.pop("comparisons"))
            verdict = cls(
                **rest,
                comparisons=comparisons,
                relative=None if relative is None else Estimate(**relative),
            )
            _check_parts(verdict)
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise ValueError(
                "A verdict must have the parts that `Verdict.to_dict` writes. Received: "
                f"{str(content)[:200]!r} ({type(error).__name__}: {error})."
            ) from error
        return verdict

    @classmethod
    def from_json(cls, text: str) -> Verdict:
        """Reads what `to_json` wrote.

        Raises:
            ValueError: If it is not JSON or not a verdict.
        """
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"A verdict must be JSON. Received: {text[:80]!r} ({error}).") from (
                error
            )
        return cls.from_dict(content)

    def _metric(self) -> Metric:
        return METRICS.get(self.metric) or Metric(
            self.metric,
            self.metric.replace("_", " "),
            self.higher_is_better,
            is_fraction=False,
        )


def compare_with_rivals(
    labels: Any,
    *,
    student: Any,
    rivals: Mapping[str, Any],
    teacher: Any = None,
    sizes: Mapping[str, int] | None = None,
    metric: str | Metric | Callable[[Any, Any], float] = "accuracy",
    higher_is_better: bool | None = None,
    resamples: int = 2000,
    seed: int = 0,
    stage: str = "file",
) -> Verdict:
    """Compares the student that ships with each rival, and with its teacher, on the test rows.

    Each difference has the interval of 95 % of the paired resamples of the rows. With few rows on
    which two models differ the interval is too short: 4 rows won and none lost already count as
    "won", where an exact sign test would ask for 6.

    Args:
        labels: The right answers of N test rows: classes `[N]` (integers or names), several labels
            0 or 1 `[N, C]`, or numbers `[N]` or `[N, C]`.
        student: What the shipped student says, the shape of `labels`.
        rivals: What each rival says, by its name (see `tfdistill.reports.stage_names`). It may be
            empty.
        teacher: What the teacher says, or None.
        sizes: Bytes of "student" and of rivals, as far as they are known.
        metric: "accuracy" (all labels of a row right, if there are several), "macro_f1",
            "micro_f1", "mae", "rmse", "r2", or a function `(labels, predictions) -> float`, which
            is called once for each resample and model.
        higher_is_better: Of a function: False if it is an error. The names know it.
        resamples: How many times the rows are drawn, at least 1.
        seed: Of the draws; equal arguments give equal verdicts.
        stage: Name of the student's row in the results table.

    Returns:
        The verdict; `line()` says it.

    Raises:
        TypeError: If labels or predictions are not of the kind that the metric needs.
        ValueError: If a shape differs, a rival is called "student" or "teacher", a size belongs
            to nobody, or the metric is unknown.

    Example:
        >>> labels = [0, 1, 1, 0] * 100
        >>> verdict = compare_with_rivals(labels, student=labels, teacher=labels,
        ...                               rivals={"control": [0] * 400}, sizes={"student": 2048})
        >>> print(verdict.line())
        The student (file 2.00 KB, accuracy 1.000 on 400 test rows) keeps 100.0 % of its teacher
        [100.0, 100.0]; won against control (+50.0 points [45.0, 55.2])
    """
    found = metric_of(metric, higher_is_better=higher_is_better)
    reserved = {_STUDENT, _TEACHER} & set(rivals)
    if reserved:
        raise ValueError(
            f"`rivals` must have other names than 'student' and 'teacher'. Received: "
            f"{sorted(reserved)}. The teacher is an argument of its own."
        )
    sizes = checked_sizes(sizes or {}, known={_STUDENT, _TEACHER, *rivals})
    predictions = {_STUDENT: student, **rivals}
    if teacher is not None:
        predictions[_TEACHER] = teacher
    scores = paired_scores(found, labels, predictions, resamples=resamples, seed=seed)
    return Verdict(
        metric=found.name,
        score=scores[_STUDENT][0],
        rows=len(labels),
        comparisons=tuple(compared(scores, _STUDENT, rival, found, sizes) for rival in rivals),
        size_bytes=sizes.get(_STUDENT),
        teacher_score=scores[_TEACHER][0] if teacher is not None else None,
        relative=_relative(scores, found) if teacher is not None else None,
        higher_is_better=found.higher_is_better,
        resamples=resamples,
        stage=stage,
    )


@dataclass(frozen=True)
class Shipped:
    """Which of several candidates to ship, and why.

    Attributes:
        name: The candidate.
        reason: The why, as a sentence.
        best: The candidate with the best score, which may be another.
        comparisons: The candidate that ships against each other one.
    """

    name: str
    reason: str
    best: str
    comparisons: tuple[Comparison, ...]


def shipped(
    labels: Any,
    *,
    candidates: Mapping[str, Any],
    sizes: Mapping[str, int],
    metric: str | Metric | Callable[[Any, Any], float] = "accuracy",
    higher_is_better: bool | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> Shipped:
    """Recommends the best candidate, or a smaller one within a standard error of it.

    The standard error is that of the difference on the same rows, from a paired bootstrap; the rule
    is that of Breiman et al., Classification and Regression Trees, 1984, section 3.4.3. Held-out
    rows are few: a tie in the sense of `compare_with_rivals` would often ship the worse model.

    Args:
        labels: The right answers of *held-out* rows. Test rows would no longer be test rows after
            a choice was made on them.
        candidates: What each candidate says, by its name, at least one.
        sizes: Bytes of each candidate, with all that it needs to run.
        metric: As in `compare_with_rivals`.
        higher_is_better: As in `compare_with_rivals`.
        resamples: How many times the rows are drawn, at least 1.
        seed: Of the draws.

    Returns:
        The recommendation.

    Raises:
        TypeError: If labels or predictions are not of the kind that the metric needs.
        ValueError: If there is no candidate, a size is missing, or a shape differs.

    Example:
        >>> labels = [0, 1, 1, 0] * 25
        >>> choice = shipped(labels, candidates={"file": labels, "bag_of_words_teacher": labels},
        ...                  sizes={"file": 489_472, "bag_of_words_teacher": 217_088})
        >>> print(choice.reason)
        bag of words on the teacher's answers (212 KB, accuracy 1.000) ships: it is within a
        standard error of encoder's file (+0.0 points [0.0, 0.0]), which has 478 KB.
    """
    found = metric_of(metric, higher_is_better=higher_is_better)
    if not candidates:
        raise ValueError("`candidates` must hold at least one. Received: candidates={}.")
    sizes = checked_sizes(sizes, known=set(candidates))
    missing = [name for name in candidates if name not in sizes]
    if missing:
        raise ValueError(
            f"`sizes` must have the bytes of every candidate. Received: none for {missing}."
        )
    scores = paired_scores(found, labels, candidates, resamples=resamples, seed=seed)
    sign = 1 if found.higher_is_better else -1
    best = max(candidates, key=lambda name: (sign * scores[name][0], -sizes[name]))
    near = [name for name in candidates if _near(scores, best, name)]
    name = min(near, key=lambda each: (sizes[each], each != best))
    comparisons = tuple(
        compared(scores, name, other, found, sizes) for other in candidates if other != name
    )
    told = [
        _told(each, found, size_bytes=sizes[name], near=_near(scores, name, each.rival))
        for each in comparisons
    ]
    reason = (
        f"{stage_title(name)} ({bytes_text(sizes[name])}, {found.title} "
        f"{score_text(scores[name][0])}) ships: it is {listed(told or ['the only candidate'])}."
    )
    return Shipped(name=name, reason=reason, best=best, comparisons=comparisons)


def _near(scores: Mapping[str, tuple[float, np.ndarray]], one: str, other: str) -> bool:
    (value, resampled), (rival_value, rival_resampled) = scores[one], scores[other]
    return bool(abs(value - rival_value) <= np.std(resampled - rival_resampled))


def _told(comparison: Comparison, metric: Metric, *, size_bytes: int, near: bool) -> str:
    text = f"{stage_title(comparison.rival)} ({difference_text(comparison.difference, metric)})"
    if not near:
        return f"{'better' if comparison.difference.value > 0 else 'worse'} than {text}"
    weight = bytes_text(comparison.size_bytes)
    larger = (comparison.size_bytes or 0) >= size_bytes
    return f"within a standard error of {text}, which has {'' if larger else 'only '}{weight}"


def _percent(share: Estimate) -> str:
    return f"{100 * share.value:.1f} %"


def _size(comparison: Comparison) -> str:
    return "" if comparison.size_bytes is None else f"{bytes_text(comparison.size_bytes)}, "


def _relative(scores: Mapping[str, tuple[float, np.ndarray]], metric: Metric) -> Estimate | None:
    above, below = (_STUDENT, _TEACHER) if metric.higher_is_better else (_TEACHER, _STUDENT)
    (value, resampled), (base, bases) = scores[above], scores[below]
    if base <= 0 or bases.min() <= 0:
        return None
    return estimate(value / base, resampled / bases)


def _comparison(content: Mapping[str, Any]) -> Comparison:
    rest = dict(content)
    outcome = rest.pop("outcome")
    comparison = Comparison(**{**rest, "difference": Estimate(**rest["difference"])})
    if outcome != comparison.outcome:
        raise ValueError(f"{outcome!r} does not follow from the interval of {comparison.rival!r}")
    return comparison


def _check_parts(verdict: Verdict) -> None:
    """Refuses parts of the wrong type, and numbers that are not finite."""
    estimates = [each.difference for each in verdict.comparisons]
    estimates += [verdict.relative] if verdict.relative is not None else []
    numbers: list[Any] = [verdict.score, *(each.score for each in verdict.comparisons)]
    numbers += [verdict.teacher_score] if verdict.teacher_score is not None else []
    for each in estimates:
        numbers += [each.value, each.low, each.high]
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise TypeError(f"{number!r} is not a number")
        if not math.isfinite(number):
            raise ValueError(f"{number!r} is not finite")
    if not isinstance(verdict.higher_is_better, bool):
        raise TypeError(f"{verdict.higher_is_better!r} is neither true nor false")
    names = [verdict.metric, *(each.rival for each in verdict.comparisons)]
    if not all(isinstance(name, str) for name in names):
        raise TypeError(f"the names {names!r} are not all text")
    sizes = [verdict.size_bytes, *(each.size_bytes for each in verdict.comparisons)]
    for size in (verdict.rows, verdict.resamples, *(size for size in sizes if size is not None)):
        check_int(size, argument="size", at_least=0)
