"""The small text encoder: shapes, padding, seeds."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from tfdistill.compress import Compressed, Quantize, strip
from tfdistill.export import compare, to_tflite
from tfdistill.introspection.weights import find_targets
from tfdistill.students import (
    MaskedMax,
    MaskedRootSum,
    TokenPairs,
    any_length,
    at_length,
    text_encoder,
)

SIZES = {
    "vocabulary_size": 30,
    "sequence_length": 6,
    "num_layers": 2,
    "hidden_dim": 8,
    "num_heads": 2,
    "intermediate_dim": 16,
    "num_classes": 3,
}


def build(**changes) -> keras.Model:
    return text_encoder(**{**SIZES, "seed": 0, **changes})


def ids(*rows: list[int], length: int = 6) -> np.ndarray:
    return np.array([row + [0] * (length - len(row)) for row in rows], np.int32)


def test_token_ids_go_in_and_logits_come_out():
    model = build()
    assert (model.input.name, model.input.dtype, model.input_shape) == ("ids", "int32", (None, 6))
    assert model.output_shape == (None, 3)
    assert model.layers[-1].activation is keras.activations.linear


def test_the_parameters_are_those_counted_by_hand():
    embeddings = 30 * 8 + 6 * 8 + 2 * 8
    block = 4 * (8 * 8 + 8) + 2 * (2 * 8) + (8 * 16 + 16) + (16 * 8 + 8)
    assert build().count_params() == embeddings + 2 * block + (8 * 3 + 3)


def test_padding_has_no_influence():
    short = build(sequence_length=6)
    long = build(sequence_length=9)
    for variable, own in zip(long.variables, short.variables, strict=True):
        if variable.shape == own.shape:
            variable.assign(own)
        else:  # the table of positions is longer, and its first rows are the same
            variable.assign(np.concatenate([own.numpy(), np.ones((3, 8))]))
    text = [5, 7, 2]
    # Masked scores are exp(-1e9) = 0 exactly; the rest is the order of float32 sums.
    np.testing.assert_allclose(short(ids(text)), long(ids(text, length=9)), atol=1e-6)


def test_the_other_texts_of_a_batch_have_no_influence():
    model = build()
    together = model(ids([5, 7, 2], [9, 9, 9, 9, 9, 9]))
    np.testing.assert_allclose(together[:1], model(ids([5, 7, 2])), atol=1e-6)


def test_the_order_of_the_words_matters():
    model = build()
    model.get_layer("position_embedding").table.assign(np.eye(6, 8))
    assert np.abs(model(ids([5, 7])) - model(ids([7, 5]))).max() > 1e-4


def test_a_text_of_padding_alone_is_finite():
    assert np.isfinite(build()(ids([]))).all()


def test_one_seed_gives_one_start_and_another_seed_another():
    first, same, other = build(seed=3), build(seed=3), build(seed=4)
    for a, b in zip(first.get_weights(), same.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    pairs = zip(first.get_weights(), other.get_weights(), strict=True)
    assert any((a != b).any() for a, b in pairs)


def test_no_two_kernels_start_equal():
    kernels = [target.variable.numpy().ravel() for target in find_targets(build())]
    for index, kernel in enumerate(kernels):
        for other in kernels[:index]:
            assert kernel.shape != other.shape or (kernel != other).any()


def test_dropout_acts_in_training_alone():
    model = build(dropout=0.5)
    text = ids([5, 7, 2, 4])
    np.testing.assert_array_equal(model(text), model(text))
    assert np.abs(model(text, training=True) - model(text, training=True)).max() > 0


def test_a_saved_student_answers_the_same(tmp_path):
    model = build()
    model.save(tmp_path / "student.keras")
    loaded = keras.saving.load_model(tmp_path / "student.keras")
    np.testing.assert_array_equal(loaded(ids([5, 7])), model(ids([5, 7])))


@pytest.mark.parametrize("argument", sorted(SIZES))
def test_sizes_that_are_no_sizes_are_refused(argument: str):
    with pytest.raises(ValueError, match=f"`{argument}` must be an int of at least .*0"):
        build(**{argument: 0})


def test_a_single_output_is_a_number():
    assert build(num_classes=1).output_shape == (None, 1)


def test_a_width_that_the_heads_cannot_share_is_refused():
    with pytest.raises(ValueError, match="`hidden_dim` must be a multiple of `num_heads`.*=3"):
        build(num_heads=3)


@pytest.mark.parametrize("dropout", [-0.1, 1.0])
def test_dropout_out_of_range_is_refused(dropout: float):
    with pytest.raises(ValueError, match=r"`dropout` must be a number in \[0, 1\)"):
        build(dropout=dropout)


@pytest.mark.parametrize("dropout", ["0.1", None, True])
def test_dropout_that_is_no_number_is_refused(dropout):
    with pytest.raises(TypeError, match=f"`dropout` must be a number .*dropout={dropout!r}"):
        build(dropout=dropout)


@pytest.mark.parametrize("value", [2.0, "2", True, None])
def test_a_size_of_another_type_is_refused(value):
    with pytest.raises(TypeError, match=f"`num_layers` must be an int .*num_layers={value!r}"):
        build(num_layers=value)


def test_no_seed_gives_another_start_each_time():
    first, second = build(seed=None), build(seed=None)
    assert any(
        (a != b).any() for a, b in zip(first.get_weights(), second.get_weights(), strict=True)
    )


def test_a_text_of_padding_alone_is_pooled_to_zeros():
    model = build()
    pooled = keras.Model(model.input, model.get_layer("pooling").output)
    np.testing.assert_array_equal(pooled(ids([])), np.zeros((1, 8)))


def test_a_narrow_table_has_the_parameters_counted_by_hand():
    wide, narrow = build(), build(embedding_dim=3)
    assert wide.count_params() - narrow.count_params() == 30 * 8 - (30 * 3 + 3 * 8)
    assert narrow.get_layer("embedding_projection").bias is None
    assert build(embedding_dim=8).count_params() == wide.count_params()


def test_a_table_wider_than_the_student_is_refused():
    with pytest.raises(ValueError, match="`embedding_dim` must be at most `hidden_dim`.*9.*=8"):
        build(embedding_dim=9)


@pytest.mark.parametrize(("value", "error"), [(0, ValueError), (2.0, TypeError), (True, TypeError)])
def test_a_width_of_the_table_that_is_no_size_is_refused(value, error: type):
    with pytest.raises(error, match=f"`embedding_dim` must be an int of at least 1.*{value}"):
        build(embedding_dim=value)


@pytest.mark.parametrize(("groups", "pattern"), [(1, "cyclic"), (2, "cyclic"), (2, "immediate")])
def test_shared_blocks_exist_once(groups: int, pattern: str):
    shared = build(num_layers=4, groups=groups, pattern=pattern)
    assert shared.count_params() == build(num_layers=groups).count_params()
    assert shared.get_layer("encoder_0").ffn_inner.kernel.numpy().std() == pytest.approx(
        build().get_layer("encoder_0").ffn_inner.kernel.numpy().std()
    )


def test_shared_blocks_run_as_copies_of_them_do():
    shared, apart = build(num_layers=4, groups=2), build(num_layers=4)
    for layer in apart.layers:
        if layer.weights:
            number = layer.name.removeprefix("encoder_")
            source = f"encoder_{int(number) % 2}" if number.isdigit() else layer.name
            layer.set_weights(shared.get_layer(source).get_weights())
    np.testing.assert_array_equal(shared(ids([5, 7, 2])), apart(ids([5, 7, 2])))


def test_more_groups_than_blocks_are_refused():
    with pytest.raises(ValueError, match=r"`groups` must be an int in \[1, 2\].*groups=3"):
        build(groups=3)


def test_an_unknown_pattern_of_sharing_is_refused():
    with pytest.raises(ValueError, match="`pattern` must be one of .*pattern='random'"):
        build(groups=1, pattern="random")


def test_rows_cut_short_get_the_answers_of_padded_ones(rng: np.random.Generator):
    student = build(embedding_dim=4, groups=1)
    table = student.get_layer("position_embedding").table
    table.assign(rng.normal(size=table.shape))
    short = np.array([[3, 4, 5], [7, 8, 0]], np.int32)
    padded = np.pad(short, ((0, 0), (0, 3)))
    # Sums of three numbers and of six with three zeros, in float32.
    np.testing.assert_allclose(any_length(student)(short), student(padded), atol=1e-6)


def test_a_student_of_any_length_can_be_copied_compressed_and_saved(tmp_path: Path):
    student = build()
    twin = any_length(student)
    twin.save(tmp_path / "twin.keras")
    loaded = keras.models.load_model(tmp_path / "twin.keras")
    small = at_length(strip(Compressed(twin, recipe=[Quantize(bits=8)])), student.input_shape[1])

    row = np.array([[5, 7, 3]])
    np.testing.assert_array_equal(loaded(row), twin(row))
    assert [v.shape for v in small.variables] == [v.shape for v in student.variables]
    whole = np.zeros((1, student.input_shape[1]), np.int32)
    assert np.abs(small(whole + 1) - student(whole + 1)).max() < 0.2


def test_a_student_of_any_length_has_the_same_weights():
    student = build()
    twin = any_length(student)
    assert twin.input_shape == (None, None) and student.input_shape == (None, 6)
    pairs = zip(twin.variables, student.variables, strict=True)
    assert all(ours is theirs for ours, theirs in pairs)


def test_more_tokens_than_positions_are_refused():
    with pytest.raises(ValueError, match=r"`inputs` must have at most 6 positions.*\(1, 7, 8\)"):
        any_length(build())(np.ones((1, 7), np.int32))


def test_words_of_one_row_are_the_same_word():
    rows = [0, 1, 2, 3, *([1] * 26)]
    student = build(row_of_token=rows)
    assert student.get_layer("token_embedding").input_dim == 4
    np.testing.assert_array_equal(student(ids([1, 2])), student(ids([29, 2])))
    assert np.abs(student(ids([1, 2])) - student(ids([3, 2]))).max() > 1e-4


def test_a_token_that_reads_the_row_of_padding_is_still_a_token():
    student = build(row_of_token=[0, 0, *range(1, 29)])
    assert np.abs(student(ids([1, 5])) - student(ids([5]))).max() > 1e-6


@pytest.mark.parametrize("rows", [[0, 1], [0.0] * 30])
def test_rows_for_another_vocabulary_are_refused(rows: list):
    with pytest.raises(ValueError, match="`row_of_token` must hold one int for each of the 30"):
        build(row_of_token=rows)


@pytest.mark.parametrize(("rows", "found"), [([0, 1, 3], r"3 without \[2\]"), ([-1, 0, 0], "-1")])
def test_rows_that_no_token_reads_are_refused(rows: list[int], found: str):
    with pytest.raises(ValueError, match=f"`row_of_token` must name every row .*{found}"):
        build(row_of_token=rows, vocabulary_size=3)


def test_the_largest_value_stands_beside_the_mean():
    states = np.array([[[1.0, -2.0], [3.0, -5.0], [9.0, 9.0]], [[4.0, 4.0]] * 3])
    is_token = np.array([[True, True, False], [False, False, False]])
    # 9 is padding; of −2 and −5 the floor 0 is the largest; a text of padding alone is 0.
    np.testing.assert_array_equal(MaskedMax()(states, is_token), [[3.0, 0.0], [0.0, 0.0]])
    pooled = build(pooling="mean_max").get_layer("both_poolings").output
    assert pooled.shape == (None, 16)


def test_an_unknown_pooling_is_refused():
    with pytest.raises(ValueError, match=r"`pooling` must be one of .*pooling='first'"):
        build(pooling="first")


def test_a_student_with_shared_rows_is_saved_and_read_short(tmp_path):
    student = build(row_of_token=[index % 7 for index in range(30)], pooling="mean_max")
    student.save(tmp_path / "student.keras")
    loaded = keras.models.load_model(tmp_path / "student.keras")
    np.testing.assert_array_equal(loaded(ids([8, 3])), student(ids([8, 3])))
    # Another number of zeros in float32 sums.
    np.testing.assert_allclose(
        any_length(student)(ids([8, 3], length=2)), student(ids([8, 3])), atol=1e-6
    )


def test_a_student_of_shared_rows_and_both_poolings_exports_as_it_is(tmp_path):
    student = build(row_of_token=[index % 7 for index in range(30)], pooling="mean_max")
    path = to_tflite(student, tmp_path / "student.tflite", quantize=None)
    report = compare(student, path, ids([1, 5, 29], [0], [8, 9, 3, 4, 2, 6]))
    # The same sums of at most 16 products in another order, in float32.
    assert report.max_error <= 1e-5


def test_pairs_of_neighbors_have_the_rows_counted_by_hand():
    pairs = TokenPairs(1000)(ids([5, 7, 5, 7, 0, 0]))
    # 1 + (31337 * 5 + 7) mod 999 = 1 + 156692 mod 999 = 849; 1 + (31337 * 7 + 5) mod 999 = 584
    assert pairs.numpy().tolist() == [[849, 584, 849, 0, 0]]
    largest = TokenPairs(65_536)(np.array([[65_535, 65_535]], np.int32))
    assert largest.numpy().tolist() == [[1 + (31_337 * 65_535 + 65_535) % 65_535]]


def test_the_root_sum_adds_evidence_and_leaves_out_padding():
    values = np.array([[[1.0, 2.0], [3.0, 0.0], [9.0, 9.0]]], np.float32)
    summed = MaskedRootSum()(values, np.array([[True, True, False]]))
    np.testing.assert_allclose(summed, [[4 / np.sqrt(2), 2 / np.sqrt(2)]], rtol=1e-6)


def with_pairs(**changes) -> keras.Model:
    model = build(pair_rows=50, pair_dim=4, **changes)
    table = model.get_layer("pair_embedding").embeddings
    table.assign(np.random.default_rng(3).normal(size=table.shape))
    return model


def test_pairs_cost_their_table_and_their_columns_of_the_logits():
    assert with_pairs().count_params() == build().count_params() + 50 * 4 + 4 * 3


def test_pairs_beside_padding_and_cut_rows_have_no_influence():
    model = with_pairs()
    text = ids([5, 7, 2])
    np.testing.assert_allclose(any_length(model)(text[:, :3]), model(text), atol=1e-6)
    silent = with_pairs()
    silent.get_layer("pair_embedding").embeddings.assign(np.zeros((50, 4)))
    assert np.abs(model(text) - silent(text)).max() > 0.1  # and the pairs have some


def test_a_student_with_pairs_is_saved_and_exported_as_it_is(tmp_path: Path):
    model = with_pairs()
    model.save(tmp_path / "pairs.keras")
    texts = np.random.default_rng(4).integers(0, 30, (40, 6)).astype("int32")
    again = keras.saving.load_model(tmp_path / "pairs.keras")
    np.testing.assert_array_equal(again(texts), model(texts))
    path = to_tflite(model, tmp_path / "pairs.tflite", quantize=None)
    compare(model, path, texts).assert_close(quantize=None)
    small = to_tflite(model, tmp_path / "small.tflite", quantize="dynamic")
    compare(model, small, texts).assert_close(quantize="dynamic")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pair_rows": 1}, "`pair_rows` must be"),
        ({"pair_rows": 9, "pair_dim": 0}, "`pair_dim` must be"),
        ({"pair_rows": 9, "sequence_length": 1}, "`pair_rows` must be None for texts of one token"),
        ({"pair_rows": 9, "vocabulary_size": 70_000}, "for more than 65,536 ids"),
    ],
)
def test_pairs_that_cannot_be_are_refused(changes: dict, message: str):
    with pytest.raises(ValueError, match=message):
        build(**changes)
