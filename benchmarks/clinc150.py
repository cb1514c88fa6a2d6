"""How close a tiny student comes to its teacher on 150 intents (CLINC150).

    python benchmarks/clinc150.py --data FOLDER --sizes small base --seeds 0 1 2

FOLDER holds `data_full.json` of the data set (Larson et al. 2019). Every step is kept under
`--folder`, so the script can be stopped at any moment and started again: both teachers, the
augmented texts with the better teacher's answers, and the score of each student.

The students of one size and seed share start, batch size and number of optimizer steps:

    labels      the original texts with their labels
    augmented   the augmented texts with the label of the text that they were made from
    distilled   the same texts with the teacher's answers, no label at all
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from clinc150_teacher import best_teacher
from clinc150_texts import LENGTH, Intents, augment, load, word_vectors

import tfdistill as td
from tfdistill.students import start_embedding, text_encoder

BATCH, RATE, TEMPERATURE = 64, 2e-3, 2.0
SIZES = {
    "small": {"embedding_dim": 44, "num_layers": 1, "hidden_dim": 64, "intermediate_dim": 256},
    "base": {"embedding_dim": 80, "num_layers": 2, "hidden_dim": 128, "intermediate_dim": 256},
}
KINDS = ("labels", "augmented", "distilled")
POOLED = "features/pooling"


def main() -> None:
    """Writes the table of all students that are finished, training those that are not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of data_full.json")
    parser.add_argument("--folder", type=Path, default=Path("runs/clinc150"))
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--copies", type=int, default=10, help="augmented copies of each text")
    parser.add_argument("--epochs", type=int, default=6, help="passes over the augmented texts")
    parser.add_argument("--dropout", type=float, default=0.0, help="in every student")
    parser.add_argument("--feature-weight", type=float, default=0.0, help="of the pooled states")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    data = load(options.data)
    vectors = word_vectors(data)
    teacher, accuracies, picked = best_teacher(data, options.folder)
    ids, labels = augment(data, vectors, copies=options.copies)
    answers = options.folder / f"answers_{picked}_{options.copies}"
    cache = td.TeacherCache.build(teacher, ids, answers, layers=(POOLED,), batch_size=128)
    for seed in options.seeds:
        for size in options.sizes:
            for kind in options.kinds:
                path = options.folder / _file(size, kind, seed, options)
                if path.exists():
                    continue
                student = start(size, seed, data, vectors, dropout=options.dropout)
                if kind == "distilled":
                    distill(student, cache, ids, labels, seed=seed, options=options)
                else:
                    rows = (ids, labels)
                    if kind == "labels":
                        rows = (data.ids["train"], data.labels["train"])
                    fit(student, *rows, seed=seed, steps=steps_of(ids, options))
                score = {"accuracy": accuracy(student, data), "parameters": student.count_params()}
                student.save(path.with_suffix(".keras"))
                path.write_text(json.dumps(score), encoding="utf-8")
                print(path.name, score, flush=True)
    report = table(options, accuracies, picked)
    (options.folder / "report.md").write_text(f"# CLINC150\n\n{report}\n", encoding="utf-8")
    print(report)


def start(
    size: str, seed: int, data: Intents, vectors: np.ndarray, *, dropout: float
) -> keras.Model:
    """Builds a student whose embeddings start from the teacher's."""
    keras.utils.set_random_seed(seed)
    student = text_encoder(
        vocabulary_size=len(data.kept_ids),
        sequence_length=LENGTH,
        num_classes=data.num_classes,
        num_heads=2,
        dropout=dropout,
        seed=seed,
        **SIZES[size],
    )
    own_rows = np.arange(len(data.kept_ids))
    return start_embedding(student, teacher_table=vectors, kept_ids=own_rows)


def distill(
    student: keras.Model,
    cache: td.TeacherCache,
    ids: np.ndarray,
    labels: np.ndarray,
    *,
    seed: int,
    options: argparse.Namespace,
) -> None:
    """Trains a student on the teacher's answers alone."""
    features = []
    if options.feature_weight:
        pair = td.FeatureLoss(
            teacher=POOLED, student="pooling", loss="hidden_cosine", weight=options.feature_weight
        )
        features = [pair]
    model = td.Distiller(student=student, teacher=cache, feature_losses=features)
    model.compile(_adam(steps_of(ids, options)), alpha=0.0, temperature=TEMPERATURE)
    batches = cache.dataset(ids, labels, batch_size=BATCH, seed=seed)
    model.fit(batches, epochs=options.epochs, verbose=2)


def fit(student: keras.Model, ids: np.ndarray, labels: np.ndarray, *, seed: int, steps: int):
    """Trains a student on labels, for as many steps."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    student.compile(_adam(steps), loss=loss)
    rows = tf.data.Dataset.from_tensor_slices((ids, labels))
    batches = rows.shuffle(len(ids), seed=seed).repeat().batch(BATCH).prefetch(2)
    student.fit(batches, steps_per_epoch=steps, epochs=1, verbose=2)


def steps_of(ids: np.ndarray, options: argparse.Namespace) -> int:
    """Returns the number of optimizer steps of every student."""
    return math.ceil(len(ids) / BATCH) * options.epochs


def accuracy(student: keras.Model, data: Intents) -> float:
    """Returns the share of test texts that are classified right."""
    predictions = student.predict(data.ids["test"], batch_size=256, verbose=0).argmax(-1)
    return float(np.mean(predictions == data.labels["test"]))


def table(options: argparse.Namespace, teachers: dict[str, float], picked: str) -> str:
    """Returns the scores of all finished students as Markdown."""
    lines = [
        "Teachers: " + ", ".join(f"MiniLM {kind} {acc:.4f}" for kind, acc in teachers.items()),
        f"(the {picked} one, better on the validation texts, labelled the texts).",
        "",
        "| student | parameters | trained on | accuracy | of the teacher's |",
        "| --- | --: | --- | --: | --: |",
    ]
    for size in options.sizes:
        for kind in options.kinds:
            paths = [options.folder / _file(size, kind, seed, options) for seed in options.seeds]
            scores = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
            values = [score["accuracy"] for score in scores]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            mean = statistics.mean(values)
            lines.append(
                f"| {size} | {scores[0]['parameters']:,} | {kind} ({len(values)} seeds) "
                f"| {mean:.4f} ± {spread:.4f} | {100 * mean / teachers[picked]:.1f} % |"
            )
    return "\n".join(lines)


def _file(size: str, kind: str, seed: int, options: argparse.Namespace) -> str:
    settings = f"{options.copies}x{options.epochs}_d{options.dropout:g}"
    weight = f"_f{options.feature_weight:g}" if kind == "distilled" else ""
    return f"{size}_{kind}_{seed}_{settings}{weight}.json"


def _adam(steps: int) -> keras.optimizers.Optimizer:
    return keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(RATE, steps))


if __name__ == "__main__":
    main()
