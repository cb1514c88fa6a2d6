"""How close a tiny student comes to its teacher on 150 intents (CLINC150).

    python benchmarks/clinc150.py --data FOLDER --sizes small base --seeds 0 1 2

FOLDER holds `data_full.json` of the data set (Larson et al. 2019). Every step is kept under
`--folder`, so the script can be stopped at any moment and started again: the teacher's features,
the augmented texts with the teacher's answers, and the score of each student.

The students of one size and seed share start, batch size and number of optimizer steps:

    labels      the original texts with their labels
    augmented   the augmented texts with the label of the text that they were made from
    distilled   the same texts with the teacher's answers
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
from tokenizers import Tokenizer

import tfdistill as td
from tfdistill import datasets, teachers
from tfdistill.students import cut_vocabulary, encode, start_embedding, text_encoder

LENGTH, BATCH = 32, 64
SIZES = {
    "small": {"num_layers": 1, "hidden_dim": 64, "num_heads": 2, "intermediate_dim": 128},
    "base": {"num_layers": 2, "hidden_dim": 128, "num_heads": 4, "intermediate_dim": 256},
}
KINDS = ("labels", "augmented", "distilled")


def main() -> None:
    """Prints the table of all students that are finished, training those that are not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of data_full.json")
    parser.add_argument("--folder", type=Path, default=Path("runs/clinc150"))
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--copies", type=int, default=4, help="augmented copies of each text")
    parser.add_argument("--epochs", type=int, default=8, help="passes over the augmented texts")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    data = load(options.data)
    teacher = train_teacher(data, options.folder)
    texts = augmented(data, copies=options.copies)
    cache = td.TeacherCache.build(
        teacher["in_student_ids"], texts["ids"], options.folder / f"answers_{options.copies}"
    )
    for size in options.sizes:
        for seed in options.seeds:
            for kind in options.kinds:
                name = f"{size}_{kind}_{seed}_{options.copies}x{options.epochs}.json"
                if not (options.folder / name).exists():
                    score = train_student(size, kind, seed, data, texts, cache, options.epochs)
                    (options.folder / name).write_text(json.dumps(score), encoding="utf-8")
                    print(name, score)
    print(table(options, teacher["accuracy"]))


def load(folder: Path) -> dict:
    """Reads the in-scope texts as the teacher's and the student's ids."""
    splits = json.loads((folder / "data_full.json").read_text(encoding="utf-8"))
    names = sorted({intent for _, intent in splits["train"]})
    number = {name: index for index, name in enumerate(names)}
    checkpoint = datasets.extract(datasets.MINILM)
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    train = [text for text, _ in splits["train"]]
    small, kept_ids = cut_vocabulary(tokenizer, train, sequence_length=LENGTH)
    data: dict = {"kept_ids": kept_ids, "checkpoint": checkpoint, "num_classes": len(names)}
    for split in ("train", "val", "test"):
        texts = [text for text, _ in splits[split]]
        data[f"{split}_teacher"] = encode(tokenizer, texts, sequence_length=LENGTH)
        data[split] = encode(small, texts, sequence_length=LENGTH)
        data[f"{split}_labels"] = np.array([number[i] for _, i in splits[split]], np.int32)
    return data


def train_teacher(data: dict, folder: Path) -> dict:
    """Trains an MLP head on frozen MiniLM features, with early stopping on validation texts."""
    backbone = teachers.load_backbone(data["checkpoint"])
    features = teachers.text_features(backbone, sequence_length=LENGTH)
    vectors = {}
    for split in ("train", "val", "test"):
        path = folder / f"features_{split}.npy"
        if not path.exists():
            np.save(path, features.predict(data[f"{split}_teacher"], batch_size=64))
        vectors[split] = np.load(path)
    keras.utils.set_random_seed(0)
    head = teachers.text_classifier(features, num_classes=data["num_classes"], hidden_dim=1024)
    head.get_layer("scale").adapt(vectors["train"])
    head.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-3, 236 * 20)),
        loss=_cross_entropy(),
        metrics=["accuracy"],
    )
    stop = keras.callbacks.EarlyStopping("val_accuracy", patience=8, restore_best_weights=True)
    head.fit(
        vectors["train"],
        data["train_labels"],
        validation_data=(vectors["val"], data["val_labels"]),
        batch_size=BATCH,
        epochs=20,
        verbose=0,
        callbacks=[stop],
    )
    own = teachers.text_features(backbone, sequence_length=LENGTH, kept_ids=data["kept_ids"])
    predictions = head.predict(vectors["test"], verbose=0).argmax(-1)
    return {
        "in_student_ids": teachers.with_head(own, head),
        "accuracy": float(np.mean(predictions == data["test_labels"])),
    }


def augmented(data: dict, *, copies: int) -> dict:
    """Makes varied copies of each text: 10 % of tokens dropped, 15 % replaced by a neighbour.

    A neighbour is one of the 8 nearest in the teacher's word vectors, inside the student's
    vocabulary. The originals come first.
    """
    generator = np.random.default_rng(0)
    backbone = teachers.load_backbone(data["checkpoint"])
    vectors = keras.ops.convert_to_numpy(backbone.token_embedding.embeddings)[data["kept_ids"]]
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    nearest = np.argsort(-(vectors @ vectors.T), axis=1)[:, 1:9].astype(np.int32)
    # Padding, [UNK], [CLS] and [SEP] stay where they are.
    special = np.isin(data["kept_ids"], [0, 100, 101, 102, 103])
    rows = np.concatenate([data["train"]] * copies)
    movable = ~special[rows]
    swap = movable & (generator.random(rows.shape) < 0.15)
    chosen = nearest[rows, generator.integers(0, 8, rows.shape)]
    rows = np.where(swap & ~special[chosen], chosen, rows)
    drop = movable & (generator.random(rows.shape) < 0.10)
    order = np.argsort(drop, axis=1, kind="stable")
    rows = np.take_along_axis(np.where(drop, 0, rows), order, axis=1)
    return {
        "ids": np.concatenate([data["train"], rows]).astype(np.int32),
        "labels": np.concatenate([data["train_labels"]] * (copies + 1)),
    }


def train_student(
    size: str,
    kind: str,
    seed: int,
    data: dict,
    texts: dict,
    cache: td.TeacherCache,
    epochs: int,
) -> dict:
    """Trains one student and scores it on the test texts."""
    keras.utils.set_random_seed(seed)
    student = text_encoder(
        vocabulary_size=len(data["kept_ids"]),
        sequence_length=LENGTH,
        num_classes=data["num_classes"],
        seed=seed,
        **SIZES[size],
    )
    backbone = teachers.load_backbone(data["checkpoint"])
    table = keras.ops.convert_to_numpy(backbone.token_embedding.embeddings)
    student = start_embedding(student, teacher_table=table, kept_ids=data["kept_ids"])
    per_epoch = math.ceil(len(texts["ids"]) / BATCH)
    rate = keras.optimizers.schedules.CosineDecay(2e-3, per_epoch * epochs)
    if kind == "distilled":
        model = td.Distiller(student=student, teacher=cache)
        model.compile(keras.optimizers.Adam(rate), alpha=0.0, temperature=2.0)
        batches = cache.dataset(texts["ids"], texts["labels"], batch_size=BATCH, seed=seed)
    else:
        rows = (data["train"], data["train_labels"])
        if kind == "augmented":
            rows = (texts["ids"], texts["labels"])
        model = student
        model.compile(keras.optimizers.Adam(rate), loss=_cross_entropy())
        batches = tf.data.Dataset.from_tensor_slices(rows).shuffle(len(rows[0]), seed=seed)
        batches = batches.repeat().batch(BATCH).prefetch(2)
    model.fit(batches, steps_per_epoch=per_epoch, epochs=epochs)
    predictions = student.predict(data["test"], verbose=0).argmax(-1)
    return {
        "accuracy": float(np.mean(predictions == data["test_labels"])),
        "parameters": student.count_params(),
    }


def table(options: argparse.Namespace, teacher: float) -> str:
    """Returns the scores of all finished students as Markdown."""
    lines = [
        f"\nTeacher (frozen MiniLM with an MLP head): {teacher:.4f}",
        "",
        "| student | parameters | trained on | accuracy | of the teacher's |",
        "| --- | --: | --- | --: | --: |",
    ]
    for size in options.sizes:
        for kind in options.kinds:
            pattern = f"{size}_{kind}_*_{options.copies}x{options.epochs}.json"
            paths = sorted(options.folder.glob(pattern))
            scores = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
            values = [score["accuracy"] for score in scores]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            mean = statistics.mean(values)
            lines.append(
                f"| {size} | {scores[0]['parameters']:,} | {kind} ({len(values)} seeds) "
                f"| {mean:.4f} ± {spread:.4f} | {100 * mean / teacher:.1f} % |"
            )
    return "\n".join(lines)


def _cross_entropy() -> keras.losses.Loss:
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


if __name__ == "__main__":
    main()
