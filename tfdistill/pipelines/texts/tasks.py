"""What is asked of a text: one class, several labels, or a number."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tfdistill.agents.trust.thresholds import best_thresholds
from tfdistill.bundles.answer_kinds import NumberScale

__all__ = ["TASKS", "TextTask", "doubt_of", "infer_task", "names_in", "task_of"]

TASKS = ("class", "labels", "number")
_SEPARATORS = re.compile(r"\s*[|;,]\s*")
_FIFTHS = (0.2, 0.4, 0.6, 0.8)
_FEW = 20  # different whole numbers up to which a column of them is one of classes


@dataclass(frozen=True)
class TextTask:
    """A task and its classes.

    Attributes:
        kind: "class", "labels" or "number".
        label_names: Names of the classes; of a number, its name alone.
        scale: Mean and deviation of the training numbers; None for another task.
    """

    kind: str
    label_names: tuple[str, ...]
    scale: NumberScale | None = None

    @property
    def outputs(self) -> str:
        """What logits mean, as `Distiller.compile(outputs=...)` takes it."""
        return {"class": "softmax", "labels": "sigmoid", "number": "linear"}[self.kind]

    @property
    def num_outputs(self) -> int:
        """Number of logits."""
        return len(self.label_names)

    @property
    def metric(self) -> str:
        """What decides and is told first, as `tfdistill.reports.compare_with_rivals` takes it."""
        return {"class": "accuracy", "labels": "macro_f1", "number": "r2"}[self.kind]

    def scaled_to(self, targets: np.ndarray) -> TextTask:
        """Returns the task with the scale of its training targets; only numbers have one.

        Example:
            >>> TextTask("number", ("stars",)).scaled_to(np.array([1.0, 5.0])).scale
            NumberScale(mean=3.0, standard_deviation=2.0)
        """
        if self.kind != "number":
            return self
        numbers = np.asarray(targets, np.float64)
        # Training numbers that are all the same have no deviation, and nothing to learn.
        scale = NumberScale(float(numbers.mean()), float(numbers.std()) or 1.0)
        return replace(self, scale=scale)

    def learned(self, targets: np.ndarray) -> np.ndarray:
        """Returns what models learn of targets: numbers of mean 0 and deviation 1, others as is.

        Example:
            >>> task = TextTask("number", ("stars",), NumberScale(3.0, 2.0))
            >>> task.learned(np.array([1.0, 4.0])).tolist()
            [-1.0, 0.5]
        """
        if self.scale is None:
            return targets
        return ((targets - self.scale.mean) / self.scale.standard_deviation).astype(np.float32)

    def thresholds(self, logits: np.ndarray, targets: np.ndarray) -> np.ndarray | None:
        """Returns the least logit of each label, by the best F1; None for another task.

        Args:
            logits: Of held-out texts, `[N, C]`.
            targets: Theirs.
        """
        if self.kind != "labels":
            return None
        return best_thresholds(logits, targets, usual=0.0)

    def answers(self, logits: np.ndarray, thresholds: np.ndarray | None = None) -> np.ndarray:
        """Turns logits into answers, in the form of `encode`.

        Args:
            logits: `[N, C]`.
            thresholds: Of several labels, the least logit of each; None takes 0.

        Returns:
            Class ids int64 `[N]`; 0 and 1, int64 `[N, C]`; or float64 `[N]` in units.

        Example:
            >>> TextTask("labels", ("a", "b")).answers(np.array([[0.5, -0.5]])).tolist()
            [[1, 0]]
            >>> task = TextTask("number", ("stars",), NumberScale(3.0, 2.0))
            >>> task.answers(np.array([[-1.0], [0.5]])).tolist()
            [1.0, 4.0]
        """
        if self.kind == "class":
            return logits.argmax(axis=-1)
        if self.kind == "labels":
            return (logits >= (0.0 if thresholds is None else thresholds)).astype(np.int64)
        return (self.scale or NumberScale()).units(logits[:, 0].astype(np.float64))

    def groups(self, logits: np.ndarray) -> np.ndarray:
        """Parts texts into classes by what a teacher says, for n-grams that tell these apart.

        They are its likeliest class or label, or the fifth of the numbers that a text is in. With
        the most frequent n-grams, of 12,000 texts of GoEmotions and its 28 labels, bags of 60 and
        240 KB learned a macro F1 of 0.275 and 0.326; with these groups (by the first label) 0.330
        and 0.365. Of a number for each of 9,662 film reviews they learned an R² of 0.693 and 0.758,
        and of 0.723 and 0.752 with these groups: what counts is a small bag.

        Args:
            logits: `[N, C]`.

        Returns:
            int64 `[N]`.

        Example:
            >>> task = TextTask("number", ("stars",))
            >>> task.groups(np.arange(10.0)[:, None]).tolist()
            [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
        """
        if self.kind != "number":
            return logits.argmax(axis=-1)
        numbers = logits[:, 0]
        return np.searchsorted(np.quantile(numbers, _FIFTHS), numbers)

    def describe(self) -> str:
        """Says what the task is, for people."""
        shown = ", ".join(self.label_names[:4]) + ", …" * (len(self.label_names) > 4)
        if self.kind == "class":
            return f"one of {len(self.label_names)} classes ({shown})"
        if self.kind == "labels":
            return f"any of {len(self.label_names)} labels ({shown})"
        return "a number"

    def encode(self, cells: Sequence[Any]) -> np.ndarray:
        """Turns cells of the label column into targets.

        Args:
            cells: Class names; lists of names, or texts of names between `,`, `;` or `|`; numbers.

        Returns:
            Class ids int32 `[N]`; 0 and 1, float32 `[N, C]`; or float32 `[N]`.

        Example:
            >>> TextTask("labels", ("joy", "fear")).encode(["fear|joy", ""]).tolist()
            [[1.0, 1.0], [0.0, 0.0]]
        """
        if self.kind == "number":
            return np.asarray(cells, np.float32)
        number = {name: index for index, name in enumerate(self.label_names)}
        if self.kind == "class":
            return np.array([number[cell] for cell in cells], np.int32)
        targets = np.zeros((len(cells), len(number)), np.float32)
        for row, cell in enumerate(cells):
            for name in names_in(cell):
                if name in number:
                    targets[row, number[name]] = 1.0
        return targets


def names_in(cell: Any) -> tuple[str, ...]:
    """Lists the names in a cell of several labels.

    Args:
        cell: A list, a JSON list, or names between `,`, `;` or `|`; nothing is no label.

    Example:
        >>> names_in("joy; fear"), names_in('["a,b"]'), names_in(None)
        (('joy', 'fear'), ('a,b',), ())
    """
    if cell is None or (isinstance(cell, float) and np.isnan(cell)):
        return ()
    if isinstance(cell, str) and cell.lstrip().startswith("["):
        try:
            cell = json.loads(cell)
        except ValueError:
            pass
    if isinstance(cell, (list, tuple, set, np.ndarray)):
        names = [str(name).strip() for name in cell]
    else:
        names = _SEPARATORS.split(str(cell).strip())
    return tuple(dict.fromkeys(name for name in names if name))


def infer_task(cells: Sequence[Any]) -> str:
    """Guesses the task from a column: lists are labels, fractions are numbers, else classes.

    Names between separators are classes too, because a class may have a comma in its name; say
    `task="labels"` for them.

    Args:
        cells: The label column as it was read.

    Returns:
        "class", "labels" or "number".

    Example:
        >>> infer_task(["1.5", "2.25", "3"]), infer_task([1, 2, 2]), infer_task([["a"], []])
        ('number', 'class', 'labels')
    """
    present = [cell for cell in cells if cell is not None and str(cell).strip()]
    lists = [cell for cell in present if isinstance(cell, (list, tuple, np.ndarray))]
    if present and (len(lists) == len(present) or all(_is_json_list(cell) for cell in present)):
        return "labels"
    numbers = [_number(cell) for cell in present]
    if present and all(number is not None for number in numbers):
        different = set(numbers)
        if any(number != int(number) for number in different if number is not None):
            return "number"
        if len(different) > _FEW:
            return "number"
    return "class"


def doubt_of(kind: str, cells: Sequence[Any]) -> str:
    """Says what else a column may be whose task was guessed.

    Args:
        kind: What `infer_task` said.
        cells: The label column as it was read.

    Returns:
        Advice, or nothing where the guess is plain.

    Example:
        >>> doubt_of("class", ["joy|fear", "joy", "fear", "fear|joy"])
        "if the cells hold several labels each, set `task` (--task) to 'labels'"
        >>> doubt_of("class", ["Paris, France", "Nice, France"])
        ''
    """
    present = [cell for cell in cells if cell is not None and str(cell).strip()]
    if kind == "number":
        values = [_number(cell) for cell in present]
        if all(value is not None and value == int(value) for value in values):
            return "if the numbers stand for classes, set `task` (--task) to 'class'"
    elif kind == "class":
        different = set(map(str, present))
        # Several labels are combinations of few names; commas in names make more parts than names.
        if len({name for cell in different for name in names_in(cell)}) < len(different):
            return "if the cells hold several labels each, set `task` (--task) to 'labels'"
    return ""


def task_of(kind: str, cells: Sequence[Any]) -> TextTask:
    """Makes a task whose classes are those of a column.

    Args:
        kind: "class", "labels" or "number".
        cells: The label column.

    Raises:
        ValueError: If the kind is unknown, or the column has too few names.

    Example:
        >>> task_of("labels", ["b|a", "a"]).label_names
        ('a', 'b')
    """
    if kind not in TASKS:
        raise ValueError(f"`task` must be 'auto' or one of {TASKS}. Received: task={kind!r}.")
    if kind == "number":
        if len(set(cells)) < 2:
            raise ValueError(
                "`label` must be a column of two or more different numbers. Received: a column "
                f"with {sorted(set(cells))} only. Is it the right column?"
            )
        return TextTask(kind, ("number",))
    if kind == "class":
        names = sorted(set(cells))
    else:
        names = sorted({name for cell in cells for name in names_in(cell)})
    if len(names) < 2:
        raise ValueError(
            "`label` must be a column of two or more different labels. Received: a column with "
            f"{names!r} only. Is it the right column?"
        )
    return TextTask(kind, tuple(names))


def _is_json_list(cell: Any) -> bool:
    return isinstance(cell, str) and cell.lstrip().startswith("[") and cell.rstrip().endswith("]")


def _number(cell: Any) -> float | None:
    if isinstance(cell, bool) or not isinstance(cell, (str, int, float, np.number)):
        return None
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if np.isfinite(value) else None
