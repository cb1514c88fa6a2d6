"""Moving alpha and temperature during `fit`, and watching the balance of the losses.

    distiller.fit(x, y, epochs=10, callbacks=[
        Schedule("alpha", cosine(0.0, 0.5)),      # trust the teacher first, the labels later
        Schedule("temperature", linear(4.0, 1.0)),
        LossMonitor(every=100),                   # and see who pulls how hard
    ])

A schedule is any function of the fraction of the training that is done. Since the fraction
follows from epoch and batch alone, a run that resumes goes on where its schedule was.
"""

from __future__ import annotations

import bisect
import math
import numbers
from collections.abc import Callable, Mapping

import keras

from tfdistill.arguments import check_int
from tfdistill.distill.distiller import Distiller
from tfdistill.distill.loss_monitor import LossMonitor
from tfdistill.distill.losses.logits import check_temperature
from tfdistill.distill.losses.soft import check_alpha

__all__ = ["LossMonitor", "Schedule", "cosine", "linear", "step"]

_CHECKS: dict[str, Callable[[object], None]] = {
    "alpha": check_alpha,
    "temperature": check_temperature,
}


class Schedule(keras.callbacks.Callback):
    """Sets `distiller.alpha` or `distiller.temperature` before each training step.

    `function` is called with the fraction of the training that is done:
    (epoch + batch / batches) / epochs, so 0 before the first step, and 0.5 when half of the
    epochs are over. The value is a column of the logs. Where `fit` cannot know the number of
    batches, as for a generator, the value moves at the beginning of each epoch.

    Args:
        name: "alpha" or "temperature".
        function: Maps a fraction in [0, 1) to a value: a float in [0, 1] for alpha, one in
            (0, inf) for the temperature. `cosine`, `linear` and `step` make such functions.
        epochs: Number of epochs of the whole training, an int of at least 1, if one `fit` is
            only a part of it; None takes the `epochs` of `fit`.

    Raises:
        TypeError: If `function` cannot be called, or the model is not a Distiller.
        ValueError: If `name` is neither, `epochs` is less than 1, or, during `fit`, if the
            function returns something that alpha or temperature cannot be; the error names the
            step and the value.

    Example:
        >>> import numpy as np
        >>> def net(): return keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
        >>> distiller = Distiller(student=net(), teacher=net())
        >>> distiller.compile("sgd")
        >>> schedule = Schedule("alpha", linear(0.0, 1.0))
        >>> history = distiller.fit(np.ones((8, 2)), np.zeros(8, "int32"), batch_size=4,
        ...                         epochs=2, callbacks=[schedule], verbose=0)
        >>> history.history["alpha"]  # of each epoch's last step, in four steps
        [0.25, 0.75]
    """

    def __init__(
        self, name: str, function: Callable[[float], float], *, epochs: int | None = None
    ) -> None:
        super().__init__()
        if name not in _CHECKS:
            raise ValueError(
                f"`name` must be 'alpha' or 'temperature'. Received: name={name!r}. These are "
                "the variables of a Distiller that a schedule can move."
            )
        if not callable(function):
            raise TypeError(
                "`function` must be a function of the fraction of the training that is done. "
                f"Received: function={function!r}. For example linear(0.0, 0.5)."
            )
        if epochs is not None:
            epochs = check_int(
                epochs,
                argument="epochs",
                at_least=1,
                hint="None takes the number of epochs of `fit`.",
            )
        self.name = name
        self.function = function
        self.epochs = epochs
        self._epoch = 0
        self._value = math.nan

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Makes sure that there is something to move."""
        if not isinstance(self.model, Distiller):
            raise TypeError(
                "A Schedule must be a callback of Distiller.fit. Received: a model of class "
                f"{type(self.model).__name__}."
            )
        self._value = float(self._variable.numpy())

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Moves the value at the beginning of the epoch."""
        self._epoch = epoch
        self._move(0)

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        """Moves the value before the step."""
        if batch and self.params.get("steps"):
            self._move(batch)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Puts the value of the last step into the logs."""
        if logs is not None:
            logs[self.name] = self._value

    @property
    def _variable(self) -> keras.Variable:
        return self.model.alpha if self.name == "alpha" else self.model.temperature

    def _move(self, batch: int) -> None:
        epochs = self.epochs or self.params["epochs"]
        steps = self.params.get("steps") or 1
        fraction = (self._epoch + batch / steps) / epochs
        if fraction >= 1.0:
            raise ValueError(
                f"`epochs` of Schedule must be the number of epochs of the whole training. "
                f"Received: epochs={self.epochs!r}, and a training in epoch {self._epoch} "
                "(counted from 0). Give the sum of all parts."
            )
        value = self.function(fraction)
        try:
            _CHECKS[self.name](value if isinstance(value, numbers.Real) else float(value))
        except (TypeError, ValueError) as error:
            allowed = "[0, 1]" if self.name == "alpha" else "(0, inf)"
            raise ValueError(
                f"The schedule of `{self.name}` must return a float in {allowed}. Received: "
                f"{self.name}={value!r} at batch {batch} of epoch {self._epoch} (both counted "
                f"from 0), which is fraction {fraction:.4g} of the training."
            ) from error
        if float(value) != self._value:
            self._value = float(value)
            self._variable.assign(self._value)


def cosine(start: float, end: float) -> Callable[[float], float]:
    """Makes a schedule that leaves one value and arrives at another gently.

    end + (start − end) · (1 + cos(π · fraction)) / 2.

    Args:
        start: Value at fraction 0.
        end: Value at fraction 1.

    Returns:
        A function of the fraction of the training that is done.

    Example:
        >>> [round(cosine(1.0, 0.0)(fraction), 2) for fraction in (0.0, 0.25, 0.5, 1.0)]
        [1.0, 0.85, 0.5, 0.0]
    """
    return lambda fraction: end + (start - end) * (1.0 + math.cos(math.pi * fraction)) / 2.0


def linear(start: float, end: float) -> Callable[[float], float]:
    """Makes a schedule that moves evenly: start + (end − start) · fraction.

    Args:
        start: Value at fraction 0.
        end: Value at fraction 1.

    Returns:
        A function of the fraction of the training that is done.

    Example:
        >>> linear(4.0, 1.0)(0.5)
        2.5
    """
    return lambda fraction: start + (end - start) * fraction


def step(values: Mapping[float, float]) -> Callable[[float], float]:
    """Makes a schedule that jumps.

    Args:
        values: The value from each fraction on, fractions in [0, 1); the first is 0.

    Returns:
        A function of the fraction of the training that is done.

    Raises:
        TypeError: If `values` is no mapping of numbers.
        ValueError: If it does not begin at 0 or a fraction is outside [0, 1).

    Example:
        >>> temperature = step({0.0: 4.0, 0.5: 2.0, 0.8: 1.0})
        >>> [temperature(fraction) for fraction in (0.0, 0.49, 0.5, 0.9)]
        [4.0, 4.0, 2.0, 1.0]
    """
    message = (
        "`values` must map fractions of the training in [0, 1), the first of them 0, to values. "
        f"Received: values={values!r}. For example {{0.0: 4.0, 0.5: 2.0}}."
    )
    if not isinstance(values, Mapping) or not all(
        isinstance(number, numbers.Real) for pair in values.items() for number in pair
    ):
        raise TypeError(message)
    fractions = sorted(values)
    if not fractions or fractions[0] != 0.0 or fractions[-1] >= 1.0:
        raise ValueError(message)
    return lambda fraction: values[fractions[bisect.bisect_right(fractions, fraction) - 1]]
