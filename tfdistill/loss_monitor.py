"""Which term of the loss pulls how hard: gradient norms on the student, every so many steps.

Losses of different kinds differ in size by factors of hundreds, and the size of a loss says
little about what it does. What moves the student is the gradient, so that is measured.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from tfdistill.distiller import Distiller
from tfdistill.gradient_norms import (
    GradientNorms,
    drowned,
    mean_norms,
    suggest_alpha,
    table,
)

__all__ = ["LossMonitor"]


class LossMonitor(keras.callbacks.Callback):
    """Measures the gradient of each term of the loss on the student, every `every` steps.

    The norms, not yet weighted, are columns of the logs ("hard_gradient", "soft_gradient", and
    one for each feature loss), beside "suggested_alpha". It is measured on the batch that comes
    next, with the weights and the dropout mask that the step is going to have. Then everything
    is put back, so training is the same to the bit as without it; a teacher is asked once more
    on those steps. Under a `tf.distribute` strategy the first replica's share is measured.

    If the weighted gradient of one term is, in the mean of an epoch, more than 100 times that of
    another, a warning says so, once per `fit`.

    Args:
        every: Number of training steps from one measurement to the next, an int of at least 1;
            the first step of a `fit` is always measured.

    Attributes:
        measurements: List of `GradientNorms` of the latest `fit`.
        suggested_alpha: What alpha would make both halves pull equally (`balanced_alpha`), from
            the mean norms of the latest `fit`; NaN as long as one of them is 0.

    Raises:
        TypeError: If the model is not a Distiller.
        ValueError: If `every` is not an int of at least 1.

    Example:
        >>> import numpy as np
        >>> def net(): return keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
        >>> distiller = Distiller(student=net(), teacher=net())
        >>> distiller.compile("sgd")
        >>> monitor = LossMonitor(every=2)
        >>> _ = distiller.fit(np.ones((8, 2)), np.zeros(8, "int32"), batch_size=2, epochs=2,
        ...                   callbacks=[monitor], verbose=0)
        >>> [measured.step for measured in monitor.measurements]
        [0, 2, 4, 6]
    """

    def __init__(self, *, every: int = 100) -> None:
        super().__init__()
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise ValueError(
                f"`every` must be an int of at least 1. Received: every={every!r}. Each "
                "measurement costs about three training steps; 100 is usual."
            )
        self.every = every
        self.measurements: list[GradientNorms] = []
        self._step = 0
        self._epoch_starts = 0
        self._has_warned = False

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Steps between Keras and the training function."""
        model = self.model
        if not isinstance(model, Distiller):
            raise TypeError(
                "A LossMonitor must be a callback of Distiller.fit. Received: a model of class "
                f"{type(model).__name__}."
            )
        self.measurements = []
        self._has_warned = False
        self._measure = _norm_function(model)
        function = model.train_function
        if isinstance(function, _Watched):  # of a `fit` that an error ended
            function = function.function
        model.train_function = _Watched(function, self._watch)

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Counts from where the optimizer is, which a resumed run has restored."""
        self._step = int(self.model.optimizer.iterations.numpy())
        self._epoch_starts = len(self.measurements)

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Shows the latest norms in the progress bar."""
        self._add_columns(logs, self.measurements[-1:])

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Puts the mean norms of the epoch into the logs, and warns."""
        of_epoch = self.measurements[self._epoch_starts :] or self.measurements[-1:]
        self._add_columns(logs, of_epoch)
        if not self._has_warned and (text := drowned(of_epoch)):
            self._has_warned = True
            warnings.warn(text, stacklevel=2)

    def on_train_end(self, logs: dict | None = None) -> None:
        """Steps back, and says at the end of the logs what alpha would balance the halves."""
        if isinstance(self.model.train_function, _Watched):
            self.model.train_function = self.model.train_function.function

    @property
    def suggested_alpha(self) -> float:
        """What alpha would make both halves pull equally."""
        return suggest_alpha(self.measurements)

    def summary(self) -> str:
        """Tells what was measured, in the mean over the latest `fit`.

        Returns:
            One line for each term: its gradient norm, its weight, and their product; then the
            suggested alpha.
        """
        return table(self.measurements)

    def _add_columns(self, logs: dict | None, measurements: list[GradientNorms]) -> None:
        if logs is None or not measurements:
            return
        for name, norm in mean_norms(measurements).items():
            logs[f"{name.removesuffix('_loss')}_gradient"] = norm
        logs["suggested_alpha"] = self.suggested_alpha

    def _watch(self, function: Callable[[Any], Any], iterator: Any) -> Any:
        """Makes one call of the training function, measured before if it is due."""
        steps = self.model.steps_per_execution
        due = -self._step % self.every < steps or not self.measurements
        step, self._step = self._step, self._step + steps
        if not due:
            return function(iterator)
        batches = _take(iterator, steps)
        if batches:
            self.measurements.append(self._measured(batches[0], step))
        return function(_again(batches, iterator))

    def _measured(self, data: Any, step: int) -> GradientNorms:
        distiller = self.model
        state = [*distiller.variables, *distiller.metrics_variables]
        before = [keras.ops.convert_to_numpy(variable) for variable in state]
        try:
            norms = self._measure(_first_share(data, distiller.distribute_strategy))
        finally:
            for variable, value in zip(state, before, strict=True):
                variable.assign(value)
        weights = distiller.term_weights()
        return GradientNorms(
            step=step,
            norms={name: float(norm) for name, norm in norms.items()},
            weights={name: float(weights[name]) for name in norms},
        )


@dataclass(frozen=True)
class _Watched:
    """Keras' training function with somebody in between."""

    function: Callable[[Any], Any]
    watch: Callable[[Callable[[Any], Any], Any], Any]

    def __call__(self, iterator: Any) -> Any:
        return self.watch(self.function, iterator)


def _norm_function(distiller: Distiller) -> Callable[[Any], dict[str, tf.Tensor]]:
    """Makes a function from a batch to the gradient norm of each term on the student."""

    def norms(data: Any) -> dict[str, tf.Tensor]:
        optimizer = distiller.optimizer
        with tf.GradientTape(persistent=True) as tape:
            terms = distiller.loss_terms(data, training=True)
            # In float16 a small gradient needs the optimizer's loss scale to be seen.
            scaled = {name: optimizer.scale_loss(term) for name, term in terms.items()}
        variables = distiller.student.trainable_variables
        scale = optimizer.scale_loss(tf.constant(1.0))
        found = {}
        for name, term in scaled.items():
            gradients = [g for g in tape.gradient(term, variables) if g is not None]
            # The rows of an embedding's gradient have to be added up before they are squared.
            dense = [tf.cast(tf.convert_to_tensor(g), tf.float32) for g in gradients]
            found[name] = tf.linalg.global_norm(dense) / scale if dense else tf.constant(0.0)
        return found

    return tf.function(norms, autograph=False, reduce_retracing=True)


def _take(iterator: Any, count: int) -> list[Any]:
    batches: list[Any] = []
    for _ in range(count):
        try:
            batches.append(next(iterator))
        except StopIteration:
            break
    return batches


def _again(batches: list[Any], iterator: Any) -> Iterator[Any]:
    """Gives batches back, as an iterator of the same type, for which nothing is traced anew.

    A graph that knows the size of a batch may multiply where the other one divides, and differ
    in the last digit.
    """
    if isinstance(iterator, tf.data.Iterator):
        dataset = tf.data.Dataset.from_generator(
            lambda: iter(batches), output_signature=iterator.element_spec
        )
        return iter(dataset)
    return iter(batches)


def _first_share(data: Any, strategy: tf.distribute.Strategy) -> Any:
    if strategy.num_replicas_in_sync == 1:
        return data
    return keras.tree.map_structure(lambda part: strategy.experimental_local_results(part)[0], data)
