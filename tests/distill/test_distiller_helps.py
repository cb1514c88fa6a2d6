"""Distillation is worth it where it should be: few labels, many texts, a good teacher."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tfdistill import Distiller

CLASSES, WIDTH, LABELS, ROWS = 4, 8, 40, 1024
BATCH = 64


def sampled(rows: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Each class owns the neighborhoods of three of twelve random centers: far from linear."""
    centers = np.random.default_rng(0).normal(size=(3 * CLASSES, WIDTH))
    x = np.random.default_rng(seed).normal(size=(rows, WIDTH)).astype("float32")
    nearest = ((x[:, None] - centers) ** 2).sum(-1).argmin(-1)
    return x, (nearest % CLASSES).astype("int32")


def network(units: int) -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((WIDTH,)),
            keras.layers.Dense(units, activation="relu"),
            keras.layers.Dense(CLASSES),
        ]
    )


@pytest.mark.slow
def test_a_distilled_student_is_nearer_to_its_teacher_and_better_than_its_twin():
    test_x, test_y = sampled(2000, seed=2)
    x, y = sampled(ROWS, seed=1)
    keras.utils.set_random_seed(0)
    teacher = network(64)
    teacher.compile(
        keras.optimizers.Adam(0.01),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    teacher.fit(x, y, epochs=20, batch_size=BATCH, verbose=0)
    answers = teacher(test_x).numpy().argmax(-1)

    labelled = np.zeros((ROWS, CLASSES), "float32")
    labelled[:LABELS] = np.eye(CLASSES)[y[:LABELS]]
    repeated = np.arange(ROWS) % LABELS  # as many steps, on the labelled rows alone
    student = network(16)
    distiller = Distiller(student=student, teacher=teacher)
    distiller.compile(keras.optimizers.Adam(0.01), temperature=2.0)
    distiller.optimizer.build(student.trainable_variables)
    fresh = [variable.numpy() for variable in distiller.optimizer.variables]
    gains, agreement_gains = [], []
    for seed in range(3):
        scores = {}
        for name, rows, targets, alpha in (
            ("distilled", x, labelled, 0.1),
            ("control", x[repeated], labelled[repeated], 1.0),
        ):
            keras.utils.set_random_seed(seed)
            student.set_weights(network(16).get_weights())
            for variable, value in zip(distiller.optimizer.variables, fresh, strict=True):
                variable.assign(value)
            distiller.alpha.assign(alpha)
            distiller.fit(rows, targets, epochs=10, batch_size=BATCH, verbose=0)
            guesses = student(test_x).numpy().argmax(-1)
            scores[name] = (guesses == test_y).mean(), (guesses == answers).mean()
        gains.append(scores["distilled"][0] - scores["control"][0])
        agreement_gains.append(scores["distilled"][1] - scores["control"][1])

    # Measured: +0.17 to +0.21 in accuracy, +0.23 to +0.25 in agreement. Half of it is asked.
    assert min(gains) > 0.08, gains
    assert min(agreement_gains) > 0.11, agreement_gains
