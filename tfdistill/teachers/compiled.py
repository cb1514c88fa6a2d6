"""A teacher compiled to one 8-bit `.tflite` file, with a signature for each length of texts.

The teacher reads every text once, and that is most of the time that a distillation takes. In
8 bits, on no more padding than a text needs, MiniLM reads three to four times as many texts a
second as `teacher.predict` on padded rows does. The signatures share their weights, so the file
is as large as one of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from tfdistill.arguments import check_int
from tfdistill.export.tflite import to_tflite
from tfdistill.files.records import file_sha256
from tfdistill.runtime.interpreter import Interpreter

__all__ = ["CompiledTeacher", "TeacherFidelity", "compile_teacher", "length_buckets"]

PADDING = 0


def length_buckets(lengths: Sequence[int] | np.ndarray, *, count: int = 8) -> tuple[int, ...]:
    """Chooses the lengths to which texts are padded, so that the least padding is read.

    Of all ways to cut the lengths into at most `count` buckets, it takes the one with the fewest
    tokens Σ n(l) · b(l), where n(l) texts have the length l and b(l) is the end of its bucket
    (dynamic programming over the different lengths).

    Args:
        lengths: Number of tokens of each text, ints of at least 1, `[N]`.
        count: Largest number of buckets, an int of at least 1.

    Returns:
        The ends of the buckets, rising; the last one is the longest length.

    Raises:
        TypeError: If `count` is not an int.
        ValueError: If there is no length, or one is below 1.

    Example:
        >>> length_buckets([4, 4, 4, 5, 20], count=2)
        (5, 20)
        >>> length_buckets([7], count=8)
        (7,)
    """
    count = check_int(count, argument="count", at_least=1)
    values, numbers = np.unique(np.asarray(lengths, np.int64), return_counts=True)
    if not len(values) or values[0] < 1:
        raise ValueError(
            "`lengths` must hold the number of tokens of each text, at least 1. "
            f"Received: lengths with {list(values[:3])}."
        )
    texts = np.concatenate([[0], np.cumsum(numbers)])
    # cost[j]: least tokens of the j shortest lengths; one more bucket in each round.
    cost = np.where(np.arange(len(values) + 1) == 0, 0.0, np.inf)
    choices = []
    for _ in range(min(count, len(values))):
        tried = cost[None, :] + (texts[:, None] - texts[None, :]) * np.append(0, values)[:, None]
        tried[np.triu_indices(len(values) + 1)] = np.inf  # a bucket holds something
        tried[0, 0] = 0.0
        better = np.minimum(cost, tried.min(axis=1))
        choices.append(np.where(tried.min(axis=1) < cost, tried.argmin(axis=1), -1))
        cost = better
    ends, place = [], len(values)
    for choice in reversed(choices):
        if place and choice[place] >= 0:
            ends.append(int(values[place - 1]))
            place = int(choice[place])
    return tuple(reversed(ends))


@dataclass(frozen=True)
class TeacherFidelity:
    """How near a compiled teacher is to the model that it was made from.

    Attributes:
        divergence: Mean KL divergence KL(model ‖ compiled) of the class probabilities, in nats.
        agreement: Share of texts for which both name the same class, in [0, 1].
        texts: How many texts were compared.
    """

    divergence: float
    agreement: float
    texts: int


class CompiledTeacher:
    """Opens a teacher that `compile_teacher` wrote; a callable from token ids to logits.

    `TeacherCache.build(teacher, ids, path, fingerprint=teacher.fingerprint)` takes it as it is.

    Args:
        path: The `.tflite` file.
        threads: Threads for one call.

    Attributes:
        path: The file.
        lengths: The lengths of its signatures, rising. Longer texts are refused.
        rows: Texts of one call.
        num_classes: Number of classes C.
        fingerprint: SHA-256 of the file, which names these weights.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not a compiled teacher.
    """

    def __init__(self, path: str | os.PathLike[str], *, threads: int = 1) -> None:
        self.path = Path(path)
        self._interpreter = Interpreter(self.path, threads=threads)
        self._signature_of: dict[int, str] = {}
        for name, signature in self._interpreter.signatures.items():
            inputs, outputs = tuple(signature.inputs.values()), tuple(signature.outputs.values())
            if len(inputs) != 1 or len(outputs) != 1 or len(inputs[0].shape) != 2:
                raise ValueError(
                    "`path` must be a compiled teacher, from ids to logits. Received: "
                    f"path={str(path)!r}, whose signature {name!r} has {len(inputs)} inputs and "
                    f"{len(outputs)} outputs. `tfdistill.teachers.compile_teacher` writes one."
                )
            self.rows, length = inputs[0].shape
            self._signature_of[length] = name
            self._input, self._output = inputs[0].name, outputs[0].name
            self.num_classes = outputs[0].shape[-1]
        self.lengths = tuple(sorted(self._signature_of))
        self.fingerprint = file_sha256(self.path)

    def __call__(self, ids: np.ndarray) -> np.ndarray:
        """Computes the logits of texts, those of like length together.

        Args:
            ids: Token ids, int array `[N, L]`, 0 where padded.

        Returns:
            Logits, float32 `[N, C]`, in the order of `ids`.

        Raises:
            ValueError: If a text is longer than the longest signature.
        """
        ids = np.asarray(ids)
        lengths = np.max(np.where(ids != PADDING, np.arange(1, ids.shape[1] + 1), 0), axis=1)
        if len(ids) and lengths.max() > self.lengths[-1]:
            raise ValueError(
                f"`ids` must have at most {self.lengths[-1]} tokens a text. Received: a text with "
                f"{lengths.max()}. Cut the texts, or compile the teacher with a longer length."
            )
        logits = np.empty((len(ids), self.num_classes), np.float32)
        order = np.argsort(lengths, kind="stable")
        # Batches of the sorted rows: only the last one is not full, and few straddle two buckets.
        for start in range(0, len(order), self.rows):
            rows = order[start : start + self.rows]
            longest = int(lengths[rows[-1]])
            bucket = next(length for length in self.lengths if length >= longest)
            full = np.zeros((self.rows, bucket), np.int32)
            width = min(bucket, ids.shape[1])
            full[: len(rows), :width] = ids[rows, :width]
            found = self._interpreter.run({self._input: full}, signature=self._signature_of[bucket])
            logits[rows] = found[self._output][: len(rows)]
        return logits

    def fidelity(self, model: keras.Model, ids: np.ndarray) -> TeacherFidelity:
        """Compares it with the model that it was made from.

        Args:
            model: From the same ids to logits, in float.
            ids: Token ids, int array `[N, L]`.

        Returns:
            The divergence and the agreement.
        """
        theirs, ours = np.asarray(model.predict(ids, verbose=0), np.float64), self(ids)
        log_p, log_q = _log_softmax(theirs), _log_softmax(ours.astype(np.float64))
        return TeacherFidelity(
            divergence=float(np.mean(np.sum(np.exp(log_p) * (log_p - log_q), axis=-1))),
            agreement=float(np.mean(theirs.argmax(-1) == ours.argmax(-1))),
            texts=len(ids),
        )


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.sum(np.exp(shifted), axis=-1, keepdims=True))


def compile_teacher(
    make_model: Callable[[int], keras.Model],
    path: str | os.PathLike[str],
    *,
    lengths: Sequence[int],
    rows: int = 64,
    threads: int = 1,
) -> CompiledTeacher:
    """Writes a teacher as a `.tflite` file in 8 bits, one signature for each length.

    Args:
        make_model: Makes the teacher for one length: a Functional model from int32 ids
            `[B, length]` to logits `[B, C]`. All of them share their weights, as
            `text_features(backbone, sequence_length=length)` does.
        path: The file to write; an existing one is replaced.
        lengths: The lengths, different ints of at least 1; `length_buckets` chooses them.
        rows: Texts of one call, an int of at least 1.
        threads: Threads for one call of what is returned.

    Returns:
        The teacher, open.

    Raises:
        TypeError: If a length is not an int.
        ValueError: If there is no length or one is there twice.

    Example:
        >>> import tempfile
        >>> table, logits = keras.layers.Embedding(9, 4), keras.layers.Dense(3, name="logits")
        >>> def make_model(length):
        ...     ids = keras.Input((length,), dtype="int32", name="ids")
        ...     return keras.Model(ids, logits(keras.ops.max(table(ids), axis=1)))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     teacher = compile_teacher(make_model, f"{folder}/t.tflite", lengths=(2, 4), rows=8)
        ...     teacher(np.array([[1, 2, 0, 0], [3, 4, 5, 0]])).shape, teacher.lengths
        ((2, 3), (2, 4))
    """
    checked = [check_int(length, argument="lengths", at_least=1) for length in lengths]
    if not checked or len(set(checked)) < len(checked):
        raise ValueError(
            "`lengths` must hold different lengths, at least one. "
            f"Received: lengths={tuple(lengths)!r}."
        )
    rows = check_int(rows, argument="rows", at_least=1)
    models = {f"tokens_{length}": make_model(length) for length in sorted(checked)}
    to_tflite(models, path, quantize="dynamic", batch_sizes=(rows,))
    return CompiledTeacher(path, threads=threads)
