"""The students of Compound SNIPS: two tiers of one encoder with three heads each.

They read varied copies of the training texts beside the originals. A copy keeps a sentence and
gives each slot another value: one that the training texts have for it, or words that they may not
have at all, so that a name is known by its place. Its tags stay right; the teacher answers it too,
and the students learn from labels and answers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
from compound_snips_data import INTENTS, Slot, Utterance, cover
from compound_snips_tags import REQUEST_LENGTH, SPLIT_TAGS, Rows, batches, make_rows
from tokenizers import Tokenizer

from tfdistill.distill import DistilledLoss, pack_targets
from tfdistill.students import at_length, multi_head_encoder, start_embedding

SIZES = {
    "tiny": {"embedding_dim": 8, "num_layers": 1, "hidden_dim": 32, "intermediate_dim": 64},
    "small": {
        "embedding_dim": 96,
        "embedding_window": 3,
        "num_layers": 1,
        "hidden_dim": 128,
        "intermediate_dim": 256,
    },
}
TOKENS, LARGEST, RATE = 2048, 96, 3e-3
ALPHA, TEMPERATURE = 0.3, 2.0


def vary(utterances: Sequence[Utterance], words: Sequence[str], *, seed: int) -> list[Utterance]:
    """Makes a copy of each utterance with other values of its slots.

    Of the slots a half is filled by a value of the same slot and intent, a sixth has each of its
    words swapped for any of `words`, and the rest stays.
    """
    generator = np.random.default_rng(seed)
    values: dict[tuple[str, str], list[str]] = defaultdict(list)
    for utterance in utterances:
        for slot in utterance.slots:
            key = utterance.intent, slot.name
            values[key].append(utterance.text[slot.start : slot.end])
    copies = []
    for utterance in utterances:
        text, before, slots = "", 0, []
        for slot in utterance.slots:
            text += utterance.text[before : slot.start]
            value = utterance.text[slot.start : slot.end]
            draw = generator.random()
            if draw < 1 / 2:
                others = values[utterance.intent, slot.name]
                value = others[generator.integers(len(others))]
            elif draw < 2 / 3:
                chosen = generator.integers(len(words), size=len(value.split()))
                value = " ".join(words[number] for number in chosen)
            slots.append(Slot(slot.name, len(text), len(text) + len(value)))
            text, before = text + value, slot.end
        text += utterance.text[before:]
        copies.append(Utterance(utterance.number, text, utterance.intent, tuple(slots)))
    return copies


def training_rows(
    utterances: Sequence[Utterance],
    tokenizer: Tokenizer,
    *,
    tags: Sequence[str],
    words: Sequence[str],
    copies: int,
) -> Rows:
    """Returns the originals and their copies, alone and in requests, as rows."""
    requests = [*cover(utterances, seed=100)]
    for number in range(copies):
        requests += cover(vary(utterances, words, seed=number), seed=101 + number)
    return make_rows(requests, tokenizer, tags=tags, length=REQUEST_LENGTH)


def start(
    size: str, *, kept_ids: np.ndarray, teacher_table: np.ndarray, num_slot_tags: int, seed: int
) -> keras.Model:
    """Builds a student whose embeddings start from the teacher's."""
    keras.utils.set_random_seed(seed)
    student = multi_head_encoder(
        token_heads={"split": len(SPLIT_TAGS), "slots": num_slot_tags},
        text_heads={"intent": len(INTENTS)},
        vocabulary_size=len(kept_ids),
        sequence_length=REQUEST_LENGTH,
        num_heads=2,
        dropout=0.0 if size == "tiny" else 0.1,
        seed=seed,
        **SIZES[size],
    )
    return start_embedding(student, teacher_table=teacher_table, kept_ids=kept_ids)


def distill(
    student: keras.Model,
    rows: Rows,
    answers: dict[str, np.ndarray],
    *,
    epochs: int,
    seed: int,
    path: Path,
) -> None:
    """Trains a student, or loads the finished weights."""
    if not path.exists():
        model = at_length(student, None)
        sequence = _Batches(rows, answers, seed=seed)
        rate = keras.optimizers.schedules.CosineDecay(
            0.0,
            len(sequence) * epochs * 95 // 100,
            warmup_target=RATE,
            warmup_steps=len(sequence) * epochs // 20,
            alpha=0.01,
        )
        losses = {
            name: DistilledLoss(alpha=ALPHA, temperature=TEMPERATURE) for name in model.output
        }
        # The tags of slots are the hard task: they get the larger share.
        # Muon for the matrices between words and answers, Adam for all else.
        outer = ["token_embedding", "embedding_projection", *model.output]
        model.compile(
            keras.optimizers.Muon(
                rate, exclude_embeddings=False, exclude_layers=outer, weight_decay=None
            ),
            loss=losses,
            loss_weights={"split": 0.5, "slots": 2.0, "intent": 0.5},
        )
        model.fit(sequence, epochs=epochs, shuffle=False, verbose=2)
        fresh = path.with_name(f"new.{path.name}")
        student.save_weights(fresh)
        fresh.replace(path)
    student.load_weights(path)


class _Batches(keras.utils.PyDataset):
    """Batches of like length, in a new order in each epoch."""

    def __init__(self, rows: Rows, answers: dict[str, np.ndarray], *, seed: int) -> None:
        super().__init__()
        self._rows, self._answers, self._seed, self._epoch = rows, answers, seed, 0
        self._groups = self._grouped()
        self._count = len(self._groups)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> tuple:
        chosen = self._groups[index % len(self._groups)]
        length = int(np.sum(self._rows.ids[chosen] != 0, axis=1).max())
        batch = self._rows.take(chosen, length=length)
        labels = {"split": batch.split, "slots": batch.slots, "intent": batch.intent}
        targets = {}
        for head, classes in labels.items():
            answer = self._answers[head][chosen]
            answer = answer[:, :length] if classes.ndim == 2 else answer
            targets[head] = pack_targets(classes, answer.astype(np.float32))
        # Scaled so that each head's mean is over what it really has to answer.
        first = batch.is_first / max(batch.is_first.mean(), 1e-6)
        single = batch.is_single / max(batch.is_single.mean(), 1.0 / len(batch))
        return batch.ids, targets, {"split": first, "slots": first, "intent": single}

    def on_epoch_end(self) -> None:
        self._epoch += 1
        self._groups = self._grouped()

    def _grouped(self) -> list[np.ndarray]:
        generator = np.random.default_rng(1000 * self._seed + self._epoch)
        return list(batches(self._rows, tokens=TOKENS, largest=LARGEST, generator=generator))
