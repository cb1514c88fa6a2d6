"""A teacher's answers on disk: ask the teacher once, train as many students as you like.

A folder holds a manifest and shards of NumPy arrays. Each shard is written whole or not at all,
so a build that is killed goes on where it stopped. The manifest names the teacher, the inputs
and the settings by their SHA-256: answers that belong to something else are refused, because
nothing in their shape would give them away. Training reads each batch from the shards where they
lie, so a cache may be many times larger than the memory.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tqdm.auto import tqdm

from tfdistill.arguments import check_int
from tfdistill.distill.teacher_cache import shards
from tfdistill.distill.teacher_cache.inference import check_layers, make_asker, teacher_fingerprint
from tfdistill.distill.teacher_cache.logit_records import (
    ANSWERS,
    FEATURES,
    INPUTS,
    dense_logits,
    rows_of_epoch,
    stored_parts,
)
from tfdistill.distill.teacher_cache.ray_workers import answer_rows, answers_of_workers

__all__ = ["TeacherCache"]

_BATCHES_PER_SHARD = 16
_KEPT_BYTES = 2**27  # of inputs and labels that become tensors, as the reader does with answers


class TeacherCache:
    """Opens the answers that `TeacherCache.build` wrote.

    Args:
        path: The folder.

    Raises:
        FileNotFoundError: If there is no cache at `path`.
        ValueError: If the cache is unfinished, damaged, or of a newer format.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        manifest = shards.read_manifest(self.path)
        if manifest is None:
            raise FileNotFoundError(
                f"`path` must be the folder of a teacher cache. Received: path={str(path)!r}, "
                "where there is none. TeacherCache.build(teacher, x, path) writes one."
            )
        self._manifest = manifest
        self._next_epoch: int | None = None
        self._shards = shards.open_shards(self.path, manifest)

    @classmethod
    def build(
        cls,
        teacher: keras.Model | Callable[[Any], Any],
        x: Any,
        path: str | os.PathLike[str],
        *,
        top_k: int | None = None,
        layers: Sequence[str] = (),
        batch_size: int = 64,
        resume: bool = True,
        fingerprint: str | None = None,
        workers: int = 1,
        progress: Callable[[int, int], object] | None = None,
    ) -> TeacherCache:
        """Asks a teacher about every row and writes its logits, shard by shard.

        Args:
            teacher: A Keras 3 model or a callable on a batch of inputs that returns logits.
            x: Inputs, one array or a dict of arrays with the rows first.
            path: Folder to write; it may hold an unfinished cache of the same build.
            top_k: Keep only the k most probable classes and the mass of the rest, an int in
                [1, C]; None keeps float32 logits.
            layers: Paths of layers of a Keras teacher whose outputs are kept for a
                `FeatureLoss` on hidden states; much larger than the logits.
            batch_size: Rows per call of the teacher.
            resume: Whether whole shards of an earlier build are kept.
            fingerprint: Names a callable teacher; needed because code cannot be hashed.
            workers: Number of processes that ask copies of a Keras teacher, an int of at least
                1. Above 1 they are Ray's, on several machines if its session has them.
            progress: Called with the rows that are answered and all rows, in place of the bar
                that is drawn otherwise.

        Returns:
            The opened cache.

        Raises:
            TypeError: If the teacher is neither a Keras 3 model nor a callable, or a number is
                not an int.
            ValueError: If the folder holds answers of another teacher, other inputs or other
                settings, or something else than a cache, an argument is out of range, or the
                teacher answers NaN.

        Example:
            >>> import tempfile
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     cache = TeacherCache.build(
            ...         lambda x: x @ np.eye(2, 3), np.ones((5, 2)), folder, fingerprint="eye")
            ...     cache.num_rows, cache.num_classes
            (5, 3)
        """
        folder = Path(path)
        _check_teacher(teacher, workers)
        rows = _count_rows(x)
        layers = check_layers(teacher, layers)
        ask = make_asker(teacher, layers=layers)
        num_classes = ask(_take(x, slice(0, 1)))["logits"].shape[-1]
        _check_settings(top_k, batch_size, num_classes)
        manifest = {
            "format": shards.FORMAT,
            "kind": shards.KIND,
            "rows": rows,
            "num_classes": num_classes,
            "top_k": top_k,
            "layers": layers,
            "batch_size": batch_size,
            "shard_rows": batch_size * _BATCHES_PER_SHARD,
            "teacher": teacher_fingerprint(teacher, fingerprint),
            "inputs": shards.fingerprint_inputs(x),
        }
        shards.start_folder(folder, manifest, resume=resume)
        parts = _missing_parts(folder, manifest, x)
        settings: dict[str, Any] = {"batch_size": batch_size, "top_k": top_k}
        missing = sum(_count_rows(part) for _, _, part in parts)
        with tqdm(
            total=rows,
            initial=rows - missing,
            unit="row",
            desc="asking the teacher",
            disable=progress is not None,
        ) as bar:
            done = rows - missing

            def advance(count: int) -> None:
                nonlocal done
                done += count
                bar.update(count)
                if progress is not None:
                    progress(done, rows)

            if workers == 1:
                for number, first_row, part in parts:
                    found = answer_rows(ask, part, first_row=first_row, advance=advance, **settings)
                    shards.write_shard(folder, number, found)
                return cls(folder)
            for number, found in answers_of_workers(
                teacher, parts, layers=layers, workers=workers, **settings
            ):
                shards.write_shard(folder, number, found)
                advance(len(next(iter(found.values()))))
        return cls(folder)

    def start_epoch(self, epoch: int | None) -> None:
        """Tells the datasets of this cache which epoch the next pass over them is.

        `Distiller.fit` does so, so that a training run that goes on after a crash meets the rows
        in the order in which it would have met them.

        Args:
            epoch: Number of the epoch, from 0; None lets the datasets count for themselves.
        """
        self._next_epoch = epoch

    @property
    def num_rows(self) -> int:
        """Number of rows that were answered."""
        return self._manifest["rows"]

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return self._manifest["num_classes"]

    @property
    def top_k(self) -> int | None:
        """Classes of each row that are stored; None if all are."""
        return self._manifest["top_k"]

    @property
    def layers(self) -> tuple[str, ...]:
        """Paths of the teacher's layers whose outputs were kept."""
        return tuple(self._manifest["layers"])

    def layer_specs(self) -> dict[str, dict[str, tf.TensorSpec]]:
        """Returns the shapes of what was kept of each layer: `states` and perhaps `mask`."""
        return stored_parts(self._specs(), self.layers)

    @property
    def teacher_fingerprint(self) -> str:
        """What identifies the teacher that gave the answers."""
        return self._manifest["teacher"]

    def logits(self, rows: Any = None) -> np.ndarray:
        """Returns the answers themselves.

        Args:
            rows: Numbers of rows, int array `[N]`; None takes all of them.

        Returns:
            Logits, float32 `[N, …, C]`; those of `top_k` classes with the rest spread over the
            others, as in training.
        """
        numbers = np.arange(self.num_rows) if rows is None else np.asarray(rows)
        answers = self._shards.take(numbers)
        return np.asarray(self._dense(answers), np.float32)

    def dataset(
        self,
        x: Any,
        y: Any = None,
        *,
        student_x: Any = None,
        sample_weight: Any = None,
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int = 0,
        initial_epoch: int = 0,
        epochs_per_pass: int = 1,
    ) -> tf.data.Dataset:
        """Makes batches for `Distiller(student=..., teacher=cache).fit`.

        Each pass over the data is one epoch; its order depends on seed and epoch alone.

        Args:
            x: The inputs that the cache was built with.
            y: Labels, rows first; None if there are none.
            student_x: What the student reads of the same texts, rows first, where that differs
                from what the teacher read, such as `NGrams.encode_batch(texts)`; None is `x`.
            sample_weight: Weights, rows first, or None.
            batch_size: Rows per batch; the last one may be smaller.
            shuffle: Whether to shuffle the rows.
            seed: Seed of the order.
            initial_epoch: Number of the first epoch, for resuming outside of `Distiller.fit`.
            epochs_per_pass: Number of epochs that share one pass over the rows, an int of at least
                1. Backups are made between epochs: of 600,000 rows a tenth is soon read again, a
                whole pass is not.

        Returns:
            A dataset of `(inputs with answers, y[, sample_weight])`.

        Raises:
            ValueError: If `x` is not what the cache was built with, or the row counts differ.
        """
        epochs_per_pass = check_int(
            epochs_per_pass, argument="epochs_per_pass", at_least=1, at_most=self.num_rows
        )
        found = shards.fingerprint_inputs(x)
        if found != self._manifest["inputs"]:
            raise ValueError(
                "`x` must be the inputs that the cache was built with. Received: x with "
                f"fingerprint {found[:12]}, cache of "
                f"{self._manifest['inputs'][:12]}. Other texts, another length or another "
                "tokenizer need a cache of their own."
            )
        rows = {"student_x": student_x, "y": y, "sample_weight": sample_weight}
        for argument, value in rows.items():
            if value is not None and _count_rows(value) != self.num_rows:
                raise ValueError(
                    f"`{argument}` must have as many rows as `x`. Received: {argument} with "
                    f"{_count_rows(value)} rows, x with {self.num_rows}."
                )
        parts = {"x": x if student_x is None else student_x}
        for name, value in (("y", y), ("sample_weight", sample_weight)):
            if value is not None:
                parts[name] = keras.tree.map_structure(np.asarray, value)
        epoch = initial_epoch

        def orders() -> Iterator[np.ndarray]:
            nonlocal epoch
            if self._next_epoch is not None:
                epoch = self._next_epoch
            order = rows_of_epoch(
                self.num_rows, seed=seed if shuffle else None, epoch=epoch, per_pass=epochs_per_pass
            )
            last = (len(order) - 1) // batch_size * batch_size
            if last:
                yield order[:last]
            epoch += 1  # the last batch is under way: who reads on begins the next epoch
            yield order[last:]

        length = math.ceil(self.num_rows / epochs_per_pass)
        # Where batches divide the rows, their size is static, and gradients need fewer operations.
        divides = length % batch_size == 0
        rows = tf.data.Dataset.from_generator(
            orders, output_signature=tf.TensorSpec([None], tf.int64)
        ).flat_map(
            lambda order: tf.data.Dataset.from_tensor_slices(order).batch(
                batch_size, drop_remainder=divides
            )
        )
        dataset = rows.map(self._taking(parts)).map(self._to_batch)
        batches = tf.data.experimental.assert_cardinality(math.ceil(length / batch_size))
        dataset = dataset.apply(batches)
        return dataset.prefetch(2)

    def _taking(self, parts: dict[str, Any]) -> Callable[[tf.Tensor], dict[str, Any]]:
        """Returns a function from row numbers to what a batch holds.

        What fits into memory becomes tensors, and batches are gathered without Python.
        """
        if self._shards.kept is not None and _num_bytes(parts) <= _KEPT_BYTES:
            kept = keras.tree.map_structure(tf.convert_to_tensor, parts)
            kept["answers"] = {
                name: tf.convert_to_tensor(array) for name, array in self._shards.kept.items()
            }
            return lambda rows: keras.tree.map_structure(
                lambda tensor: tf.gather(tensor, rows), kept
            )
        first = {name: _take(value, slice(0, 1)) for name, value in parts.items()}
        signature = keras.tree.map_structure(
            lambda a: tf.TensorSpec([None, *a.shape[1:]], a.dtype), first
        )
        signature["answers"] = self._specs()
        specs = keras.tree.flatten(signature)

        def read(rows: np.ndarray) -> list[Any]:
            found = {name: _take(value, rows) for name, value in parts.items()}
            return keras.tree.flatten({**found, "answers": self._shards.take(rows)})

        def take(rows: tf.Tensor) -> dict[str, Any]:
            found = tf.numpy_function(read, [rows], [spec.dtype for spec in specs], stateful=False)
            for tensor, spec in zip(found, specs, strict=True):
                tensor.set_shape([*rows.shape, *spec.shape[1:]])
            return keras.tree.pack_sequence_as(signature, found)

        return take

    def _specs(self) -> dict[str, tf.TensorSpec]:
        return {
            name: tf.TensorSpec([None, *shape], dtype)
            for name, (shape, dtype) in self._shards.specs.items()
        }

    def _dense(self, answers: dict[str, Any]) -> Any:
        if "logits" in answers:
            return answers["logits"]
        top = {name: answers[name] for name in ("top_ids", "top_log_probs", "tail_mass")}
        return dense_logits(**top, num_classes=self.num_classes)

    def _to_batch(self, parts: dict[str, Any]) -> tuple:
        answers = parts["answers"]
        inputs = {INPUTS: parts["x"], ANSWERS: self._dense(answers)}
        if self.layers:
            inputs[FEATURES] = stored_parts(answers, self.layers)
        if "sample_weight" in parts:
            return inputs, parts.get("y"), parts["sample_weight"]
        return (inputs, parts["y"]) if "y" in parts else (inputs,)


def _missing_parts(folder: Path, manifest: dict[str, Any], x: Any) -> list[tuple[int, int, Any]]:
    """Lists the shards that are not there yet: number, first row, inputs."""
    parts = []
    for number in range(shards.num_shards(manifest)):
        if not shards.has_shard(folder, number):
            first = number * manifest["shard_rows"]
            parts.append((number, first, _take(x, slice(first, first + manifest["shard_rows"]))))
    return parts


def _count_rows(x: Any) -> int:
    counts = {len(leaf) for leaf in keras.tree.flatten(x)}
    if len(counts) != 1 or not min(counts):
        raise ValueError(
            "`x` must hold at least one row, and as many in each of its arrays. "
            f"Received: arrays of {sorted(counts)} rows."
        )
    return counts.pop()


def _num_bytes(x: Any) -> int:
    return sum(np.asarray(leaf).nbytes for leaf in keras.tree.flatten(x))


def _take(x: Any, rows: Any) -> Any:
    return keras.tree.map_structure(lambda array: np.asarray(array)[rows], x)


def _check_teacher(teacher: object, workers: Any) -> None:
    """Refuses a teacher that is several, and workers that cannot have it."""
    if isinstance(teacher, (list, tuple)):
        raise TypeError(
            "`teacher` must be one teacher, because a mixture depends on the temperature. "
            f"Received: teacher={[type(one).__name__ for one in teacher]}. Give several to the "
            "Distiller itself, or a function that returns the logits of their mixture."
        )
    check_int(workers, argument="workers", at_least=1, hint="Above 1 they are processes of Ray.")
    if workers > 1 and not isinstance(teacher, keras.Model):
        raise ValueError(
            "`workers` must be 1 for a teacher that is a callable. "
            f"Received: workers={workers!r}. A Keras model can be sent to other processes as a "
            "file; code cannot."
        )


def _check_settings(top_k: object, batch_size: object, num_classes: int) -> None:
    """Refuses numbers that are out of range."""
    check_int(batch_size, argument="batch_size", at_least=1)
    if top_k is not None:
        check_int(
            top_k,
            argument="top_k",
            at_least=1,
            at_most=num_classes,
            hint=f"The teacher has {num_classes} classes. None keeps all of them.",
        )
