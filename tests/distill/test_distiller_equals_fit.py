"""Oracle of the hard half: with alpha = 1 the Distiller is plain `fit`, to the last bit."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tfdistill import Distiller

RNG = np.random.default_rng(4)
X = RNG.normal(size=(70, 4)).astype("float32")  # 70: the last batch is smaller
Y = RNG.integers(0, 3, 70).astype("int32")
WEIGHTS = RNG.uniform(0, 2, 70).astype("float32")
TOKENS = RNG.integers(0, 6, (70, 5)).astype("int32")
TAGS = RNG.integers(0, 3, (70, 5)).astype("int32")


def network(**settings) -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(6, activation="relu", **settings),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(3),
        ]
    )


def tagger() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((5,), dtype="int32"),
            keras.layers.Embedding(6, 4, mask_zero=True),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(3),
        ]
    )


def regularized() -> keras.Model:
    return network(
        kernel_regularizer=keras.regularizers.L2(0.1),
        activity_regularizer=keras.regularizers.L1(0.1),
    )


CASES = {
    "one_hot_and_regularizers": (regularized, X, np.eye(3)[Y], {"shuffle": False}, {}),
    "column_and_weights_of_classes": (
        network,
        X,
        Y[:, None],
        {"class_weight": {0: 0.5, 1: 2, 2: 1}},
        {},
    ),
    "weights_and_validation": (
        network,
        X,
        Y,
        {"sample_weight": WEIGHTS, "validation_data": (X[:30], Y[:30], WEIGHTS[:30])},
        {},
    ),
    "mask_and_weights": (tagger, TOKENS, TAGS, {"sample_weight": (TOKENS % 3) * 1.0}, {}),
    "mask_and_ignored_class": (tagger, TOKENS, TAGS, {}, {"ignore_class": 1}),
}


def plain_loss(labels: np.ndarray, ignore_class: int | None) -> keras.losses.Loss:
    if labels.dtype == np.float64:
        return keras.losses.CategoricalCrossentropy(from_logits=True)
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=ignore_class)


def train(make, x, y, *, distill: bool, fit: dict, settings: dict):
    keras.utils.set_random_seed(11)
    student, teacher = make(), make()
    optimizer = keras.optimizers.Adam(0.05)
    if distill:
        model = Distiller(student=student, teacher=teacher)
        model.compile(optimizer, alpha=1.0, metrics=["accuracy"], **settings)
    else:
        model = student
        loss = plain_loss(y, settings.get("ignore_class"))
        model.compile(optimizer, loss=loss, metrics=["accuracy"])
    history = model.fit(x, y, batch_size=16, epochs=2, verbose=0, **fit).history
    return history, [variable.numpy() for variable in student.variables]


@pytest.mark.quick_cases("weights_and_validation", "mask_and_ignored_class")
@pytest.mark.parametrize("case", CASES)
def test_alpha_1_gives_exactly_the_history_and_weights_of_plain_fit(case: str):
    make, x, y, fit, settings = CASES[case]
    history, weights = train(make, x, y, distill=True, fit=fit, settings=settings)
    expected_history, expected_weights = train(
        make, x, y, distill=False, fit=fit, settings=settings
    )

    # Batch statistics and dropout seeds are among these.
    for weight, expected in zip(weights, expected_weights, strict=True):
        np.testing.assert_array_equal(weight, expected)
    assert {name: history[name] for name in expected_history} == expected_history
    assert history["hard_loss"] == history["loss"]
    # The teacher would have pulled elsewhere, so the comparison could have failed.
    assert history["soft_loss"][0] > 0.01


def test_losses_of_the_student_are_weighed_with_the_labels():
    # alpha · (cross-entropy + regularizer): with alpha = 0 the regularizer does not pull.
    student = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(3, use_bias=False, kernel_regularizer=keras.regularizers.L2(5.0)),
        ]
    )
    teacher = keras.models.clone_model(student)
    teacher.set_weights(student.get_weights())
    before = student.get_weights()[0]
    distiller = Distiller(student=student, teacher=teacher)
    distiller.compile(keras.optimizers.SGD(1.0), alpha=0.0)
    distiller.run_eagerly = True
    distiller.fit(X, Y, verbose=0)

    # The student already equals its teacher; rounding leaves gradients of about 1e-8.
    np.testing.assert_allclose(student.get_weights()[0], before, atol=1e-6)
