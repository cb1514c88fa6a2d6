"""Rows of the report: what each model of a run is worth and what it costs, from text to label."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np

from tfdistill.agents.agent import Agent
from tfdistill.agents.tokenization.text_encoder import TextEncoder
from tfdistill.bundles.bundle import open_bundle
from tfdistill.export.tflite import to_tflite
from tfdistill.introspection.weights import (
    count_nonzero,
    count_parameters,
    gzip_weight_bytes,
    weight_bytes,
)
from tfdistill.pipelines.texts.candidates import Candidate
from tfdistill.pipelines.texts.own_teacher import OwnTeacher
from tfdistill.pipelines.texts.rivals import milliseconds
from tfdistill.pipelines.texts.tasks import TextTask
from tfdistill.pipelines.texts.words import Words
from tfdistill.reports.metrics import accuracy, agreement, macro_f1
from tfdistill.reports.resampling import metric_score
from tfdistill.reports.stage_table import StageRow
from tfdistill.runtime.benchmark import measure
from tfdistill.runtime.interpreter import Interpreter
from tfdistill.teachers.compiled import CompiledTeacher, length_buckets
from tfdistill.teachers.training import TrainedTeacher

__all__ = [
    "Scorer",
    "bundle_bytes",
    "empty_row",
    "teacher_reader",
    "time_texts",
    "with_bundle",
    "with_compiled",
    "with_file",
    "with_weights",
]

TIMED = 300


@dataclass(frozen=True, eq=False)
class Scorer:
    """Makes rows on one test set.

    Attributes:
        labels: What is right for the test texts, in the form of the task.
        teacher: What the teacher says, in the same form.
        task: What is asked.
    """

    labels: np.ndarray
    teacher: np.ndarray
    task: TextTask

    def row(self, stage: str, predictions: np.ndarray) -> StageRow:
        """Starts a row with what predictions are worth.

        Args:
            stage: Name of the stage.
            predictions: What it says, in the form of the task.
        """
        row, labels, task = empty_row(stage), self.labels, self.task
        if task.kind == "class":
            return replace(
                row,
                accuracy=accuracy(labels, predictions),
                macro_f1=macro_f1(labels, predictions, task.num_outputs),
                teacher_agreement=agreement(self.teacher, predictions),
            )
        row = replace(row, metric=task.metric, score=metric_score(task.metric, labels, predictions))
        if task.kind == "number":
            return replace(row, mae=metric_score("mae", labels, predictions))
        return replace(
            row,
            micro_f1=metric_score("micro_f1", labels, predictions),
            # All labels of a text are the same.
            teacher_agreement=metric_score("accuracy", self.teacher, predictions),
        )


def with_weights(row: StageRow, model: keras.Model) -> StageRow:
    """Adds the size of a Keras model's float32 weights."""
    return replace(
        row,
        parameters=count_parameters(model),
        nonzero=count_nonzero(model),
        size_bytes=weight_bytes(model),
        gzip_bytes=gzip_weight_bytes(model),
    )


def with_file(row: StageRow, path: Path) -> StageRow:
    """Adds what a `.tflite` file costs by itself."""
    timing = measure(path)
    return replace(
        row,
        size_bytes=timing.size_bytes,
        gzip_bytes=timing.gzip_bytes,
        latency_ms_p50=timing.latency_ms_p50,
        latency_ms_p95=timing.latency_ms_p95,
    )


def time_texts(answer: Callable[[str], object], texts: Sequence[str]) -> tuple[float, float]:
    """Times single texts from text to answer.

    Args:
        answer: Answers one text.
        texts: Raw texts; the first ones warm up, too.

    Returns:
        Median and 95th percentile, in milliseconds.
    """
    chosen = list(texts[:TIMED])
    for text in chosen[:20]:
        answer(text)
    times = []
    for text in chosen:
        start = time.perf_counter()
        answer(text)
        times.append(1e3 * (time.perf_counter() - start))
    return milliseconds(times)


def teacher_reader(
    teacher: TrainedTeacher | OwnTeacher, words: Words, texts: Sequence[str], path: Path
) -> Callable[[str], np.ndarray]:
    """Makes the fair teacher for single texts: a float file with a signature for each length.

    Nobody deploys `model.predict`, and nobody pads: a ratio against either would flatter the
    student.

    Args:
        teacher: The teacher.
        words: Its tokenizer.
        texts: Texts whose lengths the signatures follow.
        path: The file to write.

    Returns:
        From a text to logits.
    """
    lengths = np.count_nonzero(words.for_teacher(texts), axis=1)
    buckets = sorted({*length_buckets(lengths, count=5), words.sequence_length})
    models = {f"tokens_{length}": teacher.model(sequence_length=length) for length in buckets}
    interpreter = Interpreter(to_tflite(models, path, quantize=None), vetted=True)
    encoder = TextEncoder(
        words.whole.to_str(), sequence_length=words.sequence_length, long_texts=words.long_texts
    )

    def read(text: str) -> np.ndarray:
        found = []
        for ids in encoder.encode_rows(text):
            own = int(np.count_nonzero(ids))
            length = next(bucket for bucket in buckets if bucket >= own)
            (logits,) = interpreter.run(
                {"ids": ids[None, :length]}, signature=f"tokens_{length}"
            ).values()
            found.append(logits)
        return np.mean(found, axis=0)

    return read


def bundle_bytes(folder: Path) -> int:
    """Returns the bytes of all files of a bundle."""
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())


def with_bundle(row: StageRow, candidate: Candidate, texts: Sequence[str]) -> StageRow:
    """Adds what a bundle costs: its file, all of it, and the time from a text to its label."""
    file = open_bundle(candidate.bundle).model_path
    median, high = time_texts(Agent(candidate.bundle).answer, texts)
    return replace(
        with_file(row, file),
        parameters=count_parameters(candidate.model),
        nonzero=count_nonzero(candidate.model),
        bundle_bytes=bundle_bytes(candidate.bundle),
        text_ms_p50=median,
        text_ms_p95=high,
    )


def with_compiled(row: StageRow, teacher: CompiledTeacher) -> StageRow:
    """Adds the size of a compiled teacher."""
    size = teacher.path.stat().st_size
    return replace(row, size_bytes=size)


def empty_row(stage: str) -> StageRow:
    """Returns a row without a number."""
    return StageRow(
        stage=stage,
        accuracy=None,
        macro_f1=None,
        parameters=None,
        nonzero=None,
        size_bytes=None,
        gzip_bytes=None,
        latency_ms_p50=None,
        latency_ms_p95=None,
        teacher_agreement=None,
    )
