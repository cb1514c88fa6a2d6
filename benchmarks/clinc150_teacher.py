"""The teachers of the CLINC150 benchmark: MiniLM with a trained head, frozen or fine-tuned."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from clinc150_files import TeacherFiles
from clinc150_texts import Intents

from tfdistill import teachers

HEAD_EPOCHS, HEAD_BATCH = 20, 64
TUNING_EPOCHS, TUNING_BATCH, TUNING_RATE = 6, 32, 1e-4
BUCKETS = (9, 11, 13, 16, 20)


@keras.saving.register_keras_serializable(package="clinc150")
class CutPadding(keras.layers.Layer):
    """Cuts the columns of padding that all texts of a batch share: `[B, T]` to `[B, ≤ T]`."""

    def call(self, ids):
        """Returns the columns up to the longest text."""
        return ids[:, : tf.reduce_max(tf.reduce_sum(tf.cast(ids != 0, tf.int32), axis=1))]


@dataclass(frozen=True)
class Teacher:
    """The better of both teachers.

    Attributes:
        kind: "frozen" or "fine-tuned".
        files: From the students' ids to logits, in 8 bits; what answers the training texts.
        features: From the ids of the whole vocabulary to what the head reads.
        scores: For each kind the accuracies "val" and "test" in float with the whole vocabulary,
            and for the better one "files test", of `files`.
    """

    kind: str
    files: TeacherFiles
    features: keras.Model
    scores: dict[str, dict[str, float]]


def best_teacher(data: Intents, folder: Path) -> Teacher:
    """Trains both teachers, or reads them, and picks by validation accuracy.

    Args:
        data: The texts.
        folder: Where weights and scores are kept.
    """
    path = folder / "teachers.json"
    parts = {"frozen": _frozen(data, folder), "fine-tuned": _fine_tuned(data, folder)}
    scores = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for kind in parts.keys() - scores.keys():
        whole = _from_ids(*parts[kind])
        scores[kind] = {
            "val": _accuracy(whole, data.teacher_ids["val"], data.labels["val"]),
            "test": _accuracy(whole, data.teacher_ids["test"], data.labels["test"]),
        }
    kind = max(scores, key=lambda name: scores[name]["val"])
    files = TeacherFiles(*parts[kind], kept_ids=data.kept_ids, folder=folder / f"{kind}_files")
    if "files test" not in scores[kind]:
        scores[kind]["files test"] = files.accuracy(data.ids["test"], data.labels["test"])
    path.write_text(json.dumps(scores, indent=1), encoding="utf-8")
    return Teacher(
        kind=kind,
        files=files,
        features=teachers.text_features(parts[kind][0], sequence_length=None),
        scores=dict(sorted(scores.items())),
    )


def _from_ids(backbone: keras.Model, head: keras.Model) -> keras.Model:
    """Joins both into a model that runs on no more padding than a batch needs."""
    features = teachers.text_features(backbone, sequence_length=None)
    ids = keras.Input((None,), dtype="int32", name="ids")
    return keras.Model(ids, head(features(CutPadding()(ids))), name="teacher")


def _frozen(data: Intents, folder: Path) -> tuple[keras.Model, keras.Model]:
    """Trains an MLP on MiniLM's features; returns MiniLM and the MLP."""
    keras.utils.set_random_seed(0)
    backbone = teachers.load_backbone(data.checkpoint)
    features = teachers.text_features(backbone, sequence_length=None)
    head = teachers.text_classifier(features, num_classes=data.num_classes, hidden_dim=1024)
    path = folder / "frozen.weights.h5"
    if not path.exists():
        ids = keras.Input((None,), dtype="int32", name="ids")
        short = keras.Model(ids, features(CutPadding()(ids)))
        x = {split: _predict(short, data.teacher_ids[split]) for split in ("train", "val")}
        head.get_layer("scale").adapt(x["train"])
        steps = math.ceil(len(x["train"]) / HEAD_BATCH) * HEAD_EPOCHS
        head.compile(
            keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-3, steps)),
            loss=_cross_entropy(),
            metrics=["accuracy"],
        )
        best = keras.callbacks.EarlyStopping("val_accuracy", patience=8, restore_best_weights=True)
        head.fit(
            x["train"],
            data.labels["train"],
            validation_data=(x["val"], data.labels["val"]),
            batch_size=HEAD_BATCH,
            epochs=HEAD_EPOCHS,
            callbacks=[best],
            verbose=2,
        )
        _save(head, path)
    head.load_weights(path)
    return backbone, head


def _fine_tuned(data: Intents, folder: Path) -> tuple[keras.Model, keras.Model]:
    """Trains MiniLM and a linear head, in batches of texts of like length; returns both."""
    keras.utils.set_random_seed(0)
    backbone = teachers.load_backbone(data.checkpoint)
    features = teachers.text_features(backbone, sequence_length=None)
    inputs = keras.Input(features.output_shape[1:], name="features")
    dropped = keras.layers.Dropout(0.1)(inputs)
    head = keras.Model(inputs, keras.layers.Dense(data.num_classes, name="logits")(dropped))
    model = keras.Model(features.input, head(features.output), name="fine_tuned")
    path = folder / "fine_tuned.weights.h5"
    if not path.exists():
        per_epoch = len(data.teacher_ids["train"]) // TUNING_BATCH
        steps = per_epoch * TUNING_EPOCHS
        rate = keras.optimizers.schedules.CosineDecay(
            0.0,
            steps - steps // 10,
            warmup_target=TUNING_RATE,
            warmup_steps=steps // 10,
            alpha=0.02,
        )
        optimizer = keras.optimizers.AdamW(rate, weight_decay=0.01, clipnorm=1.0)
        model.compile(optimizer, loss=_cross_entropy(), metrics=["accuracy"])
        model.fit(
            _batches_of_like_length(data),
            steps_per_epoch=per_epoch,
            epochs=TUNING_EPOCHS,
            callbacks=[keras.callbacks.BackupAndRestore(folder / "fine_tuning")],
            verbose=2,
        )
        _save(model, path)
    model.load_weights(path)
    return backbone, head


def _batches_of_like_length(data: Intents) -> tf.data.Dataset:
    rows = tf.data.Dataset.from_tensor_slices((data.teacher_ids["train"], data.labels["train"]))
    rows = rows.shuffle(len(data.labels["train"]), seed=0).repeat()
    rows = rows.map(lambda ids, label: (ids[: tf.math.count_nonzero(ids)], label))
    batches = rows.bucket_by_sequence_length(
        lambda ids, label: tf.shape(ids)[0],
        bucket_boundaries=list(BUCKETS),
        bucket_batch_sizes=[TUNING_BATCH] * (len(BUCKETS) + 1),
    )
    return batches.prefetch(4)


def _accuracy(model: keras.Model, ids: np.ndarray, labels: np.ndarray) -> float:
    return float(np.mean(_predict(model, ids).argmax(-1) == labels))


def _predict(model: keras.Model, ids: np.ndarray) -> np.ndarray:
    """Answers in batches of texts of like length; returns them in the order of `ids`."""
    order = np.argsort(np.sum(ids != 0, axis=1))
    return model.predict(ids[order], batch_size=64, verbose=0)[np.argsort(order)]


def _cross_entropy() -> keras.losses.Loss:
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def _save(model: keras.Model, path: Path) -> None:
    fresh = path.with_name(f"new.{path.name}")
    model.save_weights(fresh)
    fresh.replace(path)
