"""`tfdistill.Distiller` beside `keras.distillation.Distiller`: the same work, in one run.

    python benchmarks/distiller_vs_keras.py

Teacher, student, data, order and optimizer are the same on both sides; Keras gets its
`KLDivergence()` explicitly, which is what makes its loss the one that its documentation means.
Times are paired: the two take turns, and each figure is the median of the ratios of the turns.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from tokenizers import Tokenizer
from tqdm.auto import tqdm

import tfdistill as td
from tfdistill import datasets, teachers
from tfdistill.students import cut_vocabulary, encode, text_encoder

LENGTH, TEMPERATURE, ALPHA = 64, 2.0, 0.1


def main() -> None:
    """Prints the four comparisons as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=7, help="paired turns of each timing")
    parser.add_argument("--rows", type=int, default=1024, help="rows of each timed turn")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of the accuracy table")
    parser.add_argument("--epochs", type=int, default=4, help="epochs of the accuracy table")
    options = parser.parse_args()
    data = load()
    print(confidently_wrong())
    print(step_time(data, rows=options.rows, turns=options.turns))
    print(epoch_time(data, rows=options.rows, turns=options.turns))
    print(accuracy_table(data, seeds=options.seeds, epochs=options.epochs))


def load() -> dict:
    """Reads Reuters R8 as token ids of a cut vocabulary."""
    texts = datasets.load_reuters("r8")
    folder = datasets.extract(datasets.MINILM)
    tokenizer, kept_ids = cut_vocabulary(
        Tokenizer.from_file(str(folder / "tokenizer.json")),
        texts.train_texts,
        sequence_length=LENGTH,
    )
    return {
        "x": encode(tokenizer, texts.train_texts, sequence_length=LENGTH),
        "y": texts.train_labels,
        "x_test": encode(tokenizer, texts.test_texts, sequence_length=LENGTH),
        "y_test": texts.test_labels,
        "kept_ids": kept_ids,
        "folder": folder,
    }


def student(data: dict, *, seed: int, dim: int = 64, layers: int = 2) -> keras.Model:
    """Builds a student, or a middle-sized teacher."""
    return text_encoder(
        vocabulary_size=len(data["kept_ids"]),
        sequence_length=LENGTH,
        num_layers=layers,
        hidden_dim=dim,
        num_heads=2,
        intermediate_dim=2 * dim,
        num_classes=8,
        seed=seed,
    )


def ours(student: keras.Model, teacher: keras.Model | td.TeacherCache) -> keras.Model:
    """Compiles our Distiller."""
    distiller = td.Distiller(student=student, teacher=teacher)
    distiller.compile(keras.optimizers.Adam(1e-3), alpha=ALPHA, temperature=TEMPERATURE)
    return distiller


def theirs(student: keras.Model, teacher: keras.Model) -> keras.Model:
    """Compiles Keras' Distiller with everything that it recommends."""
    distiller = keras.distillation.Distiller(
        teacher=teacher,
        student=student,
        distillation_losses=keras.distillation.LogitsDistillation(
            temperature=TEMPERATURE, loss=keras.losses.KLDivergence()
        ),
        student_loss_weight=ALPHA,
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    distiller.compile(optimizer=keras.optimizers.Adam(1e-3), loss=loss)
    return distiller


def paired(a: Callable[[], object], b: Callable[[], object], *, turns: int) -> tuple[float, ...]:
    """Lets two functions take turns; returns median, least and largest of the ratios a/b."""
    a(), b()  # traces
    ratios = []
    for turn in tqdm(range(turns), desc="turns"):
        seconds = {}
        # Each goes first in every other turn, so that neither always meets the warmer cache.
        for name, function in (("a", a), ("b", b)) if turn % 2 else (("b", b), ("a", a)):
            start = time.perf_counter()
            function()
            seconds[name] = time.perf_counter() - start
        ratios.append(seconds["a"] / seconds["b"])
    return statistics.median(ratios), min(ratios), max(ratios)


def confidently_wrong() -> str:
    """Compares the gradient where a student is sure of the wrong class."""
    teacher_logits, logits = tf.constant([[30.0, 0.0]]), tf.Variable([[0.0, 30.0]])
    peer = keras.distillation.LogitsDistillation(temperature=1.0, loss=keras.losses.KLDivergence())
    rows = []
    for name, loss in (
        ("tfdistill", lambda: td.losses.forward_kl(teacher_logits, logits)),
        ("keras", lambda: peer.compute_loss(teacher_logits, logits)),
    ):
        with tf.GradientTape() as tape:
            value = tf.reduce_mean(loss())
        gradient = tape.gradient(value, logits)
        rows.append(f"| {name} | {float(value):.3f} | {float(tf.reduce_max(gradient)):.3f} |")
    head = "\nA student that is sure of the wrong class (logits 30 apart)\n\n"
    return head + "| | loss | gradient |\n| --- | --: | --: |\n" + "\n".join(rows)


def step_time(data: dict, *, rows: int, turns: int) -> str:
    """Times training steps with a teacher of 2 layers of width 128, asked online."""
    x, y = data["x"][:rows], data["y"][:rows]
    teacher = student(data, seed=9, dim=128)
    one, other = ours(student(data, seed=0), teacher), theirs(student(data, seed=0), teacher)
    ratio = paired(
        lambda: one.fit(x, y, batch_size=32, verbose=0),
        lambda: other.fit(x, y, batch_size=32, verbose=0),
        turns=turns,
    )
    return f"\nOnline step, tfdistill / keras: {_ratio(ratio)}"


def epoch_time(data: dict, *, rows: int, turns: int) -> str:
    """Times epochs on cached answers beside plain `fit` and beside theirs with MiniLM."""
    x, y = data["x"][:rows], data["y"][:rows]
    backbone = teachers.load_backbone(data["folder"])
    features = teachers.text_features(backbone, sequence_length=LENGTH, kept_ids=data["kept_ids"])
    head = teachers.text_classifier(features, num_classes=8)
    minilm = teachers.with_head(features, head)
    with tempfile.TemporaryDirectory() as folder:
        cache = td.TeacherCache.build(minilm, x, folder)
        cached = ours(student(data, seed=0), cache)
        batches = cache.dataset(x, y, batch_size=32)
        plain = student(data, seed=0)
        plain.compile(
            keras.optimizers.Adam(1e-3),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        against_fit = paired(
            lambda: cached.fit(batches, verbose=0),
            lambda: plain.fit(x, y, batch_size=32, verbose=0),
            turns=turns,
        )
        online = theirs(student(data, seed=0), minilm)
        against_keras = paired(
            lambda: cached.fit(batches, verbose=0),
            lambda: online.fit(x, y, batch_size=32, verbose=0),
            turns=max(3, turns // 2),
        )
    return (
        f"\nCached epoch, tfdistill / plain fit of the student: {_ratio(against_fit)}"
        f"\nCached epoch, tfdistill / keras with MiniLM online: {_ratio(against_keras)}"
    )


def accuracy_table(data: dict, *, seeds: int, epochs: int) -> str:
    """Trains both on the same teacher and compares test accuracy over seeds."""
    x, y, x_test, y_test = data["x"], data["y"], data["x_test"], data["y_test"]
    keras.utils.set_random_seed(0)
    teacher = student(data, seed=100, dim=128)
    teacher.compile(
        keras.optimizers.Adam(1e-3),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    teacher.fit(x, y, batch_size=32, epochs=4)
    scores: dict[str, list[float]] = {"tfdistill": [], "keras": []}
    for seed in range(seeds):
        for name, make in (("tfdistill", ours), ("keras", theirs)):
            keras.utils.set_random_seed(seed)
            pupil = student(data, seed=seed, dim=32, layers=1)
            make(pupil, teacher).fit(x, y, batch_size=32, epochs=epochs)
            predictions = pupil.predict(x_test, verbose=0).argmax(-1)
            scores[name].append(float(np.mean(predictions == y_test)))
    taught = float(np.mean(teacher.predict(x_test, verbose=0).argmax(-1) == y_test))
    lines = [f"\nTest accuracy on R8, {seeds} seeds, teacher {taught:.4f}", ""]
    lines += ["| | mean | standard deviation |", "| --- | --: | --: |"]
    for name, values in scores.items():
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        lines.append(f"| {name} | {statistics.mean(values):.4f} | {spread:.4f} |")
    return "\n".join(lines)


def _ratio(ratio: tuple[float, ...]) -> str:
    median, least, largest = ratio
    return f"{median:.3f} (turns from {least:.3f} to {largest:.3f})"


if __name__ == "__main__":
    main()
