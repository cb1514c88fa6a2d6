"""Starts from a seed and from a teacher."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tfdistill.students import principal_components, start_embedding, text_encoder, token_features
from tfdistill.students.initialization import initial_values


def test_the_directions_are_those_of_greatest_variance(rng: np.random.Generator):
    latent = rng.normal(size=(200, 2)) * [5.0, 2.0]
    turn = np.linalg.qr(rng.normal(size=(6, 6)))[0][:2]
    table = latent @ turn + 3.0  # two directions of variance in six, off the origin
    reduced = principal_components(table, width=2)
    # Distances between rows are kept, which is all that a turned table can promise.
    np.testing.assert_allclose(
        np.linalg.norm(reduced[:50] - reduced[50:100], axis=1),
        np.linalg.norm(table[:50] - table[50:100], axis=1),
        rtol=1e-4,
    )
    assert reduced[:, 0].std() > reduced[:, 1].std()


@pytest.mark.parametrize("width", [0, 5])
def test_a_width_out_of_range_is_refused(width: int):
    with pytest.raises(ValueError, match=rf"`width` must be an int in \[1, 4\].*width={width}"):
        principal_components(np.eye(6, 4), width=width)


def small_student() -> keras.Model:
    return text_encoder(
        vocabulary_size=3,
        sequence_length=4,
        num_layers=1,
        hidden_dim=2,
        num_heads=1,
        intermediate_dim=4,
        num_classes=2,
        seed=0,
    )


def test_the_rows_of_kept_words_are_the_teachers_and_nothing_else_changes(
    rng: np.random.Generator,
):
    student, table, kept_ids = small_student(), rng.normal(size=(9, 5)), np.array([0, 4, 8])
    before = student.get_weights()
    started = start_embedding(student, teacher_table=table, kept_ids=kept_ids)
    embedding = started.get_layer("token_embedding").embeddings.numpy()
    reduced = principal_components(table[kept_ids], width=2)
    np.testing.assert_allclose(embedding, reduced * 0.02 / reduced.std(), rtol=1e-6)
    for old, new in zip(before[1:], started.get_weights()[1:], strict=True):
        np.testing.assert_array_equal(old, new)
    for old, new in zip(before, student.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_ids_that_the_teacher_does_not_have_are_refused():
    with pytest.raises(ValueError, match=r"`kept_ids` must be rows .* in \[0, 5\).*from 0 to 5"):
        start_embedding(small_student(), teacher_table=np.eye(5), kept_ids=np.array([0, 1, 5]))


def test_a_table_of_equal_rows_is_refused():
    with pytest.raises(ValueError, match="`teacher_table` must have rows that differ"):
        start_embedding(
            small_student(), teacher_table=np.ones((5, 4)), kept_ids=np.array([0, 1, 2])
        )


def test_another_number_of_rows_is_refused():
    with pytest.raises(ValueError, match="`kept_ids` must name one teacher id .* 3 ids.*length 2"):
        start_embedding(small_student(), teacher_table=np.eye(5), kept_ids=np.array([0, 1]))


def test_kernels_start_inside_glorots_bounds():
    model = keras.Sequential([keras.Input((60,)), keras.layers.Dense(40)])
    before = model.layers[0].kernel.numpy()
    ((variable, kernel),) = initial_values(model, seed=1)
    assert variable is model.layers[0].kernel
    np.testing.assert_array_equal(variable, before)
    limit = np.sqrt(6 / 100)
    assert 0.95 * limit < np.abs(kernel).max() <= limit
    # The variance of a uniform distribution is limit² / 3; 2,400 draws come within 5 %.
    assert kernel.var() == pytest.approx(limit**2 / 3, rel=0.05)


def test_components_equal_the_hand_computed_ones():
    # Centered on (1, 1): (±2, ±2) along the diagonal and (∓1, ±1) across it.
    table = np.array([[3.0, 3.0], [-1.0, -1.0], [0.0, 2.0], [2.0, 0.0]])
    reduced = principal_components(table, width=2)
    expected = np.sqrt(2.0) * np.array([[2, 0], [-2, 0], [0, 1], [0, -1]])

    np.testing.assert_allclose(np.abs(reduced), np.abs(expected), atol=1e-6)
    np.testing.assert_allclose(reduced[:, 0], expected[:, 0], atol=1e-6)


def sum_of_numbers() -> keras.Model:
    """A teacher whose features are the sum of the ids and of their squares."""
    ids = keras.Input((None,), dtype="int32")
    numbers = keras.ops.cast(ids, "float32")[:, :, None]
    both = keras.ops.concatenate([numbers, numbers**2], axis=-1)
    return keras.Model(ids, keras.ops.sum(both, axis=1))


def test_each_token_is_asked_for_between_the_marks():
    found = token_features(sum_of_numbers(), token_ids=[5, 2], before=(10,), after=(1, 1))
    # 10 + 5 + 1 + 1 = 17, 100 + 25 + 1 + 1 = 127; with 2 in place of 5: 14 and 106.
    assert found.dtype == np.float32 and found.tolist() == [[17, 127], [14, 106]]


def test_padding_means_nothing():
    found = token_features(sum_of_numbers(), token_ids=[0, 2], before=(10,))
    assert found.tolist() == [[0, 0], [12, 104]]


def test_tokens_in_two_axes_are_refused():
    with pytest.raises(ValueError, match=r"`token_ids` must be a list of ids.*\(1, 2\)"):
        token_features(sum_of_numbers(), token_ids=[[1, 2]])


def test_a_teacher_of_states_is_refused():
    ids = keras.Input((None,), dtype="int32")
    states = keras.Model(ids, keras.layers.Embedding(9, 2)(ids))
    with pytest.raises(ValueError, match=r"`features` must return one vector.*\(None, None, 2\)"):
        token_features(states, token_ids=[1, 2])
