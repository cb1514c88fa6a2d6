"""The Distiller: a `keras.Model` whose `train_step` trains a student on labels and a teacher.

L = alpha · L_task(labels, student) + (1 − alpha) · T² · KL(softmax(teacher/T) ‖ softmax(student/T))
    + Σ wᵢ · Lᵢ(features)

It is compiled, fitted and evaluated as every Keras model is.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfdistill.compress.compressed_model import Compressed, with_masks_reapplied
from tfdistill.distill.checkpoint import Resumable
from tfdistill.distill.error_messages import check_labels, labels_of, with_clear_errors
from tfdistill.distill.features.feature_loss import FeatureLoss
from tfdistill.distill.features.feature_terms import FeatureTerms
from tfdistill.distill.losses.hard import resolve_task_loss
from tfdistill.distill.losses.logits import check_temperature, forward_kl
from tfdistill.distill.losses.output_kinds import infer_outputs
from tfdistill.distill.losses.soft import (
    check_alpha,
    mean_distillation_loss,
    resolve_distillation_loss,
    weighted_loss,
)
from tfdistill.distill.teacher import (
    TeacherAdapter,
    check_classes,
    logits_shape,
    num_classes,
    one_tensor,
    split_teacher_logits,
)
from tfdistill.distill.teacher_cache.cache import TeacherCache
from tfdistill.introspection.backend import check_model, refuse_probabilities
from tfdistill.introspection.hooks import Parts
from tfdistill.introspection.optimizer_state import build_optimizer

__all__ = ["Distiller"]

_Outputs = tuple[tf.Tensor, dict[Any, Parts]]  # logits, and the features inside the model


@keras.saving.register_keras_serializable(package="tfdistill")
class Distiller(Resumable):
    """Trains `student` on labels and on the logits of `teacher`, through plain `fit`.

    `call` is the student, and `distiller.student is student`: the object that was passed in is
    the one that is trained. The teacher runs in inference mode only: it gets no gradient, and
    its weights and its `trainable` flag are left as they are.

    Args:
        student: Keras 3 model that returns logits `[..., C]`.
        teacher: Keras 3 model that returns logits of the same classes, any callable on a batch
            of inputs that does, or a `TeacherCache`, to be fitted on its `dataset`; validation
            data without its logits is measured on the labels alone. A list of teachers, or of
            (teacher, weight), teaches the mean of their softened probabilities.
        feature_losses: Pairs of layers to bring together besides, a list of `FeatureLoss`. The
            projectors that they may need are in `distiller.projectors`, not in the student.
        name: Name of the model.

    Raises:
        TypeError: If `student` or `teacher` is not a Keras 3 model (or, a teacher, a callable).
        ValueError: If a model is not built, returns probabilities, or their classes differ, or a
            feature loss names a layer that is not there or does not fit.

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
        teacher: keras.Model | Callable[[Any], tf.Tensor] | TeacherCache | Sequence[Any],
        feature_losses: Sequence[FeatureLoss] = (),
        name: str = "distiller",
    ) -> None:
        check_model(student, argument="student")
        plain = _plain(student)
        refuse_probabilities(plain, argument="student")
        adapter = TeacherAdapter(teacher)
        check_classes(adapter.num_classes(), num_classes(plain))
        features = FeatureTerms(feature_losses, student=student, teachers=adapter.teachers)
        # The student's policy decides whether Keras scales the loss for float16.
        super().__init__(name=name, dtype=student.dtype_policy)
        self.student = student
        self._teacher = adapter
        self._features = features
        self.projectors = features.projectors
        self.alpha = self._scalar("alpha", 0.1)
        self.temperature = self._scalar("temperature", 2.0)
        self._hard_tracker = keras.metrics.Mean(name="hard_loss")
        self._soft_tracker = keras.metrics.Mean(name="soft_loss")
        self._feature_trackers = [keras.metrics.Mean(name=name) for name in features.names]
        self._soft_loss: Callable[..., tf.Tensor] = forward_kl
        self._ignore_class: int | None = None
        self._outputs = "softmax"
        self.built = True

    def compile(
        self,
        optimizer: str | keras.optimizers.Optimizer = "rmsprop",
        *,
        loss: keras.losses.Loss | str | None = None,
        soft_loss: str | Callable[..., tf.Tensor] | None = None,
        alpha: float = 0.1,
        temperature: float = 2.0,
        ignore_class: int | None = None,
        metrics: list | None = None,
        outputs: str | None = None,
    ) -> None:
        """Chooses the optimizer, the task loss and the distillation loss.

        Args:
            optimizer: A Keras optimizer or its name.
            loss: Task loss on logits. None picks what fits the outputs: for classes sparse or
                categorical cross-entropy by the rank of the labels, where a one-hot row of zeros
                is an unlabelled example; binary cross-entropy; or the mean squared error.
            soft_loss: Name of a loss of `tfdistill.losses`, a function of
                `(teacher_logits, student_logits, *, temperature)`, or a
                `keras.distillation.DistillationLoss`, which has a temperature of its own. None
                picks what fits the outputs: "forward_kl", "binary_kl" or "squared_error".
            alpha: Weight of the task loss, a float in [0, 1]; 0.1 as in the Keras example.
            temperature: Softening T, a float in (0, inf).
            ignore_class: Integer label that neither loss counts, or None.
            metrics: Keras metrics or their names, computed on the student's logits.
            outputs: What a row of outputs is: "softmax" for scores of classes of which one is
                right, "sigmoid" for a score of yes against no for each label (several labels, or
                one output for two classes), "linear" for numbers. None takes what `loss` is for,
                and "softmax" without one.

        Raises:
            TypeError: If an argument is of the wrong type.
            ValueError: If `alpha` or `temperature` is out of range, a name is unknown, a loss
                does not fit the outputs, or a student with one output is to name a class.
        """
        check_alpha(alpha)
        check_temperature(temperature)
        kind = infer_outputs(outputs, loss=loss, num_outputs=num_classes(_plain(self.student)))
        distillation_loss = resolve_distillation_loss(soft_loss, outputs=kind)
        task_loss, self._ignore_class = resolve_task_loss(
            loss, ignore_class=ignore_class, outputs=kind
        )
        self._teacher.check_outputs(kind)
        self._outputs, self._soft_loss = kind, distillation_loss
        self.alpha.assign(alpha)
        self.temperature.assign(temperature)
        super().compile(optimizer=optimizer, loss=task_loss, metrics=metrics)

    def call(self, inputs: Any, training: bool | None = None) -> tf.Tensor:
        """Returns the student's logits."""
        inputs, _ = split_teacher_logits(inputs)
        outputs = self.student(inputs)  # Keras hands `training` down to the models inside.
        return one_tensor(outputs, argument="student")

    def fit(self, *args: Any, callbacks: Any = None, **kwargs: Any) -> keras.callbacks.History:
        """Trains as `keras.Model.fit` does, with the same arguments.

        Besides, the masks of a compressed student are reapplied at each epoch's end, a cached
        teacher's rows come in an order that depends on seed and epoch alone, and the error about
        labels that name no class or a teacher that returns NaN names the row or batch.
        """
        self._check_labels(super().fit, args, kwargs)
        if isinstance(self.student, Compressed):
            callbacks = with_masks_reapplied(callbacks, self.student)
        build_optimizer(self, self._trained())
        with with_clear_errors(callbacks, teacher=self._teacher.teacher) as extended:
            return super().fit(*args, callbacks=extended, **kwargs)

    def evaluate(self, *args: Any, callbacks: Any = None, **kwargs: Any) -> Any:
        """Measures as `keras.Model.evaluate` does, with the same arguments."""
        if isinstance(callbacks, keras.callbacks.CallbackList):  # called by `fit`
            return super().evaluate(*args, callbacks=callbacks, **kwargs)
        self._check_labels(super().evaluate, args, kwargs)
        with with_clear_errors(callbacks) as extended:
            return super().evaluate(*args, callbacks=extended, **kwargs)

    def _check_labels(self, method: Callable[..., Any], args: Any, kwargs: Any) -> None:
        given = inspect.signature(method).bind_partial(*args, **kwargs).arguments
        for y in (given.get("y"), labels_of(given.get("validation_data"))):
            check_labels(y, loss=self.loss, logits_shape=logits_shape(_plain(self.student)))

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Makes one step: the student's variables move, the teacher's do not."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        teacher = self._run_teacher(x)
        with tf.GradientTape() as tape:
            student = self._run_student(x, training=True)
            loss = self._weighted_loss(x, y, sample_weight, teacher, student)
            scaled = self.optimizer.scale_loss(loss)
        variables = self._trained()
        gradients = tape.gradient(scaled, variables)
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        if isinstance(self.student, Compressed):
            self.student.after_update()
        return self.compute_metrics(x, y, student[0], sample_weight=sample_weight)

    def _trained(self) -> list[keras.Variable]:
        return [*self.student.trainable_variables, *self._features.trainable_variables]

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Measures one batch with the same terms as `train_step`."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        student = self._run_student(x, training=False)
        if self._teacher.is_cached and split_teacher_logits(x)[1] is None:
            return self._label_logs(x, y, student[0], sample_weight)
        self._weighted_loss(x, y, sample_weight, self._run_teacher(x), student)
        return self.compute_metrics(x, y, student[0], sample_weight=sample_weight)

    def loss_terms(self, data: Any, *, training: bool) -> dict[str, tf.Tensor]:
        """Computes each term of the loss for one batch, not yet weighted; the teacher runs.

        Args:
            data: A batch as `train_step` takes it.
            training: Whether the student runs in training mode, with dropout.

        Returns:
            Scalars by the names of their columns: "hard_loss", "soft_loss", feature losses.
        """
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        teacher, student = self._run_teacher(x), self._run_student(x, training=training)
        return self._loss_terms(x, y, sample_weight, teacher, student)

    def term_weights(self) -> dict[str, float]:
        """Returns what each term of the loss is multiplied by at the moment."""
        alpha = float(self.alpha.numpy())
        return {"hard_loss": alpha, "soft_loss": 1.0 - alpha, **self._features.weights}

    def _label_logs(
        self, x: Any, y: tf.Tensor, logits: tf.Tensor, sample_weight: tf.Tensor | None
    ) -> dict[str, tf.Tensor]:
        """Measures on labels alone, where a cached teacher has no logits for the data."""
        task = self._task_loss(x, y, logits, sample_weight)
        self._track({"loss": task, "hard_loss": task}, batch_size=tf.shape(logits)[0])
        logs = self.compute_metrics(x, y, logits, sample_weight=sample_weight)
        missing = {"soft_loss", *self._features.names}
        return {name: value for name, value in logs.items() if name not in missing}

    def _run_teacher(self, x: Any) -> _Outputs:
        inputs, cached_logits = split_teacher_logits(x)
        if cached_logits is not None:
            return cached_logits, self._features.from_batch(x)
        with self._features.watch_teacher() as features:
            logits = self._teacher.logits(
                inputs, temperature=self.temperature.value, outputs=self._outputs
            )
        return logits, features

    def _run_student(self, x: Any, *, training: bool) -> _Outputs:
        with self._features.watch_student() as features:
            logits = self(x, training=training)
        return logits, features

    def _weighted_loss(
        self, x: Any, y: Any, sample_weight: Any, teacher: _Outputs, student: _Outputs
    ) -> tf.Tensor:
        """Tracks the terms of the loss and returns their weighted sum."""
        terms = self._loss_terms(x, y, sample_weight, teacher, student)
        task, distillation = terms["hard_loss"], terms["soft_loss"]
        loss = weighted_loss(task, tf.cast(distillation, task.dtype), alpha=self.alpha)
        loss += tf.cast(self._features.weighted_sum(terms), task.dtype)
        self._track({"loss": loss, **terms}, batch_size=tf.shape(student[0])[0])
        return loss

    def _loss_terms(
        self, x: Any, y: Any, sample_weight: Any, teacher: _Outputs, student: _Outputs
    ) -> dict[str, tf.Tensor]:
        """Computes the terms of the loss by the names of their logs, not yet weighted."""
        teacher_logits, teacher_features = teacher
        logits, student_features = student
        check_classes(teacher_logits.shape[-1], logits.shape[-1])
        task = self._task_loss(x, y, logits, sample_weight)
        distillation = mean_distillation_loss(
            self._soft_loss,
            teacher_logits,
            logits,
            temperature=self.temperature.value,
            labels=y,
            ignore_class=self._ignore_class,
            sample_weight=sample_weight,
        )
        features = self._features.losses(
            teacher_features, student_features, sample_weight=sample_weight
        )
        return {"hard_loss": task, "soft_loss": distillation, **features}

    def _track(self, terms: dict[str, tf.Tensor], *, batch_size: tf.Tensor) -> None:
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        for metric in self.metrics:
            if metric.name in terms:
                metric.update_state(terms[metric.name] * replicas, sample_weight=batch_size)

    def _task_loss(
        self, x: Any, y: tf.Tensor | None, logits: tf.Tensor, sample_weight: tf.Tensor | None
    ) -> tf.Tensor:
        """The compiled Keras loss plus the student's own losses, as plain `fit` adds them."""
        if y is None:
            return tf.add_n([tf.constant(0.0), *self.losses])
        if sample_weight is not None and len(logits.shape) == 3 and len(sample_weight.shape) == 1:
            sample_weight = sample_weight[:, tf.newaxis]
        return self.compute_loss(x, y, logits, sample_weight)

    def _scalar(self, name: str, value: float) -> keras.Variable:
        initial = keras.initializers.Constant(value)
        return self.add_weight(
            name=name, shape=(), dtype="float32", initializer=initial, trainable=False
        )


def _plain(student: keras.Model) -> keras.Model:
    return student.student if isinstance(student, Compressed) else student
