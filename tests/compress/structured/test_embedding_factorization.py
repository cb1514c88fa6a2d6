"""Factorized and tied embeddings: smaller tables that answer the same where nothing is lost."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tfdistill.compress import factorize_embedding, tie_embeddings
from tfdistill.compress.structured.embedding_factorization import factors
from tfdistill.students import start_embedding, text_encoder

IDS = np.array([[1, 2, 3, 7], [5, 6, 0, 0]], np.int32)


def build(**changes) -> keras.Model:
    sizes = {"vocabulary_size": 9, "sequence_length": 4, "num_layers": 1, "hidden_dim": 6}
    return text_encoder(**sizes, intermediate_dim=4, num_classes=2, seed=0, **changes)


def test_the_factors_are_the_nearest_of_their_rank(rng: np.random.Generator):
    table = rng.normal(size=(12, 5))
    singular = np.linalg.svd(table, compute_uv=False)
    for width in range(1, 6):
        rows, projection = factors(table, width=width)
        error = np.linalg.norm(table - rows @ projection)
        # Eckart and Young: what is left are the singular values that were cut. float32 factors.
        assert error == pytest.approx(np.linalg.norm(singular[width:]), abs=1e-5)


def test_a_table_of_low_rank_is_kept_whole(rng: np.random.Generator):
    model = build()
    table = model.get_layer("token_embedding").embeddings
    table.assign(rng.normal(size=(9, 2)) @ rng.normal(size=(2, 6)))
    smaller = factorize_embedding(model, embedding_dim=2)

    # Two float32 factors in place of a float32 table.
    np.testing.assert_allclose(smaller(IDS), model(IDS), rtol=1e-4, atol=1e-5)
    assert model.count_params() - smaller.count_params() == 9 * 6 - (9 * 2 + 2 * 6)


def test_the_given_student_keeps_its_table():
    model = build()
    before = [variable.numpy().copy() for variable in model.variables]
    factorize_embedding(model, embedding_dim=2)

    for old, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(old, variable)


def test_the_result_is_what_text_encoder_builds(tmp_path):
    smaller, built = factorize_embedding(build(), embedding_dim=2), build(embedding_dim=2)
    smaller.save(tmp_path / "smaller.keras")
    loaded = keras.saving.load_model(tmp_path / "smaller.keras")

    assert [layer.name for layer in smaller.layers] == [layer.name for layer in built.layers]
    assert [v.shape for v in smaller.variables] == [v.shape for v in built.variables]
    np.testing.assert_array_equal(loaded(IDS), smaller(IDS))


def test_a_narrow_table_starts_from_the_teachers(rng: np.random.Generator):
    latent = rng.normal(size=(9, 2))
    teacher_table = latent @ rng.normal(size=(2, 10))
    student = start_embedding(
        build(embedding_dim=2), teacher_table=teacher_table, kept_ids=np.arange(9)
    )
    table = student.get_layer("token_embedding").embeddings.numpy()
    distances, expected = (
        np.linalg.norm(each[:, None] - each[None], axis=-1) for each in (table, teacher_table)
    )

    # Two directions hold all of the teacher's variance, so distances agree but for the scale.
    np.testing.assert_allclose(distances / distances.max(), expected / expected.max(), atol=1e-5)


@pytest.mark.parametrize("embedding_dim", [0, 6])
def test_a_width_out_of_range_is_refused(embedding_dim: int):
    expected = rf"`embedding_dim` must be an int in \[1, 5\].*={embedding_dim}. The table is 9 x 6"
    with pytest.raises(ValueError, match=expected):
        factorize_embedding(build(), embedding_dim=embedding_dim)


def test_a_width_that_is_no_int_is_refused():
    with pytest.raises(TypeError, match="`embedding_dim` must be an int in .*=2.0"):
        factorize_embedding(build(), embedding_dim=2.0)


def test_factorizing_twice_is_refused():
    with pytest.raises(ValueError, match="`model` must be a student .* is not factorized"):
        factorize_embedding(build(embedding_dim=3), embedding_dim=2)


def language_model() -> keras.Model:
    ids = keras.Input((4,), dtype="int32")
    words = keras.layers.ReversibleEmbedding(9, 6, tie_weights=False, name="words")
    x = keras.layers.Dense(6, "relu")(words(ids))
    return keras.Model(ids, words(x, reverse=True))


def test_tied_tables_that_were_equal_answer_the_same():
    model = language_model()
    words = model.get_layer("words")
    words.reverse_embeddings.assign(words.embeddings.numpy().T)
    tied = tie_embeddings(model)

    np.testing.assert_array_equal(tied(IDS), model(IDS))
    assert model.count_params() - tied.count_params() == 9 * 6


def test_a_tied_table_is_the_mean_of_the_two():
    model = language_model()
    words = model.get_layer("words")
    words.embeddings.assign(np.full((9, 6), 1.0))
    words.reverse_embeddings.assign(np.full((6, 9), 4.0))
    tied = tie_embeddings(model)

    np.testing.assert_array_equal(tied.get_layer("words").embeddings, np.full((9, 6), 2.5))
    np.testing.assert_array_equal(words.embeddings, np.full((9, 6), 1.0))


def test_a_llama_backbone_is_tied():
    hub = pytest.importorskip("keras_hub")
    model = hub.models.LlamaBackbone(
        vocabulary_size=9,
        num_layers=1,
        num_query_heads=2,
        num_key_value_heads=1,
        hidden_dim=4,
        intermediate_dim=4,
    )
    tied = tie_embeddings(model)
    x = {"token_ids": IDS, "padding_mask": np.ones_like(IDS)}
    tied.token_embedding.embeddings.assign(model.token_embedding.embeddings)

    assert (type(tied), tied.tie_word_embeddings) == (type(model), True)
    np.testing.assert_array_equal(tied(x), model(x))
    assert model.count_params() - tied.count_params() == 9 * 4


def test_a_model_with_nothing_to_tie_is_refused():
    with pytest.raises(ValueError, match="`model` must have a ReversibleEmbedding with tie_weig"):
        tie_embeddings(build())
