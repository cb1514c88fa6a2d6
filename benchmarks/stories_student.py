"""Distils the 260 K-parameter TinyStories model to less than a quarter, on text that it wrote.

Teacher text at temperature 1: seed 0 to learn from, seed 1 to measure on (20,480 tokens). The
student shares one block among its layers and starts from the teacher's table.

    python benchmarks/stories_student.py path/to/stories260K.bin --minutes 10
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import keras
import numpy as np
from stories_text import load_stories, sample_rows

import tfdistill as td
from tfdistill.language import score_language_model
from tfdistill.students import causal_lm

TRAIN_ROWS = 1024
VALIDATION_ROWS = 80
BATCH = 16
HIGHEST_RATE = 5e-3


def build_student(teacher: keras.Model) -> keras.Model:
    """A student of 63,680 parameters: one block of weights for five layers, the teacher's table."""
    student = causal_lm(
        vocabulary_size=512,
        num_layers=5,
        hidden_dim=64,
        num_heads=8,
        num_key_value_heads=4,
        intermediate_dim=96,
        groups=1,
        seed=0,
        name="student",
    )
    for name in ("token_embedding", "final_norm"):
        student.get_layer(name).set_weights(teacher.get_layer(name).get_weights())
    return student


def distil(
    student: keras.Model, teacher: keras.Model, train: np.ndarray, *, minutes: float
) -> tuple[list[tuple[float, int, float]], float]:
    """Trains until the time is up; returns (minutes, steps, loss) on the way, and the minutes."""
    optimizer = keras.optimizers.Adam(HIGHEST_RATE)
    distiller = td.Distiller(student=student, teacher=teacher)
    distiller.compile(optimizer, alpha=0.0, temperature=1.0, ignore_class=td.language.IGNORED)
    labels = td.language.next_tokens(train)
    start, step, curve = time.monotonic(), 0, []
    rng = np.random.default_rng(0)
    while True:
        order = rng.permutation(len(train))
        for at in range(0, len(train) - BATCH + 1, BATCH):
            rows = order[at : at + BATCH]
            logs = distiller.train_on_batch(train[rows], labels[rows], return_dict=True)
            step += 1
            spent = (time.monotonic() - start) / 60
            # Linear in the time that is left: how many steps fit into it nobody knows.
            optimizer.learning_rate.assign(HIGHEST_RATE * max(1 - spent / minutes, 0.02))
            if step % 50 == 0:
                curve.append((spent, step, float(logs["soft_loss"])))
                print(f"{spent:6.2f} min  {step:6d} steps  KL {curve[-1][2]:.4f}", flush=True)
            if spent >= minutes:
                return curve, spent


def main() -> None:
    """Runs the benchmark and prints its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--out", type=Path, default=Path("runs/stories"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    teacher = load_stories(arguments.path)
    train = _rows(teacher, arguments.out / "train.npy", rows=TRAIN_ROWS, seed=0)
    validation = _rows(teacher, arguments.out / "validation.npy", rows=VALIDATION_ROWS, seed=1)
    student = build_student(teacher)
    processor = time.process_time()
    curve, minutes = distil(student, teacher, train, minutes=arguments.minutes)
    processor = (time.process_time() - processor) / 60
    student.save(arguments.out / "student.keras")
    own = score_language_model(teacher, validation)
    scores = score_language_model(student, validation, teacher=teacher)
    result = {
        "teacher_parameters": teacher.count_params(),
        "student_parameters": student.count_params(),
        "validation_tokens": scores.num_tokens,
        "teacher_perplexity": own.perplexity,
        "student_perplexity": scores.perplexity,
        "ratio": scores.perplexity / own.perplexity,
        "agreement": scores.agreement,
        "kl": scores.kl,
        "minutes": minutes,
        "processor_minutes": processor,
        "curve": curve,
    }
    (arguments.out / "result.json").write_text(json.dumps(result, indent=1))
    print(json.dumps({name: value for name, value in result.items() if name != "curve"}, indent=1))


def _rows(teacher: keras.Model, path: Path, *, rows: int, seed: int) -> np.ndarray:
    if not path.exists():
        np.save(path, sample_rows(teacher, rows=rows, seed=seed))
    return np.load(path)


if __name__ == "__main__":
    main()
