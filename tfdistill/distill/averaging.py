"""Averaging the weights of students that learned on different data: federated averaging.

```
w = Σ_k (n_k / n) · w_k        n = Σ_k n_k
```

Each student learns where its data is, and only its weights travel. The mean of several networks is
a good network when they started from the same weights and did not go far before they were averaged;
otherwise their hidden units mean different things, and the mean means nothing. So the usual round
is: send out one model, train each copy for a little while, average, and begin again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import keras
import numpy as np

__all__ = ["average_students", "average_weights"]


def average_weights(
    weights: Sequence[Sequence[np.ndarray]], *, examples: Sequence[float] | None = None
) -> list[np.ndarray]:
    """Averages lists of weights: Σ_k (n_k / n) · w_k, array by array.

    The sum is taken in float64. Integers, such as the state of a seed, are not averaged: those of
    the first list are returned.

    Args:
        weights: For each student K, its arrays, as `model.get_weights()` returns them: the same
            number, and the same shapes, for all.
        examples: n_k, how many examples each has learned from: K numbers of at least 0, not all
            0. None weighs all alike.

    Returns:
        New arrays with the shapes and dtypes of the first list.

    Raises:
        ValueError: If there is nothing to average, or the shapes or the numbers do not fit.

    Example:
        >>> one, other = [np.array([0.0, 4.0])], [np.array([8.0, 4.0])]
        >>> average_weights([one, other], examples=[300, 100])[0].tolist()
        [2.0, 4.0]

    References:
        McMahan et al. "Communication-Efficient Learning of Deep Networks from Decentralized Data",
        2017, algorithm 1. https://arxiv.org/abs/1602.05629
    """
    lists = [list(each) for each in weights]
    if not lists:
        raise ValueError("`weights` must have the weights of at least one student. Received: [].")
    shapes = [[np.shape(array) for array in each] for each in lists]
    for index, found in enumerate(shapes):
        if found != shapes[0]:
            raise ValueError(
                "`weights` must have the same shapes for all students. Received: "
                f"weights[0] → {shapes[0]}, weights[{index}] → {found}."
            )
    shares = _shares(examples, count=len(lists))
    averaged = []
    for arrays in zip(*lists, strict=True):
        first = np.asarray(arrays[0])
        if not np.issubdtype(first.dtype, np.floating):
            averaged.append(first.copy())
            continue
        total = np.zeros(first.shape, dtype=np.float64)
        for share, array in zip(shares, arrays, strict=True):
            total += share * np.asarray(array, dtype=np.float64)
        averaged.append(total.astype(first.dtype))
    return averaged


def average_students(
    students: Sequence[keras.Model], *, examples: Sequence[float] | None = None
) -> keras.Model:
    """Builds a student with the averaged weights of several; none of them is changed.

    Args:
        students: Built models of one architecture, best of one origin.
        examples: As in `average_weights`.

    Returns:
        A new model, not compiled.

    Raises:
        TypeError: If one is not a Keras model.
        ValueError: If one is not built, or they do not have the same weights.
    """
    for index, student in enumerate(students):
        if not isinstance(student, keras.Model):
            raise TypeError(
                f"`students[{index}]` must be a Keras 3 model. Received: {type(student).__name__}."
            )
        if not student.built:
            raise ValueError(
                f"`students[{index}]` must be built. Received: {student.name!r}, which has no "
                "weights yet. Call it once on a batch."
            )
    averaged = average_weights([each.get_weights() for each in students], examples=examples)
    copy = keras.models.clone_model(students[0])
    if not copy.built:
        copy.build(students[0].input_shape)
    copy.set_weights(averaged)
    return copy


def _shares(examples: Sequence[float] | None, *, count: int) -> list[float]:
    if examples is None:
        return [1.0 / count] * count
    numbers = [float(each) for each in examples]
    sound = len(numbers) == count and all(math.isfinite(each) and each >= 0 for each in numbers)
    if not sound or sum(numbers) == 0:
        raise ValueError(
            f"`examples` must be one number of at least 0 for each of the {count} students, and "
            f"not all 0. Received: examples={list(examples)!r}."
        )
    return [each / sum(numbers) for each in numbers]
