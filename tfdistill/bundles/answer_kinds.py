"""What a bundle answers: one class, several labels, or a number.

=========  ===================  ==================================  ==============================
task       a row of outputs     an answer                           the manifest states
=========  ===================  ==================================  ==============================
"class"    scores of classes    the one of the largest              perhaps a `confidence`
"labels"   yes or no for each   those whose sigmoid reaches their   `thresholds`, one a label
           label                threshold
"number"   one standardized     mean + standard deviation · output  `scale`, these two
           number
=========  ===================  ==================================  ==============================

A manifest without a task is a class's. It may come from a stranger, so each number has bounds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tfdistill.arguments import check_number

__all__ = ["AnswerKind", "NumberScale", "TASKS", "answer_kind", "read_answer_kind"]

TASKS = ("class", "labels", "number")
_USUAL_THRESHOLD = 0.5
# So that no output of a float32 file becomes infinite.
_MEANS, _DEVIATIONS = "[-1e38, 1e38]", "(0, 1e38]"


@dataclass(frozen=True)
class NumberScale:
    """Turns the standardized output of a model into units: mean + standard_deviation · output.

    Models learn numbers of mean 0 and deviation 1, whatever the units, and rates that suit one task
    suit the next.

    Attributes:
        mean: Mean of the training numbers, in [-1e38, 1e38].
        standard_deviation: Their standard deviation, in (0, 1e38].

    Raises:
        TypeError: If one is not a number.
        ValueError: If one is out of range.

    Example:
        >>> NumberScale(mean=3.0, standard_deviation=2.0).units(-0.5)
        2.0
    """

    mean: float = 0.0
    standard_deviation: float = 1.0

    def __post_init__(self) -> None:
        """Refuses numbers that no column has; a manifest may come from a stranger."""
        check_number(self.mean, argument="mean", interval=_MEANS)
        check_number(self.standard_deviation, argument="standard_deviation", interval=_DEVIATIONS)

    def units(self, outputs: Any) -> Any:
        """Returns mean + standard_deviation · outputs, of the shape of `outputs`."""
        return self.mean + self.standard_deviation * outputs


@dataclass(frozen=True)
class AnswerKind:
    """What the outputs of a bundle's model mean.

    Attributes:
        task: "class", "labels" or "number".
        thresholds: The least probability of each label, in (0, 1); None for another task.
        scale: What turns the output into units; None for another task.
    """

    task: str = "class"
    thresholds: tuple[float, ...] | None = None
    scale: NumberScale | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns what the manifest holds of it."""
        content: dict[str, Any] = {"task": self.task}
        if self.thresholds is not None:
            content["thresholds"] = list(self.thresholds)
        if self.scale is not None:
            content["scale"] = asdict(self.scale)
        return content


def answer_kind(
    task: str,
    labels: Sequence[str],
    *,
    thresholds: Sequence[float] | None = None,
    scale: NumberScale | None = None,
) -> AnswerKind:
    """Puts a task and its numbers together, and refuses what does not go together.

    Args:
        task: "class", "labels" or "number".
        labels: Names of the outputs; of a number, one name.
        thresholds: For "labels" the least probability of each, in (0, 1); None takes 0.5.
        scale: For "number" mean and deviation of the training numbers; None takes 0 and 1.

    Returns:
        The kind.

    Raises:
        TypeError: If `thresholds` are no list of numbers, or `scale` is no `NumberScale`.
        ValueError: If the task is unknown, a part belongs to another one, a threshold is out of
            range or missing, or a number has several names.

    Example:
        >>> answer_kind("labels", ["joy", "fear"]).thresholds
        (0.5, 0.5)
    """
    if not isinstance(task, str) or task not in TASKS:
        raise ValueError(f"`task` must be one of {TASKS}. Received: task={task!r}.")
    if thresholds is not None and task != "labels":
        raise ValueError(
            f"`thresholds` must be None for task={task!r}. Received: {len(thresholds)} thresholds. "
            "Only several labels have them: task='labels'."
        )
    if scale is not None and task != "number":
        raise ValueError(
            f"`scale` must be None for task={task!r}. Received: scale={scale!r}. "
            "Only a number has one: task='number'."
        )
    if task == "labels":
        return AnswerKind(task, thresholds=_checked_thresholds(thresholds, labels))
    if task == "class":
        return AnswerKind(task)
    if len(labels) != 1:
        raise ValueError(
            "`labels` must be one name for task='number', that of the number. Received: "
            f"{len(labels)} labels."
        )
    if scale is not None and not isinstance(scale, NumberScale):
        raise TypeError(
            f"`scale` must be a NumberScale or None. Received: scale={scale!r} "
            f"({type(scale).__name__})."
        )
    return AnswerKind(task, scale=scale or NumberScale())


def read_answer_kind(content: Mapping[str, Any], labels: Sequence[str]) -> AnswerKind:
    """Reads what a manifest states of its task.

    Args:
        content: The manifest; without a task it is a class's.
        labels: The bundle's labels.

    Returns:
        The kind.

    Raises:
        TypeError: If a part is of another type.
        ValueError: If the task is unknown, or a part missing or out of range.
    """
    task = content.get("task", "class")
    parts: dict[str, Any] = {}
    if "thresholds" in content:
        stated = content["thresholds"]
        if not isinstance(stated, list):
            raise TypeError(f"`thresholds` must be a list. Received: {type(stated).__name__}.")
        parts["thresholds"] = stated
    if "scale" in content:
        stated = content["scale"]
        if not isinstance(stated, dict) or set(stated) != {"mean", "standard_deviation"}:
            raise ValueError("`scale` must have exactly the parts mean and standard_deviation.")
        parts["scale"] = NumberScale(**stated)
    kind = answer_kind(task, labels, **parts)
    missing = {"labels": "thresholds", "number": "scale"}.get(kind.task)
    if missing is not None and missing not in parts:
        raise ValueError(f"`{missing}` must be stated for task={task!r}.")
    return kind


def _checked_thresholds(
    thresholds: Sequence[float] | None, labels: Sequence[str]
) -> tuple[float, ...]:
    if thresholds is None:
        return (_USUAL_THRESHOLD,) * len(labels)
    if isinstance(thresholds, str) or not hasattr(thresholds, "__len__"):
        raise TypeError(
            "`thresholds` must be a list of numbers in (0, 1). Received: "
            f"thresholds={thresholds!r} ({type(thresholds).__name__})."
        )
    if len(thresholds) != len(labels):
        raise ValueError(
            f"`thresholds` must be one for each of the {len(labels)} labels. Received: "
            f"{len(thresholds)}."
        )
    hint = "A probability that reaches it is a yes; 0.5 is usual."
    return tuple(
        check_number(value, argument=f"thresholds[{index}]", interval="(0, 1)", hint=hint)
        for index, value in enumerate(thresholds)
    )
