"""Blocks that share their weights: the mean to start from, one copy in the file, one gradient."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import tfdistill as td
from tfdistill.compress import Prune, Quantize
from tfdistill.compress.structured.architecture import find_blocks
from tfdistill.students import text_encoder

RNG = np.random.default_rng(3)
IDS = RNG.integers(0, 12, (8, 5)).astype("int32")
LABELS = RNG.integers(0, 3, 8)


def build(**changes) -> keras.Model:
    sizes = {
        "vocabulary_size": 12,
        "sequence_length": 5,
        "num_layers": 4,
        "hidden_dim": 8,
        "num_heads": 2,
        "intermediate_dim": 8,
        "num_classes": 3,
        "seed": 0,
    }
    return text_encoder(**{**sizes, **changes})


def block_names(model: keras.Model) -> list[str]:
    return [block.name for block in find_blocks(model)]


@pytest.mark.parametrize(
    ("pattern", "groups", "expected"),
    [("cyclic", 1, "0000"), ("cyclic", 2, "0101"), ("immediate", 2, "0022"), ("cyclic", 4, "0123")],
)
def test_blocks_run_in_the_order_of_the_pattern(pattern: str, groups: int, expected: str):
    shared = td.share_layers(build(), pattern=pattern, groups=groups)

    assert block_names(shared) == [f"encoder_{index}" for index in expected]


def test_shared_weights_are_the_mean_of_those_they_replace():
    student = build()
    blocks = find_blocks(student)
    for index, block in enumerate(blocks):
        for variable in block.trainable_variables:
            variable.assign(np.full(variable.shape, 2.0**index))
    shared = td.share_layers(student, pattern="cyclic", groups=2)
    first, second = (shared.get_layer(f"encoder_{index}") for index in (0, 1))

    # Blocks 0 and 2 hold 1 and 4, blocks 1 and 3 hold 2 and 8.
    assert {float(x) for v in first.trainable_variables for x in np.ravel(v)} == {2.5}
    assert {float(x) for v in second.trainable_variables for x in np.ravel(v)} == {5.0}


@pytest.mark.parametrize("pattern", ["cyclic", "immediate"])
def test_blocks_that_were_equal_go_on_answering_the_same(pattern: str):
    student = build()
    blocks = find_blocks(student)
    for block in blocks[1:]:
        for mine, first in zip(block.weights, blocks[0].weights, strict=True):
            mine.assign(first)
    shared = td.share_layers(student, pattern=pattern, groups=2)

    np.testing.assert_array_equal(shared(IDS), student(IDS))


def test_the_given_student_stays_as_it_was():
    student = build()
    before = [variable.numpy().copy() for variable in student.variables]
    nodes = [len(layer._inbound_nodes) for layer in student.layers]
    td.share_layers(student)

    for old, variable in zip(before, student.variables, strict=True):
        np.testing.assert_array_equal(old, variable)
    assert nodes == [len(layer._inbound_nodes) for layer in student.layers]


def test_four_blocks_take_the_space_of_one():
    one, shared = build(num_layers=1), td.share_layers(build())

    assert shared.count_params() == one.count_params()


@pytest.mark.slow
@pytest.mark.parametrize("quantize", [None, "dynamic"])
def test_four_blocks_are_stored_once_in_the_file(quantize, tmp_path):
    wide = {"hidden_dim": 64, "intermediate_dim": 128}
    single = build(**wide, num_layers=1)
    one = td.to_tflite(single, tmp_path / "one.tflite", quantize=quantize)
    path = tmp_path / "shared.tflite"
    shared = td.share_layers(build(**wide))
    td.to_tflite(shared, path, quantize=quantize)
    extra = path.stat().st_size - one.stat().st_size

    # Each more use takes 6.9 KB of operations, of whatever width; a block here has 134 KB of
    # float32 weights.
    assert extra / 3 < 8_000
    assert weight_bytes(path) == weight_bytes(one)
    assert td.compare(shared, path, IDS).max_error < (1e-4 if quantize is None else 0.05)


def weight_bytes(path) -> int:
    """Adds up the buffers of the kernels in a file, each one once, from the flatbuffer itself."""
    from tensorflow.lite.python import schema_py_generated as schema

    model = schema.Model.GetRootAs(path.read_bytes(), 0)
    graph = model.Subgraphs(0)
    used = {graph.Tensors(index).Buffer() for index in range(graph.TensorsLength())}
    sizes = [model.Buffers(index).DataLength() for index in used]
    return sum(size for size in sizes if size >= 4096)  # kernels; not biases, norms and shapes


def test_a_gradient_is_the_sum_over_the_uses():
    import tensorflow as tf

    shared = td.share_layers(build(dropout=0.0, num_layers=2))
    unshared = build(dropout=0.0, num_layers=2)
    kernel = shared.get_layer("encoder_0").ffn_inner.kernel
    for mine, other in zip(unshared.layers, unshared.layers, strict=True):
        source = "encoder_0" if mine.name == "encoder_1" else mine.name
        if mine.weights:
            other.set_weights(shared.get_layer(source).get_weights())
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    with tf.GradientTape(persistent=True) as tape:
        mine, theirs = loss(LABELS, shared(IDS)), loss(LABELS, unshared(IDS))
    together = tape.gradient(mine, kernel.value)
    apart = [
        tape.gradient(theirs, unshared.get_layer(name).ffn_inner.kernel.value)
        for name in ("encoder_0", "encoder_1")
    ]

    # The same float32 numbers, added in another order.
    np.testing.assert_allclose(together, apart[0] + apart[1], rtol=1e-4, atol=1e-7)


@pytest.mark.slow
def test_a_shared_kernel_advances_its_schedule_once_per_step():
    shared = td.share_layers(build(num_layers=2))
    recipe = [Prune(sparsity=0.5, steps=8), Quantize(bits=8)]
    small = td.Compressed(shared, recipe=recipe)
    small.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    small.fit(IDS, LABELS, batch_size=1, epochs=1, verbose=0)
    plain = td.strip(small)
    kernel = plain.get_layer("encoder_0").ffn_inner.kernel.numpy()

    assert int(small.step) == 8
    assert np.mean(kernel == 0) == 0.5
    assert block_names(plain) == ["encoder_0"] * 2


@pytest.mark.slow
def test_a_trained_shared_student_answers_the_same_after_loading(tmp_path):
    shared = td.share_layers(build(num_layers=3), groups=2)
    shared.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    shared.fit(IDS, LABELS, epochs=1, verbose=0)
    shared.save(tmp_path / "shared.keras")
    loaded = keras.saving.load_model(tmp_path / "shared.keras")

    np.testing.assert_array_equal(loaded(IDS), shared(IDS))
    assert block_names(loaded) == ["encoder_0", "encoder_1", "encoder_0"]
    assert len(loaded.trainable_variables) == len(shared.trainable_variables)


def test_sharing_again_counts_each_use():
    student = td.share_layers(build(num_layers=3), pattern="cyclic", groups=2)  # 0 1 0
    kernels = [student.get_layer(f"encoder_{index}").ffn_inner.kernel for index in (0, 1)]
    kernels[0].assign(np.zeros((8, 8)))
    kernels[1].assign(np.full((8, 8), 3.0))
    again = td.share_layers(student)

    np.testing.assert_array_equal(again.get_layer("encoder_0").ffn_inner.kernel, np.ones((8, 8)))


def test_the_parts_of_a_shared_student_can_be_cut():
    shared = td.share_layers(build())
    smaller, summary = td.prune_ffn(shared, keep=4, calibration=IDS)
    shorter, _ = td.drop_layers(smaller, keep=2, calibration=IDS)

    assert list(summary.kept) == ["encoder_0"]
    assert block_names(smaller) == ["encoder_0"] * 4
    assert block_names(shorter) == ["encoder_0"] * 2


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_a_backbone_of_equal_layers_goes_on_answering_the_same(kind: str, tmp_path):
    hub = pytest.importorskip("keras_hub")
    sizes = {"vocabulary_size": 12, "num_layers": 2, "hidden_dim": 8, "intermediate_dim": 8}
    x = {"token_ids": IDS, "padding_mask": (IDS != 0).astype("int32")}
    if kind == "bert":
        model = hub.models.BertBackbone(**sizes, num_heads=2, max_sequence_length=5)
        x["segment_ids"] = 0 * IDS
    else:
        model = hub.models.LlamaBackbone(**sizes, num_query_heads=4, num_key_value_heads=2)
    first, second = model.transformer_layers
    for mine, other in zip(second.weights, first.weights, strict=True):
        mine.assign(other)
    shared = td.share_layers(model)
    shared.save(tmp_path / "shared.keras")
    loaded = keras.saving.load_model(tmp_path / "shared.keras")

    for old, new in zip(*(keras.tree.flatten(m(x)) for m in (model, loaded)), strict=True):
        # KerasHub's block and this package's compute the same in another order.
        np.testing.assert_allclose(new, old, rtol=1e-5, atol=5e-6)
    assert shared.count_params() < model.count_params()


def test_blocks_of_different_sizes_are_refused():
    student = build(num_layers=2)
    ids = keras.Input((5,), dtype="int32")
    x = student.get_layer("token_embedding")(ids)
    for index, width in enumerate((4, 6)):
        block = td.students.EncoderBlock(num_heads=2, intermediate_dim=width, name=f"b{index}")
        x = block(x, keras.ops.not_equal(ids, 0))
    with pytest.raises(ValueError, match=r"`student` must have blocks of equal sizes.*'b0', 'b1'"):
        td.share_layers(keras.Model(ids, x))


def test_an_unknown_pattern_is_refused():
    with pytest.raises(ValueError, match=r"`pattern` must be one of .*pattern='sequence'"):
        td.share_layers(build(), pattern="sequence")


@pytest.mark.parametrize("groups", [0, 5])
def test_a_number_of_groups_out_of_range_is_refused(groups: int):
    with pytest.raises(ValueError, match=rf"`groups` must be an int in \[1, 4\].*groups={groups}"):
        td.share_layers(build(), groups=groups)


@pytest.mark.parametrize("groups", [2.0, "2", True])
def test_a_number_of_groups_that_is_no_int_is_refused(groups):
    with pytest.raises(TypeError, match=rf"`groups` must be an int in .*groups={groups!r}"):
        td.share_layers(build(), groups=groups)


def test_a_model_without_blocks_is_refused():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match="`student` must be a student of this package"):
        td.share_layers(model)
