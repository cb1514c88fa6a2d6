"""The teacher adapter: makes logits for the Distiller out of any kind of teacher.

A Keras model, any callable on a batch of tensors, or the `TeacherCache` of their logits on disk
give the same logits to the same loss. The adapter is a plain object, so that Keras neither trains,
nor freezes, nor saves the teacher along with the student.

Several teachers give one soft target: the weighted mean of their softened probabilities. With
`forward_kl` that is the weighted sum of the losses against each teacher, up to a constant that no
student changes:  Σ wᵢ · KL(pᵢ ‖ q) = KL(Σ wᵢ · pᵢ ‖ q) + constant.
"""

from __future__ import annotations

import inspect
import math
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfdistill.distill.losses.divergence import at_least_float32
from tfdistill.distill.teacher_cache.cache import TeacherCache
from tfdistill.distill.teacher_cache.logit_records import ANSWERS, INPUTS
from tfdistill.distill.teacher_cache.shards import fingerprint_model
from tfdistill.introspection.backend import check_model, full_name, is_legacy, refuse_probabilities

__all__ = [
    "TeacherAdapter",
    "binary_mixture_logits",
    "check_classes",
    "finite_logits",
    "logits_shape",
    "mean_numbers",
    "members",
    "mixture_logits",
    "num_classes",
    "one_tensor",
    "split_teacher_logits",
    "takes_training",
]


class TeacherAdapter:
    """Computes the logits of one teacher or of several, which Keras does not track.

    Args:
        teacher: A built Keras 3 model, a callable from a batch of inputs to logits `[..., C]`,
            a `TeacherCache`, whose batches hold the logits, or a list of models and callables,
            with or without weights (`members`).

    Raises:
        TypeError: If `teacher` is none of these, a tf_keras model for one.
        ValueError: If a model is not built or returns probabilities, a cache is not alone, or
            the classes of several teachers differ.
    """

    def __init__(self, teacher: Any) -> None:
        self.teachers, self.weights = members(teacher)
        for one in self.teachers:
            _check_teacher(one)
        if len(self.teachers) > 1 and any(isinstance(one, TeacherCache) for one in self.teachers):
            raise ValueError(
                "A TeacherCache must be the only `teacher`. Received: teacher="
                f"{[type(one).__name__ for one in self.teachers]}. Give the models themselves, "
                "or build one cache of a function that returns the logits of their mixture."
            )
        self.teacher = self.teachers[0] if len(self.teachers) == 1 else self.teachers

    def num_classes(self) -> int | None:
        """Returns the width of the logits where it is known before the first batch.

        Raises:
            ValueError: If the teachers differ in it.
        """
        known = [_classes(one) for one in self.teachers]
        different = {count for count in known if count is not None}
        if len(different) > 1:
            raise ValueError(
                "All teachers must have the same number of classes. Received: "
                + ", ".join(
                    f"{_name(one)} → {count}"
                    for one, count in zip(self.teachers, known, strict=True)
                )
                + ". They have to score the same classes in the same order."
            )
        return different.pop() if different else None

    @property
    def is_cached(self) -> bool:
        """Whether the logits have to come with the batches."""
        return isinstance(self.teacher, TeacherCache)

    def fingerprints(self) -> list[str | None]:
        """Identifies the teachers by their class and weights; None stands for a callable."""
        return [_fingerprint(one) for one in self.teachers]

    def check_outputs(self, outputs: str) -> None:
        """Refuses cached logits that do not hold what such outputs need.

        Args:
            outputs: What the outputs mean: "softmax", "sigmoid" or "linear".

        Raises:
            ValueError: If only the most probable classes of a softmax are in the cache.
        """
        if isinstance(self.teacher, TeacherCache) and outputs != "softmax" and self.teacher.top_k:
            raise ValueError(
                f"`teacher` must be a TeacherCache of whole logits for outputs={outputs!r}. "
                f"Received: teacher with the {self.teacher.top_k} most probable classes of a "
                "softmax. Build it with top_k=None."
            )

    def logits(self, inputs: Any, *, temperature: Any = 1.0, outputs: str = "softmax") -> tf.Tensor:
        """Runs each teacher once, in inference mode and without a gradient.

        Args:
            inputs: One batch of model inputs.
            temperature: Where the probabilities of several teachers are averaged.
            outputs: What the logits mean, which decides what of several teachers is averaged.

        Returns:
            Logits, float tensor of shape `[..., C]`.

        Raises:
            TypeError: If a teacher returns several outputs or something else than a tensor.
        """
        each = [_logits_of(one, inputs) for one in self.teachers]
        if len(each) == 1:
            return each[0]
        mixture = {
            "softmax": mixture_logits, "sigmoid": binary_mixture_logits, "linear": mean_numbers
        }[outputs]  # fmt: skip
        return mixture(each, weights=self.weights, temperature=temperature)


def finite_logits(logits: tf.Tensor, *, name: str) -> tf.Tensor:
    """Lets logits pass if each row has a largest one, which is finite.

    That finds NaN and plus infinity wherever they are, and reads the logits only once. Minus
    infinity stands for an impossible class.

    Args:
        logits: Float tensor of shape `[..., C]`.
        name: Name of the teacher, for the message.

    Returns:
        The same logits.

    Raises:
        tf.errors.InvalidArgumentError: If they are not, when the step runs.
    """
    if not logits.dtype.is_floating:
        return logits
    largest = tf.reduce_max(logits, axis=-1)
    message = f"`teacher` must return finite logits. Received: teacher={name}, whose logits"
    with tf.control_dependencies([tf.debugging.check_numerics(largest, message)]):
        return tf.identity(logits)


def _check_teacher(teacher: Any) -> None:
    if isinstance(teacher, keras.Model):
        check_model(teacher, argument="teacher")
        refuse_probabilities(teacher, argument="teacher")
    elif not isinstance(teacher, TeacherCache) and (is_legacy(teacher) or not callable(teacher)):
        check_model(teacher, argument="teacher")


def _classes(teacher: Any) -> int | None:
    if isinstance(teacher, TeacherCache):
        return teacher.num_classes
    return num_classes(teacher) if isinstance(teacher, keras.Model) else None


def _name(teacher: Any) -> str:
    name = getattr(teacher, "name", None) or getattr(teacher, "__name__", None)
    return name if isinstance(name, str) else type(teacher).__name__


def _fingerprint(teacher: Any) -> str | None:
    if isinstance(teacher, TeacherCache):
        # The SHA-256 of a model alone, without the label that its cache may have been given.
        text = teacher.teacher_fingerprint
        model = text.partition(" ")[0]
        return model if len(model) == 64 else text
    return fingerprint_model(teacher) if isinstance(teacher, keras.Model) else None


def _logits_of(teacher: Any, inputs: Any) -> tf.Tensor:
    if isinstance(teacher, TeacherCache):
        raise RuntimeError(
            "This Distiller needs the teacher's logits in each batch. "
            "Train it on `teacher_cache.dataset(x, y)`."
        )
    if isinstance(teacher, keras.Model) and takes_training(teacher):
        outputs = teacher(inputs, training=False)
    else:
        outputs = teacher(inputs)
    logits = tf.stop_gradient(one_tensor(outputs, argument="teacher"))
    return finite_logits(logits, name=repr(_name(teacher)))


def one_tensor(outputs: Any, *, argument: str) -> tf.Tensor:
    """Refuses outputs that are not one tensor of logits.

    Args:
        outputs: What a model or callable returned.
        argument: Name of the caller's argument, for the message.

    Returns:
        The tensor.

    Raises:
        TypeError: If it is several tensors or none.
    """
    if isinstance(outputs, (list, tuple, Mapping)):
        raise TypeError(
            f"`{argument}` must return one tensor of logits. "
            f"Received: {type(outputs).__name__} of {len(outputs)} outputs. "
            f"Wrap it: keras.Model({argument}.input, {argument}.output[...])."
        )
    try:
        # A tensor is handed on as it is, with its `_keras_mask`.
        return tf.convert_to_tensor(outputs)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"`{argument}` must return one tensor of logits. Received: {full_name(outputs)}. "
            "Return a TensorFlow tensor of shape [..., C]."
        ) from error


def split_teacher_logits(inputs: Any) -> tuple[Any, tf.Tensor | None]:
    """Separates the model inputs from the teacher logits that a cache puts into a batch.

    Args:
        inputs: The x of a batch, with or without teacher logits.

    Returns:
        The inputs of the student, and the teacher's logits or None.
    """
    if isinstance(inputs, Mapping) and INPUTS in inputs:
        return inputs[INPUTS], inputs.get(ANSWERS)
    return inputs, None


def num_classes(model: keras.Model) -> int | None:
    """Returns the size of a model's last axis, or None where it is not one known number."""
    shape = logits_shape(model)
    return shape[-1] if shape else None


def check_classes(teacher: int | None, student: int | None) -> None:
    """Refuses a teacher and a student that score different numbers of classes.

    Args:
        teacher: The teacher's number of classes, or None where it is not known.
        student: The student's.

    Raises:
        ValueError: If both are known and differ.
    """
    if teacher is not None and student is not None and teacher != student:
        raise ValueError(
            "`teacher` and `student` must have the same number of classes. "
            f"Received: teacher → {teacher}, student → {student}. "
            "Give the student's last layer as many units as the teacher's."
        )


def logits_shape(model: keras.Model) -> tuple[int | None, ...] | None:
    """Returns the shape of a model's one output, `(None, ..., C)`, or None where it is unknown."""
    try:
        shape = model.output_shape
    except (AttributeError, NotImplementedError, ValueError):
        return None
    if not isinstance(shape, tuple) or not shape or isinstance(shape[-1], (tuple, list)):
        return None
    return shape


def takes_training(model: keras.Model) -> bool:
    """Tells whether the model's `call` has an argument `training`."""
    return "training" in inspect.signature(model.call).parameters


def mixture_logits(
    logits: Sequence[tf.Tensor], *, weights: Sequence[float], temperature: tf.Tensor
) -> tf.Tensor:
    """Computes the logits whose softened probabilities are the weighted mean of several.

    T · log Σ wᵢ · softmax(logitsᵢ / T), in log space.

    Args:
        logits: Unnormalized scores, one float tensor `[..., C]` for each teacher.
        weights: Positive shares wᵢ that sum to 1.
        temperature: Softening T, scalar in (0, inf).

    Returns:
        Float tensor `[..., C]` of at least float32. At other temperatures it softens to
        something else than the mean.

    Example:
        >>> teachers = [tf.math.log([[0.2, 0.8]]), tf.math.log([[0.6, 0.4]])]
        >>> mean = mixture_logits(teachers, weights=[0.25, 0.75], temperature=1.0)
        >>> tf.nn.softmax(mean).numpy().round(4)
        array([[0.5, 0.5]], dtype=float32)

    References:
        Hinton, Vinyals, Dean. "Distilling the Knowledge in a Neural Network", 2015, section 1:
        the arithmetic mean of an ensemble's predictive distributions.
        https://arxiv.org/abs/1503.02531
    """
    weighted = []
    for scores, weight in zip(logits, weights, strict=True):
        scores = at_least_float32(scores)
        softened = scores / tf.cast(temperature, scores.dtype)
        weighted.append(tf.nn.log_softmax(softened) + math.log(weight))
    mixture = tf.reduce_logsumexp(tf.stack(weighted), axis=0)
    return mixture * tf.cast(temperature, mixture.dtype)


def binary_mixture_logits(
    logits: Sequence[tf.Tensor], *, weights: Sequence[float], temperature: tf.Tensor
) -> tf.Tensor:
    """Computes the logits whose softened yes is the weighted mean of several, label by label.

    T · (log Σ wᵢ · σ(logitsᵢ / T) − log Σ wᵢ · σ(−logitsᵢ / T)), in log space.

    Args:
        logits: Scores of yes against no, one float tensor `[..., C]` for each teacher.
        weights: Positive shares wᵢ that sum to 1.
        temperature: Softening T, scalar in (0, inf).

    Returns:
        Float tensor `[..., C]` of at least float32.

    Example:
        >>> teachers = [tf.constant([[0.0]]), tf.math.log([[9.0]])]  # yes with 0.5 and 0.9
        >>> mean = binary_mixture_logits(teachers, weights=[0.5, 0.5], temperature=1.0)
        >>> tf.sigmoid(mean).numpy().round(4)
        array([[0.7]], dtype=float32)
    """
    sides = []
    for sign in (1.0, -1.0):
        weighted = []
        for scores, weight in zip(logits, weights, strict=True):
            scores = at_least_float32(scores)
            softened = sign * scores / tf.cast(temperature, scores.dtype)
            weighted.append(tf.math.log_sigmoid(softened) + math.log(weight))
        sides.append(tf.reduce_logsumexp(tf.stack(weighted), axis=0))
    return (sides[0] - sides[1]) * tf.cast(temperature, sides[0].dtype)


def mean_numbers(
    logits: Sequence[tf.Tensor], *, weights: Sequence[float], temperature: tf.Tensor
) -> tf.Tensor:
    """Computes the weighted mean of several teachers' numbers: Σ wᵢ · xᵢ.

    Args:
        logits: Numbers, one float tensor `[..., C]` for each teacher.
        weights: Positive shares wᵢ that sum to 1.
        temperature: Not used: numbers are not softened.

    Returns:
        Float tensor `[..., C]` of at least float32.

    Example:
        >>> teachers = [tf.constant([[1.0]]), tf.constant([[3.0]])]
        >>> float(mean_numbers(teachers, weights=[0.25, 0.75], temperature=1.0)[0, 0])
        2.5
    """
    del temperature
    each = zip(logits, weights, strict=True)
    return tf.add_n([weight * at_least_float32(numbers) for numbers, weight in each])


def members(teacher: Any) -> tuple[tuple[Any, ...], tuple[float, ...]]:
    """Reads the `teacher=` of a Distiller: one teacher, a list, or a list of (teacher, weight).

    Args:
        teacher: What was given.

    Returns:
        The teachers, and the weight of each.

    Raises:
        TypeError: If some teachers of a list have weights and others do not, or a weight is not
            a number.
        ValueError: If the list is empty or the weights are not positive or do not sum to 1.

    Example:
        >>> members([("a", 0.75), ("b", 0.25)])
        (('a', 'b'), (0.75, 0.25))
        >>> members(["a", "b"])[1]
        (0.5, 0.5)
    """
    if not isinstance(teacher, (list, tuple)):
        return (teacher,), (1.0,)
    pairs = [item for item in teacher if isinstance(item, (list, tuple))]
    if not teacher or (pairs and len(pairs) < len(teacher)) or any(len(p) != 2 for p in pairs):
        raise TypeError(
            "`teacher` must be a teacher, a list of them, or a list of (teacher, weight) pairs. "
            f"Received: teacher={[type(item).__name__ for item in teacher]}. Give all of them a "
            "weight, or none."
        )
    if not pairs:
        return tuple(teacher), (1.0 / len(teacher),) * len(teacher)
    weights = [weight for _, weight in pairs]
    _check_weights(weights)
    return tuple(one for one, _ in pairs), tuple(float(weight) for weight in weights)


def _check_weights(weights: Sequence[object]) -> None:
    for weight in weights:
        if isinstance(weight, bool) or not isinstance(weight, numbers.Real):
            raise TypeError(
                "The weights in `teacher` must be positive numbers. "
                f"Received: weight {weight!r}. For example teacher=[(a, 0.7), (b, 0.3)]."
            )
    numbers_ = [float(weight) for weight in weights if isinstance(weight, numbers.Real)]
    total = math.fsum(numbers_)
    # Thirds do not sum to 1 exactly; a forgotten teacher or a typing error is far above 1e-6.
    if not all(weight > 0.0 for weight in numbers_) or not abs(total - 1.0) <= 1e-6:
        raise ValueError(
            "The weights in `teacher` must be positive and sum to 1. "
            f"Received: weights {numbers_} of sum {total:.6g}. Leave a teacher out rather than "
            "weigh it 0; alpha weighs the teachers together against the labels."
        )
