"""The proof of a run: the student that ships beside its teacher and its cheapest rivals.

The test rows are asked here and nowhere else.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfdistill.pipelines.progress import Progress
from tfdistill.pipelines.run_folder import RunFolder, hash_of, write_json
from tfdistill.pipelines.texts import scores, students
from tfdistill.pipelines.texts.answers import answers_of_bundle, answers_of_logits
from tfdistill.pipelines.texts.candidates import Candidate
from tfdistill.pipelines.texts.material import Material
from tfdistill.pipelines.texts.rivals import milliseconds, train_on_words
from tfdistill.pipelines.texts.rows import Part, TextRows
from tfdistill.pipelines.texts.students import StudentRecipe
from tfdistill.pipelines.texts.tasks import TextTask
from tfdistill.reports.metrics import expected_calibration_error
from tfdistill.reports.stage_table import StageRow
from tfdistill.reports.verdict import Shipped, Verdict, compare_with_rivals, shipped
from tfdistill.students.sizes import EncoderSizes

__all__ = ["Proof", "choose", "prove"]


@dataclass(frozen=True, eq=False)
class Proof:
    """What the report shows.

    Attributes:
        stages: Rows of the results table.
        verdict: The student that ships against its rivals.
        predictions: What it says of the test texts, in the form of the task.
        teacher: What the teacher says of them.
        notes: Sentences for the reader.
    """

    stages: list[StageRow]
    verdict: Verdict
    predictions: np.ndarray
    teacher: np.ndarray
    notes: list[str]


def choose(rows: TextRows, material: Material, candidates: Mapping[str, Candidate]) -> Shipped:
    """Picks what ships by the held-out rows: the better one, or the smaller one within an error.

    A few rows cannot tell two students apart. Texts without a label that were kept from training
    help then: right is there what the teacher says.

    Args:
        rows: The texts.
        material: The teacher.
        candidates: Bundles by the name of their stage.

    Returns:
        The choice.
    """
    judged = rows.held_out
    if rows.watched and material.compiled is not None:
        said = rows.task.answers(material.compiled_logits(rows.watched))
        judged = Part(
            [*judged.texts, *rows.watched],
            np.concatenate([judged.targets, said.astype(judged.targets.dtype)]),
        )
    return shipped(
        judged.targets,
        candidates={
            name: answers_of_bundle(one.bundle, judged, rows.task)[0]
            for name, one in candidates.items()
        },
        metric=rows.task.metric,
        sizes={name: scores.bundle_bytes(one.bundle) for name, one in candidates.items()},
    )


def prove(
    rows: TextRows,
    material: Material,
    candidates: Mapping[str, Candidate],
    choice: Shipped,
    recipe: StudentRecipe,
    sizes: EncoderSizes,
    *,
    run: RunFolder,
    progress: Progress,
) -> Proof:
    """Trains the rivals, asks all of them about the test rows and compares.

    Args:
        rows: The texts.
        material: The teacher and its answers.
        candidates: Bundles by the name of their stage, "file" and "bag_of_words_teacher".
        choice: Which of them ships.
        recipe: How the encoder trained, for its control.
        sizes: The encoder's.
        run: Where the rivals are kept.
        progress: The bar.

    Returns:
        The proof.
    """
    labels = rows.test.targets
    teacher = answers_of_logits(
        rows, lambda part: material.test_logits if part is rows.test else material.held_logits
    )
    scorer = scores.Scorer(labels, teacher, rows.task)
    control = _control(rows, material, recipe, sizes, run=run, progress=progress)
    with progress.part("bag of words on the labels"):
        words = _words(rows, run) if find_spec("sklearn") else None
    with progress.part("export and measure"):
        timing = _teacher_timing(rows, material, run)
        found: dict[str, np.ndarray] = {}
        if material.compiled is not None:
            found["teacher_8bit"] = answers_of_logits(
                rows, lambda part: material.compiled_logits(part.texts)
            )
        if words is not None:
            found["bag_of_words_labels"] = words["test"]
        models = {"control": control, **candidates["file"].stages}
        found |= {
            name: answers_of_logits(rows, _reader(model, material))
            for name, model in models.items()
        }
        sure: dict[str, np.ndarray | None] = {}
        for name, one in candidates.items():
            found[name], sure[name] = answers_of_bundle(one.bundle, rows.test, rows.task)
        stages = [replace(scorer.row("teacher", teacher), **timing)]
        order = [
            "teacher_8bit", "control", "bag_of_words_labels", "bag_of_words_teacher",
            *candidates["file"].stages, "file",
        ]  # fmt: skip
        for name in filter(found.__contains__, order):
            row = scorer.row(name, found[name])
            if name in candidates:
                row = scores.with_bundle(row, candidates[name], rows.test.texts)
            elif name in models:
                row = scores.with_weights(row, models[name])
            elif name == "bag_of_words_labels" and words is not None:
                row = replace(row, **words["costs"])
            elif material.compiled is not None:
                row = scores.with_compiled(row, material.compiled)
            stages.append(row)
    bytes_of = {row.stage: row.bundle_bytes or row.size_bytes or 0 for row in stages}
    rivals = ["teacher_8bit", "control", "bag_of_words_labels", "bag_of_words_teacher", "file"]
    rivals = [name for name in rivals if name != choice.name and name in found]
    verdict = compare_with_rivals(
        labels,
        student=found[choice.name],
        rivals={name: found[name] for name in rivals},
        teacher=teacher,
        metric=rows.task.metric,
        stage=choice.name,
        sizes={"student": bytes_of[choice.name]} | {name: bytes_of[name] for name in rivals},
    )
    notes = [
        f"What ships: {choice.reason}",
        *_about_watched(rows),
        f"The teacher is {material.words.teacher}, {material.teacher_kind}; on held-out rows "
        + ", ".join(f"{kind} {score:.4f}" for kind, score in material.teacher_scores.items())
        + ".",
        *_about_answers(labels, sure[choice.name], rows.task),
        *_without_words(words),
        *_against_teacher(stages, choice.name),
        "For Keras rows the size is that of the float32 weights. The bundle holds the tokenizer, "
        "too, and text to label includes it; the teacher's time is that of a float file without "
        "padding. Rivals are compared bundle to bundle. One seed.",
    ]
    return Proof(stages, verdict, found[choice.name], teacher, notes)


def _about_watched(rows: TextRows) -> list[str]:
    if not rows.watched:
        return []
    return [
        f"It was chosen by {len(rows.held_out):,} held-out rows and, because these are few, by "
        f"{len(rows.watched):,} texts without a label that trained nothing; right is there what "
        "the teacher says."
    ]


def _without_words(words: object) -> list[str]:
    if words is not None:
        return []
    return [
        "The bag of words on the labels is missing: it needs scikit-learn, "
        "`pip install 'tfdistill[demo]'`."
    ]


def _against_teacher(stages: Sequence[StageRow], name: str) -> list[str]:
    teacher = stages[0]
    own = next(row for row in stages if row.stage == name)
    if not (own.size_bytes and own.bundle_bytes and own.text_ms_p50 and teacher.text_ms_p50):
        return []
    return [
        f"The file is {(teacher.size_bytes or 0) / own.size_bytes:.0f}x smaller than the teacher's "
        f"weights, its bundle {(teacher.size_bytes or 0) / own.bundle_bytes:.0f}x; from text to "
        f"label it takes {own.text_ms_p50:.3f} ms, the teacher {teacher.text_ms_p50:.2f} ms: "
        f"{teacher.text_ms_p50 / own.text_ms_p50:.0f}x faster."
    ]


def _reader(model: keras.Model, material: Material) -> Callable[[Part], np.ndarray]:
    return lambda part: students.predict(model, material.words, part.texts)


def _about_answers(labels: np.ndarray, sure: np.ndarray | None, task: TextTask) -> list[str]:
    if sure is not None:
        error = expected_calibration_error(labels, sure)
        return [f"Expected calibration error of what ships: {error:.3f} on the test rows."]
    if task.kind == "labels":
        return [
            "Each label is given from the score on that has the best F1 on the held-out rows, for "
            "every row of the table by itself. Agreement is how often all labels are the same."
        ]
    return []


def _control(
    rows: TextRows,
    material: Material,
    recipe: StudentRecipe,
    sizes: EncoderSizes,
    *,
    run: RunFolder,
    progress: Progress,
) -> keras.Model:
    def train(folder: Path) -> None:
        student = students.start_student(
            material, sizes, num_outputs=rows.task.num_outputs, seed=recipe.seed
        )
        students.train_control(
            student, rows, material, recipe,
            rate=recipe.rate_of(sizes), folder=folder, progress=progress,
        )  # fmt: skip
        students.save_model(student, folder / "control.keras")

    key = {
        "material": material.key,
        "sizes": dataclasses.asdict(sizes),
        "recipe": dataclasses.asdict(recipe),
    }
    with progress.part("train the control"):
        path = run.step("control", key, train) / "control.keras"
    return keras.saving.load_model(path)


def _words(rows: TextRows, run: RunFolder) -> dict[str, Any]:
    def train(folder: Path) -> None:
        rival = train_on_words(rows.train, rows.held_out, rows.test, task=rows.task)
        median, high = milliseconds(rival.text_ms)
        costs = {
            "parameters": rival.parameters,
            "size_bytes": rival.size_bytes,
            "bundle_bytes": rival.size_bytes,
            "text_ms_p50": median,
            "text_ms_p95": high,
        }
        write_json(folder / "rival.json", {"test": rival.predictions.tolist(), "costs": costs})

    parts = (rows.train, rows.held_out, rows.test)
    key = {
        "task": rows.task.kind,
        "rows": [hash_of([part.texts, part.targets.tolist()]) for part in parts],
    }
    found = json.loads((run.step("words", key, train) / "rival.json").read_text(encoding="utf-8"))
    return {**found, "test": np.array(found["test"])}


def _teacher_timing(rows: TextRows, material: Material, run: RunFolder) -> dict[str, Any]:
    open_teacher = material.open_teacher
    if open_teacher is None:
        return {}

    def measure(folder: Path) -> None:
        teacher = open_teacher()
        path = folder / "teacher.tflite"
        read = scores.teacher_reader(teacher, material.words, rows.test.texts, path)
        median, high = scores.time_texts(read, rows.test.texts[:100])
        row = scores.with_weights(scores.empty_row("teacher"), teacher.model())
        path.unlink()
        write_json(
            folder / "timing.json",
            {
                "parameters": row.parameters,
                "nonzero": row.nonzero,
                "size_bytes": row.size_bytes,
                "gzip_bytes": row.gzip_bytes,
                "text_ms_p50": median,
                "text_ms_p95": high,
            },
        )

    step = run.step("teacher_timing", {"material": material.key}, measure)
    return json.loads((step / "timing.json").read_text(encoding="utf-8"))
