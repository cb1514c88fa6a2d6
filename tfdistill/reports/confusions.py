"""Where a student differs from its teacher: confusions that came or went, and examples lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["ConfusionChange", "LostExample", "changes_between", "lost_examples"]


@dataclass(frozen=True)
class ConfusionChange:
    """One kind of mistake, made more or less often by the student than by the teacher.

    Attributes:
        truth: The right class.
        said: The class that was said in its place.
        teacher: How often the teacher made this mistake.
        student: How often the student did.
    """

    truth: str
    said: str
    teacher: int
    student: int


@dataclass(frozen=True)
class LostExample:
    """A text that the teacher had right and the student has wrong.

    Attributes:
        text: The text.
        truth: The right class, which the teacher said.
        said: What the student says.
    """

    text: str
    truth: str
    said: str


def changes_between(
    truth: npt.ArrayLike,
    teacher: npt.ArrayLike,
    student: npt.ArrayLike,
    *,
    label_names: Sequence[str],
    most: int = 12,
) -> list[ConfusionChange]:
    """Lists the mistakes whose number changed, the greatest change first.

    Args:
        truth: Right classes, int `[M]`.
        teacher: The teacher's classes, int `[M]`.
        student: The student's classes, int `[M]`.
        label_names: Name of each class.
        most: How many at most.

    Example:
        >>> changes_between([0, 0, 1], [0, 0, 0], [1, 1, 1], label_names=["dry", "wet"])[0]
        ConfusionChange(truth='dry', said='wet', teacher=0, student=2)
    """
    counts = [
        Counter(
            (int(right), int(said))
            for right, said in zip(np.asarray(truth), np.asarray(who), strict=True)
        )
        for who in (teacher, student)
    ]
    pairs = {pair for count in counts for pair in count if pair[0] != pair[1]}
    changed = [pair for pair in pairs if counts[0][pair] != counts[1][pair]]
    changed.sort(key=lambda pair: (-abs(counts[1][pair] - counts[0][pair]), pair))
    return [
        ConfusionChange(
            label_names[right], label_names[said], *(each[right, said] for each in counts)
        )
        for right, said in changed[:most]
    ]


def lost_examples(
    texts: Sequence[str],
    truth: npt.ArrayLike,
    teacher: npt.ArrayLike,
    student: npt.ArrayLike,
    *,
    label_names: Sequence[str],
    most: int = 20,
) -> list[LostExample]:
    """Lists the first texts that the teacher has right and the student wrong.

    Args:
        texts: The test set, M texts.
        truth: Right classes, int `[M]`.
        teacher: The teacher's classes, int `[M]`.
        student: The student's classes, int `[M]`.
        label_names: Name of each class.
        most: How many at most.

    Example:
        >>> lost_examples(["sun", "fog"], [0, 1], [0, 0], [1, 1], label_names=["dry", "wet"])
        [LostExample(text='sun', truth='dry', said='wet')]
    """
    classes = (np.asarray(truth), np.asarray(teacher), np.asarray(student))
    lost = [
        LostExample(text, label_names[right], label_names[wrong])
        for text, right, knew, wrong in zip(texts, *classes, strict=True)
        if knew == right != wrong
    ]
    return lost[:most]
