"""How close a tiny student comes to its teacher on 150 intents (CLINC150).

    python benchmarks/clinc150.py --data FOLDER --sizes small base --seeds 0 1 2

FOLDER holds `data_full.json` of the data set (Larson et al. 2019). Every step is kept under
`--folder`, so the script can be stopped at any moment and started again: both teachers, the
better one's answers to the augmented texts, and each student with its score. Several runs may
share a folder once the answers are there, each with its own `--sizes`, `--kinds` or `--seeds`.

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
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from clinc150_teacher import Teacher, best_teacher
from clinc150_texts import LENGTH, SPECIAL, Intents, augment, load, word_vectors

import tfdistill as td
from tfdistill.distill.teacher_cache.logit_records import INPUTS
from tfdistill.students import any_length, shared_rows, start_embedding, text_encoder

BATCH, TEMPERATURE = 64, 2.0
COPIES = 41  # of each text
EPOCHS = {"small": 1, "base": 2}  # passes over all of them
RATES = {"small": 3e-3, "base": 1.5e-3}
WINDOW = 64  # batches that are sorted by length together
SIZES = {
    "small": {
        "num_rows": 4250,
        "embedding_dim": 64,
        "num_layers": 2,
        "hidden_dim": 80,
        "num_heads": 2,
        "intermediate_dim": 128,
    },
    "base": {
        "num_rows": 5300,
        "embedding_dim": 96,
        "num_layers": 2,
        "hidden_dim": 160,
        "num_heads": 4,
        "intermediate_dim": 320,
    },
}
KINDS = ("labels", "augmented", "distilled")


def main() -> None:
    """Writes the table of all students that are finished, training those that are not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of data_full.json")
    parser.add_argument("--folder", type=Path, default=Path("runs/clinc150"))
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--copies", type=int, default=COPIES, help="augmented copies of each text")
    parser.add_argument("--only-report", action="store_true", help="train no student")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    data = load(options.data)
    teacher = best_teacher(data, options.folder)
    vectors = word_vectors(teacher.features, data)
    ids, labels = augment(data, vectors, copies=options.copies)
    for kind in options.kinds:
        for seed in options.seeds:
            for size in options.sizes:
                path = options.folder / student_file(size, kind, seed, options.copies)
                if path.exists() or options.only_report:
                    continue
                student = start(SIZES[size], seed, data, vectors)
                if kind == "distilled":
                    cache = answered(teacher, ids, options.folder)
                    distill(student, cache, ids, labels, size=size, seed=seed)
                else:
                    rows = (ids, labels)
                    if kind == "labels":
                        rows = (data.ids["train"], data.labels["train"])
                    fit(student, *rows, size=size, seed=seed, steps=steps_of(size, ids))
                score = {
                    "accuracy": accuracy(student, data, "test"),
                    "val": accuracy(student, data, "val"),
                    "parameters": student.count_params(),
                }
                student.save(path.with_suffix(".keras"))
                path.write_text(json.dumps(score), encoding="utf-8")
                print(path.name, score, flush=True)
    report = table(options, teacher)
    (options.folder / "report.md").write_text(f"# CLINC150\n\n{report}\n", encoding="utf-8")
    print(report)


def start(sizes: Mapping[str, int], seed: int, data: Intents, vectors: np.ndarray) -> keras.Model:
    """Builds a student whose words start from what the teacher knows of them."""
    keras.utils.set_random_seed(seed)
    sizes = dict(sizes)
    row_of_token, owners = shared_rows(
        vectors,
        counts=np.bincount(data.ids["train"].ravel(), minlength=len(data.kept_ids)),
        num_rows=sizes.pop("num_rows"),
        special_ids=np.flatnonzero(np.isin(data.kept_ids, SPECIAL)),
    )
    student = text_encoder(
        vocabulary_size=len(data.kept_ids),
        sequence_length=LENGTH,
        num_classes=data.num_classes,
        dropout=0.0,
        pooling="mean_max",
        row_of_token=row_of_token,
        seed=seed,
        **sizes,
    )
    return start_embedding(student, teacher_table=vectors, kept_ids=owners)


def answered(teacher: Teacher, ids: np.ndarray, folder: Path) -> td.TeacherCache:
    """Asks the teacher about all texts, or opens its answers."""
    return td.TeacherCache.build(
        teacher.files,
        ids,
        folder / f"answers_{teacher.kind}_{len(ids)}",
        batch_size=256,
        fingerprint=teacher.files.fingerprint,
    )


def distill(
    student: keras.Model,
    cache: td.TeacherCache,
    ids: np.ndarray,
    labels: np.ndarray,
    *,
    size: str,
    seed: int,
) -> None:
    """Trains a student on the teacher's answers alone."""
    model = td.Distiller(student=any_length(student), teacher=cache)
    optimizer = muon(RATES[size], steps_of(size, ids))
    model.compile(optimizer, alpha=0.0, temperature=TEMPERATURE)
    windows = cache.dataset(ids, labels, batch_size=BATCH * WINDOW, seed=seed)
    model.fit(like_length(windows, seed=seed), epochs=EPOCHS[size], verbose=2)


def fit(
    student: keras.Model,
    ids: np.ndarray,
    labels: np.ndarray,
    *,
    size: str,
    seed: int,
    steps: int,
) -> None:
    """Trains a student on labels, for as many steps."""
    model = any_length(student)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(muon(RATES[size], steps), loss=loss)
    rows = tf.data.Dataset.from_tensor_slices(({INPUTS: ids}, labels))
    windows = rows.shuffle(len(ids), seed=seed).repeat().batch(BATCH * WINDOW)
    batches = like_length(windows, seed=seed).map(lambda inputs, label: (inputs[INPUTS], label))
    model.fit(batches, steps_per_epoch=steps, epochs=1, verbose=2)


def like_length(windows: tf.data.Dataset, *, seed: int) -> tf.data.Dataset:
    """Splits windows of rows into batches of texts of like length, cut to the longest."""

    def split(inputs: dict, labels: tf.Tensor) -> tf.data.Dataset:
        lengths = tf.math.count_nonzero(inputs[INPUTS], axis=1, dtype=tf.int32)
        order = tf.argsort(lengths, stable=True)

        def batch(first: tf.Tensor) -> tuple:
            rows = order[first : first + BATCH]
            taken = tf.nest.map_structure(lambda part: tf.gather(part, rows), inputs)
            longest = tf.reduce_max(tf.gather(lengths, rows))
            return {**taken, INPUTS: taken[INPUTS][:, :longest]}, tf.gather(labels, rows)

        firsts = tf.range(0, tf.shape(order)[0], BATCH)
        firsts = tf.random.experimental.stateless_shuffle(firsts, seed=(seed, 0))
        return tf.data.Dataset.from_tensor_slices(firsts).map(batch)

    return windows.flat_map(split).prefetch(4)


def steps_of(size: str, ids: np.ndarray) -> int:
    """Returns the number of optimizer steps of every student of a size."""
    return math.ceil(len(ids) / BATCH) * EPOCHS[size]


def accuracy(student: keras.Model, data: Intents, split: str) -> float:
    """Returns the share of texts that are classified right."""
    predictions = student.predict(data.ids[split], batch_size=256, verbose=0).argmax(-1)
    return float(np.mean(predictions == data.labels[split]))


def table(options: argparse.Namespace, teacher: Teacher) -> str:
    """Returns the scores of all finished students as Markdown."""
    whole, cut = teacher.scores[teacher.kind]["test"], teacher.scores[teacher.kind]["files test"]
    lines = [
        "Teachers, with their whole vocabulary: "
        + ", ".join(f"MiniLM {kind} {score['test']:.4f}" for kind, score in teacher.scores.items()),
        f"(the {teacher.kind} one, better on the validation texts, answers the texts; as it does "
        f"so, in 8 bits and through the students' vocabulary, it has {cut:.4f}).",
        "",
        f"| student | parameters | trained on | accuracy | of {whole:.4f} | of {cut:.4f} |",
        "| --- | --: | --- | --: | --: | --: |",
    ]
    for size in options.sizes:
        for kind in options.kinds:
            paths = [
                options.folder / student_file(size, kind, seed, options.copies)
                for seed in options.seeds
            ]
            texts = [path.read_text(encoding="utf-8") for path in paths if path.exists()]
            scores = [json.loads(text) for text in texts]
            if not scores:
                continue
            values = [score["accuracy"] for score in scores]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            mean = statistics.mean(values)
            lines.append(
                f"| {size} | {scores[0]['parameters']:,} | {kind} ({len(values)} seeds) "
                f"| {mean:.4f} ± {spread:.4f} | {100 * mean / whole:.1f} % "
                f"| {100 * mean / cut:.1f} % |"
            )
    return "\n".join(lines)


def student_file(size: str, kind: str, seed: int, copies: int) -> str:
    """Names the score of a student; its model lies beside it as `.keras`."""
    return f"{size}_{kind}_{seed}_{copies}x{EPOCHS[size]}.json"


def muon(rate: float, steps: int) -> keras.optimizers.Optimizer:
    """Muon for the matrices between words and answers, Adam for all else."""
    return keras.optimizers.Muon(
        keras.optimizers.schedules.CosineDecay(rate, steps),
        exclude_embeddings=False,
        exclude_layers=["token_embedding", "embedding_projection", "logits"],
        weight_decay=None,
    )


if __name__ == "__main__":
    main()
