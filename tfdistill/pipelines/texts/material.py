"""What all students of a run learn from: the teacher, varied copies of the texts, its answers.

    texts ─ trained teacher ─ 8-bit file ─┐
      └──── words, varied copies ─────────┴─▶ answers on disk

Students of other sizes and seeds share it, and so does a later run on the same texts.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfdistill.datasets.text_variation import varied_copies
from tfdistill.distill.teacher_cache.cache import TeacherCache
from tfdistill.files.records import file_sha256
from tfdistill.pipelines.progress import EpochBar, Progress
from tfdistill.pipelines.run_folder import RunFolder, hash_of, save_array, write_json
from tfdistill.pipelines.texts.effort import Plan
from tfdistill.pipelines.texts.own_teacher import OwnTeacher
from tfdistill.pipelines.texts.rows import TextRows
from tfdistill.pipelines.texts.words import Words
from tfdistill.students.text_rows import mean_by_text
from tfdistill.teachers import pretrained
from tfdistill.teachers.compiled import CompiledTeacher, compile_teacher, length_buckets
from tfdistill.teachers.single_words import word_vectors
from tfdistill.teachers.training import (
    TrainedTeacher,
    best_teacher,
    fine_tune,
    score_of,
    train_head,
)

__all__ = ["Material", "make_material"]

_ROWS_OF_A_CALL = 64


@dataclass(frozen=True, eq=False)
class Material:
    """What students learn from, on disk.

    Attributes:
        key: Names all of it by its content.
        words: Texts as ids.
        text_ids: Ids of the texts themselves, labelled ones first, int32 `[N, L]`; a text that is
            read in windows has a row for each.
        ids: Ids of all texts and copies, those of like length side by side, int32 `[M, L]`.
        sources: Row of `text_ids` that each was made from, int32 `[M]`.
        vectors: What the teacher knows of each word, float32 `[V, 2 D]`.
        cache: The teacher's answers to `ids`.
        compiled: The teacher in 8 bits, on the students' ids; None if only its answers are there.
        teacher_kind: "frozen" or "fine-tuned", or "given" for one that was brought.
        teacher_scores: Held-out score of each kind that was trained.
        open_teacher: Loads the teacher itself; None if only its answers are there.
        held_logits: The float teacher's logits of the held-out rows, float32 `[H, C]`.
        test_logits: The same of the test rows. Windows of a text are averaged.
    """

    key: str
    words: Words
    text_ids: np.ndarray
    ids: np.ndarray
    sources: np.ndarray
    vectors: np.ndarray
    cache: TeacherCache
    compiled: CompiledTeacher | None
    teacher_kind: str
    teacher_scores: dict[str, float]
    open_teacher: Callable[[], TrainedTeacher | OwnTeacher] | None
    held_logits: np.ndarray
    test_logits: np.ndarray

    def compiled_logits(self, texts: Sequence[str]) -> np.ndarray:
        """Returns what the teacher in 8 bits says of texts, float32 `[N, C]`.

        Raises:
            ValueError: If only answers of the teacher are there.
        """
        if self.compiled is None:
            raise ValueError("`compiled` must be there. Received: a teacher known by its answers.")
        ids, text_of_row = self.words.rows_for_student(texts)
        return mean_by_text(self.compiled(ids), text_of_row)


def make_material(
    rows: TextRows,
    words: Words,
    plan: Plan,
    *,
    run: RunFolder,
    progress: Progress,
    own: OwnTeacher | None = None,
    seed: int = 0,
) -> Material:
    """Trains the teacher, varies the texts and asks the teacher, or finds what is there.

    Args:
        rows: The texts.
        words: The same as ids.
        plan: How much work to do.
        run: Where all of it is kept.
        progress: The bar.
        own: A teacher that is used as it is; None trains one.
        seed: Seed of the teacher and of the copies.

    Returns:
        The material.
    """
    known = {name: _fingerprint(getattr(rows, name)) for name in ("train", "held_out")}
    key: dict[str, Any] = {
        **known,
        "task": [rows.task.kind, *rows.task.label_names],
        "length": words.sequence_length,
        "long_texts": words.long_texts,
    }
    making: Callable[[Path], None]
    if own is None:
        key |= {"checkpoint": _checkpoint_name(words), "epochs": plan.fine_tune_epochs}
        key |= {"seed": seed}
        making = _TeacherStep(rows, words, plan, progress, seed)
    else:
        key |= {"teacher": own.fingerprint, "tokenizer": hash_of(own.tokenizer.to_str())}
        making = _GivenStep(own, rows, words)
    folder = run.folder_of("teacher", key)
    with progress.part("train the teacher", shown="1/6 training the teacher"):
        run.step("teacher", key, making)
    found = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    kind, scores = found["kind"], found["scores"]

    opened: list[TrainedTeacher | OwnTeacher] = [] if own is None else [own]

    def teacher() -> TrainedTeacher | OwnTeacher:
        if not opened:
            opened.append(_open_trained(kind, rows, words, folder / kind))
        return opened[0]

    test_key = {"teacher": key, "test": _fingerprint(rows.test)}
    tested = run.step("teacher_logits", test_key, _LogitsStep(teacher, rows, words))

    texts = [*rows.train.texts, *rows.unlabeled]
    small_ids = words.for_student(texts)
    key = {"teacher": key, "texts": hash_of(texts), "vocabulary": _hash_array(words.kept_ids)}
    with progress.part("compile the teacher", shown="2/6 compiling the teacher to 8 bits"):
        step = run.step("compiled", key, _CompileStep(teacher, words, small_ids))
    threads = min(4, os.cpu_count() or 1)
    compiled = CompiledTeacher(step / "teacher.tflite", threads=threads)
    vectors = np.load(step / "vectors.npy")

    key = {"compiled": key, "copies": plan.copies, "seed": seed}
    copying = _CopiesStep(rows, words, plan, small_ids, vectors, compiled, seed)
    copies = run.step("copies", key, copying)
    ids, sources = np.load(copies / "ids.npy"), np.load(copies / "sources.npy")
    with progress.part("ask the teacher", shown=f"3/6 asking the teacher, {len(ids):,} texts"):
        answers = run.step("answers", key, _AnswersStep(compiled, ids, progress))
    return Material(
        key=hash_of(key),
        words=words,
        text_ids=small_ids,
        ids=ids,
        sources=sources,
        vectors=vectors,
        cache=TeacherCache(answers / "cache"),
        compiled=compiled,
        teacher_kind=kind,
        teacher_scores=scores,
        open_teacher=teacher,
        held_logits=np.load(tested / "held.npy"),
        test_logits=np.load(tested / "test.npy"),
    )


@dataclass(frozen=True, eq=False)
class _TeacherStep:
    rows: TextRows
    words: Words
    plan: Plan
    progress: Progress
    seed: int

    def __call__(self, folder: Path) -> None:
        rows, words, epochs = self.rows, self.words, self.plan.fine_tune_epochs
        train, held = (
            words.training_rows(part, task=rows.task, teacher=True)
            for part in (rows.train, rows.held_out)
        )
        reading = self.plan.reading_share
        best, scores = best_teacher(
            lambda: pretrained.load_backbone(words.checkpoint or ""),
            train,
            held,
            num_outputs=rows.task.num_outputs,
            outputs=rows.task.outputs,
            kinds=("frozen", "fine-tuned") if epochs else ("frozen",),
            folder=folder,
            seed=self.seed,
            epochs=max(1, epochs),
            read=lambda done, texts: self.progress.reach(reading * done / texts),
            callbacks=[EpochBar(self.progress, begin=reading)],
        )
        write_json(folder / "scores.json", {"kind": best.kind, "scores": scores})


@dataclass(frozen=True, eq=False)
class _GivenStep:
    own: OwnTeacher
    rows: TextRows
    words: Words

    def __call__(self, folder: Path) -> None:
        held, task = self.rows.held_out, self.rows.task
        logits = _logits(self.own, self.words, held.texts)
        score = score_of(task.outputs, task.learned(held.targets), logits)
        write_json(folder / "scores.json", {"kind": "given", "scores": {"given": score}})


def _open_trained(kind: str, rows: TextRows, words: Words, folder: Path) -> TrainedTeacher:
    """Loads the weights of a teacher that was trained."""
    known: dict[str, Any] = {"frozen": train_head, "fine-tuned": fine_tune}
    task = rows.task
    held = words.training_rows(rows.held_out, task=task, teacher=True)
    train = words.training_rows(rows.train, task=task, teacher=True)
    return known[kind](
        pretrained.load_backbone(words.checkpoint or ""), train, held,
        num_outputs=task.num_outputs, outputs=task.outputs, folder=folder,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _LogitsStep:
    teacher: Any
    rows: TextRows
    words: Words

    def __call__(self, folder: Path) -> None:
        for name, part in (("held", self.rows.held_out), ("test", self.rows.test)):
            save_array(folder / f"{name}.npy", _logits(self.teacher(), self.words, part.texts))


def _logits(teacher: TrainedTeacher | OwnTeacher, words: Words, texts: Sequence[str]) -> np.ndarray:
    """Asks the float teacher, texts of like length together; windows of a text are averaged."""
    given = isinstance(teacher, OwnTeacher)
    model = teacher.model(sequence_length=words.sequence_length if given else None)
    ids, text_of_row = words.rows_for_teacher(texts)
    order = np.argsort(np.count_nonzero(ids, axis=1), kind="stable")
    logits = model.predict(ids[order], batch_size=64, verbose=0)
    return mean_by_text(logits[np.argsort(order)], text_of_row)


@dataclass(frozen=True, eq=False)
class _CompileStep:
    teacher: Any
    words: Words
    ids: np.ndarray

    def __call__(self, folder: Path) -> None:
        teacher, words = self.teacher(), self.words
        lengths = np.count_nonzero(self.ids, axis=1)
        # Held-out and test texts may be longer than any training text.
        buckets = {*length_buckets(np.maximum(lengths, 1), count=8), words.sequence_length}
        if isinstance(teacher, OwnTeacher):
            vectors = teacher.word_vectors(words)
            if teacher.sequence_length:  # it reads its own padding, whatever it is given
                buckets = {words.sequence_length}
        else:
            (begin,), (end,) = words.around
            vectors = word_vectors(
                teacher.backbone, kept_ids=words.kept_ids, begin_id=begin, end_id=end
            )
        save_array(folder / "vectors.npy", vectors)
        compile_teacher(
            lambda length: teacher.model(sequence_length=length, kept_ids=words.kept_ids),
            folder / "teacher.tflite",
            lengths=sorted(buckets),
            rows=_ROWS_OF_A_CALL,
        )


@dataclass(frozen=True, eq=False)
class _CopiesStep:
    rows: TextRows
    words: Words
    plan: Plan
    ids: np.ndarray
    vectors: np.ndarray
    compiled: CompiledTeacher
    seed: int

    def __call__(self, folder: Path) -> None:
        groups = None
        if self.rows.task.kind == "class":
            part, task = self.rows.train, self.rows.task
            groups = self.words.training_rows(part, task=task, teacher=False)[1]
            if self.rows.unlabeled:
                said = self.compiled(self.ids[len(groups) :]).argmax(axis=-1)
                groups = np.concatenate([groups, said])
        ids, sources = varied_copies(
            self.ids,
            vectors=self.vectors,
            copies=self.plan.copies,
            groups=groups,
            special_ids=self.words.special_ids,
            seed=self.seed,
        )
        order = np.argsort(np.count_nonzero(ids, axis=1), kind="stable")
        save_array(folder / "ids.npy", ids[order])
        save_array(folder / "sources.npy", sources[order])


@dataclass(frozen=True, eq=False)
class _AnswersStep:
    compiled: CompiledTeacher
    ids: np.ndarray
    progress: Progress

    def __call__(self, folder: Path) -> None:
        TeacherCache.build(
            self.compiled,
            self.ids,
            folder / "cache",
            batch_size=256,
            fingerprint=self.compiled.fingerprint,
            progress=lambda done, rows: self.progress.reach(done / rows),
        )


def _checkpoint_name(words: Words) -> str:
    """Names a checkpoint by its content; MiniLM's folder is named so already."""
    folder = words.checkpoint
    if folder is None or words.teacher == "MiniLM":
        return "" if folder is None else folder.name
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return hash_of([[path.name, file_sha256(path)] for path in files])


def _fingerprint(part: Any) -> str:
    return hash_of([part.texts, part.targets.tolist()])


def _hash_array(array: np.ndarray) -> str:
    return hash_of(array.tolist())
