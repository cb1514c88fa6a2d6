"""Which weights are compressed, under which names, seen as which matrices."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdistill import quantize_aware
from tfdistill.introspection.weights import find_targets, select

EXPECTED = {
    "sequential": ["inner/kernel", "outer/kernel"],
    "subclassed": ["inner/kernel", "outer/kernel"],
    "attention": [
        "attention/attention_output/kernel",
        "attention/key/kernel",
        "attention/query/kernel",
        "attention/value/kernel",
        "scores/kernel",
        "words/embeddings",
    ],
    "nested": ["first/hidden/kernel", "scores/kernel", "second/hidden/kernel"],
    "convolution": ["scores/kernel", "window/kernel", "words/embeddings"],
    "text_encoder": [
        "encoder_0/attention/attention_output/kernel",
        "encoder_0/attention/key/kernel",
        "encoder_0/attention/query/kernel",
        "encoder_0/attention/value/kernel",
        "encoder_0/ffn_inner/kernel",
        "encoder_0/ffn_outer/kernel",
        "logits/kernel",
        "token_embedding/embeddings",
    ],
}


def paths(targets) -> list[str]:
    return [target.path for target in targets]


@pytest.mark.parametrize("kind", EXPECTED)
def test_kernels_and_tables_are_found_under_the_names_of_their_layers(kind: str, make_model):
    assert sorted(paths(find_targets(make_model(kind)))) == EXPECTED[kind]


@pytest.mark.parametrize("kind", EXPECTED)
def test_names_of_a_copy_are_those_of_the_given_model(kind: str, make_model):
    model = make_model(kind)

    assert paths(find_targets(quantize_aware(model).student)) == paths(find_targets(model))


def test_kernels_inside_a_kerashub_backbone_are_found(make_model):
    found = paths(find_targets(make_model("keras_hub")))

    assert "head/logits/kernel" in found
    assert sum("self_attention_layer" in path for path in found) == 4
    assert sum(path.endswith("/embeddings") for path in found) == 2  # words and segments


def test_biases_norms_and_positions_are_left_alone(make_model):
    model = make_model("text_encoder")
    found = {id(target.variable) for target in find_targets(model)}
    left = {v.path.rpartition("/")[2] for v in model.trainable_variables if id(v) not in found}

    assert left == {"bias", "beta", "gamma", "table"}


def test_a_shared_layer_is_found_once():
    inputs = keras.Input((4,))
    layer = keras.layers.Dense(4, name="shared")
    model = keras.Model(inputs, layer(layer(inputs)))

    assert paths(find_targets(model)) == ["shared/kernel"]


@pytest.mark.parametrize(
    ("layer", "shape", "matrix"),
    [
        (keras.layers.Dense(3), (None, 5), (5, 3)),
        (keras.layers.Conv1D(3, 2), (None, 9, 5), (10, 3)),
        (keras.layers.Conv2D(3, (2, 4)), (None, 9, 9, 5), (40, 3)),
        (keras.layers.Conv3D(3, 2), (None, 9, 9, 9, 5), (40, 3)),
        (keras.layers.Embedding(7, 5), (None, 9), (7, 5)),
        # As in attention: [D, H, d] → [D, H·d] and [H, d, D] → [H·d, D].
        (keras.layers.EinsumDense("abc,cde->abde", (None, 2, 3)), (None, 9, 6), (6, 6)),
        (keras.layers.EinsumDense("abcd,cde->abe", (None, 6)), (None, 9, 2, 3), (6, 6)),
    ],
)
def test_a_weight_is_seen_as_a_matrix_with_its_outputs_last(layer, shape, matrix):
    model = keras.Sequential([keras.Input(shape[1:]), layer])
    (target,) = find_targets(model)
    value = tf.reshape(tf.range(target.variable.shape.num_elements()), target.variable.shape)

    assert target.matrix_shape == matrix
    assert target.to_matrix(value).shape == matrix
    np.testing.assert_array_equal(target.from_matrix(target.to_matrix(value)), value)


def test_a_kernel_whose_outputs_do_not_come_last_is_left_alone():
    layer = keras.layers.EinsumDense("ab,cb->ac", 3)
    model = keras.Sequential([keras.Input((4,)), layer])

    assert find_targets(model) == []


@pytest.mark.parametrize(
    ("include", "exclude", "kept"),
    [
        (None, None, 8),
        ("encoder_0", None, 6),
        ("encoder_*/ffn*", None, 2),
        ("ffn_inner", None, 1),
        ("encoder_0/attention/query/kernel", None, 1),
        (["logits", "token_embedding"], None, 2),
        (None, "token_embedding", 7),
        (None, ["*attention*", "logits"], 3),
        ("encoder_0", "ffn_*", 4),
    ],
)
def test_globs_choose_by_the_names_of_layers(include, exclude, kept: int, make_model):
    targets = find_targets(make_model("text_encoder"))

    assert len(select(targets, include=include, exclude=exclude)) == kept


def test_layers_of_the_same_name_are_told_apart_by_the_model_around_them(make_model):
    targets = find_targets(make_model("nested"))

    assert paths(select(targets, include="first", exclude=None)) == ["first/hidden/kernel"]
    assert len(select(targets, include="hidden", exclude=None)) == 2


@pytest.mark.parametrize("argument", ["include", "exclude"])
def test_a_glob_that_matches_nothing_is_refused_with_the_nearest_names(argument: str, make_model):
    globs = {"include": None, "exclude": None, argument: "encoder_0/fnn_inner/kernel"}
    expected = f"`{argument}` must match a weight.*={'encoder_0/fnn_inner/kernel'!r}.*nearest"
    with pytest.raises(ValueError, match=f"{expected} names are encoder_0/ffn_inner/kernel"):
        select(find_targets(make_model("text_encoder")), **globs)


def test_one_glob_of_several_that_matches_nothing_is_refused(make_model):
    with pytest.raises(ValueError, match="`exclude` must match a weight .*exclude='nowhere'"):
        select(find_targets(make_model("sequential")), include=None, exclude=["outer", "nowhere"])


@pytest.mark.parametrize("globs", [5, [5], {"inner": 1}])
def test_globs_of_another_type_are_refused(globs, make_model):
    with pytest.raises(TypeError, match=r"`include` must be a glob or a list .*include="):
        select(find_targets(make_model("sequential")), include=globs, exclude=None)


@pytest.mark.parametrize(("include", "exclude"), [(None, "*"), ("inner", "inner"), ([], None)])
def test_globs_that_leave_nothing_are_refused(include, exclude, make_model):
    with pytest.raises(ValueError, match=r"must leave something to compress\. Received: include="):
        select(find_targets(make_model("sequential")), include=include, exclude=exclude)


def test_a_model_without_a_kernel_is_refused():
    model = keras.Sequential([keras.Input((4,)), keras.layers.LayerNormalization()])
    with pytest.raises(ValueError, match="must have a Dense, .* or Embedding layer to compress"):
        quantize_aware(model)
