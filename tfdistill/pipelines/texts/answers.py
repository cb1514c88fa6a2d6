"""What the models of a run answer, in the form of the task: classes, labels 0 and 1, or numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfdistill.agents.agent import Agent
from tfdistill.agents.predictions import LabelsPrediction, NumberPrediction, Prediction
from tfdistill.bundles.answer_kinds import NumberScale
from tfdistill.pipelines.texts.rows import Part, TextRows
from tfdistill.pipelines.texts.tasks import TextTask

__all__ = ["answers_of_bundle", "answers_of_logits", "as_text"]


def answers_of_logits(rows: TextRows, logits_of: Callable[[Part], np.ndarray]) -> np.ndarray:
    """Answers the test texts from logits.

    Several labels are given from the thresholds that are best on the held-out texts, whatever the
    model is: teacher, control and rivals have the advantage that the student has.

    Args:
        rows: The texts.
        logits_of: Returns a model's logits `[N, C]` of a part of them.

    Returns:
        Answers as `TextTask.answers` gives them.
    """
    task, thresholds = rows.task, None
    if task.kind == "labels":
        thresholds = task.thresholds(logits_of(rows.held_out), rows.held_out.targets)
    return task.answers(logits_of(rows.test), thresholds)


def answers_of_bundle(
    bundle: Path, part: Part, task: TextTask
) -> tuple[np.ndarray, np.ndarray | None]:
    """Asks a bundle.

    A text without a known word gets no answer. It counts as another class than the right one, as no
    label, or as the mean of the training numbers.

    Args:
        bundle: Its folder.
        part: Texts and what is right for them.
        task: What is asked.

    Returns:
        Answers in the form of the task; and of a class the probabilities `[N, C]`, even ones where
        there is no answer, else None.
    """
    found = Agent(bundle).predict(part.texts, return_exceptions=True)
    number = {name: index for index, name in enumerate(task.label_names)}
    if task.kind == "number":
        mean = (task.scale or NumberScale()).mean
        values = [each.value if isinstance(each, NumberPrediction) else mean for each in found]
        return np.array(values, np.float64), None
    if task.kind == "labels":
        given = np.zeros((len(found), len(number)), np.int64)
        for row, each in enumerate(found):
            if isinstance(each, LabelsPrediction):
                given[row, [number[label] for label in each.labels]] = 1
        return given, None
    classes, probabilities = [], []
    even = (1 / len(number),) * len(number)
    for each, right in zip(found, part.targets, strict=True):
        if isinstance(each, Prediction):
            classes.append(number[each.label])
            probabilities.append(each.probabilities)
        else:
            classes.append((int(right) + 1) % len(number))
            probabilities.append(even)
    return np.array(classes), np.array(probabilities)


def as_text(answer: Any, names: Sequence[str]) -> str:
    """Writes the labels of one text, for people.

    Args:
        answer: 0 and 1, `[C]`.
        names: Names of the C labels.

    Example:
        >>> as_text([1, 0, 1], ["joy", "fear", "awe"]), as_text([0, 0, 0], ["joy", "fear", "awe"])
        ('joy, awe', 'no label')
    """
    return ", ".join(names[int(number)] for number in np.flatnonzero(answer)) or "no label"
