"""Error messages of `Distiller.fit`: which label or which teacher was wrong, and in which batch.

Labels in arrays are checked before the first step. Those of a dataset are checked by TensorFlow's
loss. Its error, like that of a teacher that returns NaN, names an operation of a graph; it is
raised again in terms of what the user passed, with the epoch and batch that a callback counts.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdistill.distill.losses.hard import SEVERAL_LABELS, LabelLoss
from tfdistill.distill.teacher_cache.cache import TeacherCache

__all__ = ["Position", "check_labels", "labels_of", "with_clear_errors"]

_LABEL = re.compile(r"label value of (-?\d+) which is outside the valid range of \[0, (\d+)\)")
_REVERSE = re.compile(r"(`teacher_logits` must be finite for reverse_kl, .*? Received: logits)")
_TEACHER = re.compile(r"(`teacher` must return finite logits\. Received: .*?, whose logits)")


class Position(keras.callbacks.Callback):
    """Counts epochs and batches, and sets the epoch of a cached teacher.

    Args:
        cache: The cached teacher, or None.
    """

    def __init__(self, cache: TeacherCache | None = None) -> None:
        super().__init__()
        self._cache = cache
        self._epoch = 0
        self._batch = 0
        self._test_batch: int | None = None

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Notes the epoch; a resumed run meets the cached rows in the order of that epoch."""
        self._epoch = epoch
        if self._cache is not None:
            self._cache.start_epoch(epoch)

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        """Notes the batch."""
        self._batch = batch

    def on_test_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        """Notes the batch of an evaluation."""
        self._test_batch = batch

    def on_test_end(self, logs: dict | None = None) -> None:
        """Goes back to the training batches."""
        self._test_batch = None

    def leave(self) -> None:
        """Lets the datasets of a cached teacher count their epochs for themselves again."""
        if self._cache is not None:
            self._cache.start_epoch(None)

    def __str__(self) -> str:
        if self._test_batch is not None:
            return f"batch {self._test_batch} of the evaluation (counted from 0)"
        return f"batch {self._batch} of epoch {self._epoch} (both counted from 0)"


@contextlib.contextmanager
def with_clear_errors(callbacks: Any, *, teacher: Any = None) -> Iterator[list[Any]]:
    """Runs a training or evaluation and raises TensorFlow's errors in the user's terms.

    Args:
        callbacks: As the user gave them: None, one or several.
        teacher: The teacher; the epoch of a `TeacherCache` is set when one begins.

    Yields:
        The callbacks to run.

    Raises:
        ValueError: If a label is out of range or a teacher's logits are not finite.
    """
    position = Position(teacher if isinstance(teacher, TeacherCache) else None)
    if not isinstance(callbacks, (list, tuple)):
        callbacks = [] if callbacks is None else [callbacks]
    try:
        yield [position, *callbacks]
    except tf.errors.InvalidArgumentError as error:
        text = str(error.message)
        if found := _LABEL.search(text):
            raise ValueError(_label_message(int(found[1]), int(found[2]), str(position))) from error
        if found := _TEACHER.search(text):
            raise ValueError(
                f"{found[1]} are NaN or infinite in {position}. Look at what it makes of that "
                "batch; half precision that overflows is a usual cause."
            ) from error
        if SEVERAL_LABELS[:40] in text:
            raise ValueError(f"{SEVERAL_LABELS} It was in {position}.") from error
        if found := _REVERSE.search(text):
            raise ValueError(
                f"{found[1]} that are not finite in {position}. Use forward_kl or "
                "jensen_shannon, which stay finite."
            ) from error
        raise
    finally:
        position.leave()


def labels_of(data: Any) -> Any:
    """Returns the labels of `(x, y)` or `(x, y, sample_weight)`, or None for anything else."""
    return data[1] if isinstance(data, (list, tuple)) and len(data) in (2, 3) else None


def check_labels(y: Any, *, loss: Any, logits_shape: Any) -> None:
    """Refuses integer labels in an array that name no class.

    Args:
        y: The `y` of `fit`. Datasets, None and one-hot labels pass.
        loss: The compiled task loss; only the sparse cross-entropies take class numbers.
        logits_shape: Shape of the student's logits; nothing is checked where it is not known.

    Raises:
        ValueError: If a label is outside [0, C) and not the ignored class.

    Example:
        >>> check_labels([0, 3], loss=LabelLoss(), logits_shape=(None, 3))
        Traceback (most recent call last):
            ...
        ValueError: `y` must hold labels from 0 to 2, one of 3 classes. Received: label 3 in ...
    """
    if not isinstance(loss, (LabelLoss, keras.losses.SparseCategoricalCrossentropy)):
        return
    if not isinstance(y, (np.ndarray, list, tuple, tf.Tensor)) or not isinstance(
        logits_shape, tuple
    ):
        return
    labels = np.asarray(y)
    classes = logits_shape[-1]
    if isinstance(loss, LabelLoss) and labels.shape[-1:] == (classes,) and classes > 1:
        _refuse_several_labels(labels, rank=len(logits_shape))
    if labels.ndim == len(logits_shape) and labels.shape[-1] == 1:
        labels = labels[..., 0]
    if classes is None or labels.dtype.kind not in "iuf" or labels.ndim != len(logits_shape) - 1:
        return
    wrong = (labels < 0) | (labels >= classes)
    ignored = loss.get_config().get("ignore_class")
    if ignored is not None:
        wrong &= labels != ignored
    if wrong.any():
        first = tuple(int(index) for index in np.argwhere(wrong)[0])
        place = f"row {first[0]}" + (f", position {first[1]}" if len(first) > 1 else "")
        raise ValueError(_label_message(int(labels[first]), classes, place))


def _refuse_several_labels(labels: np.ndarray, *, rank: int) -> None:
    if labels.ndim != rank or labels.dtype.kind not in "buif":
        return
    mass = labels.astype(np.float64).sum(axis=-1)
    wrong = np.argwhere(mass > 1.01)
    if len(wrong):
        raise ValueError(f"{SEVERAL_LABELS} The first such row is {int(wrong[0][0])}.")


def _label_message(label: int, classes: int, place: str) -> str:
    return (
        f"`y` must hold labels from 0 to {classes - 1}, one of {classes} classes. "
        f"Received: label {label} in {place}. Give the student's last layer as many units as "
        "there are classes, or compile(ignore_class=...) for padding."
    )
