"""`distill_text`: from labelled texts to a bundle, with the proof of what it is worth."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfdistill.arguments import check_number
from tfdistill.bundles.bundle import Bundle, open_bundle
from tfdistill.export.saving import save_bundle
from tfdistill.export.tflite import to_tflite
from tfdistill.pipelines import text_scores as scores
from tfdistill.pipelines.effort import Plan, plan_run
from tfdistill.pipelines.material import Material, Words, make_material, read_words
from tfdistill.pipelines.progress import Progress
from tfdistill.pipelines.rivals import milliseconds, train_on_words
from tfdistill.pipelines.run_folder import RunFolder, hash_of, write_json
from tfdistill.pipelines.text_rows import TextRows, read_rows
from tfdistill.pipelines.text_students import (
    StudentRecipe,
    compress_student,
    distill_student,
    predict,
    save_model,
    start_student,
    train_control,
)
from tfdistill.reports.stage_table import StageRow, format_table
from tfdistill.students.encoder import text_encoder
from tfdistill.students.sizes import EncoderSizes, encoder_sizes

__all__ = ["TextRun", "distill_text"]


def main_test(data, out, effort="quick", max_kb=480, test=None, seed=0, previous=None):
    say = lambda line: print(line, flush=True)
    rows = read_rows(data, test=test, seed=seed, say=say)
    whole = read_words(rows, sequence_length=256)
    lengths = np.count_nonzero(whole.for_teacher(rows.train.texts), axis=1)
    length = int(np.ceil(np.quantile(lengths, 0.997)))
    from tfdistill.pipelines.effort import EFFORTS
    words = read_words(rows, sequence_length=min(length, EFFORTS[effort].longest))
    sizes = encoder_sizes(max_kb=max_kb, vocabulary_size=len(words.kept_ids), sequence_length=words.sequence_length, num_classes=rows.task.num_outputs)
    weights = sizes.parameters(sequence_length=words.sequence_length, num_classes=rows.task.num_outputs)
    plan = plan_run(effort, labelled_tokens=int(lengths.sum()), all_tokens=int(lengths.sum()), sequence_length=length, weights=weights)
    say(f"{sizes} {weights} {plan} {plan.minutes} min")
    run = RunFolder(out, earlier=(previous,) if previous else ())
    progress = Progress(plan.seconds)
    import time
    t=time.time()
    material = make_material(rows, words, plan, run=run, progress=progress, seed=0)
    say(f"material {time.time()-t:.0f} s; teacher {material.teacher_scores} test acc {np.mean(material.test_logits.argmax(-1)==rows.test.targets):.4f} 8-bit held {np.mean(material.compiled(words.for_student(rows.test.texts)).argmax(-1)==rows.test.targets):.4f}")
    recipe = StudentRecipe(passes=plan.passes, seed=seed)
    for kind in ("student","control"):
        t=time.time()
        def make(folder):
            student = start_student(material, sizes, num_outputs=rows.task.num_outputs, seed=seed)
            with progress.part(f"train the {kind}"):
                if kind=="student":
                    distill_student(student, material, recipe, outputs=rows.task.outputs, rate=recipe.rate_of(sizes), folder=folder, progress=progress)
                else:
                    train_control(student, rows, material, recipe, rate=recipe.rate_of(sizes), folder=folder, progress=progress)
            save_model(student, folder/"model.keras")
        f = run.step(kind, {"material": material.key, "sizes": str(sizes), "recipe": str(recipe)}, make)
        m = keras.saving.load_model(f/"model.keras")
        acc = np.mean(predict(m, words.for_student(rows.test.texts)).argmax(-1)==rows.test.targets)
        held = np.mean(predict(m, words.for_student(rows.held_out.texts)).argmax(-1)==rows.held_out.targets)
        say(f"{kind} seed {seed}: {time.time()-t:.0f} s, {m.count_params()} weights, test {acc:.4f} held {held:.4f}")
        if kind=="student":
            p=to_tflite(m, f/"model.tflite"); say(f"file {os.path.getsize(p)/1024:.1f} KB")
