"""What a Distiller keeps in a file, so that training goes on exactly, and what it leaves out.

Kept: the student, optimizer, alpha, temperature, metrics, the arguments of `compile`, and the
dropout seeds, which Keras itself does not save. Left out: the teacher, which is large and has a
file of its own; its fingerprint is kept, so that another one is noticed.

A run that was killed and goes on with `keras.callbacks.BackupAndRestore` ends as an undisturbed
one, to the bit, where the order of the data depends on the epoch alone: `TeacherCache.dataset`,
datasets that are not shuffled, and arrays, if `keras.utils.set_random_seed` was called (Keras
then shuffles them alike in each epoch). It goes on at the beginning of an epoch. So leave
`save_freq="epoch"`: with a number, Keras repeats the epoch from weights of its middle.
"""

from __future__ import annotations

import contextvars
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
from keras.src.utils import io_utils  # Keras' own question before it overwrites a file

from tfdistill.distill.features.feature_loss import FeatureLoss
from tfdistill.distill.losses import soft
from tfdistill.files.atomic import replacing
from tfdistill.introspection.seed_state import load_seeds, save_seeds

__all__ = ["Resumable"]

# The teacher, in a tuple of one, while `Resumable.load` waits for Keras.
_at_hand: contextvars.ContextVar[tuple[Any, ...]] = contextvars.ContextVar("at_hand", default=())


class Resumable(keras.Model):
    """A model whose files hold all that training needs to go on, the teacher excepted."""

    def save(
        self,
        filepath: str | os.PathLike[str],
        overwrite: bool = True,
        zipped: bool | None = None,
        **kwargs: Any,
    ) -> None:
        """Saves the Distiller as a `.keras` file that is there whole or not at all.

        Keras writes into the old file, so a run that is killed meanwhile would have neither. Here
        the new file is written beside it, flushed to the disk and renamed.

        Args:
            filepath: File to write, ending in `.keras`. A folder (`zipped=False`) is written in
                place, as Keras does.
            overwrite: Whether to replace an existing file, or to ask at the terminal.
            zipped: As Keras takes it.
            **kwargs: As Keras takes them.
        """
        if zipped is False or not _is_local_file(filepath, ".keras"):
            super().save(filepath, overwrite=overwrite, zipped=zipped, **kwargs)
        elif _may_write(filepath, overwrite):
            with replacing(Path(filepath)) as temporary:
                super().save(temporary, zipped=zipped, **kwargs)

    def save_weights(
        self,
        filepath: str | os.PathLike[str],
        overwrite: bool = True,
        max_shard_size: float | None = None,
    ) -> None:
        """Saves the weights as a `.weights.h5` file that is there whole or not at all.

        `keras.callbacks.BackupAndRestore` calls it at the end of each epoch.

        Args:
            filepath: File to write, ending in `.weights.h5`.
            overwrite: Whether to replace an existing file, or to ask at the terminal.
            max_shard_size: Size in GB of each of several files, which are written in place, as
                Keras does; None for one file.
        """
        if max_shard_size is not None or not _is_local_file(filepath, ".weights.h5"):
            super().save_weights(filepath, overwrite=overwrite, max_shard_size=max_shard_size)
        elif _may_write(filepath, overwrite):
            with replacing(Path(filepath)) as temporary:
                super().save_weights(temporary)

    def save_own_variables(self, store: Any) -> None:
        """Writes the model's own variables and the dropout seeds of all its layers."""
        super().save_own_variables(store)
        save_seeds(self, store)

    def load_own_variables(self, store: Any) -> None:
        """Reads what `save_own_variables` wrote."""
        super().load_own_variables(load_seeds(self, store))

    def get_config(self) -> dict[str, Any]:
        """Returns the student and the fingerprint of the teacher, which is not stored."""
        return {
            "name": self.name,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
            "student": keras.saving.serialize_keras_object(self.student),
            "feature_losses": [loss.get_config() for loss in self._features.feature_losses],
            "teacher_fingerprints": self._teacher.fingerprints(),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """Rebuilds the Distiller with the teacher that `load` was given."""
        student = keras.saving.deserialize_keras_object(config["student"], custom_objects)
        distiller = cls(
            student=student,
            teacher=_the_teacher(),
            feature_losses=[FeatureLoss.from_config(one) for one in config["feature_losses"]],
            name=config["name"],
        )
        # Keras forgets the policy of Sequential and Functional students, and with it the scaling
        # of the loss in float16.
        distiller.dtype_policy = keras.dtype_policies.deserialize(config["dtype"])
        now = distiller._teacher.fingerprints()
        _warn_of_other_teachers(config["teacher_fingerprints"], now)
        return distiller

    def get_compile_config(self) -> dict[str, Any]:
        """Returns the arguments of `compile`, with alpha and temperature as they are now."""
        config = super().get_compile_config()
        if not config:
            return config
        kept = {name: config[name] for name in ("optimizer", "loss", "metrics")}
        return {
            **kept,
            "soft_loss": soft.to_config(self._soft_loss),
            "alpha": float(self.alpha.numpy()),
            "temperature": float(self.temperature.numpy()),
            "ignore_class": self._ignore_class,
            "outputs": self._outputs,
            "optimizer_built": self.optimizer.built,
        }

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles with the arguments that `get_compile_config` returned."""
        if not config:
            return
        arguments = {
            name: keras.saving.deserialize_keras_object(value)
            for name, value in config.items()
            if name not in ("soft_loss", "optimizer_built")
        }
        soft_loss = soft.from_config(config["soft_loss"])
        self.compile(soft_loss=soft_loss, **arguments)
        if config["optimizer_built"]:
            self.optimizer.build(self.trainable_variables)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, teacher: Any, custom_objects: Any = None) -> Any:
        """Opens a Distiller saved with `distiller.save(path)`, to train on exactly.

        The teacher is not in the file. `fit(..., initial_epoch=...)` goes on as if there had
        been no break: weights, optimizer, alpha, temperature, dropout seeds.

        Args:
            path: The `.keras` file.
            teacher: The teacher, or several, as the constructor takes them. Another one than
                before is allowed, and warned of.
            custom_objects: Classes and functions of your own by name, as Keras takes them.

        Returns:
            The Distiller, compiled if it was.

        Raises:
            TypeError: If the file holds another model.
            ValueError: If it names functions that are not in `custom_objects`.
        """
        token = _at_hand.set((teacher,))
        try:
            with keras.saving.custom_object_scope(custom_objects or {}):
                model = keras.saving.load_model(path)
        finally:
            _at_hand.reset(token)
        if not isinstance(model, cls):
            raise TypeError(
                f"`path` must be a file that {cls.__name__}.save wrote. Received: "
                f"path={os.fspath(path)!r} with a {type(model).__name__}. Open it with "
                "keras.saving.load_model."
            )
        return model


def _is_local_file(path: Any, suffix: str) -> bool:
    return isinstance(path, str | os.PathLike) and (
        str(path).endswith(suffix) and "://" not in str(path) and not os.path.isdir(path)
    )


def _may_write(path: str | os.PathLike[str], overwrite: bool) -> bool:
    if overwrite or not os.path.exists(path):
        return True
    return io_utils.ask_to_proceed_with_overwrite(path)


def _the_teacher() -> Any:
    if not _at_hand.get():
        raise ValueError(
            "`teacher` must be given, because the file of a Distiller does not hold it. "
            "Received: no teacher. Open the file with tfdistill.Distiller.load(path, teacher=...)."
        )
    return _at_hand.get()[0]


def _warn_of_other_teachers(before: Sequence[str | None], now: Sequence[str | None]) -> None:
    """Warns if the fingerprints differ; None stands for a callable, which has none."""
    comparable = len(before) != len(now) or (all(before) and all(now))
    if comparable and list(before) != list(now):
        short = [[(one or "a callable")[:12] for one in side] for side in (before, now)]
        warnings.warn(
            f"The Distiller goes on with another teacher: fingerprint {short[0]} in the file, "
            f"{short[1]} now. Its results will differ from those of an undisturbed run.",
            stacklevel=2,
        )
