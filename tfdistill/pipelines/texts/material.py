"""What all students of a run learn from: the teacher, varied copies of the texts, its answers.

    texts ─ trained teacher ─ 8-bit file ─┐
      └──── words, varied copies ─────────┴─▶ answers on disk

Students of other sizes and seeds share it, and so does a later run on the same texts.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from tfdistill.datasets.assets import MINILM, extract
from tfdistill.datasets.text_variation import varied_copies
from tfdistill.distill.teacher_cache.cache import TeacherCache
from tfdistill.files.atomic import replacing
from tfdistill.pipelines.progress import EpochBar, Progress
from tfdistill.pipelines.run_folder import RunFolder, hash_of, write_json
from tfdistill.pipelines.texts.effort import Plan
from tfdistill.pipelines.texts.rows import TextRows
from tfdistill.students.vocabulary import cut_vocabulary, encode
from tfdistill.teachers import pretrained
from tfdistill.teachers.compiled import CompiledTeacher, compile_teacher, length_buckets
from tfdistill.teachers.single_words import word_vectors
from tfdistill.teachers.training import TrainedTeacher, best_teacher, fine_tune, train_head

__all__ = ["Material", "Words", "make_material", "open_teacher", "open_tokenizer", "read_words"]

_COMMON = 12_000  # ids of BERT's vocabulary, which is in order of frequency
_ROWS_OF_A_CALL = 64


@dataclass(frozen=True, eq=False)
class Words:
    """Texts as token ids, for the teacher and for the students.

    Attributes:
        checkpoint: Folder of the pretrained teacher.
        whole: The teacher's tokenizer.
        tokenizer: The students' tokenizer: the words of the texts and common ones.
        kept_ids: The teacher's id of each of the students' ids, int32 `[V]`.
        sequence_length: Tokens of a text.
    """

    checkpoint: Path
    whole: Tokenizer
    tokenizer: Tokenizer
    kept_ids: np.ndarray
    sequence_length: int

    @cached_property
    def special_ids(self) -> tuple[int, ...]:
        """The students' ids of padding, unknown words and the like."""
        own = {
            number for number, token in self.whole.get_added_tokens_decoder().items()
            if token.special
        }  # fmt: skip
        return tuple(int(row) for row in np.flatnonzero(np.isin(self.kept_ids, sorted(own | {0}))))

    def for_teacher(self, texts: Sequence[str]) -> np.ndarray:
        """Returns ids of the whole vocabulary, int32 `[N, L]`."""
        return encode(self.whole, texts, sequence_length=self.sequence_length)

    def for_student(self, texts: Sequence[str]) -> np.ndarray:
        """Returns ids of the students' vocabulary, int32 `[N, L]`."""
        return encode(self.tokenizer, texts, sequence_length=self.sequence_length)


def read_words(rows: TextRows, *, checkpoint: Path | None = None, sequence_length: int) -> Words:
    """Cuts the vocabulary to the texts' words and the common ones of the language.

    Common words that no training text has cost a number in a list each, because they share the rows
    of near ones; users will say them.

    Args:
        rows: The texts.
        checkpoint: Folder of the pretrained teacher, or None for MiniLM.
        sequence_length: Most tokens of a text.

    Returns:
        The words.
    """
    whole = open_tokenizer(checkpoint)
    tokens = map(whole.id_to_token, range(min(_COMMON, whole.get_vocab_size())))
    common = [word for word in tokens if word and word.isalpha() and len(word) > 1]
    texts = [*rows.train.texts, *rows.unlabeled]
    tokenizer, kept_ids = cut_vocabulary(whole, [*texts, *common], sequence_length=sequence_length)
    return Words(_folder_of(checkpoint), whole, tokenizer, kept_ids, sequence_length)


def open_tokenizer(checkpoint: Path | None = None) -> Tokenizer:
    """Opens the tokenizer of a pretrained teacher.

    Args:
        checkpoint: Its folder, or None for MiniLM.

    Returns:
        The tokenizer with its whole vocabulary.
    """
    return Tokenizer.from_file(str(_folder_of(checkpoint) / "tokenizer.json"))


def _folder_of(checkpoint: Path | None) -> Path:
    return extract(MINILM) if checkpoint is None else Path(checkpoint)


@dataclass(frozen=True, eq=False)
class Material:
    """What students learn from, on disk.

    Attributes:
        key: Names all of it by its content.
        words: Texts as ids.
        text_ids: Ids of the texts themselves, labelled ones first, int32 `[N, L]`.
        ids: Ids of all texts and copies, those of like length side by side, int32 `[M, L]`.
        sources: Row of the texts that each was made from, int32 `[M]`; labelled texts come first.
        vectors: What the teacher knows of each word, float32 `[V, 2 D]`.
        cache: The teacher's answers to `ids`.
        compiled: The teacher in 8 bits, on the students' ids.
        teacher_kind: "frozen" or "fine-tuned".
        teacher_scores: Held-out score of each kind that was trained.
        teacher_folder: Where its weights are.
        held_logits: The float teacher's logits of the held-out rows, float32 `[H, C]`.
        test_logits: The same of the test rows.
    """

    key: str
    words: Words
    text_ids: np.ndarray
    ids: np.ndarray
    sources: np.ndarray
    vectors: np.ndarray
    cache: TeacherCache
    compiled: CompiledTeacher
    teacher_kind: str
    teacher_scores: dict[str, float]
    teacher_folder: Path
    held_logits: np.ndarray
    test_logits: np.ndarray


def make_material(
    rows: TextRows,
    words: Words,
    plan: Plan,
    *,
    run: RunFolder,
    progress: Progress,
    seed: int = 0,
) -> Material:
    """Trains the teacher, varies the texts and asks the teacher, or finds what is there.

    Args:
        rows: The texts.
        words: The same as ids.
        plan: How much work to do.
        run: Where all of it is kept.
        progress: The bar.
        seed: Seed of the teacher and of the copies.

    Returns:
        The material.
    """
    known = {name: _fingerprint(getattr(rows, name)) for name in ("train", "held_out")}
    key: dict[str, Any] = {
        **known,
        "task": [rows.task.kind, *rows.task.label_names],
        "checkpoint": words.checkpoint.name,
        "length": words.sequence_length,
        "epochs": plan.fine_tune_epochs,
        "seed": seed,
    }
    folder = run.folder_of("teacher", key)
    with progress.part("train the teacher", shown="1/6 training the teacher"):
        run.step("teacher", key, _TeacherStep(rows, words, plan, progress, seed))
    found = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    kind, scores = found["kind"], found["scores"]

    opened: list[TrainedTeacher] = []

    def teacher() -> TrainedTeacher:
        if not opened:
            opened.append(open_teacher(kind, rows, words, folder / kind))
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
    making = _CopiesStep(rows, words, plan, small_ids, vectors, compiled, seed)
    copies = run.step("copies", key, making)
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
        teacher_folder=folder / kind,
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
            (words.for_teacher(part.texts), rows.task.learned(part.targets))
            for part in (rows.train, rows.held_out)
        )
        reading = self.plan.reading_share
        best, scores = best_teacher(
            lambda: pretrained.load_backbone(words.checkpoint),
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


def open_teacher(kind: str, rows: TextRows, words: Words, folder: Path) -> TrainedTeacher:
    """Loads the weights of a teacher that was trained.

    Args:
        kind: "frozen" or "fine-tuned".
        rows: The texts that it was trained on.
        words: The same as ids.
        folder: Where its weights are.

    Returns:
        The teacher.
    """
    known: dict[str, Any] = {"frozen": train_head, "fine-tuned": fine_tune}
    task = rows.task
    held = words.for_teacher(rows.held_out.texts), task.learned(rows.held_out.targets)
    train = words.for_teacher(rows.train.texts), task.learned(rows.train.targets)
    return known[kind](
        pretrained.load_backbone(words.checkpoint), train, held,
        num_outputs=task.num_outputs, outputs=task.outputs, folder=folder,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _LogitsStep:
    teacher: Any
    rows: TextRows
    words: Words

    def __call__(self, folder: Path) -> None:
        model = self.teacher().model()
        for name, part in (("held", self.rows.held_out), ("test", self.rows.test)):
            ids = self.words.for_teacher(part.texts)
            order = np.argsort(np.count_nonzero(ids, axis=1), kind="stable")
            logits = model.predict(ids[order], batch_size=64, verbose=0)
            _save(folder / f"{name}.npy", logits[np.argsort(order)])


@dataclass(frozen=True, eq=False)
class _CompileStep:
    teacher: Any
    words: Words
    ids: np.ndarray

    def __call__(self, folder: Path) -> None:
        teacher, words = self.teacher(), self.words
        begin, *_, end = words.whole.encode("a").ids
        vectors = word_vectors(
            teacher.backbone, kept_ids=words.kept_ids, begin_id=begin, end_id=end
        )
        _save(folder / "vectors.npy", vectors)
        lengths = np.count_nonzero(self.ids, axis=1)
        # Held-out and test texts may be longer than any training text.
        buckets = {*length_buckets(np.maximum(lengths, 1), count=8), words.sequence_length}
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
            groups = self.rows.train.targets
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
        _save(folder / "ids.npy", ids[order])
        _save(folder / "sources.npy", sources[order])


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


def _fingerprint(part: Any) -> str:
    return hash_of([part.texts, part.targets.tolist()])


def _hash_array(array: np.ndarray) -> str:
    return hash_of(array.tolist())


def _save(path: Path, array: np.ndarray) -> None:
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, array, allow_pickle=False)
