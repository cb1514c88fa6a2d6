"""Answers that are there already: the rows of a teacher cache in place of a teacher."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tfdistill.distill.teacher_cache.cache import TeacherCache
from tfdistill.pipelines.progress import Progress
from tfdistill.pipelines.run_folder import RunFolder, hash_of, save_array
from tfdistill.pipelines.texts.material import Material
from tfdistill.pipelines.texts.rows import Part, TextRows
from tfdistill.pipelines.texts.words import Words
from tfdistill.teachers import pretrained
from tfdistill.teachers.single_words import word_vectors
from tfdistill.teachers.training import score_of

__all__ = ["NO_COPIES", "StoredAnswers", "answerer", "material_of_answers", "stored_answers"]

NO_COPIES = (
    "The teacher is known by its answers alone: no varied copies of the texts could be asked, and "
    "its size and time are not known. The teacher itself would teach more."
)


@dataclass(frozen=True, eq=False)
class StoredAnswers:
    """What a teacher said of all rows of a run.

    Attributes:
        logits: One row for each row of the data and of the test, float32 `[N, C]`.
    """

    logits: np.ndarray

    def of(self, part: Part) -> np.ndarray:
        """Returns the logits of some of the rows."""
        return self.logits[part.rows]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the logits."""
        return hashlib.sha256(np.ascontiguousarray(self.logits).tobytes()).hexdigest()


def stored_answers(cache: TeacherCache, rows: TextRows) -> StoredAnswers:
    """Reads the answers of a cache to the rows of a run.

    Args:
        cache: One row for each row that was read of the data, in their order, and behind these
            one for each test row, if there is a table of them.
        rows: The rows.

    Returns:
        The answers.

    Raises:
        ValueError: If the cache has another number of rows or of classes, or the run has texts
            without a label, which are in no cache.
    """
    if cache.num_rows != rows.num_rows:
        raise ValueError(
            f"`teacher` must be a cache with a row for each of the {rows.num_rows} rows of `data` "
            f"and `test` that are read, in their order. Received: a cache of {cache.num_rows} "
            "rows. Build it from these texts."
        )
    if cache.num_classes != rows.task.num_outputs:
        raise ValueError(
            f"`teacher` must be a cache of the {rows.task.num_outputs} classes of the texts, in "
            f"the order of their sorted names. Received: a cache of {cache.num_classes} classes. "
            "Build it with a teacher of these classes."
        )
    texts = len(rows.unlabeled) + len(rows.watched)
    if texts:
        raise ValueError(
            "`unlabeled` must be left out where `teacher` is a cache, which has no answer to "
            f"them. Received: {texts} texts. Give the teacher itself."
        )
    logits = cache.logits()
    if logits.ndim != 2:
        raise ValueError(
            "`teacher` must be a cache of one row of logits a text. Received: a cache of logits "
            f"of shape {logits.shape}. A teacher of tokens is none of texts."
        )
    return StoredAnswers(rows.task.learned(logits))  # numbers are learned standardized


def answerer(ids: np.ndarray, logits: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Makes a teacher that looks its answers up; rows of the same ids get the mean of theirs.

    Args:
        ids: Rows that it knows, int `[R, L]`.
        logits: The answers to them, float `[R, C]`.

    Returns:
        A function from rows to float32 logits.

    Example:
        >>> teacher = answerer(np.array([[5], [6], [5]]), np.array([[1.0], [2.0], [3.0]]))
        >>> teacher(np.array([[6], [5]])).tolist()
        [[2.0], [2.0]]
    """
    known, place = np.unique(ids, axis=0, return_inverse=True)
    sums = np.zeros((len(known), logits.shape[1]))
    np.add.at(sums, place.ravel(), logits)
    means = (sums / np.bincount(place.ravel())[:, None]).astype(np.float32)
    number = {row.tobytes(): index for index, row in enumerate(known)}
    return lambda batch: means[
        [number[row.tobytes()] for row in np.ascontiguousarray(batch, known.dtype)]
    ]


def material_of_answers(
    rows: TextRows,
    words: Words,
    answers: StoredAnswers,
    *,
    run: RunFolder,
    progress: Progress,
) -> Material:
    """Makes what students learn from out of answers alone: no varied copies, no teacher.

    Words start from what the pretrained checkpoint of `words` knows of them.

    Args:
        rows: The texts.
        words: The same as ids.
        answers: What the teacher said of them.
        run: Where all of it is kept.
        progress: The bar.

    Returns:
        The material.
    """
    ids, text_of_row = words.rows_for_student(rows.train.texts)
    order = np.argsort(np.count_nonzero(ids, axis=1), kind="stable")
    logits = answers.of(rows.train)[text_of_row]
    vocabulary = hash_of(words.kept_ids.tolist())

    def read(folder: Path) -> None:
        (begin,), (end,) = words.around
        backbone = pretrained.load_backbone(words.checkpoint or "")
        vectors = word_vectors(backbone, kept_ids=words.kept_ids, begin_id=begin, end_id=end)
        save_array(folder / "vectors.npy", vectors)

    def keep(folder: Path) -> None:
        TeacherCache.build(
            answerer(ids, logits), ids[order], folder / "cache",
            batch_size=256, fingerprint=answers.fingerprint, resume=False,
            progress=lambda done, count: progress.reach(done / count),
        )  # fmt: skip

    with progress.part("train the teacher", shown="1/6 reading the words"):
        known = run.step("word_vectors", {"vocabulary": vocabulary}, read)
    key: dict[str, Any] = {
        "answers": answers.fingerprint,
        "texts": hash_of(rows.train.texts),
        "vocabulary": vocabulary,
        "length": words.sequence_length,
        "long_texts": words.long_texts,
    }
    with progress.part("ask the teacher", shown="3/6 reading the answers"):
        cache = TeacherCache(run.step("stored_answers", key, keep) / "cache")
    held = answers.of(rows.held_out)
    return Material(
        key=hash_of(key),
        words=replace(words, teacher="a cache of answers"),
        text_ids=ids,
        ids=ids[order],
        sources=order.astype(np.int32),
        vectors=np.load(known / "vectors.npy"),
        cache=cache,
        compiled=None,
        teacher_kind="given",
        teacher_scores={
            "given": score_of(rows.task.outputs, rows.task.learned(rows.held_out.targets), held)
        },
        open_teacher=None,
        held_logits=held,
        test_logits=answers.of(rows.test),
    )
