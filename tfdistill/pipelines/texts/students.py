"""Students of a run: started from the teacher's words, trained on its answers, made smaller.

The control is the same student with the same start and as many steps, on the labels alone.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfdistill.compress.compressed_model import strip
from tfdistill.compress.pruning.prune import prune_low_magnitude
from tfdistill.compress.quantization.weights import quantize_aware
from tfdistill.distill.backup import Backup
from tfdistill.distill.distiller import Distiller
from tfdistill.distill.epoch_rows import EpochRows
from tfdistill.distill.length_batches import batches_of_like_length
from tfdistill.distill.optimizers import muon
from tfdistill.distill.teacher_cache.logit_records import INPUTS
from tfdistill.files.atomic import replacing
from tfdistill.pipelines.progress import EpochBar, Progress
from tfdistill.pipelines.texts.material import Material
from tfdistill.pipelines.texts.rows import TextRows
from tfdistill.pipelines.texts.words import Words
from tfdistill.students.encoder import any_length, text_encoder
from tfdistill.students.initialization import start_embedding
from tfdistill.students.sizes import EncoderSizes
from tfdistill.students.text_rows import mean_by_text
from tfdistill.students.vocabulary import shared_rows
from tfdistill.teachers.training import loss_of

__all__ = [
    "BATCH",
    "StudentRecipe",
    "backups_of",
    "compress_student",
    "distill_student",
    "no_labels",
    "predict",
    "save_model",
    "start_student",
    "steps_of",
    "temperature_of",
    "train_control",
]

BATCH, WINDOW = 64, 64  # texts of a step; batches that are sorted by length together
_TOKENS_OF_A_BACKUP = 700_000  # so that a crash costs a part of a pass and not all of it


@dataclass(frozen=True)
class StudentRecipe:
    """How a student trains.

    Attributes:
        passes: How often it reads all texts and copies.
        temperature: Softening of both models' logits.
        learning_rate: Muon's first rate; None follows from the width of the blocks.
        seed: Seed of the start and of the order.
    """

    passes: int
    temperature: float = 2.0
    learning_rate: float | None = None
    seed: int = 0

    def rate_of(self, sizes: EncoderSizes) -> float:
        """Returns the first rate: 3e-3 for blocks of 80, less for wider ones.

        On 150 intents blocks of 80 and 160 were trained at 3e-3 and 1.5e-3; the wider one fell
        behind the other at 4e-3. So the rate falls as the width grows.

        Example:
            >>> recipe = StudentRecipe(passes=1)
            >>> [recipe.rate_of(EncoderSizes(9, 8, width, 2, 8)) for width in (64, 80, 160)]
            [0.003, 0.003, 0.0015]
        """
        if self.learning_rate is not None:
            return self.learning_rate
        return min(3e-3, 3e-3 * 80 / sizes.hidden_dim)


def start_student(
    material: Material, sizes: EncoderSizes, *, num_outputs: int, seed: int
) -> keras.Model:
    """Builds a student whose words start from what the teacher knows of them.

    Args:
        material: What it will learn from.
        sizes: From `encoder_sizes`.
        num_outputs: Number of logits.
        seed: Seed of the weights that are not the teacher's.

    Returns:
        A student for texts of the material's length.
    """
    words = material.words
    counts = np.bincount(material.text_ids.ravel(), minlength=len(words.kept_ids))
    shape = dataclasses.asdict(sizes)
    row_of_token, owners = shared_rows(
        material.vectors, counts=counts, num_rows=shape.pop("num_rows"),
        special_ids=words.special_ids,
    )  # fmt: skip
    student = text_encoder(
        vocabulary_size=len(words.kept_ids),
        sequence_length=words.sequence_length,
        num_classes=num_outputs,
        dropout=0.0,
        pooling="mean_max",
        row_of_token=row_of_token.tolist(),
        seed=seed,
        **shape,
    )
    # A table wider than what the teacher knows of a word has nothing to start from in the rest.
    missing = max(0, sizes.embedding_dim - material.vectors.shape[1])
    vectors = np.pad(material.vectors, ((0, 0), (0, missing)))
    return start_embedding(student, teacher_table=vectors, kept_ids=owners)


def distill_student(
    student: keras.Model,
    material: Material,
    recipe: StudentRecipe,
    *,
    outputs: str,
    rate: float,
    folder: Path,
    progress: Progress,
) -> None:
    """Trains a student on the teacher's answers alone; a run that was killed goes on in `folder`.

    Args:
        student: From `start_student`, or a `Compressed` one; it is trained in place.
        material: Texts, copies and answers.
        recipe: How long.
        outputs: What logits mean.
        rate: The first rate.
        folder: Where backups are kept.
        progress: The bar.
    """
    ids, steps, per_pass = (
        material.ids,
        steps_of(material.ids, recipe.passes),
        backups_of(material.ids),
    )
    keras.utils.set_random_seed(recipe.seed)
    plain = student if hasattr(student, "after_update") else any_length(student)
    distiller = Distiller(student=plain, teacher=material.cache)
    distiller.compile(
        muon(rate, steps=steps),
        alpha=0.0,
        temperature=temperature_of(outputs, recipe),
        outputs=outputs,
    )
    windows = material.cache.dataset(
        ids, no_labels(len(ids), outputs, material.cache.num_classes),
        batch_size=BATCH * WINDOW, seed=recipe.seed, epochs_per_pass=per_pass,
    )  # fmt: skip
    batches = batches_of_like_length(
        windows, batch_size=BATCH, ids=INPUTS, rows=math.ceil(len(ids) / per_pass),
        seed=recipe.seed,
    )  # fmt: skip
    distiller.fit(
        batches,
        epochs=recipe.passes * per_pass,
        callbacks=[Backup(folder / "backup"), EpochBar(progress)],
        verbose=0,
    )


def train_control(
    student: keras.Model,
    rows: TextRows,
    material: Material,
    recipe: StudentRecipe,
    *,
    rate: float,
    folder: Path,
    progress: Progress,
) -> None:
    """Trains the same student on the labels alone, with as many steps.

    Args:
        student: From `start_student`; it is trained in place.
        rows: Texts and labels.
        material: What the distilled student learned from, for its number of steps.
        recipe: As for the distilled student.
        rate: The first rate.
        folder: Where backups are kept.
        progress: The bar.
    """
    ids, targets = material.words.training_rows(rows.train, task=rows.task, teacher=False)
    steps = steps_of(material.ids, recipe.passes)
    epochs = max(1, round(steps / math.ceil(len(ids) / BATCH)))
    per_pass = backups_of(ids)
    keras.utils.set_random_seed(recipe.seed)
    model = any_length(student)
    model.compile(muon(rate, steps=steps), loss=loss_of(rows.task.outputs))
    order = EpochRows(
        ids, targets,
        batch_size=BATCH * WINDOW, seed=recipe.seed, epochs_per_pass=per_pass,
    )  # fmt: skip
    model.fit(
        batches_of_like_length(
            order.dataset(), batch_size=BATCH, rows=order.rows_per_epoch, seed=recipe.seed
        ),
        epochs=epochs * per_pass,
        callbacks=[order, Backup(folder / "backup"), EpochBar(progress)],
        verbose=0,
    )


def compress_student(
    student: keras.Model,
    material: Material,
    recipe: StudentRecipe,
    *,
    sparsity: float | None,
    bits: int,
    outputs: str,
    rate: float,
    folder: Path,
    progress: Progress,
) -> keras.Model:
    """Prunes a student or trains it for a grid, while it goes on learning from the teacher.

    Args:
        student: A distilled student. Left untouched.
        material: Texts, copies and answers.
        recipe: How long the distillation was; this takes one pass.
        sparsity: Share of zeros, or None.
        bits: 4 or 8.
        outputs: What logits mean.
        rate: The first rate.
        folder: Where backups are kept.
        progress: The bar.

    Returns:
        A plain Keras model with the zeros and the grid in its weights.
    """
    steps = steps_of(material.ids, 1)
    small: Any = student
    if sparsity:
        small = prune_low_magnitude(small, sparsity=sparsity, steps=max(1, steps * 2 // 3))
    small = quantize_aware(small, bits=bits)
    distill_student(
        small, material, dataclasses.replace(recipe, passes=1),
        outputs=outputs, rate=rate / 2, folder=folder, progress=progress,
    )  # fmt: skip
    return strip(small)


def temperature_of(outputs: str, recipe: StudentRecipe) -> float:
    """Returns the temperature of the recipe; numbers have none."""
    return 1.0 if outputs == "linear" else recipe.temperature


def save_model(model: keras.Model, path: Path) -> None:
    """Saves a model as a `.keras` file that is there whole or not at all."""
    with replacing(path) as temporary:
        model.save(temporary)


def predict(model: keras.Model, words: Words, texts: Sequence[str]) -> np.ndarray:
    """Returns the logits of texts, float32 `[N, C]`; those of windows are averaged."""
    ids, text_of_row = words.rows_for_student(texts)
    logits = np.asarray(model.predict(ids, batch_size=256, verbose=0), np.float32)
    return mean_by_text(logits, text_of_row)


def steps_of(ids: np.ndarray, passes: int) -> int:
    """Returns the number of steps of so many passes over so many texts."""
    return max(1, math.ceil(len(ids) / BATCH) * passes)


def backups_of(ids: np.ndarray) -> int:
    """Returns how many epochs share a pass, so that a crash costs seconds."""
    return max(1, min(len(ids) // BATCH, round(np.count_nonzero(ids) / _TOKENS_OF_A_BACKUP)))


def no_labels(rows: int, outputs: str, num_outputs: int) -> np.ndarray:
    """Returns labels that weigh nothing, in the form that the outputs have."""
    if outputs == "softmax":
        return np.zeros(rows, np.int32)
    return np.zeros((rows, num_outputs), np.float32)
