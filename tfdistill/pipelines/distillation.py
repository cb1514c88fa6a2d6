"""`distill_text`: from labelled texts to a bundle, with the proof of what it is worth.

rows ─ words ─ material ─┬─ encoder ─────┐
├─ bag of words ┼─ the better one on held-out rows ─▶ bundle
└─ control      ┘                 verdict, report
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TextIO

import keras
import numpy as np
from tokenizers import Tokenizer

from tfdistill.arguments import check_number
from tfdistill.bundles.bundle import BUNDLES, Bundle, open_bundle
from tfdistill.bundles.long_texts import check_long_texts
from tfdistill.bundles.model_card import describe_bundle
from tfdistill.distill.teacher_cache.cache import TeacherCache
from tfdistill.export.tflite import to_tflite
from tfdistill.files.folder import replacing_folder
from tfdistill.pipelines.progress import Progress
from tfdistill.pipelines.run_folder import RunFolder, write_json
from tfdistill.pipelines.silence import only_own_words
from tfdistill.pipelines.texts.answers import as_text
from tfdistill.pipelines.texts.candidates import Candidate, bag_candidate, encoder_candidate
from tfdistill.pipelines.texts.effort import EFFORTS, Plan, plan_run
from tfdistill.pipelines.texts.material import Material, make_material
from tfdistill.pipelines.texts.own_teacher import OwnTeacher, own_teacher
from tfdistill.pipelines.texts.proof import Proof, choose, prove
from tfdistill.pipelines.texts.reading import reading_notes, token_counts
from tfdistill.pipelines.texts.rows import TextRows, read_rows
from tfdistill.pipelines.texts.stored_answers import (
    NO_COPIES,
    StoredAnswers,
    material_of_answers,
    stored_answers,
)
from tfdistill.pipelines.texts.students import StudentRecipe
from tfdistill.pipelines.texts.tasks import TASKS
from tfdistill.pipelines.texts.words import Words, open_tokenizer, read_words
from tfdistill.reports.confusions import LostExample, changes_between, lost_examples
from tfdistill.reports.html_page import write_page
from tfdistill.reports.label_figures import label_scores
from tfdistill.reports.provenance import run_facts
from tfdistill.reports.stage_table import read_report, write_report
from tfdistill.reports.verdict import Shipped, Verdict
from tfdistill.students.encoder import text_encoder
from tfdistill.students.sizes import EncoderSizes, fitting_sizes

__all__ = ["TextRun", "distill_text"]

_COVERED = 0.997  # share of the training texts that are read whole, if they are not too long
_LOST = 20  # texts that the page shows


@dataclass(frozen=True, eq=False)
class TextRun:
    """A finished run.

    Attributes:
        folder: Where all of it is: `bundle/`, `report.html`, `report.json`, `report.md`.
        bundle: What ships, for `Agent`.
        verdict: Whether the student won, against whom, with intervals.
        choice: Which student ships, and why.
        student_path: The encoder as a `.keras` file; `student` opens it.
        teacher_kind: "frozen" or "fine-tuned", whichever was better on the held-out rows; "given"
            for a `keras.Model`.
        material: Texts and copies as ids, the teacher in 8 bits and its answers, for experiments.
    """

    folder: Path
    bundle: Bundle
    verdict: Verdict
    choice: Shipped
    student_path: Path
    teacher_kind: str
    material: Material

    @cached_property
    def student(self) -> keras.Model:
        """The encoder that was distilled, as a Keras model; also where a bag of words ships."""
        return keras.saving.load_model(self.student_path)

    @property
    def report(self) -> dict[str, Any]:
        """The content of `report.json`."""
        return read_report(self.folder)


def distill_text(
    data: Any,
    *,
    text: str = "text",
    label: str = "label",
    task: str = "auto",
    test: Any = None,
    unlabeled: Any = None,
    name: str | None = None,
    teacher: str | os.PathLike[str] | keras.Model | TeacherCache = "auto",
    tokenizer: Tokenizer | str | os.PathLike[str] | None = None,
    effort: str = "standard",
    long_texts: str = "head",
    max_kb: float = 500,
    sparsity: float | None = None,
    bits: int = 8,
    previous: TextRun | str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] = "runs/distill",
    delimiter: str | None = None,
    encoding: str | None = None,
    skip_bad_rows: bool = False,
    seed: int = 0,
    say: Callable[[str], None] | None = None,
    visible: bool = True,
    arguments: Sequence[str] | None = None,
) -> TextRun:
    """Makes a tiny model of labelled texts, and says whether it won.

    It names one class, any of several labels, or a number. A pretrained teacher learns what is
    right, frozen or fine-tuned, as held-out rows decide. It answers the texts and varied copies of
    them in 8 bits. An encoder and a bag of words learn from its answers; what is better on held-out
    rows ships, or the smaller one within a standard error. The test rows are asked once, at the
    end, of the student and of its cheapest rivals: the same student on the labels alone, a bag of
    words on the labels, one on the teacher's answers.

    A run that was killed goes on where it was, if it is called again with the same arguments.

    Args:
        data: A file (.csv, .tsv, .jsonl, .json, each also .gz, or .parquet), a data frame, or a
            pair of texts and labels.
        text: Name of the column of the texts.
        label: Name of the column of the classes; of labels, each cell a list or names between `,`,
            `;` or `|`, or empty; or of numbers.
        task: "class", "labels", "number", or "auto": lists are labels, fractions or more than 20
            different numbers are a number, all else is a class. What decides is accuracy, macro
            F1 or R².
        test: Test rows of the same form; None holds out a fifth.
        unlabeled: More texts without labels: a file, a frame or a list. The teacher answers them.
            Where few rows are held out, up to a fifth of them helps to choose what ships instead.
        name: What the report calls the data; None takes the name of the file.
        teacher: "auto" is MiniLM; or a folder with a BERT-like model of KerasHub or Hugging Face
            and its `tokenizer.json`; or a `keras.Model` from token ids to logits over the classes
            in the order of their sorted names, which is not trained further; or a `TeacherCache`
            with a row for each row of `data`, and of `test` behind them, in their order. Its
            answers are all that the students learn from: nothing is asked about varied copies.
        tokenizer: What makes the ids of a `keras.Model`: a `tokenizers.Tokenizer` or its file, with
            padding at id 0.
        effort: "quick", "standard" or "thorough": how long teacher and students train. A
            rough guess of the minutes is said before it starts.
        long_texts: What is read of a text that is longer than the effort allows: its "head", its
            "head+tail" (half of the tokens each), or all of it in up to 8 "windows", of which
            teacher, student and the agents of the bundle each average the logits. How many texts
            that meets is said before it starts.
        max_kb: Largest size of the `.tflite` file, in KB of 1,024 bytes.
        sparsity: Share of zeros in each kernel and table, or None; zeros make the download smaller.
        bits: 4 or 8, of the encoder's weights.
        previous: An earlier run on the same texts, or its folder: its teacher, copies and answers
            serve again, whatever `seed`, `max_kb`, `sparsity` and `bits` are.
        out: Folder of the run.
        delimiter: What separates columns; None finds it.
        encoding: Of the file; None finds it.
        skip_bad_rows: Whether to leave out rows that are not right, and count them.
        seed: Seed of all that is drawn.
        say: Called with lines about the run; None writes them to standard error.
        visible: Whether to draw a bar, on standard error.
        arguments: What followed `tfdistill` on the command line, for the report.

    Returns:
        The run.

    Raises:
        FileExistsError: If `out` holds something else than a run.
        FileNotFoundError: If a file or an earlier run is not there.
        RuntimeError: If another process makes a run in `out`.
        ValueError: If a table is not right, or an argument out of range.
        AssetError: If the teacher cannot be downloaded.
    """
    started = time.monotonic()
    check_long_texts(long_texts)
    _check(task=task, effort=effort, max_kb=max_kb, sparsity=sparsity, bits=bits)
    earlier = previous.folder if isinstance(previous, TextRun) else previous
    run = RunFolder(out, earlier=() if earlier is None else (earlier,))
    base_seed = run.base_seed(seed)
    model = teacher if isinstance(teacher, keras.Model) else None
    asked = teacher if isinstance(teacher, TeacherCache) else None
    checkpoint = None
    if isinstance(teacher, (str, os.PathLike)) and teacher != "auto":
        checkpoint = Path(teacher)
    if tokenizer is not None and model is None:
        raise ValueError(
            "`tokenizer` must be left out where `teacher` is no keras.Model. Received: "
            f"teacher={teacher!r}, which is read with its own, or with MiniLM's."
        )
    with only_own_words() as stream, contextlib.ExitStack() as stack:
        tell = say or functools.partial(_tell, stream)
        rows = read_rows(
            data, text=text, label=label, task=task, test=test, unlabeled=unlabeled,
            delimiter=delimiter, encoding=encoding, skip_bad_rows=skip_bad_rows,
            seed=base_seed, say=tell,
        )  # fmt: skip
        rows = dataclasses.replace(rows, name=name or rows.name)
        given, answers = None, None
        if model is not None:
            given = own_teacher(model, tokenizer, task=rows.task)
        if asked is not None:
            answers = stored_answers(asked, rows)
        run.start(base_seed)
        stack.enter_context(run.used_alone())
        words, plan, sizes = _plan(
            rows, run, effort=effort, max_kb=max_kb, bits=bits, checkpoint=checkpoint,
            given=given or answers, long_texts=long_texts, say=tell,
        )  # fmt: skip
        notes = [*reading_notes(words, rows), *([] if answers is None else [NO_COPIES])]
        for note in notes:
            tell(note)
        recipe = StudentRecipe(passes=plan.passes, seed=seed)
        with Progress(plan.seconds, stream=stream if visible else None) as progress:
            if answers is None:
                material = make_material(
                    rows, words, plan, run=run, progress=progress, own=given, seed=base_seed
                )
            else:
                material = material_of_answers(
                    rows, words, answers, run=run, progress=progress
                )  # fmt: skip
            candidates = {
                "file": encoder_candidate(
                    rows, material, sizes, recipe,
                    sparsity=sparsity, bits=bits, run=run, progress=progress,
                ),
                "bag_of_words_teacher": bag_candidate(
                    rows, material, recipe, max_kb=max_kb, run=run, progress=progress
                ),
            }  # fmt: skip
            choice = choose(rows, material, candidates)
            proof = prove(
                rows, material, candidates, choice, recipe, sizes, run=run, progress=progress
            )
        proof = dataclasses.replace(proof, notes=[*proof.notes, *notes])
        bundle = _ship(run.path, rows, candidates, choice, proof, material)
        facts = run_facts(
            data=rows.name,
            rows=_counts(rows),
            classes=None if rows.task.kind == "number" else rows.task.num_outputs,
            arguments=arguments,
        )
        _report(run.path, rows, proof, facts=facts, seconds=time.monotonic() - started)
        run.remove_unused()
    return TextRun(
        folder=run.path,
        bundle=bundle,
        verdict=proof.verdict,
        choice=choice,
        student_path=candidates["file"].model_path,
        teacher_kind=material.teacher_kind,
        material=material,
    )


def _tell(stream: TextIO, line: str) -> None:
    stream.write(f"tfdistill: {line}\n")
    stream.flush()


def _check(*, task: str, effort: str, max_kb: float, sparsity: float | None, bits: int) -> None:
    if task not in ("auto", *TASKS):
        raise ValueError(f"`task` must be one of {('auto', *TASKS)}. Received: task={task!r}.")
    if effort not in EFFORTS:
        raise ValueError(f"`effort` must be one of {tuple(EFFORTS)}. Received: effort={effort!r}.")
    check_number(max_kb, argument="max_kb", interval="(0, inf)", hint="150 to 2,000 are usual.")
    if sparsity is not None:
        check_number(sparsity, argument="sparsity", interval="(0, 1)", hint="0.5 is usual.")
    if bits not in (4, 8):
        raise ValueError(f"`bits` must be 4 or 8. Received: bits={bits!r}.")


def _plan(
    rows: TextRows,
    run: RunFolder,
    *,
    effort: str,
    max_kb: float,
    bits: int,
    checkpoint: Path | None,
    given: OwnTeacher | StoredAnswers | None,
    long_texts: str,
    say: Callable[[str], None],
) -> tuple[Words, Plan, EncoderSizes]:
    """Decides the length of texts, the sizes of the student and the work, and says them."""
    longest, own = EFFORTS[effort].longest, None
    if isinstance(given, OwnTeacher):
        longest = min(longest, given.sequence_length or longest)
        own = given.network.name, given.tokenizer
    lengths = token_counts(own[1] if own else open_tokenizer(checkpoint), rows.train.texts)
    length = min(longest, int(np.ceil(np.quantile(lengths, _COVERED))))
    words = read_words(
        rows, checkpoint=checkpoint, own=own, sequence_length=length, long_texts=long_texts
    )  # fmt: skip
    shape: dict[str, Any] = {
        "vocabulary_size": len(words.kept_ids),
        "sequence_length": length,
        "num_classes": rows.task.num_outputs,
    }

    def size(folder: Path) -> None:
        found = fitting_sizes(
            lambda sizes: _file_kb(sizes, folder, bits=bits, **shape),
            max_kb=max_kb, bits=bits, **shape,
        )  # fmt: skip
        write_json(folder / "sizes.json", dataclasses.asdict(found))

    step = run.step("sizes", {**shape, "max_kb": max_kb, "bits": bits}, size)
    sizes = EncoderSizes(**json.loads((step / "sizes.json").read_text(encoding="utf-8")))
    labelled = int(np.count_nonzero(words.for_teacher(rows.train.texts)))
    more = words.for_teacher(rows.unlabeled) if rows.unlabeled else np.zeros((0, length))
    weights = sizes.parameters(sequence_length=length, num_classes=rows.task.num_outputs)
    plan = plan_run(
        effort,
        labelled_tokens=labelled,
        all_tokens=labelled + int(np.count_nonzero(more)),
        sequence_length=length,
        weights=weights,
        most_copies=0 if isinstance(given, StoredAnswers) else None,
    )
    if given is not None:
        plan = plan.without_training()
    say(
        f"{len(rows.train):,} training texts, {len(rows.held_out):,} held out, "
        f"{len(rows.test):,} test, {len(rows.unlabeled) + len(rows.watched):,} without a label; "
        f"{length} tokens, {len(words.kept_ids):,} words"
    )
    say(
        f"effort {effort!r}: teacher {_training(plan, given)}, "
        f"{plan.copies} varied copies of each text, students of up to {max_kb:g} KB "
        f"({weights:,} weights); a rough guess is {plan.minutes} minutes on two cores"
    )
    return words, plan, sizes


def _training(plan: Plan, given: OwnTeacher | StoredAnswers | None) -> str:
    if isinstance(given, StoredAnswers):
        return "known by its answers alone, so that nothing else is asked"
    if given is not None:
        return f"{given.network.name!r} as it is"
    if not plan.fine_tune_epochs:
        return "with a head trained on frozen features"
    return f"frozen or fine-tuned for {plan.fine_tune_epochs} epochs"


def _file_kb(sizes: EncoderSizes, folder: Path, *, bits: int, **shape: int) -> float:
    """Exports an untrained encoder of these sizes and returns the KB of its file."""
    rows = np.minimum(np.arange(shape["vocabulary_size"]), sizes.num_rows - 1)
    settings = dataclasses.asdict(sizes)
    del settings["num_rows"]
    settings |= shape
    model = text_encoder(
        dropout=0.0, pooling="mean_max", row_of_token=rows.tolist(), seed=0, **settings
    )
    # Equal constants are stored once, and an untrained model has many of them: biases of zeros.
    generator = np.random.default_rng(0)
    model.set_weights(
        [
            generator.normal(0, 0.02, value.shape).astype(value.dtype)
            for value in model.get_weights()
        ]
    )
    path = to_tflite(model, folder / "size.tflite", quantize="int4" if bits == 4 else "dynamic")
    found = path.stat().st_size / 1024
    path.unlink()
    return found


def _ship(
    folder: Path,
    rows: TextRows,
    candidates: dict[str, Candidate],
    choice: Shipped,
    proof: Proof,
    material: Material,
) -> Bundle:
    """Copies the bundle that ships to `bundle/` and the other one to `other_bundle/`."""
    about = {
        "Data": f"{rows.name}: {len(rows.train):,} training and {len(rows.test):,} test texts",
        "License of the data": "that of the texts; whoever passes this on has to know it",
        "Teacher": f"{material.words.teacher}, {material.teacher_kind}",
        "Recipe": "distilled from the teacher's answers to the texts and varied copies of them",
    }
    for name, candidate in candidates.items():
        own = folder / ("bundle" if name == choice.name else "other_bundle")
        with replacing_folder(own, replaces=BUNDLES, what="bundle", reopen=open_bundle) as new:
            for file in candidate.bundle.iterdir():
                shutil.copyfile(file, new / file.name)
        describe_bundle(own, about=about, rows=proof.stages)
    return open_bundle(folder / "bundle")


def _counts(rows: TextRows) -> dict[str, int]:
    parts = {"training": rows.train, "held-out": rows.held_out, "test": rows.test}
    texts = len(rows.unlabeled) + len(rows.watched)
    unlabeled = {"unlabeled": texts} if texts else {}
    return {name: len(part) for name, part in parts.items()} | unlabeled


def _report(
    folder: Path, rows: TextRows, proof: Proof, *, facts: dict[str, str], seconds: float
) -> None:
    shown = _shown(rows, proof)
    labels = shown.pop("labels", ())
    write_page(
        folder / "report.html",
        stages=proof.stages,
        notes=proof.notes,
        verdict=proof.verdict,
        facts=facts,
        labels=labels,
        **shown,
    )
    write_report(
        folder, stages=proof.stages, pool=(), seconds=seconds, notes=proof.notes,
        verdict=proof.verdict, facts=facts, labels=labels,
    )  # fmt: skip


def _shown(rows: TextRows, proof: Proof) -> dict[str, Any]:
    """Returns what the page tells of single classes, labels and texts."""
    names, right, texts = rows.task.label_names, rows.test.targets, rows.test.texts
    teacher, said = proof.teacher, proof.predictions
    if rows.task.kind == "class":
        return {
            "changes": changes_between(right, teacher, said, label_names=names),
            "lost": lost_examples(texts, right, teacher, said, label_names=names),
        }
    if rows.task.kind == "number":
        return {}
    models = {"teacher": teacher, "student": said}
    knew, knows = ((right == each).all(axis=1) for each in (teacher, said))
    lost = np.flatnonzero(knew & ~knows)[:_LOST]
    return {
        "labels": label_scores(right, models, label_names=names),
        "lost": [
            LostExample(texts[row], as_text(right[row], names), as_text(said[row], names))
            for row in lost
        ],
    }
