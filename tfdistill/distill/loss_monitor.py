"""Which term of the loss pulls how hard: gradient norms on the student, every so many steps.

Losses of different kinds differ in size by factors of hundreds, and the size of a loss says
little about what it does. What moves the student is the gradient, so that is measured.

What gradient norms say about the balance of the losses.

Losses of different kinds differ in size by factors of hundreds, and the size of a loss says
little about what it does. What moves the student is the gradient.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from tfdistill.arguments import check_int
from tfdistill.distill.distiller import Distiller

__all__ = [
    "GradientNorms",
    "LossMonitor",
    "balanced_alpha",
    "drowned",
    "mean_norms",
    "suggest_alpha",
    "table",
]


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
        suggested_alpha: What alpha would give both losses gradients of equal norm
            (`balanced_alpha`), from the mean norms of the latest `fit`; NaN as long as one
            of them is 0.

    Raises:
        TypeError: If the model is not a Distiller or `every` is no int.
        ValueError: If `every` is below 1.

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
        self.every = check_int(
            every,
            argument="every",
            at_least=1,
            hint="Each measurement costs about three training steps; 100 is usual.",
        )
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
        """Steps back, and says at the end of the logs which alpha would balance the losses."""
        if isinstance(self.model.train_function, _Watched):
            self.model.train_function = self.model.train_function.function

    @property
    def suggested_alpha(self) -> float:
        """What alpha would give both losses gradients of equal norm."""
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


_DROWNED = 100.0


@dataclass(frozen=True)
class GradientNorms:
    """One measurement.

    Attributes:
        step: Number of the training step before which it was made, from 0.
        norms: L2 norm of each term's gradient on the student's trainable variables, by the name
            of the term, without its weight.
        weights: What each term is multiplied by in the loss at that step.
    """

    step: int
    norms: Mapping[str, float]
    weights: Mapping[str, float]


def balanced_alpha(hard_norm: float, soft_norm: float) -> float:
    """Computes the alpha at which labels and teacher pull equally.

    alpha · ‖∇hard‖ = (1 − alpha) · ‖∇soft‖, so alpha = ‖∇soft‖ / (‖∇hard‖ + ‖∇soft‖).

    Args:
        hard_norm: Gradient norm of the task loss, not yet weighted.
        soft_norm: Gradient norm of the distillation loss, not yet weighted.

    Returns:
        A float in (0, 1), or NaN if one of them does not pull at all.

    Example:
        >>> balanced_alpha(3.0, 1.0)
        0.25
    """
    if not (hard_norm > 0.0 and soft_norm > 0.0):
        return math.nan
    return soft_norm / (hard_norm + soft_norm)


def mean_norms(measurements: Sequence[GradientNorms]) -> dict[str, float]:
    """Averages the norms of each term over several measurements; empty if there are none."""
    names = measurements[0].norms if measurements else ()
    return {
        name: math.fsum(one.norms[name] for one in measurements) / len(measurements)
        for name in names
    }


def suggest_alpha(measurements: Sequence[GradientNorms]) -> float:
    """Computes `balanced_alpha` of the mean norms; NaN without measurements."""
    means = mean_norms(measurements)
    return balanced_alpha(means.get("hard_loss", 0.0), means.get("soft_loss", 0.0))


def drowned(measurements: Sequence[GradientNorms]) -> str | None:
    """Says which term cannot be heard beside another, 100 times as strong.

    Terms without a gradient or a weight are silent, not drowned.

    Args:
        measurements: What to take the mean of.

    Returns:
        A sentence or two, or None.

    Example:
        >>> weights = {"hard_loss": 0.5, "soft_loss": 0.5}
        >>> drowned([GradientNorms(0, {"hard_loss": 1.0, "soft_loss": 100.0}, weights)])
        >>> drowned([GradientNorms(0, {"hard_loss": 1.0, "soft_loss": 101.0}, weights)])[:60]
        'soft_loss drowns hard_loss: its weighted gradient on the stu'
    """
    pulls = {
        name: math.fsum(one.norms[name] * one.weights[name] for one in measurements)
        / len(measurements)
        for name in mean_norms(measurements)
    }
    heard = {name: pull for name, pull in pulls.items() if pull > 0.0}
    if not heard:
        return None
    loud, quiet = max(heard, key=heard.__getitem__), min(heard, key=heard.__getitem__)
    if heard[loud] <= _DROWNED * heard[quiet]:
        return None
    return (
        f"{loud} drowns {quiet}: its weighted gradient on the student is "
        f"{heard[loud] / heard[quiet]:.0f} times as large ({heard[loud]:.3g} against "
        f"{heard[quiet]:.3g}). alpha={suggest_alpha(measurements):.3g} would balance labels and "
        "teacher; a FeatureLoss has a weight of its own."
    )


def table(measurements: Sequence[GradientNorms]) -> str:
    """Lays out the mean norms, the latest weights, and their products.

    Args:
        measurements: Of one training.

    Returns:
        One line for each term, then the suggested alpha.

    Example:
        >>> weights = {"hard_loss": 0.25, "soft_loss": 0.75}
        >>> print(table([GradientNorms(0, {"hard_loss": 3.0, "soft_loss": 1.0}, weights)]))
        term                           gradient   weight   weighted
        hard_loss                             3     0.25       0.75
        soft_loss                             1     0.75       0.75
        suggested alpha: 0.25
    """
    if not measurements:
        return "Nothing was measured yet."
    weights = measurements[-1].weights
    lines = [f"{'term':<28} {'gradient':>10} {'weight':>8} {'weighted':>10}"]
    lines += [
        f"{name:<28} {norm:>10.4g} {weights[name]:>8.3g} {norm * weights[name]:>10.4g}"
        for name, norm in mean_norms(measurements).items()
    ]
    return "\n".join([*lines, f"suggested alpha: {suggest_alpha(measurements):.4g}"])
