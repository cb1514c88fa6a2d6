from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from tfdistill.introspection.named_model import ModelInput, NamedModel, named_model


def two_inputs() -> keras.Model:
    ids = keras.Input((3,), dtype="int32", name="ids")
    weight = keras.Input((3,), name="weight")
    return keras.Model([ids, weight], keras.ops.cast(ids, "float32") * weight)


@pytest.fixture(scope="module")
def named() -> NamedModel:
    return named_model(two_inputs())


# What a model takes


def test_a_functional_model_states_names_shapes_and_dtypes(named: NamedModel) -> None:
    assert named.inputs == (
        ModelInput("ids", (3,), "int32"),
        ModelInput("weight", (3,), "float32"),
    )


def test_a_made_up_input_name_is_replaced_by_a_stable_one() -> None:
    # Keras counts its own names through the process: keras_tensor_17 today, _23 tomorrow.
    x, y = keras.Input((2,)), keras.Input((2,))
    assert [each.name for each in named_model(keras.Model(x, x * 2)).inputs] == ["inputs"]
    both = named_model(keras.Model([x, y], x + y))
    assert [each.name for each in both.inputs] == ["inputs_0", "inputs_1"]


def test_the_inputs_of_a_dict_model_are_its_keys_in_sorted_order() -> None:
    inputs = {name: keras.Input((2,), name=name) for name in ("b", "a")}
    model = named_model(keras.Model(inputs, inputs["a"] - inputs["b"]))
    assert [each.name for each in model.inputs] == ["a", "b"]
    answer = model({"a": np.full((1, 2), 5.0), "b": np.full((1, 2), 3.0)})
    assert np.asarray(answer["logits"]).tolist() == [[2.0, 2.0]]


def test_a_subclassed_model_that_looks_up_its_input_takes_integers(
    subclassed: keras.Model,
) -> None:
    assert named_model(subclassed).inputs == (ModelInput("ids", (8,), "int32"),)


def test_a_subclassed_model_of_a_dict_is_understood() -> None:
    class Mixed(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = keras.layers.Embedding(5, 2)

        def call(self, features: Any) -> Any:
            return self.embedding(features["token"]) * features["scale"]

    model = Mixed()
    model({"token": np.ones((1,), "int32"), "scale": np.ones((1, 2), "float32")})
    assert named_model(model).inputs == (
        ModelInput("scale", (2,), "float32"),
        ModelInput("token", (), "int32"),
    )


def test_a_subclassed_model_of_unknown_input_is_refused() -> None:
    class Silent(keras.Model):
        def build(self) -> None:
            self.built = True

        def call(self, x: Any) -> Any:
            return x

    model = Silent(name="silent")
    model.build()
    with pytest.raises(
        ValueError, match="`model` must have been called with one argument.*model='silent'"
    ):
        named_model(model)


# What it returns


def test_a_single_output_has_the_name_that_a_person_gave_its_layer() -> None:
    x = keras.Input((2,))
    named_by_us = keras.Model(x, keras.layers.Dense(2, name="embedding")(x))
    named_by_keras = keras.Model(x, keras.layers.Dense(2)(x))
    of_an_operation = keras.Model(x, x * 2)
    names = [
        list(named_model(model)({"inputs": np.ones((1, 2))}))
        for model in (named_by_us, named_by_keras, of_an_operation)
    ]
    assert names == [["embedding"], ["logits"], ["logits"]]


@pytest.mark.parametrize(
    "layer",
    [
        keras.layers.Conv1D(1, 1),
        keras.layers.LayerNormalization(),
        keras.layers.ReLU(),
        keras.layers.GlobalAveragePooling1D(),
        keras.layers.PReLU(),
    ],
)
def test_a_name_that_keras_made_up_is_recognized(layer: keras.layers.Layer) -> None:
    model = keras.Sequential([keras.Input((3, 2), name="x"), layer])
    assert list(named_model(model)({"x": np.ones((1, 3, 2))})) == ["logits"]


def test_a_model_within_a_model_names_the_output() -> None:
    inner = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, name="scores")], name="head")
    x = keras.Input((2,), name="x")
    assert list(named_model(keras.Model(x, inner(x)))({"x": np.ones((1, 2))})) == ["scores"]


def test_the_outputs_of_a_dict_are_its_keys() -> None:
    x = keras.Input((2,), name="x")
    model = named_model(keras.Model(x, {"twice": x * 2, "half": x / 2}))
    answer = model({"x": np.ones((1, 2))})
    assert {name: float(value[0, 0]) for name, value in answer.items()} == {
        "half": 0.5,
        "twice": 2.0,
    }


# What data it accepts


def test_arrays_are_cast_to_what_the_file_takes(named: NamedModel) -> None:
    x = {"ids": np.array([[1, 2, 3]]), "weight": [[1, 2, 3]]}  # int64, a list of ints
    arrays = named.arrays(x, argument="x")
    assert arrays["ids"].dtype == np.int32
    assert arrays["weight"].dtype == np.float32


def test_a_list_is_taken_in_the_order_of_the_model(named: NamedModel) -> None:
    arrays = named.arrays([np.ones((2, 3), int), np.zeros((2, 3))], argument="x")
    assert arrays["ids"].sum() == 6 and arrays["weight"].sum() == 0


IDS, WEIGHT = np.ones((2, 3), int), np.ones((2, 3))


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        ({"ids": IDS}, ValueError, r"exactly the model's inputs \['ids', 'weight'\].*\['ids'\]"),
        (IDS, ValueError, "a dict of arrays by the names .* Received: ndarray"),
        ([IDS], ValueError, "a list of 2 arrays in that order. Received: 1 arrays"),
        ([WEIGHT, WEIGHT], TypeError, r"`x\['ids'\]` must hold integers.*dtype=float64"),
        (
            [np.full((2, 3), "oil"), WEIGHT],
            TypeError,
            "`x.'ids'.` must hold integers.*Received: dtype=<U3. Turn texts into token ids first.",
        ),
        ([IDS[:, :2], WEIGHT], ValueError, r"shape \(examples, 3\). Received: shape=\(2, 2\)"),
        ([IDS[0], WEIGHT], ValueError, r"shape \(examples, 3\). Received: shape=\(3,\)"),
        ([[[1], [1, 2]], WEIGHT], ValueError, "rows of different lengths. Pad or cut"),
        ([IDS, WEIGHT[:1]], ValueError, "same number of examples.*{'ids': 2, 'weight': 1}"),
        ([IDS[:0], WEIGHT[:0]], ValueError, "`x` must have at least one example. Received: none"),
        ([IDS * 2**40, WEIGHT], ValueError, "must fit into int32. Received: values from 1099511"),
    ],
)
def test_data_that_does_not_fit_the_model_is_refused(
    x: Any, error: type[Exception], message: str, named: NamedModel
) -> None:
    with pytest.raises(error, match=message):
        named.arrays(x, argument="x")
