"""A student that reads each token with its neighbors."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tfdistill.students import any_length, text_encoder


def build(**changes) -> keras.Model:
    sizes = {"vocabulary_size": 30, "sequence_length": 6, "num_layers": 2, "num_classes": 3}
    widths = {"hidden_dim": 8, "num_heads": 2, "intermediate_dim": 16}
    return text_encoder(**{**sizes, **widths, "seed": 0, **changes})


def ids(*rows: list[int], length: int = 6) -> np.ndarray:
    return np.array([row + [0] * (length - len(row)) for row in rows], np.int32)


def test_a_window_has_the_parameters_counted_by_hand():
    assert build(embedding_window=3).count_params() - build().count_params() == 3 * 8 * 8
    window = build(embedding_dim=3, embedding_window=5).get_layer("embedding_projection")
    assert window.kernel.shape == (5, 3, 8)
    assert window.bias is None


def test_a_window_reads_a_token_with_its_neighbors_and_no_padding():
    model = build(embedding_window=3)
    projection = model.get_layer("embedding_projection")
    table = model.get_layer("token_embedding").embeddings.numpy()
    before, own, after = projection.kernel.numpy()

    found = keras.Model(model.input, projection.output)(ids([5, 7])).numpy()[0]
    np.testing.assert_allclose(found[0], table[5] @ own + table[7] @ after, atol=1e-6)
    np.testing.assert_allclose(found[1], table[5] @ before + table[7] @ own, atol=1e-6)


def test_a_student_with_a_window_reads_rows_cut_short_as_padded_ones():
    model = build(embedding_window=3)
    short = any_length(model)(np.array([[5, 7, 2]], np.int32))
    np.testing.assert_allclose(short, model(ids([5, 7, 2])), atol=1e-6)


def test_an_even_window_is_refused():
    with pytest.raises(ValueError, match="`embedding_window` must be odd.*=2"):
        build(embedding_window=2)
