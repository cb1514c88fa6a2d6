"""Distils the 260 K-parameter TinyStories model to less than a quarter, on text that it wrote.

Teacher text at temperature 1: seed 0 to learn from, seed 1 to measure on (20,400 tokens). They
and the teacher's answers to the first are prepared once and kept. Then the clock runs.

    python benchmarks/stories_student.py path/to/stories260K.bin --minutes 10
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
from stories_text import load_stories, sample_rows

import tfdistill as td
from tfdistill.language import score_language_model
from tfdistill.students import causal_lm

TRAIN_ROWS = 4096
VALIDATION_ROWS = 80
BATCH = 4
HIGHEST_RATE = 2e-2
SIZES = {
    "num_layers": 4,
    "num_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "intermediate_dim": 50,
    "groups": 2,
    "pattern": "cyclic",
}


class Clock(keras.callbacks.Callback):
    """Stops after some minutes, and lowers the rate with the time that is left.

    Attributes:
        curve: (minutes, steps, KL divergence of the last 500 steps).
        minutes: How long it took.
    """

    def __init__(self, minutes: float) -> None:
        super().__init__()
        self.limit, self.minutes = minutes, 0.0
        self.curve: list[tuple[float, int, float]] = []

    def on_train_begin(self, logs: Any = None) -> None:
        """Starts the clock."""
        self._start, self._step = time.monotonic(), 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Sets the rate of the next step."""
        self._step += 1
        self.minutes = (time.monotonic() - self._start) / 60
        left = max(1 - self.minutes / self.limit, 0.01)
        rate = HIGHEST_RATE * left * min(1.0, self._step / 100)
        self.model.optimizer.learning_rate.assign(rate)
        if self._step % 500 == 0:
            self.curve.append((self.minutes, self._step, float(logs["soft_loss"])))
            print("{:6.2f} min {:6d} steps  KL {:.4f}".format(*self.curve[-1]), flush=True)
            self.model.reset_metrics()
        self.model.stop_training = self.minutes >= self.limit


def build_student(teacher: keras.Model) -> keras.Model:
    """A student of 64,576 parameters: two blocks, each run twice, and the teacher's table."""
    student = causal_lm(vocabulary_size=512, hidden_dim=64, seed=0, name="student", **SIZES)
    for name in ("token_embedding", "final_norm"):
        student.get_layer(name).set_weights(teacher.get_layer(name).get_weights())
    return student


def distil(
    student: keras.Model, cache: td.TeacherCache, train: np.ndarray, *, minutes: float
) -> Clock:
    """Trains until the time is up: Muon for the blocks' matrices, Adam for the table."""
    optimizer = keras.optimizers.Muon(
        HIGHEST_RATE,
        exclude_embeddings=False,
        exclude_layers=["token_embedding"],
        adam_lr_ratio=0.5,
        weight_decay=None,
    )
    distiller = td.Distiller(student=student, teacher=cache)
    distiller.compile(optimizer, alpha=0.0, temperature=1.0, ignore_class=td.language.IGNORED)
    batches = cache.dataset(train, td.language.next_tokens(train), batch_size=BATCH)
    clock = Clock(minutes)
    distiller.fit(batches.repeat(), steps_per_epoch=10**9, verbose=0, callbacks=[clock])
    return clock


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
    cache = td.TeacherCache.build(
        teacher, train, arguments.out / "answers", top_k=64, batch_size=16
    )
    student = build_student(teacher)
    processor = time.process_time()
    clock = distil(student, cache, train, minutes=arguments.minutes)
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
        "minutes": clock.minutes,
        "processor_minutes": processor,
        "curve": clock.curve,
    }
    (arguments.out / "result.json").write_text(json.dumps(result, indent=1))
    print(json.dumps({name: value for name, value in result.items() if name != "curve"}, indent=1))


def _rows(teacher: keras.Model, path: Path, *, rows: int, seed: int) -> np.ndarray:
    if not path.exists():
        np.save(path, sample_rows(teacher, rows=rows, seed=seed))
    return np.load(path)


if __name__ == "__main__":
    main()
