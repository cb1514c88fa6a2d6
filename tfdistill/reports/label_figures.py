"""Figures of each label where a text may have several: which ones a student has lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tfdistill.arguments import check_int, check_number
from tfdistill.reports.quantities import count_text, fixed_text
from tfdistill.reports.table import Table

__all__ = ["LabelScore", "label_f1", "label_scores", "label_table"]


@dataclass(frozen=True)
class LabelScore:
    """How well models find one label.

    Attributes:
        label: Its name.
        examples: Number of test texts that have it.
        f1: F1 of each model, by its name; None where the label is neither there nor said.
    """

    label: str
    examples: int
    f1: Mapping[str, float | None]

    @classmethod
    def from_dict(cls, content: Any) -> LabelScore:
        """Reads what a report holds of one label.

        Raises:
            TypeError: If a part is of another type.
            ValueError: If a number is out of range.
        """
        score = cls(**content)
        if not isinstance(score.label, str) or not isinstance(score.f1, Mapping):
            raise TypeError(f"{score.label!r} is no label with its figures")
        check_int(score.examples, argument="examples", at_least=0)
        for name, value in score.f1.items():
            if value is not None:
                check_number(value, argument=f"f1[{name!r}]", interval="[0, 1]")
        return score


def label_f1(truth: npt.ArrayLike, said: npt.ArrayLike) -> list[float | None]:
    """Returns the F1 of each label, 2 · TP / (2 · TP + FP + FN).

    Args:
        truth: Whether each text has each label, 0 and 1 `[N, C]`.
        said: What a model says, the same shape.

    Returns:
        C numbers; None for a label that no text has and that is never said. Their mean, without
        these, is the macro F1.

    Raises:
        ValueError: If the shapes differ or are not `[N, C]`.

    Example:
        >>> label_f1([[1, 1, 0], [1, 0, 0]], [[1, 0, 0], [0, 1, 0]])
        [0.6666666666666666, 0.0, None]
    """
    right, given = (np.asarray(each).astype(bool) for each in (truth, said))
    if right.ndim != 2 or right.shape != given.shape:
        raise ValueError(
            "`truth` and `said` must have the same shape [N, C]. Received: truth of shape "
            f"{right.shape}, said of shape {given.shape}."
        )
    hits = (right & given).sum(axis=0)
    seen = right.sum(axis=0) + given.sum(axis=0)
    return [
        float(2.0 * hit / total) if total else None for hit, total in zip(hits, seen, strict=True)
    ]


def label_scores(
    truth: npt.ArrayLike, said: Mapping[str, npt.ArrayLike], *, label_names: Sequence[str]
) -> list[LabelScore]:
    """Compares models label by label, the most frequent label first.

    Args:
        truth: Whether each test text has each label, 0 and 1 `[N, C]`.
        said: What each model says, by its name, the same shape.
        label_names: Names of the C labels.

    Returns:
        One `LabelScore` per label.

    Raises:
        ValueError: If a shape differs.

    Example:
        >>> label_scores([[1, 1], [0, 1]], {"teacher": [[1, 1], [0, 0]]}, label_names=["a", "b"])
        [LabelScore(label='b', examples=2, f1={'teacher': 0.6666666666666666}),
         LabelScore(label='a', examples=1, f1={'teacher': 1.0})]
    """
    counts = np.asarray(truth).sum(axis=0).astype(int)
    f1 = {name: label_f1(truth, each) for name, each in said.items()}
    return [
        LabelScore(
            label_names[index], int(counts[index]), {name: each[index] for name, each in f1.items()}
        )
        for index in np.argsort(-counts, kind="stable")
    ]


def label_table(scores: Sequence[LabelScore]) -> Table:
    """Returns the figures of each label as a table.

    Args:
        scores: From `label_scores`; none makes a table without rows.
    """
    names = list(scores[0].f1) if scores else []
    return Table(
        ["label", "texts", *(f"F1 {name}" for name in names)],
        [
            [each.label, count_text(each.examples), *(fixed_text(each.f1[name]) for name in names)]
            for each in scores
        ],
    )
