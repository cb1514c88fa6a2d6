"""The teacher of Compound SNIPS: MiniLM fine-tuned with three heads at once.

split   a tag per token: where does each part of the request begin and end
slots   a tag per token
intent  one class per text, learned on the requests of one part
"""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from compound_snips_data import INTENTS, Utterance, cover
from compound_snips_tags import REQUEST_LENGTH, SPLIT_TAGS, Rows, batches, make_rows
from keras import ops
from tokenizers import Tokenizer

from tfdistill import datasets, teachers
from tfdistill.students import MaskedMean

TOKENS, LARGEST, RATE = 640, 32, 2.5e-4
STEPS, STEPS_KEPT = 480, 40
TRAINED = tuple(f"transformer_layer_{index}" for index in (3, 4, 5))


def build(num_slot_tags: int, *, length: int | None = None) -> keras.Model:
    """Builds MiniLM with the three heads; padding ids are 0.

    Args:
        num_slot_tags: Number of slot tags.
        length: Number of ids per text; None leaves it open.
    """
    backbone = teachers.load_backbone(datasets.extract(datasets.MINILM))
    for layer in backbone.layers:
        # The table and the lower half stay as pretrained: a third of the time, and words that
        # the training texts do not have keep their meaning.
        layer.trainable = layer.name in TRAINED
    ids = keras.Input((length,), dtype="int32", name="ids")
    is_token = ops.not_equal(ids, 0)
    states = backbone(
        {
            "token_ids": ids,
            "segment_ids": ops.zeros_like(ids),
            "padding_mask": ops.cast(is_token, "int32"),
        }
    )["sequence_output"]
    dropped = keras.layers.Dropout(0.1, seed=0)(states)
    pooled = MaskedMean(name="pooling")(dropped, is_token)
    outputs = {
        "split": keras.layers.Dense(len(SPLIT_TAGS), name="split")(dropped),
        "slots": keras.layers.Dense(num_slot_tags, name="slots")(dropped),
        "intent": keras.layers.Dense(len(INTENTS), name="intent")(pooled),
    }
    return keras.Model(ids, outputs, name="teacher")


def fine_tune(
    model: keras.Model,
    utterances: list[Utterance],
    tokenizer: Tokenizer,
    *,
    tags: tuple[str, ...],
    rounds: int,
    folder: Path,
) -> None:
    """Trains the teacher, or goes on where it was stopped; loads the finished weights.

    Each round warms up and cools down again, from the weights of the one before (Loshchilov and
    Hutter 2017). In each pass every utterance is read once, alone or inside a request, in a new
    arrangement.

    Args:
        model: From `build`.
        utterances: The training utterances.
        tokenizer: MiniLM's.
        tags: The slot tags.
        rounds: Number of rounds of `STEPS` optimizer steps, about one and a half passes each.
        folder: Where the weights and the last state are kept.
    """
    for number in range(rounds):
        path = folder / f"teacher_round{number}.weights.h5"
        if not path.exists():
            rate = keras.optimizers.schedules.CosineDecay(
                0.0, STEPS - STEPS // 10, warmup_target=RATE, warmup_steps=STEPS // 10, alpha=0.02
            )
            cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            model.compile(
                keras.optimizers.AdamW(rate, weight_decay=0.01, clipnorm=1.0),
                loss={"split": cross_entropy, "slots": cross_entropy, "intent": cross_entropy},
            )
            sequence = _Batches(utterances, tokenizer, tags=tags, first=100 * number)
            keep = keras.callbacks.BackupAndRestore(folder / f"teacher_backup{number}")
            model.fit(
                sequence,
                epochs=STEPS // STEPS_KEPT,
                callbacks=[keep, sequence.start],
                shuffle=False,
                verbose=2,
            )
            fresh = path.with_name(f"new.{path.name}")
            model.save_weights(fresh)
            fresh.replace(path)
        model.load_weights(path)


class _Batches(keras.utils.PyDataset):
    """Hands out batches of requests, pass after pass; `STEPS_KEPT` of them are an epoch of `fit`.

    Attributes:
        start: A callback that tells which epoch begins, so that a resumed run reads on.
    """

    def __init__(
        self,
        utterances: list[Utterance],
        tokenizer: Tokenizer,
        *,
        tags: tuple[str, ...],
        first: int,
    ) -> None:
        super().__init__()
        self._chosen: list[tuple[Rows, np.ndarray]] = []
        self._epoch = 0
        self.start = keras.callbacks.LambdaCallback(on_epoch_begin=self._begin)
        number = first
        while len(self._chosen) < STEPS:
            requests = cover(utterances, seed=number)
            rows = make_rows(requests, tokenizer, tags=tags, length=REQUEST_LENGTH)
            generator = np.random.default_rng(number)
            grouped = batches(rows, tokens=TOKENS, largest=LARGEST, generator=generator)
            self._chosen += [(rows, index) for index in grouped]
            number += 1

    def __len__(self) -> int:
        return STEPS_KEPT

    def __getitem__(self, index: int) -> tuple:
        rows, chosen = self._chosen[self._epoch * STEPS_KEPT + index]
        batch = rows.take(chosen, length=int(np.sum(rows.ids[chosen] != 0, axis=1).max()))
        labels = {"split": batch.split, "slots": batch.slots, "intent": batch.intent}
        # Scaled so that each head's mean is over what it really has to answer.
        first = batch.is_first / max(batch.is_first.mean(), 1e-6)
        single = batch.is_single / max(batch.is_single.mean(), 1.0 / len(batch))
        return batch.ids, labels, {"split": first, "slots": first, "intent": single}

    def _begin(self, epoch: int, logs: dict | None = None) -> None:
        self._epoch = epoch


def predict(model: keras.Model, rows: Rows) -> dict[str, np.ndarray]:
    """Returns the teacher's logits for all rows, float32, padded with zeros to the rows' length."""
    answers: dict[str, np.ndarray] = {}
    call = tf.function(lambda ids: model(ids, training=False), reduce_retracing=True)
    for chosen in batches(rows, tokens=4096, largest=128, generator=np.random.default_rng(0)):
        longest = int(np.sum(rows.ids[chosen] != 0, axis=1).max())
        for head, logits in call(tf.constant(rows.ids[chosen][:, :longest])).items():
            values = logits.numpy()
            if head not in answers:
                shape = (
                    (rows.ids.shape[0], rows.ids.shape[1], values.shape[-1])
                    if values.ndim == 3
                    else (rows.ids.shape[0], values.shape[-1])
                )
                answers[head] = np.zeros(shape, np.float32)
            if values.ndim == 3:
                answers[head][chosen, :longest] = values
            else:
                answers[head][chosen] = values
    return answers
