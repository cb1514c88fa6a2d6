"""The Distiller: a `keras.Model` whose `train_step` teaches a student what a teacher answers.

L = alpha · L_hard(labels, student) + (1 − alpha) · T² · KL(softmax(teacher/T) ‖ softmax(student/T))

It is compiled, fitted and evaluated as every Keras model is.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tfdistill import label_loss, losses
from tfdistill._keras import check_model
from tfdistill.compress.remasking import with_remasking
from tfdistill.compress.transform import Compressed
from tfdistill.reduction import like, masked_mean
from tfdistill.signals import TeacherSignal, num_classes, split_answers
from tfdistill.teacher_cache import TeacherCache

__all__ = ["Distiller", "check_alpha", "distillation_loss"]


def distillation_loss(hard: tf.Tensor, soft: tf.Tensor, *, alpha: tf.Tensor) -> tf.Tensor:
    """Weighs labels against the teacher: alpha · hard + (1 − alpha) · soft.

    Args:
        hard: Loss on the labels, scalar.
        soft: Loss against the teacher, scalar, T² included.
        alpha: Weight of the labels, scalar in [0, 1]. 1 is plain training.

    Returns:
        The loss to minimize, scalar.

    Example:
        >>> float(distillation_loss(tf.constant(2.0), tf.constant(4.0), alpha=0.25))
        3.5
    """
    return alpha * hard + (1.0 - alpha) * soft


@keras.saving.register_keras_serializable(package="tfdistill")
class Distiller(keras.Model):
    """Trains `student` on labels and on the answers of `teacher`, through plain `fit`.

    `call` is the student, and `distiller.student is student`: the object that was passed in is
    the one that learns. The teacher is only asked, in inference mode: it gets no gradient, and
    its weights and its `trainable` flag are left as they are.

    Args:
        student: Keras 3 model that returns logits `[..., C]`.
        teacher: Keras 3 model that returns logits of the same classes, any callable on a batch
            of inputs that does, or a `TeacherCache`, to be fitted on its `dataset`. Validation
            data without a cached teacher's answers is measured on its labels alone.
        name: Name of the model.

    Raises:
        TypeError: If `student` or `teacher` is not a Keras 3 model (or, a teacher, a callable).
        ValueError: If a model is not built, returns probabilities, or their classes differ.

    Example:
        >>> import numpy as np
        >>> def classifier(units):
        ...     return keras.Sequential([keras.Input((4,)), keras.layers.Dense(units),
        ...                              keras.layers.Dense(3)])
        >>> distiller = Distiller(student=classifier(2), teacher=classifier(16))
        >>> distiller.compile(optimizer="adam", alpha=0.1, temperature=2.0)
        >>> history = distiller.fit(np.ones((8, 4)), np.zeros(8, "int32"), verbose=0)
        >>> sorted(history.history)
        ['hard_loss', 'loss', 'soft_loss']

    References:
        Hinton, Vinyals, Dean. "Distilling the Knowledge in a Neural Network", 2015.
        https://arxiv.org/abs/1503.02531
    """

    def __init__(
        self,
        *,
        student: keras.Model,
        teacher: keras.Model | Callable[[Any], tf.Tensor] | TeacherCache,
        name: str = "distiller",
    ) -> None:
        check_model(student, argument="student")
        label_loss.refuse_probabilities(student, argument="student")
        signal = TeacherSignal(teacher)
        _check_classes(signal.num_classes(), num_classes(student))
        super().__init__(name=name)
        self.student = student
        self._signal = signal
        self.alpha = self._scalar("alpha", 0.1)
        self.temperature = self._scalar("temperature", 2.0)
        self._hard_tracker = keras.metrics.Mean(name="hard_loss")
        self._soft_tracker = keras.metrics.Mean(name="soft_loss")
        self._soft_loss: Callable[..., tf.Tensor] = losses.forward_kl
        self._ignore_class: int | None = None
        self.built = True

    def compile(
        self,
        optimizer: str | keras.optimizers.Optimizer = "rmsprop",
        *,
        loss: keras.losses.Loss | str | None = None,
        soft_loss: str | Callable[..., tf.Tensor] = "forward_kl",
        alpha: float = 0.1,
        temperature: float = 2.0,
        ignore_class: int | None = None,
        metrics: list | None = None,
    ) -> None:
        """Chooses the optimizer and the two halves of the loss.

        Args:
            optimizer: A Keras optimizer or its name.
            loss: Hard loss on logits. None picks sparse or categorical cross-entropy by the
                rank of the labels; a one-hot row of zeros then is an unlabelled example.
            soft_loss: Name of a loss of `tfdistill.losses` or a function of
                `(teacher_logits, student_logits, *, temperature)`.
            alpha: Weight of the hard loss, a float in [0, 1]; 0.1 as in the Keras example.
            temperature: Softening T, a float in (0, inf).
            ignore_class: Integer label that neither half of the loss counts, or None.
            metrics: Keras metrics or their names, computed on the student's logits.

        Raises:
            TypeError: If an argument is of the wrong type.
            ValueError: If `alpha` or `temperature` is out of range or a name is unknown.
        """
        check_alpha(alpha)
        losses.check_temperature(temperature)
        self._soft_loss = losses.by_name(soft_loss) if isinstance(soft_loss, str) else soft_loss
        hard, self._ignore_class = label_loss.resolve(loss, ignore_class=ignore_class)
        self.alpha.assign(alpha)
        self.temperature.assign(temperature)
        super().compile(optimizer=optimizer, loss=hard, metrics=metrics)

    def call(self, inputs: Any, training: bool | None = None) -> tf.Tensor:
        """Returns the student's logits."""
        inputs, _ = split_answers(inputs)
        return self.student(inputs)  # Keras hands `training` down to the models inside.

    def fit(self, *args: Any, callbacks: Any = None, **kwargs: Any) -> keras.callbacks.History:
        """Trains as `keras.Model.fit` does, with the same arguments.

        Besides, a compressed student is re-masked at each epoch's end, and a cached teacher's
        rows come in an order that depends on seed and epoch alone.
        """
        own: list[keras.callbacks.Callback] = []
        if isinstance(self.student, Compressed):
            own = with_remasking(own, self.student)
        if isinstance(self._signal.teacher, TeacherCache):
            own.append(_NameTheEpoch(self._signal.teacher))
        given = callbacks if isinstance(callbacks, (list, tuple)) else [callbacks] * bool(callbacks)
        return super().fit(*args, callbacks=[*own, *given], **kwargs)

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Makes one step: the student's variables move, the teacher's do not."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        teacher_logits = self._teacher_logits(x)
        with tf.GradientTape() as tape:
            logits = self(x, training=True)
            loss = self._weighted_loss(x, y, logits, sample_weight, teacher_logits)
            scaled = self.optimizer.scale_loss(loss)
        variables = self.student.trainable_variables
        gradients = tape.gradient(scaled, variables)
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        if isinstance(self.student, Compressed):
            self.student.after_update()
        return self.compute_metrics(x, y, logits, sample_weight=sample_weight)

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Measures one batch with the same terms as `train_step`."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        logits = self(x, training=False)
        if self._signal.is_cached and split_answers(x)[1] is None:
            return self._label_logs(x, y, logits, sample_weight)
        self._weighted_loss(x, y, logits, sample_weight, self._teacher_logits(x))
        return self.compute_metrics(x, y, logits, sample_weight=sample_weight)

    def _label_logs(
        self, x: Any, y: tf.Tensor, logits: tf.Tensor, sample_weight: tf.Tensor | None
    ) -> dict[str, tf.Tensor]:
        """Measures on labels alone, where a cached teacher has no answers for the data."""
        hard = self._hard_term(x, y, logits, sample_weight)
        self._track({"loss": hard, "hard_loss": hard}, batch_size=tf.shape(logits)[0])
        logs = self.compute_metrics(x, y, logits, sample_weight=sample_weight)
        return {name: value for name, value in logs.items() if name != "soft_loss"}

    def _teacher_logits(self, x: Any) -> tf.Tensor:
        inputs, answers = split_answers(x)
        return self._signal.logits(inputs) if answers is None else answers

    def _weighted_loss(
        self,
        x: Any,
        y: tf.Tensor | None,
        logits: tf.Tensor,
        sample_weight: tf.Tensor | None,
        teacher_logits: tf.Tensor,
    ) -> tf.Tensor:
        """Computes and tracks the terms; returns their weighted sum."""
        _check_classes(teacher_logits.shape[-1], logits.shape[-1])
        soft = self._soft_term(y, logits, sample_weight, teacher_logits)
        if y is None:
            hard = tf.add_n([tf.zeroslike(soft), *self.losses])
        else:
            hard = self._hard_term(x, y, logits, sample_weight)
        loss = distillation_loss(hard, tf.cast(soft, hard.dtype), alpha=self.alpha)
        terms = {"loss": loss, "hard_loss": hard, "soft_loss": soft}
        self._track(terms, batch_size=tf.shape(logits)[0])
        return loss

    def _track(self, terms: dict[str, tf.Tensor], *, batch_size: tf.Tensor) -> None:
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        for metric in self.metrics:
            if metric.name in terms:
                metric.update_state(terms[metric.name] * replicas, sample_weight=batch_size)

    def _hard_term(
        self, x: Any, y: tf.Tensor, logits: tf.Tensor, sample_weight: tf.Tensor | None
    ) -> tf.Tensor:
        """The compiled Keras loss plus the student's own losses, as plain `fit` adds them."""
        if sample_weight is not None and len(logits.shape) == 3 and len(sample_weight.shape) == 1:
            sample_weight = sample_weight[:, tf.newaxis]
        return self.compute_loss(x, y, logits, sample_weight)

    def _soft_term(
        self,
        y: tf.Tensor | None,
        logits: tf.Tensor,
        sample_weight: tf.Tensor | None,
        teacher_logits: tf.Tensor,
    ) -> tf.Tensor:
        """The loss against the teacher, masked and weighted as the hard one is."""
        values = self._soft_loss(teacher_logits, logits, temperature=self.temperature.value)
        mask = getattr(logits, "_keras_mask", None)
        if self._ignore_class is not None and y is not None:
            labelled = like(tf.not_equal(tf.cast(y, tf.int32), self._ignore_class), values)
            mask = labelled if mask is None else tf.logical_and(tf.cast(mask, tf.bool), labelled)
        mean = masked_mean(values, mask=mask, sample_weight=sample_weight)
        return mean / tf.distribute.get_strategy().num_replicas_in_sync

    def _scalar(self, name: str, value: float) -> keras.Variable:
        return self.add_weight(
            name=name,
            shape=(),
            dtype="float32",
            initializer=keras.initializers.Constant(value),
            trainable=False,
        )


class _NameTheEpoch(keras.callbacks.Callback):
    def __init__(self, cache: TeacherCache) -> None:
        super().__init__()
        self._cache = cache

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._cache.start_epoch(epoch)

    def on_train_end(self, logs: dict | None = None) -> None:
        self._cache.start_epoch(None)


def check_alpha(alpha: object) -> None:
    """Refuses an alpha that is not a share.

    Args:
        alpha: Weight of the hard loss.

    Raises:
        TypeError: If `alpha` is not a number.
        ValueError: If it is outside [0, 1].
    """
    message = (
        f"`alpha` must be a float in [0, 1]. Received: alpha={alpha!r}. "
        "It is the weight of the labels; 1 - alpha is the weight of the teacher."
    )
    if isinstance(alpha, bool) or not isinstance(alpha, numbers.Real):
        raise TypeError(message)
    if not 0.0 <= float(alpha) <= 1.0 or math.isnan(alpha):
        raise ValueError(message)


def _check_classes(teacher: int | None, student: int | None) -> None:
    if teacher is not None and student is not None and teacher != student:
        raise ValueError(
            "`teacher` and `student` must have the same number of classes. "
            f"Received: teacher → {teacher}, student → {student}. "
            "Give the student's last layer as many units as the teacher's."
        )
