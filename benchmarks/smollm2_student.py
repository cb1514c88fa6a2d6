"""Cuts SmolLM2 down to 11 M parameters on Reuters news, heals it, and says what is left.

First `python benchmarks/smollm2_news.py` (the teacher's answers, resumable; the long part), then

    python benchmarks/smollm2_student.py --steps 4800

The twin has the same architecture, data, answers and steps, and starts from noise. Every figure
is on 96 rows of news that no model was trained on.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
from smollm2_news import TRAIN_ROWS, News, build_cache, cut_teacher, load_news, load_teacher

import tfdistill as td
from tfdistill.language import language_model, next_tokens, score_language_model
from tfdistill.language.pretrained import PretrainedLM

FOLDER = Path("runs/smollm2")
LAYERS, HEADS, UNITS = 6, 6, 512
CALIBRATION_ROWS = 32
BATCH = 8


def cut_student(backbone: keras.Model, rows: np.ndarray) -> keras.Model:
    """Takes out layers, heads and units by their importance on rows of text."""
    calibration = {"token_ids": rows, "padding_mask": np.ones_like(rows)}
    small, _ = td.drop_layers(backbone, keep=LAYERS, calibration=calibration)
    small, _ = td.prune_ffn(small, keep=UNITS, calibration=calibration)
    small, _ = td.prune_heads(small, keep=HEADS, calibration=calibration)
    return language_model(small, name="student")


def heal(student: keras.Model, cache: td.TeacherCache, rows: np.ndarray, *, steps: int) -> None:
    """Distils from the cached answers; labels count for a tenth."""
    distiller = td.Distiller(student=student, teacher=cache)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps, 0.05, warmup_target=1e-3, warmup_steps=100
    )
    distiller.compile(
        keras.optimizers.AdamW(rate, weight_decay=0.01, global_clipnorm=1.0),
        alpha=0.1,
        temperature=1.0,
        ignore_class=td.language.IGNORED,
    )
    batches = cache.dataset(rows, next_tokens(rows), batch_size=BATCH)
    distiller.fit(batches.repeat(), steps_per_epoch=max(steps // 4, 1), epochs=4, verbose=2)


def twin_of(student: keras.Model) -> keras.Model:
    """The same architecture from noise."""
    twin = keras.models.clone_model(student)
    for variable, value in td.students.initialize.initial_values(twin, seed=0):
        variable.assign(value)
    return twin


def sizes(model: keras.Model, lm: PretrainedLM, news: News) -> dict[str, int]:
    """Saves the student as bundles in 8 and 4 bits; bytes of the model files."""
    found = {}
    for quantize in ("dynamic", "int4"):
        bundle = td.export.save_language_bundle(
            model, FOLDER / f"bundle-{quantize}", tokenizer=news.tokenizer, context_length=256,
            quantize=quantize, verify_length=5, end_ids=[0],
        )  # fmt: skip
        found[quantize] = bundle.model_path.stat().st_size
    return found


def main() -> None:
    """Runs the benchmark and prints its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=4800)
    parser.add_argument("--rows", type=int, default=TRAIN_ROWS)
    arguments = parser.parse_args()
    lm = load_teacher()
    news = load_news(lm.tokenizer)
    backbone, teacher = cut_teacher(lm, news.kept_ids)
    train = news.train[: arguments.rows]
    cache = build_cache(teacher, train, FOLDER / "train")
    student = cut_student(backbone, train[:CALIBRATION_ROWS])
    twin = twin_of(student)
    table: dict[str, Any] = {"teacher": score_language_model(teacher, news.test)}
    table["cut"] = score_language_model(student, news.test, teacher=teacher)
    for name, model in (("healed", student), ("twin", twin)):
        heal(model, cache, train, steps=arguments.steps)
        model.save(FOLDER / f"{name}.keras")
        table[name] = score_language_model(model, news.test, teacher=teacher)
    bytes_of = sizes(student, lm, news)
    print(f"{student.count_params():,} parameters, {train.size:,} tokens, {arguments.steps} steps")
    print(json.dumps(bytes_of))
    print("| model | perplexity | agreement | KL |\n| --- | --: | --: | --: |")
    for name, scores in table.items():
        agreement, kl = scores.agreement, scores.kl
        rest = "1.000 | 0.000" if agreement is None else f"{agreement:.3f} | {kl:.3f}"
        print(f"| {name} | {scores.perplexity:.2f} | {rest} |")


if __name__ == "__main__":
    main()
