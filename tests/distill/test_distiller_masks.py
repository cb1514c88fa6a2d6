"""Padding and ignored labels: what is not real counts neither above nor below the line."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdistill import Distiller

SOFT = math.log(2) - (0.25 * math.log(4) + 0.75 * math.log(4 / 3))  # KL((¼, ¾) ‖ (½, ½))
IDS = np.array([[1, 2, 0, 0], [3, 0, 0, 0]], "int32")  # three real tokens of eight
TAGS = np.array([[0, 1, 1, 0], [1, 1, 0, 0]], "int32")


def tagger(vocabulary: int = 8) -> keras.Model:
    """Logits of each token, at the start (0, 0); Keras' own mask marks the padding."""
    return keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            keras.layers.Embedding(vocabulary, 3, mask_zero=True),
            keras.layers.Dense(2, kernel_initializer="zeros"),
        ]
    )


def unmasked_tagger() -> keras.Model:
    model = tagger()
    return keras.Sequential(
        [keras.Input((None,), dtype="int32"), keras.layers.Embedding(8, 3), model.layers[-1]]
    )


def teacher(ids: tf.Tensor) -> tf.Tensor:
    """Sure of (¼, ¾) on id 1, at one with the start of the student on all others."""
    is_one = tf.cast(tf.equal(ids, 1), tf.float32)
    return tf.stack([tf.zeros_like(is_one), math.log(3.0) * is_one], axis=-1)


def measured(student: keras.Model, ids=IDS, tags=TAGS, *, sample_weight=None, **settings):
    distiller = Distiller(student=student, teacher=teacher)
    distiller.compile("sgd", alpha=0.5, temperature=1.0, **settings)
    distiller.run_eagerly = True  # one batch: quicker than tracing it
    return distiller.evaluate(ids, tags, sample_weight=sample_weight, verbose=0, return_dict=True)


def test_padding_does_not_count_in_either_half():
    # Each real token costs ln 2; one of three differs from the teacher.
    logs = measured(tagger())

    assert logs["hard_loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert logs["soft_loss"] == pytest.approx(SOFT / 3, abs=1e-6)


def test_without_a_mask_every_token_counts():
    logs = measured(unmasked_tagger())

    assert logs["soft_loss"] == pytest.approx(SOFT / 8, abs=1e-6)


def test_what_stands_in_the_padding_has_no_influence():
    other = TAGS.copy()
    other[IDS == 0] = 1 - other[IDS == 0]

    assert measured(tagger(), tags=other) == measured(tagger())


def test_weights_of_texts_hold_for_all_their_tokens():
    # Text 0 weighs 3 and has two tokens, text 1 weighs 1 and has one; the divisor stays 3.
    logs = measured(tagger(), sample_weight=np.array([3.0, 1.0]))

    assert logs["hard_loss"] == pytest.approx((3 + 3 + 1) / 3 * math.log(2), abs=1e-6)
    assert logs["soft_loss"] == pytest.approx(3 * SOFT / 3, abs=1e-6)


def test_weights_of_tokens_hold_for_each():
    weights = np.array([[0.5, 2.0, 9.0, 9.0], [1.0, 9.0, 9.0, 9.0]])
    logs = measured(tagger(), sample_weight=weights)

    assert logs["hard_loss"] == pytest.approx(3.5 / 3 * math.log(2), abs=1e-6)
    assert logs["soft_loss"] == pytest.approx(0.5 * SOFT / 3, abs=1e-6)


@pytest.mark.parametrize("tags", [TAGS, TAGS[..., None]])
def test_an_ignored_class_counts_in_neither_half(tags):
    # Label 1 stands at tokens (0, 1), (0, 2), (1, 0), (1, 1): four of eight are left.
    logs = measured(unmasked_tagger(), tags=tags, ignore_class=1)

    assert logs["hard_loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert logs["soft_loss"] == pytest.approx(SOFT / 4, abs=1e-6)


def test_the_ignored_class_of_a_loss_object_counts_in_neither_half():
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=1)
    logs = measured(unmasked_tagger(), loss=loss)

    assert logs["soft_loss"] == pytest.approx(SOFT / 4, abs=1e-6)


def test_mask_and_ignored_class_add_up():
    # Of the real tokens (0, 0), (0, 1), (1, 0) only the first has another label than 1.
    logs = measured(tagger(), ignore_class=1)

    assert logs["hard_loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert logs["soft_loss"] == pytest.approx(SOFT, abs=1e-6)


def test_ignored_labels_of_minus_100_are_no_class():
    tags = np.where(IDS == 0, -100, TAGS)
    logs = measured(unmasked_tagger(), tags=tags, ignore_class=-100)

    assert logs["hard_loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert logs["soft_loss"] == pytest.approx(SOFT / 3, abs=1e-6)


def trained(student: keras.Model, ids, tags, **settings):
    before = [variable.numpy() for variable in student.trainable_variables]
    distiller = Distiller(student=student, teacher=teacher)
    distiller.compile(keras.optimizers.SGD(1.0), temperature=1.0, **settings)
    distiller.run_eagerly = True
    history = distiller.fit(ids, tags, batch_size=2, verbose=0).history
    after = [variable.numpy() for variable in student.trainable_variables]
    return history, before, after


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_a_batch_of_padding_costs_0_and_moves_nothing(alpha: float):
    history, before, after = trained(tagger(), np.zeros((2, 4), "int32"), TAGS, alpha=alpha)

    assert history == {"loss": [0.0], "hard_loss": [0.0], "soft_loss": [0.0]}
    for now, then in zip(after, before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_a_batch_of_ignored_labels_costs_0_and_moves_nothing():
    tags = np.full((2, 4), -100)
    history, before, after = trained(unmasked_tagger(), IDS, tags, alpha=0.5, ignore_class=-100)

    assert history == {"loss": [0.0], "hard_loss": [0.0], "soft_loss": [0.0]}
    for now, then in zip(after, before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_gradient_of_a_masked_batch_equals_the_hand_computed_one():
    # Soft only: of three real tokens one has the gradient q − p = (¼, −¼), so (1/12, −1/12).
    student = tagger()
    trained(student, IDS, TAGS, alpha=0.0)

    np.testing.assert_allclose(student.layers[-1].bias, [-1 / 12, 1 / 12], atol=1e-7)


def test_one_hot_tokens_without_a_label_leave_the_hard_half_to_the_others():
    # All eight tokens count below the line, as in Keras, and only (0, 0) above it.
    tags = np.zeros((2, 4, 2))
    tags[0, 0] = [1.0, 0.0]
    logs = measured(unmasked_tagger(), tags=tags)

    assert logs["hard_loss"] == pytest.approx(math.log(2) / 8, abs=1e-6)
    assert logs["soft_loss"] == pytest.approx(SOFT / 8, abs=1e-6)
