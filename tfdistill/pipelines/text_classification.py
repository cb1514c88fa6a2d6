"""The order of the demo, from texts to the table."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
from tokenizers import Tokenizer

from tfdistill.bundles.model_card import describe_bundle
from tfdistill.compress.inspection.statistics import verify_compression
from tfdistill.datasets.assets import MINILM, extract
from tfdistill.datasets.text_files import TextData
from tfdistill.export.parity.comparison import compare
from tfdistill.export.saving import save_bundle
from tfdistill.pipelines import agents, evaluation, training
from tfdistill.pipelines.data import Encoded, encode_texts
from tfdistill.reports.confusions import changes_between, lost_examples
from tfdistill.reports.html_page import write_page
from tfdistill.reports.stage_table import StageRow, format_table, write_report
from tfdistill.teachers import pretrained

__all__ = ["run_demo"]


def run_demo(
    texts: TextData,
    *,
    folder: str | Path = "runs/demo",
    labels: int | None = 400,
    fine_tune: bool = False,
    sequence_length: int = 64,
    recipe: training.Recipe | None = None,
    rivals: bool = True,
    say: Callable[[str], None] = lambda line: None,
) -> Path:
    """Takes any labelled texts from a pretrained teacher to a team of TFLite agents.

    Args:
        texts: The data set.
        folder: Where the report, the bundle and the teacher's answers go.
        labels: How many training texts keep their label; None keeps all.
        fine_tune: Whether to train the teacher's backbone as well as its head.
        sequence_length: Number of tokens of a text that the models see.
        recipe: How the students train; None takes the one of the README.
        rivals: Whether to compare with a bag of words too, and to run the agents on Ray. Without
            them, neither scikit-learn nor Ray is needed, and plots are left out where matplotlib
            is missing.
        say: Called with a line of text at each step.

    Returns:
        `folder`, with `report.json`, `report.md`, `report.html`, `pareto.svg` and
        `bundle/`.

    Raises:
        AssetError: If the teacher cannot be downloaded.
        ImportError: If an optional package of the demo is missing.
        ValueError: If `labels` does not fit the data.
    """
    started = time.monotonic()
    folder = Path(folder)
    (folder / "float").mkdir(parents=True, exist_ok=True)
    recipe = recipe or training.Recipe()
    checkpoint = extract(MINILM)
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    data = encode_texts(
        texts, tokenizer, sequence_length=sequence_length, labels=labels, seed=recipe.seed
    )
    say(
        f"{len(texts.train_texts)} training texts, {len(data.labelled)} of them with a label, "
        f"{len(texts.test_texts)} test texts, {data.num_classes} classes; "
        f"vocabulary {tokenizer.get_vocab_size()} → {len(data.kept_ids)} tokens"
    )

    say("\n1. Teacher: MiniLM with a head trained on the labelled texts")
    backbone = pretrained.load_backbone(checkpoint)
    teacher = training.train_teacher(backbone, data, fine_tune=fine_tune, seed=recipe.seed)
    answers_on_test = teacher.predict(data.teacher_test, batch_size=64).argmax(axis=-1)
    rows = [_row("teacher", teacher, answers_on_test, data, answers_on_test, folder)]

    say("\n2. Controls: what comes out without a teacher")
    if rivals:
        rows.append(evaluation.bag_of_words_row(data, teacher=answers_on_test))
    control = training.start_student(backbone, data, seed=recipe.seed)
    control = training.train_control(control, data, recipe)
    rows.append(_student_row("control", control, data, answers_on_test, folder))

    say("\n3. Distillation: the teacher answers every text once, the student learns from that")
    answers = training.ask_teacher(teacher, data, folder / "teacher_cache")
    student = training.start_student(backbone, data, seed=recipe.seed)
    student = training.distill(student, data, answers, recipe)
    rows.append(_student_row("distilled", student, data, answers_on_test, folder))

    say("\n4. Compression: pruning and 8-bit training, still learning from the teacher")
    small = training.compress(student, data, answers, recipe)
    rows.append(_student_row("compressed", small, data, answers_on_test, folder))

    say("   which layer would bear 4 bits?")
    fragile = training.sensitivity_of(student, data)

    say("\n5. Export: a TFLite file in a bundle, compared with the Keras model")
    bundle = save_bundle(
        small, folder / "bundle", tokenizer=data.tokenizer, labels=texts.label_names
    )
    verify_compression(small, bundle.model_path)
    say(str(compare(small, bundle.model_path, data.student_test, texts.test_labels)))
    expected = agents.answer_all(bundle.path, texts.test_texts)
    predictions = agents.as_classes(
        expected, label_names=texts.label_names, truth=texts.test_labels
    )
    row = evaluation.scored("tflite", predictions, data=data, teacher=answers_on_test)
    rows.append(evaluation.file_row(row, bundle.model_path, model=small))

    say("\n6. Agents: the test set from raw strings, in several ways")
    executors = ("inline", "threads", "ray") if rivals else ("inline", "threads")
    pool = agents.compare_executors(
        bundle.path, texts.test_texts, expected=expected, executors=executors
    )
    for item in pool:
        same = "identical answers" if item.identical else "DIFFERENT ANSWERS"
        say(f"   {item.executor:8} {item.items_per_s:7.0f} texts/s   {same}")

    describe_bundle(bundle.path, about=evaluation.facts(data, labels=len(data.labelled)), rows=rows)
    notes = evaluation.notes_on(rows)
    say("\n" + format_table(rows) + "\n\n" + "\n".join(notes))
    write_page(
        folder / "report.html",
        stages=rows,
        notes=notes,
        sensitivity=fragile,
        changes=changes_between(
            texts.test_labels, answers_on_test, predictions, label_names=texts.label_names
        ),
        lost=lost_examples(
            texts.test_texts,
            texts.test_labels,
            answers_on_test,
            predictions,
            label_names=texts.label_names,
        ),
    )
    seconds = time.monotonic() - started
    return write_report(folder, stages=rows, pool=pool, seconds=seconds, notes=notes)


def _student_row(
    stage: str, model: keras.Model, data: Encoded, teacher: np.ndarray, folder: Path
) -> StageRow:
    predictions = model.predict(data.student_test, batch_size=256, verbose=0).argmax(axis=-1)
    return _row(stage, model, predictions, data, teacher, folder)


def _row(
    stage: str,
    model: keras.Model,
    predictions: np.ndarray,
    data: Encoded,
    teacher: np.ndarray,
    folder: Path,
) -> StageRow:
    row = evaluation.scored(stage, predictions, data=data, teacher=teacher)
    return evaluation.model_row(row, model, scratch=folder / "float")
