"""What a teacher is to the Distiller: a source of logits, whatever makes them.

A Keras model, any callable on a batch of tensors, or the `TeacherCache` of their answers on
disk give the same logits to the same loss. The source is held in a plain object, so that Keras
neither trains, nor freezes, nor saves it along with the student.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf

from tfdistill._keras import check_model, full_name
from tfdistill.answers import ANSWERS, INPUTS
from tfdistill.label_loss import refuse_probabilities
from tfdistill.teacher_cache import TeacherCache

__all__ = ["TeacherSignal", "num_classes", "split_answers", "takes_training"]


class TeacherSignal:
    """Holds a teacher out of Keras' sight and asks it for logits.

    Args:
        teacher: A built Keras 3 model, a callable from a batch of inputs to logits `[..., C]`,
            or a `TeacherCache`, whose batches bring the answers along.

    Raises:
        TypeError: If `teacher` is neither, a tf_keras model for one.
        ValueError: If it is an unbuilt model or returns probabilities.
    """

    def __init__(self, teacher: keras.Model | Callable[[Any], tf.Tensor] | TeacherCache) -> None:
        if isinstance(teacher, keras.Model):
            check_model(teacher, argument="teacher")
            refuse_probabilities(teacher, argument="teacher")
        elif not isinstance(teacher, TeacherCache) and (
            full_name(teacher).startswith("tf_keras.") or not callable(teacher)
        ):
            check_model(teacher, argument="teacher")
        self.teacher = teacher

    def num_classes(self) -> int | None:
        """Returns the width of the logits where it is known before the first batch."""
        if isinstance(self.teacher, TeacherCache):
            return self.teacher.num_classes
        return num_classes(self.teacher) if isinstance(self.teacher, keras.Model) else None

    @property
    def is_cached(self) -> bool:
        """Whether the answers have to come with the batches."""
        return isinstance(self.teacher, TeacherCache)

    def logits(self, inputs: Any) -> tf.Tensor:
        """Asks the teacher, in inference mode and without a gradient.

        Args:
            inputs: One batch of model inputs.

        Returns:
            Logits, float tensor of shape `[..., C]`.

        Raises:
            TypeError: If the teacher returns several outputs or something else than a tensor.
        """
        teacher = self.teacher
        if isinstance(teacher, TeacherCache):
            raise RuntimeError(
                "This Distiller needs the teacher's answers in each batch. "
                "Train it on `teacher_cache.dataset(x, y)`."
            )
        if isinstance(teacher, keras.Model) and takes_training(teacher):
            answer = teacher(inputs, training=False)
        else:
            answer = teacher(inputs)
        if isinstance(answer, (list, tuple, Mapping)):
            raise TypeError(
                "`teacher` must return one tensor of logits. "
                f"Received: {type(answer).__name__} of {len(answer)} outputs. "
                "Wrap it: keras.Model(teacher.input, teacher.output[...])."
            )
        return tf.stop_gradient(tf.convert_to_tensor(answer))


def split_answers(inputs: Any) -> tuple[Any, tf.Tensor | None]:
    """Separates the model inputs from the teacher's answers that a cache sends along.

    Args:
        inputs: The x of a batch, with or without answers.

    Returns:
        The inputs of the student, and the teacher's logits or None.
    """
    if isinstance(inputs, Mapping) and INPUTS in inputs:
        return inputs[INPUTS], inputs.get(ANSWERS)
    return inputs, None


def num_classes(model: keras.Model) -> int | None:
    """Returns the size of a model's last axis, or None where it is not one known number."""
    try:
        shape = model.output_shape
    except (AttributeError, NotImplementedError, ValueError):
        return None
    if not isinstance(shape, tuple) or not shape or isinstance(shape[-1], (tuple, list)):
        return None
    return shape[-1]


def takes_training(model: keras.Model) -> bool:
    """Tells whether the model's `call` has an argument `training`."""
    return "training" in inspect.signature(model.call).parameters
