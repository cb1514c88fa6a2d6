"""What the arguments of `TeacherCache.build` may be."""

from __future__ import annotations

import keras

__all__ = ["check_settings", "check_teacher"]


def check_teacher(teacher: object, workers: object) -> None:
    """Refuses a teacher that is several, and workers that cannot have it.

    Args:
        teacher: The teacher.
        workers: Number of processes.

    Raises:
        TypeError: If there are several teachers.
        ValueError: If `workers` is no positive int, or above 1 for a callable.
    """
    if isinstance(teacher, (list, tuple)):
        raise TypeError(
            "`teacher` must be one teacher, because a mixture depends on the temperature. "
            f"Received: teacher={[type(one).__name__ for one in teacher]}. Give several to the "
            "Distiller itself, or a function that returns the logits of their mixture."
        )
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise ValueError(
            f"`workers` must be an int of at least 1. Received: workers={workers!r}. "
            "Above 1 they are processes of Ray."
        )
    if workers > 1 and not isinstance(teacher, keras.Model):
        raise ValueError(
            "`workers` must be 1 for a teacher that is a callable. "
            f"Received: workers={workers!r}. A Keras model can be sent to other processes as a "
            "file; code cannot."
        )


def check_settings(top_k: object, batch_size: object, num_classes: int) -> None:
    """Refuses numbers that are out of range.

    Args:
        top_k: How many classes to keep, or None.
        batch_size: Rows per call of the teacher.
        num_classes: Number of classes.

    Raises:
        ValueError: If one of them is out of range.
    """
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(
            f"`batch_size` must be an int of at least 1. Received: batch_size={batch_size!r}."
        )
    if top_k is None:
        return
    if isinstance(top_k, bool) or not isinstance(top_k, int) or not 1 <= top_k <= num_classes:
        raise ValueError(
            f"`top_k` must be None or an int in [1, {num_classes}], the number of classes. "
            f"Received: top_k={top_k!r}. None keeps all of them."
        )
