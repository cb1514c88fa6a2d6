"""What `survey` counts, in models and in files, against numbers counted by hand."""

from __future__ import annotations

import gzip
from pathlib import Path

import keras
import numpy as np
import pytest

from tfdistill import prune_low_magnitude, quantize_aware, save_bundle, strip, survey, to_tflite
from tfdistill.introspection.weights import count_nonzero, count_parameters
from tfdistill.runtime.flatbuffer import read_tflite_weights

WIDE = np.random.default_rng(7).normal(size=(64, 64)).astype("float32")


def dense(kernel: np.ndarray, name: str = "hidden") -> keras.Model:
    inputs, outputs = kernel.shape
    layer = keras.layers.Dense(outputs, name=name)
    model = keras.Sequential([keras.Input((inputs,), name="x"), layer])
    layer.kernel.assign(kernel)
    return model


def looped(times: int) -> keras.Model:
    """One 32x32 layer, called `times` times in a row."""
    inputs, layer = keras.Input((32,), name="x"), keras.layers.Dense(32, "relu", name="block")
    x = inputs
    for _ in range(times):
        x = layer(x)
    return keras.Model(inputs, keras.layers.Dense(3, name="scores")(x))


def test_counts_equal_those_made_by_hand():
    # Columns: (0, 1, 0, 2) and (0, 0, 0, 1): 5 zeros, values 0, 1, 2; 3 of them in one column.
    found = survey(dense(np.array([[0, 0], [1, 0], [0, 0], [2, 1]], "float32"))).tensors[0]

    assert (found.path, found.shape, found.kind) == ("hidden/kernel", (4, 2), "kernel")
    assert (found.parameters, found.nonzero, found.sparsity) == (8, 3, 5 / 8)
    assert (found.unique, found.unique_per_channel) == (3, 3)
    assert found.nonzero_of_4 == 2 and found.is_2_of_4
    assert found.uses == 1 and found.users == ("hidden/kernel",)


def test_totals_equal_those_of_the_results_table(
    model: keras.Model, inputs: np.ndarray, model_kind: str
):
    model(inputs)
    found = survey(model)

    assert found.parameters == count_parameters(model)
    assert found.nonzero == count_nonzero(model)
    assert found.raw_bytes == 4 * found.parameters
    assert {tensor.kind for tensor in found.compressible} <= {"kernel", "embedding"}
    shared = {"twice": ["again/kernel"], "tied": ["words/embeddings"]}
    assert [tensor.path for tensor in found.shared] == shared.get(model_kind, [])


def test_a_pattern_goes_along_the_inputs_of_a_kernel_and_the_width_of_a_table():
    rows = np.tile([[1.0, 1.0, 0.0, 0.0]], (4, 1)).astype("float32")
    ids = keras.Input((2,), dtype="int32")
    table = keras.layers.Embedding(4, 4, name="words")
    model = keras.Model(ids, table(ids))
    table.embeddings.assign(rows)

    assert survey(model).tensors[0].is_2_of_4
    assert not survey(dense(rows)).tensors[0].is_2_of_4  # its first column is full
    assert survey(dense(rows.T.copy())).tensors[0].is_2_of_4
    assert survey(dense(rows[:3])).tensors[0].nonzero_of_4 is None  # 4 does not divide 3


@pytest.mark.parametrize("bits", [8, 4])
def test_trained_bits_are_recognized_in_the_model_and_in_the_file(bits: int, tmp_path: Path):
    model = strip(quantize_aware(dense(WIDE), bits=bits))
    path = to_tflite(model, tmp_path / "m.tflite", quantize="dynamic", verify_compression=False)

    assert survey(dense(WIDE)).tensors[0].bits == 32
    assert survey(model).tensors[0].bits == bits
    assert survey(path).compressible[0].bits == 8  # the width that the file stores


@pytest.mark.parametrize("mode", [None, "float16", "dynamic"])
def test_zeros_and_levels_are_found_again_in_the_file(mode: str | None, tmp_path: Path):
    small = prune_low_magnitude(dense(WIDE), sparsity=0.75, steps=1)
    small(np.ones((1, 64)), training=True)
    model = strip(quantize_aware(small))
    here = survey(model).tensors[0]
    path = to_tflite(model, tmp_path / "m.tflite", quantize=mode, verify_compression=False)
    (there,) = survey(path).compressible

    assert here.nonzero == there.nonzero == 1024  # a quarter of 64 * 64
    assert here.unique_per_channel == there.unique_per_channel
    assert here.nonzero_of_4 == there.nonzero_of_4
    assert there.shape == (64, 64) and there.kind == "kernel"


def test_stored_levels_are_the_trained_grid(tmp_path: Path):
    model = strip(quantize_aware(dense(WIDE)))
    path = to_tflite(model, tmp_path / "m.tflite")
    kernel = model.layers[0].kernel.numpy()
    levels = np.round(kernel / np.abs(kernel).max(axis=0) * 127)

    (weight,) = [one for one in read_tflite_weights(path) if one.kind == "kernel"]
    assert weight.has_scale and weight.bits == 8
    np.testing.assert_array_equal(weight.matrix, levels)


def test_a_table_is_read_by_rows(tmp_path: Path):
    ids = keras.Input((2,), dtype="int32", name="ids")
    table = keras.layers.Embedding(64, 32, name="words")
    model = keras.Model(ids, table(ids))
    table.embeddings.assign(WIDE[:, :32])
    (weight,) = read_tflite_weights(to_tflite(model, tmp_path / "m.tflite", quantize=None))

    assert weight.kind == "embedding"
    np.testing.assert_array_equal(weight.matrix, WIDE[:, :32])


def test_a_layer_used_three_times_is_stored_and_counted_once(tmp_path: Path):
    model = looped(3)
    (shared,) = survey(model).shared
    (in_file,) = survey(to_tflite(model, tmp_path / "m.tflite", quantize=None)).shared

    assert (shared.path, shared.uses) == ("block/kernel", 3)
    assert (in_file.parameters, in_file.uses) == (32 * 32, 3)
    assert survey(model).parameters == 32 * 33 + 33 * 3


class Transposed(keras.layers.Layer):
    """Uses the kernel of another layer the other way round."""

    def __init__(self, kernel: keras.Variable, **kwargs):
        super().__init__(**kwargs)
        self.kernel = kernel

    def call(self, inputs):
        return keras.ops.matmul(inputs, keras.ops.transpose(self.kernel))


def test_a_shared_weight_has_the_paths_of_all_its_layers():
    block = keras.layers.Dense(32, name="block")
    inputs = keras.Input((32,))
    hidden = block(inputs)
    model = keras.Model(inputs, Transposed(block.kernel, name="twin")(hidden))
    (kernel,) = survey(model).shared

    assert kernel.users == ("block/kernel", "twin/kernel") and kernel.uses == 2


def test_four_bit_numbers_are_unpacked():
    from tfdistill.runtime.flatbuffer import _unpack

    # 0x1F holds −1 (low half) and 1, 0x78 holds −8 and 7.
    packed = np.array([0x1F, 0x78], np.uint8)
    assert _unpack(packed, "INT4", count=4).tolist() == [-1, 1, -8, 7]
    assert _unpack(packed, "INT4", count=3).tolist() == [-1, 1, -8]


def test_sizes_are_those_of_the_file(tmp_path: Path):
    path = to_tflite(dense(WIDE), tmp_path / "m.tflite")
    content = path.read_bytes()

    assert survey(path).raw_bytes == len(content)
    assert survey(path).gzip_bytes == len(gzip.compress(content, 9, mtime=0))


def test_a_bundle_is_surveyed_by_its_folder(tmp_path: Path):
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    ids = keras.Input((4,), dtype="int32", name="ids")
    x = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(5, 4)(ids))
    model = keras.Model(ids, keras.layers.Dense(2, name="logits")(x))
    words = Tokenizer(WordLevel({"[PAD]": 0, "[UNK]": 1, "a": 2}, "[UNK]"))
    bundle = save_bundle(model, tmp_path / "bundle", tokenizer=words, labels=["x", "y"])

    assert survey(bundle.path) == survey(bundle.path / "model.tflite")


def test_the_table_names_each_weight_and_ends_with_the_totals():
    text = str(survey(dense(np.eye(4, dtype="float32"))))

    assert text.splitlines()[1].split() == ["hidden/kernel", "4x4", "25.0%", "2", "4", "yes", "1"]
    assert "1 others (biases, norms)" in text
    assert "20 weights, 4 nonzero, 0 shared, 0.1 KB" in text


def test_a_compressed_model_is_stripped_first():
    small = prune_low_magnitude(dense(WIDE), sparsity=0.5, steps=1)
    small(np.ones((1, 64)), training=True)

    assert survey(small).tensors[0].nonzero == 2048


def test_what_is_no_model_and_no_path_is_refused():
    with pytest.raises(TypeError, match="`model_or_tflite_path` must be a Keras 3 model"):
        survey(3)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="must be an existing .tflite file"):
        survey(tmp_path / "none.tflite")


def test_another_kind_of_file_is_refused(tmp_path: Path):
    dense(WIDE).save(tmp_path / "m.keras")

    with pytest.raises(ValueError, match="must be a .tflite file .bytes 4 to 8"):
        survey(tmp_path / "m.keras")


def test_a_file_cut_at_any_length_is_refused_or_read(tmp_path: Path):
    content = to_tflite(dense(WIDE), tmp_path / "m.tflite").read_bytes()
    cut = tmp_path / "cut.tflite"
    refused = 0
    for length in range(8, len(content), 97):
        cut.write_bytes(content[:length])
        try:
            survey(cut)
        except ValueError as error:
            refused += "must be a complete .tflite file" in str(error)
    # Only the padding after the last table can be missing unnoticed.
    assert refused >= len(range(8, len(content), 97)) - 1


def test_random_damage_ends_in_a_clear_error_or_in_numbers(tmp_path: Path, rng):
    content = to_tflite(dense(WIDE[:8, :8]), tmp_path / "m.tflite").read_bytes()
    path = tmp_path / "damaged.tflite"
    for _ in range(300):
        damaged = bytearray(content)
        for place in rng.integers(8, len(content), 3):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            assert survey(path).raw_bytes == len(content)
        except ValueError as error:
            assert "must be a complete .tflite file" in str(error)
