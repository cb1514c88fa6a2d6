"""Several rows of a 4-bit table with one scale: the grid, the file, and what it saves."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import keras
import numpy as np
import pytest

import tfdistill as td
from tfdistill.compress import Compressed, Prune, Quantize, verify_compression
from tfdistill.compress.guarantees import grid_bits, group_size_of
from tfdistill.compress.quantization.row_groups import group_rows, ungroup_rows
from tfdistill.runtime.flatbuffer import read_tflite_weights

needs_quantizer = pytest.mark.skipif(
    importlib.util.find_spec("ai_edge_quantizer") is None, reason="needs ai-edge-quantizer"
)


def lookup(rows: int, width: int) -> keras.Model:
    keras.utils.set_random_seed(4)
    ids = keras.Input((6,), dtype="int32", name="ids")
    x = keras.layers.Embedding(rows, width, name="words")(ids)
    return keras.Model(ids, keras.layers.GlobalAveragePooling1D(name="mean")(x))


def test_rows_are_laid_together_and_taken_apart_again(rng):
    table = rng.normal(size=(7, 3)).astype("float32")
    grouped = group_rows(table, 4)

    assert grouped.shape == (2, 12)
    assert not grouped[1, 9:].numpy().any()
    np.testing.assert_array_equal(ungroup_rows(grouped, shape=(7, 3)), table)


@pytest.mark.parametrize("rows", [1, 2, 4, 8, 16])
def test_the_number_of_rows_is_found_again_from_the_values(rows: int):
    model = lookup(50, 12)
    table = td.strip(td.quantize_aware(model, bits=4, group_size=rows)).layers[1].embeddings
    levels = group_rows(table, rows).numpy()
    levels = levels / np.abs(levels).max(axis=1, keepdims=True) * 7

    np.testing.assert_allclose(levels, np.round(levels), atol=1e-5)  # float32 at 7
    assert group_size_of(table.numpy()) == rows
    assert group_size_of(model.layers[1].embeddings.numpy()) is None


def test_rows_of_zeros_are_on_every_grid():
    assert group_size_of(np.array([[7.0, 1.0], [0.7, 0.1], [0.0, 0.0]])) == 1
    assert group_size_of(np.zeros((40, 3))) == 16


def test_a_kernels_grid_is_found_in_each_column_and_a_tables_8_bits_in_all():
    # Levels 7, 3 and 7, 2 in steps of 0.1 and 2.
    kernel = np.array([[-0.7, 14.0, 0.0], [0.3, 4.0, 0.0]])
    assert grid_bits(kernel, kind="kernel") == 4
    # Levels 127, 60 and 127, 1: with one step for both columns 0.1 is no level.
    kernel = np.array([[12.7, 127.0], [6.0, 1.0]])
    assert grid_bits(kernel, kind="kernel") == 8
    # Levels of a step of 1; with 100 as the largest level of its column, 1 is 1.27 steps.
    table = np.array([[127.0, 100.0], [63.0, 1.0]])
    assert grid_bits(table, kind="embedding") == 8
    assert grid_bits(table, kind="kernel") is None


@needs_quantizer
def test_the_file_holds_the_trained_levels_and_answers_the_same(tmp_path: Path):
    ids = np.arange(600).reshape(100, 6) % 601
    recipe = [Prune(sparsity=0.5, steps=1), Quantize(bits=4, group_size=8)]
    own = Compressed(lookup(601, 16), recipe=recipe)
    own(ids, training=True)
    path = td.to_tflite(own, tmp_path / "8.tflite", quantize="int4")
    each = td.quantize_aware(lookup(601, 16), bits=4)
    one = td.to_tflite(each, tmp_path / "1.tflite", quantize="int4")
    table = td.strip(own).layers[1].embeddings.numpy()
    grouped = group_rows(table, 8).numpy()
    (weight,) = (item for item in read_tflite_weights(path) if item.has_scale)

    expected = np.round(grouped / np.abs(grouped).max(axis=1, keepdims=True) * 7)
    np.testing.assert_array_equal(weight.matrix, expected)
    assert weight.shape == (76, 128)  # 601 = 75 · 8 + 1: the last group is filled up
    # Only the mean is computed; the levels are the same.
    assert td.compare(own, path, ids).max_error < 1e-6
    # The rows' 601 · (8 + 12) bytes against 76 · (64 + 12).
    assert one.stat().st_size - path.stat().st_size > 0.8 * (601 * 20 - 76 * 76)
    verify_compression(own, path)


@needs_quantizer
def test_rows_of_fewer_values_than_their_group_pass_the_check_of_the_file(tmp_path: Path):
    own = td.quantize_aware(lookup(160, 8), bits=4, group_size=16)
    table = td.strip(own).layers[1].embeddings.numpy()

    assert max(np.unique(row).size for row in table) <= 8
    assert np.unique(table[:16]).size > 8
    td.to_tflite(own, tmp_path / "m.tflite", quantize="int4")


def test_a_table_that_is_the_output_too_keeps_a_scale_for_each_row(make_model):
    own = td.quantize_aware(make_model("tied"), bits=4, group_size=4)
    table = td.strip(own).get_layer("words").embeddings.numpy()

    assert group_size_of(table) == 1


@pytest.mark.parametrize(("bits", "rows"), [(8, 4), (4, 3), (4, True), (4, 0), (4, "2")])
def test_another_number_of_rows_is_refused(bits: int, rows):
    expected = rf"`group_size` must be one of .* Received: group_size={rows!r} with bits="
    with pytest.raises(ValueError, match=expected):
        Quantize(bits=bits, group_size=rows)


def test_the_number_of_rows_is_in_the_config():
    transform = Quantize.from_config(Quantize(bits=4, group_size=8).get_config())

    assert repr(transform) == "Quantize(bits=4, group_size=8)"


def test_a_config_of_an_older_file_has_another_name_for_it():
    transform = Quantize.from_config({"bits": 4, "rows_per_scale": 8})

    assert repr(transform) == "Quantize(bits=4, group_size=8)"
