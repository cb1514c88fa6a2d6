"""Layers by path: what is found, and what the refusals offer instead."""

from __future__ import annotations

import keras
import keras_hub
import numpy as np
import pytest

import tfdistill as td
from tfdistill.introspection.layer_paths import find_attention, find_layer, list_layers
from tfdistill.introspection.weights import named_layers


@pytest.fixture(scope="module")
def student() -> keras.Model:
    return td.students.text_encoder(
        vocabulary_size=8, sequence_length=3, hidden_dim=4, num_classes=2, seed=0
    )


@pytest.fixture(scope="module")
def teacher() -> keras.Model:
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=8, num_layers=2, num_heads=2, hidden_dim=4, intermediate_dim=4,
        max_sequence_length=3, name="bert_backbone",
    )  # fmt: skip
    # Named, because Keras counts the backbones of a process.
    features = td.teachers.text_features(backbone, sequence_length=3)
    return td.teachers.with_head(features, td.teachers.text_classifier(features, num_classes=2))


class Blocks(keras.Model):
    def __init__(self, *names: str):
        super().__init__(name="blocks")
        self.blocks = [keras.layers.Dense(4, name=name) for name in names]

    def call(self, x):
        for block in self.blocks:
            x = block(x)
        return x


def find(model: keras.Model, path: str, argument: str = "teacher"):
    return find_layer([model], path, argument=argument, where=f"the model {model.name!r}")


@pytest.mark.parametrize("path", ["transformer_layer_1", "bert_backbone/transformer_layer_1"])
def test_nested_layer_is_found_by_its_path_and_by_the_end_of_it(teacher, path: str):
    whole, layer = find(teacher, path)
    assert whole == "bert_backbone/transformer_layer_1"
    assert layer is teacher.get_layer("bert_backbone").get_layer("transformer_layer_1")


def test_layer_inside_of_a_layer_is_found(student):
    whole, layer = find(student, "encoder_1/attention/query")
    assert layer is student.get_layer("encoder_1").attention.query_dense
    assert whole == "encoder_1/attention/query"


def test_whole_path_comes_before_the_end_of_another():
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4, name="a")], name="inner")
    outer = keras.layers.Dense(4, name="a")
    assert find(keras.Sequential([keras.Input((4,)), inner, outer]), "a") == ("a", outer)


def test_layers_in_lists_of_a_subclassed_model_are_found():
    model = Blocks("one", "two")
    assert find(model, "two") == ("two", model.blocks[1])


def test_path_into_a_compressed_student_is_that_of_the_plain_one(student):
    small = td.prune_low_magnitude(student, steps=10)
    assert len(list_layers(small)) == len(list_layers(student))
    assert find(small, "encoder_1")[1] is small.student.get_layer("encoder_1")


def test_layer_that_is_reached_in_two_ways_is_one_layer():
    model = Blocks("one", "two")
    model.favourite = model.blocks[1]
    model.group = keras.Sequential([keras.Input((4,)), model.blocks[1]], name="group")
    assert find(model, "two")[0] == "two"
    assert find(model, "group/two")[0] == "two"


def test_layers_of_several_teachers_begin_with_the_names_of_the_models(student, teacher):
    layers = list_layers(student, teacher)
    assert "teacher/bert_backbone/transformer_layer_1" in layers
    whole, _ = find_layer([student, teacher], "encoder_0", argument="teacher", where="any")
    assert whole == "text_encoder/encoder_0"


def test_attention_is_found_in_the_only_layer_that_has_it(student, teacher):
    attention = student.get_layer("encoder_0").attention
    for path in ("encoder_0", "encoder_0/attention"):
        found = find_attention(*find(student, path), argument="student")
        assert found == ("encoder_0/attention", attention)
    whole, _ = find_attention(*find(teacher, "transformer_layer_0"), argument="teacher")
    assert whole == "bert_backbone/transformer_layer_0/self_attention_layer"


def test_path_that_does_not_exist_is_refused_with_the_nearest(teacher):
    message = (
        "`teacher` must name a layer of the model 'teacher'. Received: "
        "teacher='transformer_layer_7'. The nearest names are "
        "'bert_backbone/transformer_layer_[01]'"
    )
    with pytest.raises(ValueError, match=message):
        find(teacher, "transformer_layer_7")


def test_nearest_names_of_a_nested_path_are_nested(student):
    with pytest.raises(ValueError, match="nearest names are 'encoder_[01]/attention', "):
        find(student, "encoder_2/attention", "student")


def test_ambiguous_path_is_refused_with_the_candidates(student):
    message = "`student` must name one layer.*'encoder_0/attention', 'encoder_1/attention'. Write"
    with pytest.raises(ValueError, match=message):
        find(student, "attention", "student")


def test_layers_of_the_same_name_side_by_side_are_refused():
    with pytest.raises(ValueError, match="'same', which 2 layers are called. Give them names"):
        find(Blocks("same", "same"), "same")


def test_model_without_layers_is_refused():
    with pytest.raises(ValueError, match="teacher='one', but the model 'blocks' has no layers"):
        find(Blocks(), "one")


def test_layer_without_attention_is_refused(student):
    message = "must name a MultiHeadAttention layer.*student='pooling', which has none"
    with pytest.raises(ValueError, match=message):
        find_attention(*find(student, "pooling"), argument="student")


def test_layer_with_two_attentions_is_refused(teacher):
    message = "which has 'bert_backbone/transformer_layer_0/self_attention_layer', 'bert"
    with pytest.raises(ValueError, match=message):
        find_attention(*find(teacher, "bert_backbone"), argument="teacher")


def test_long_lists_of_candidates_are_cut_short():
    model = keras.Sequential(
        [keras.Input((1,)), *(
            keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, name="a")], name=f"m{i}")
            for i in range(8)
        )]
    )  # fmt: skip
    np.testing.assert_equal(len(list_layers(model)), 16)
    with pytest.raises(ValueError, match="'m0/a', .* 'm4/a' and 3 more. Write more"):
        find(model, "a")


def test_a_layer_that_is_reached_in_two_ways_has_its_shortest_path():
    inner = keras.layers.Dense(4, name="inner")
    wrapped = keras.layers.SpectralNormalization(inner, name="wrapper")
    inputs = keras.Input((4,))
    model = keras.Model(inputs, inner(wrapped(inputs)))

    assert [path for path, _ in named_layers(model)] == ["wrapper", "inner"]
    assert sorted(list_layers(model)) == ["inner", "wrapper", "wrapper/inner"]
