"""Teacher, control, student and compression, each as a user would write it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tfdistill.compress.compressed_model import strip
from tfdistill.compress.pruning.prune import prune_low_magnitude
from tfdistill.compress.quantization.weights import quantize_aware
from tfdistill.compress.sensitivity_analysis.layer_sensitivity import sensitivity
from tfdistill.distill.distiller import Distiller
from tfdistill.distill.teacher_cache.cache import TeacherCache
from tfdistill.pipelines.data import Encoded, one_hot_where_labelled
from tfdistill.students.encoder import text_encoder
from tfdistill.students.initialization import start_embedding
from tfdistill.teachers import pretrained

__all__ = [
    "Recipe",
    "ask_teacher",
    "compress",
    "distill",
    "sensitivity_of",
    "start_student",
    "train_control",
    "train_teacher",
]


@dataclass(frozen=True)
class Recipe:
    """How long and how fast the students train; what the README's table was made with.

    Attributes:
        epochs: Passes over all texts while distilling.
        compress_epochs: Passes while pruning and quantizing.
        batch_size: Texts per step.
        learning_rate: Peak of Adam's rate; it falls to 0 along a cosine.
        alpha: Weight of the labels that are known.
        temperature: Softening of both models' answers.
        sparsity: Share of zeros in each kernel and table.
        seed: Seed of everything that is drawn.
    """

    epochs: int = 6
    compress_epochs: int = 2
    batch_size: int = 64
    learning_rate: float = 2e-3
    alpha: float = 0.1
    temperature: float = 2.0
    sparsity: float = 0.5
    seed: int = 0

    def steps(self, rows: int, *, epochs: int) -> int:
        """Returns the number of training steps in so many passes over so many texts."""
        return math.ceil(rows / self.batch_size) * epochs


def train_teacher(
    backbone: keras.Model, data: Encoded, *, fine_tune: bool, seed: int
) -> keras.Model:
    """Trains a head on the features of the labelled texts, which are computed once.

    Args:
        backbone: A KerasHub BERT backbone.
        data: The data set.
        fine_tune: Whether to go on and train the backbone with the head. Slow on a CPU.
        seed: Seed of the head.

    Returns:
        A model from the teacher's token ids to logits.
    """
    keras.utils.set_random_seed(seed)
    length = data.teacher_train.shape[1]
    features = pretrained.text_features(backbone, sequence_length=length)
    inputs = data.teacher_train[data.labelled]
    known = features.predict(inputs, batch_size=64)
    head = pretrained.text_classifier(features, num_classes=data.num_classes, hidden_dim=128)
    head.get_layer("scale").adapt(known)
    head.compile(keras.optimizers.Adam(3e-3), loss=_from_logits(), metrics=["accuracy"])
    head.fit(known, data.known_labels, batch_size=32, epochs=40, verbose=0)
    teacher = pretrained.with_head(features, head)
    if fine_tune:
        teacher.compile(keras.optimizers.Adam(2e-5), loss=_from_logits(), metrics=["accuracy"])
        teacher.fit(inputs, data.known_labels, batch_size=16, epochs=3)
    return teacher


def ask_teacher(teacher: keras.Model, data: Encoded, path: Path) -> TeacherCache:
    """Writes the teacher's answers on all training texts to disk, or finds them there.

    The teacher is asked in the student's ids, which name the same tokens on these texts.

    Args:
        teacher: From `train_teacher`.
        data: The data set.
        path: Folder of the cache.

    Returns:
        The cache.
    """
    ids = keras.Input(data.student_train.shape[1:], dtype="int32", name="ids")
    tokens = pretrained.TokenLookup(data.kept_ids, name="lookup")(ids)
    same = keras.Model(ids, teacher(tokens), name="teacher_in_student_ids")
    try:
        return TeacherCache.build(same, data.student_train, path)
    except ValueError as error:
        if "must hold answers of the same build" not in str(error):
            raise
        # Answers of an earlier run with other labels or another seed.
        return TeacherCache.build(same, data.student_train, path, resume=False)


def start_student(backbone: keras.Model, data: Encoded, *, seed: int) -> keras.Model:
    """Builds a student that starts from the teacher's word vectors.

    Args:
        backbone: The teacher's backbone.
        data: The data set.
        seed: Seed of the other weights.

    Returns:
        An untrained student.
    """
    student = text_encoder(
        vocabulary_size=len(data.kept_ids),
        sequence_length=data.student_train.shape[1],
        num_layers=2,
        hidden_dim=64,
        num_heads=2,
        intermediate_dim=128,
        num_classes=data.num_classes,
        seed=seed,
    )
    table = keras.ops.convert_to_numpy(backbone.token_embedding.embeddings)
    return start_embedding(student, teacher_table=table, kept_ids=data.kept_ids)


def train_control(student: keras.Model, data: Encoded, recipe: Recipe) -> keras.Model:
    """Trains the twin that never meets the teacher: same start, same steps, labels alone.

    Args:
        student: An untrained student.
        data: The data set.
        recipe: The same that the distilled student has.

    Returns:
        The student.
    """
    per_epoch = recipe.steps(len(data.student_train), epochs=1)
    rows = (data.student_train[data.labelled], data.known_labels)
    batches = (
        tf.data.Dataset.from_tensor_slices(rows)
        .shuffle(len(data.labelled), seed=recipe.seed)
        .repeat()
        .batch(recipe.batch_size)
    )
    keras.utils.set_random_seed(recipe.seed)
    student.compile(_adam(recipe, per_epoch * recipe.epochs), loss=_from_logits())
    student.fit(batches, steps_per_epoch=per_epoch, epochs=recipe.epochs)
    return student


def distill(
    student: keras.Model, data: Encoded, answers: TeacherCache, recipe: Recipe
) -> keras.Model:
    """Trains a student on the teacher's answers to all texts and on the few labels.

    Args:
        student: An untrained student.
        data: The data set.
        answers: From `ask_teacher`.
        recipe: How long and how fast.

    Returns:
        The student.
    """
    return _distill(student, data, answers, recipe, recipe.epochs, recipe.learning_rate)


def compress(
    student: keras.Model, data: Encoded, answers: TeacherCache, recipe: Recipe
) -> keras.Model:
    """Prunes and quantizes a distilled student while it goes on learning from the teacher.

    Args:
        student: From `distill`.
        data: The data set.
        answers: From `ask_teacher`.
        recipe: How long and how fast.

    Returns:
        A plain Keras model, with the zeros and the 8-bit grid in its weights.
    """
    steps = recipe.steps(len(data.student_train), epochs=recipe.compress_epochs)
    small = prune_low_magnitude(student, sparsity=recipe.sparsity, steps=steps * 2 // 3)
    small = quantize_aware(small, bits=8)
    epochs, rate = recipe.compress_epochs, recipe.learning_rate / 2
    return strip(_distill(small, data, answers, recipe, epochs, rate))


def _distill(
    student: keras.Model,
    data: Encoded,
    answers: TeacherCache,
    recipe: Recipe,
    epochs: int,
    learning_rate: float,
) -> keras.Model:
    keras.utils.set_random_seed(recipe.seed)
    steps = recipe.steps(len(data.student_train), epochs=epochs)
    schedule = keras.optimizers.schedules.CosineDecay(learning_rate, steps)
    distiller = Distiller(student=student, teacher=answers)
    distiller.compile(
        keras.optimizers.Adam(schedule), alpha=recipe.alpha, temperature=recipe.temperature
    )
    batches = answers.dataset(
        data.student_train,
        one_hot_where_labelled(data),
        batch_size=recipe.batch_size,
        seed=recipe.seed,
    )
    distiller.fit(batches, epochs=epochs)
    return distiller.student


def _adam(recipe: Recipe, steps: int) -> keras.optimizers.Adam:
    return keras.optimizers.Adam(
        keras.optimizers.schedules.CosineDecay(recipe.learning_rate, steps)
    )


def _from_logits() -> keras.losses.Loss:
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def sensitivity_of(student: keras.Model, data: Encoded, *, rows: int = 256) -> dict[str, float]:
    """Says how much accuracy each weight costs when it alone is stored in 4 bits.

    Args:
        student: The student.
        data: The data set; the labelled texts are asked, not the test texts.
        rows: How many texts at most.

    Returns:
        Points of accuracy by the weight's path, the largest first.
    """
    known = data.labelled[:rows]
    inputs, labels = data.student_train[known], data.texts.train_labels[known]

    def accuracy(logits: np.ndarray) -> float:
        return float((np.asarray(logits).argmax(axis=-1) == labels).mean())

    found = sensitivity(student, inputs, settings={"quantize": (4,)}, metric=accuracy)
    lost = {row.path: 100 * row.change for row in found.rows}
    return dict(sorted(lost.items(), key=lambda pair: -pair[1]))
