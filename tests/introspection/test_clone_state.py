"""A copy has all that a model computes with, layer by layer, also what is no variable."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import pytest
from keras import layers

import tfdistill as td
from tfdistill.introspection.clone import copy_model

RNG = np.random.default_rng(3)
X = RNG.normal(5.0, 3.0, (64, 4)).astype("float32")
WORDS = np.array([["oil"], ["gas"], ["oil"], ["new"]])


def adapted(data: np.ndarray = X, **settings) -> layers.Normalization:
    layer = layers.Normalization(**settings)
    layer.adapt(data)
    return layer


@keras.saving.register_keras_serializable(package="tests")
class Backwards(keras.Model):
    """A Functional model whose attributes are set in another order than they are called."""

    def __init__(self, units: int = 4, **kwargs):
        inputs = keras.Input((units,))
        self.second = layers.Dense(units, name="second")
        self.first = layers.Dense(units, name="first")
        self.units = units
        super().__init__(inputs, self.second(self.first(inputs)), **kwargs)

    def get_config(self):
        return {"units": self.units, "name": self.name}


@keras.saving.register_keras_serializable(package="tests")
class ListBackwards(keras.Model):
    """A Functional model with its layers in lists and dicts, called from the end."""

    def __init__(self, depth: int = 3, **kwargs):
        x = inputs = keras.Input((4,))
        self.blocks = [layers.Dense(4) for _ in range(depth)]
        self.named = {"b": layers.Dense(4), "a": layers.Dense(4)}
        for layer in [*self.blocks[::-1], self.named["a"], self.named["b"]]:
            x = layer(x)
        self.depth = depth
        super().__init__(inputs, x, **kwargs)

    def get_config(self):
        return {"depth": self.depth, "name": self.name}


@keras.saving.register_keras_serializable(package="tests")
class OwnCall(keras.Model):
    """A model of its own class that runs its layers from the end of the list."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.blocks = [adapted(X + 9.0), layers.Dense(4), layers.Dense(4)]

    def call(self, inputs):
        x = inputs
        for block in self.blocks[::-1]:
            x = block(x)
        return x


@keras.saving.register_keras_serializable(package="tests")
class Remembering(layers.Layer):
    """Keeps a number on the object, where no copy finds it."""

    offset = 0.0

    def call(self, inputs):
        return inputs + self.offset


def functional(*chain) -> keras.Model:
    x = inputs = keras.Input((4,))
    for layer in chain:
        x = layer(x)
    return keras.Model(inputs, x)


def in_nested() -> keras.Model:
    inner = functional(adapted(), layers.Dense(4))
    outer = keras.Sequential([keras.Input((4,)), adapted(X * 2.0), layers.Dense(4)])
    return functional(inner, outer, layers.Dense(2))


def two_normalizations() -> keras.Model:
    return functional(adapted(X), layers.Dense(4), adapted(X + 7.0), layers.Dense(2))


def own_call() -> keras.Model:
    model = OwnCall()
    model(X)
    return model


def sorted_otherwise() -> keras.Model:
    return functional(layers.Dense(4, name="z_first"), layers.Dense(4, name="a_second"))


def spectral() -> keras.Model:
    model = functional(layers.SpectralNormalization(layers.Dense(4)), layers.Dense(2))
    model(X, training=True)  # moves the vectors that the norm is estimated with
    return model


def bins() -> keras.Model:
    layer = layers.Discretization(num_bins=5)
    layer.adapt(X)
    return functional(layer, layers.CategoryEncoding(6, output_mode="count"), layers.Dense(2))


MODELS: dict[str, Callable[[], keras.Model]] = {
    "normalization": lambda: functional(adapted(), layers.Dense(2)),
    "sequential": lambda: keras.Sequential([keras.Input((4,)), adapted(), layers.Dense(2)]),
    "denormalization": lambda: functional(adapted(invert=True), layers.Dense(2)),
    "one mean for all": lambda: functional(adapted(axis=None), layers.Dense(2)),
    "given mean": lambda: functional(layers.Normalization(mean=3.0, variance=2.0)),
    "rescaling": lambda: functional(layers.Rescaling(0.1, -1.0), layers.Dense(2)),
    "two normalizations": two_normalizations,
    "in nested models": in_nested,
    "in a model of its own class": own_call,
    "bins": bins,
    "spectral normalization": spectral,
    "attributes backwards": Backwards,
    "attributes backwards, nested": lambda: functional(Backwards(name="inner"), layers.Dense(2)),
    "a list backwards": ListBackwards,
    "a list backwards, nested": lambda: functional(ListBackwards(), layers.Dense(2)),
    "names that sort otherwise": sorted_otherwise,
    "batch normalization": lambda: functional(layers.BatchNormalization(), layers.Dense(2)),
    "recurrent": lambda: functional(
        layers.Reshape((2, 2)), layers.Bidirectional(layers.LSTM(3)), layers.Dense(2)
    ),
}


@pytest.mark.parametrize("kind", MODELS)
def test_a_copy_answers_to_the_bit(kind: str):
    model = MODELS[kind]()
    for variable in model.variables:  # no copy gets these by being built alike
        if variable.trainable:
            variable.assign(RNG.normal(size=variable.shape))
    copy = copy_model(model)

    np.testing.assert_array_equal(copy(X), model(X))
    assert not {id(v) for v in copy.variables} & {id(v) for v in model.variables}


def test_an_adapted_model_keeps_its_accuracy_through_compression():
    """Copies computed with mean 0 and variance 1: 0.99 became 0.36."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 400)
    x = (300.0 + 40.0 * rng.normal(size=(400, 4)) + 60.0 * labels[:, None]).astype("float32")
    model = functional(adapted(x), layers.Dense(8, activation="relu"), layers.Dense(2))
    model.compile(
        keras.optimizers.Adam(0.02),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    model.fit(x, labels, epochs=10, verbose=0)

    def accuracy(of: keras.Model) -> float:
        return float(np.mean(np.argmax(of(x), axis=-1) == labels))

    quantized = td.quantize_aware(model)
    assert accuracy(model) > 0.9
    assert abs(accuracy(quantized) - accuracy(model)) < 0.01
    assert abs(accuracy(td.strip(quantized)) - accuracy(model)) < 0.01


def test_attributes_that_are_not_in_call_order_keep_their_own_weights():
    """Paired by position, each layer got the other one's kernel: outputs off by 1.74."""
    model = Backwards()
    assert [v.path for v in model.variables][0] == "second/kernel"
    assert [v.path for v in copy_model(model).variables][0] == "first/kernel"
    copy = copy_model(model)
    for name in ("first", "second"):
        np.testing.assert_array_equal(
            copy.get_layer(name).kernel, model.get_layer(name).kernel, err_msg=name
        )
    stripped = td.strip(td.prune_low_magnitude(model, sparsity=0.0, steps=1, include="first"))
    np.testing.assert_array_equal(stripped(X), model(X))


@pytest.mark.parametrize("mode", ["int", "multi_hot", "tf_idf"])
@pytest.mark.parametrize("kind", [layers.StringLookup, layers.TextVectorization])
def test_a_vocabulary_that_was_learned_is_copied(kind: type, mode: str):
    layer = kind(output_mode=mode)
    layer.adapt(WORDS if kind is layers.StringLookup else WORDS[:, 0])
    inputs = keras.Input((1,), dtype="string")
    model = keras.Model(inputs, layer(inputs))
    copy = copy_model(model)
    words = keras.ops.convert_to_tensor([["gas"], ["oil"], ["water"]])

    np.testing.assert_array_equal(copy(words), model(words))
    assert copy.layers[-1].get_vocabulary() == layer.get_vocabulary()
    assert len(np.unique(np.asarray(model(words)), axis=0)) == 3


def test_a_learned_vocabulary_of_ints_in_front_of_weights_is_copied():
    layer = layers.IntegerLookup(output_mode="multi_hot")
    layer.adapt(np.array([[10], [20], [20], [30]]))
    inputs = keras.Input((2,), dtype="int64")
    model = keras.Model(inputs, layers.Dense(2)(layer(inputs)))
    x = np.array([[10, 20], [30, 99]])

    np.testing.assert_array_equal(copy_model(model)(x), model(x))


def test_a_recurrent_layer_goes_on_from_the_state_that_it_had():
    inputs = keras.Input(batch_shape=(4, 2, 4))
    model = keras.Model(inputs, layers.LSTM(3, stateful=True)(inputs))
    x = X[:8].reshape(4, 2, 4)
    first = model(x)
    copy = copy_model(model)

    np.testing.assert_array_equal(copy(x), model(x))
    assert np.abs(model(x) - first).max() > 1e-3


def test_dtype_policies_are_copied():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = functional(layers.Dense(4), functional(layers.Dense(4)), layers.Dense(2))
    finally:
        keras.config.set_dtype_policy("float32")
    copy = copy_model(model)

    found = [
        layer.dtype_policy.name
        for layer in copy._flatten_layers()
        if not isinstance(layer, layers.InputLayer)
    ]
    assert found == ["mixed_float16"] * len(found)
    np.testing.assert_array_equal(copy(X), model(X))


def test_a_cut_model_keeps_what_its_normalization_learned():
    """With all blocks kept nothing changes, so the numbers beside the text must count as before."""
    ids, numbers = keras.Input((6,), dtype="int32", name="ids"), keras.Input((4,), name="numbers")
    student = td.students.text_encoder(
        vocabulary_size=12, sequence_length=6, num_layers=2, hidden_dim=8, intermediate_dim=8,
        num_classes=3, seed=0,
    )  # fmt: skip
    x = student.get_layer("token_embedding")(ids)
    for name in ("encoder_0", "encoder_1"):
        x = student.get_layer(name)(x, keras.ops.not_equal(ids, 0))
    x = layers.Concatenate()([layers.GlobalAveragePooling1D()(x), adapted(X)(numbers)])
    model = keras.Model({"ids": ids, "numbers": numbers}, layers.Dense(3)(x))
    batch = {"ids": RNG.integers(1, 12, (64, 6)).astype("int32"), "numbers": X}
    same, _ = td.compress.drop_layers(model, keep=2, calibration=batch)
    smaller, _ = td.compress.drop_layers(model, keep=1, calibration=batch)

    np.testing.assert_array_equal(same(batch), model(batch))
    name = next(each.name for each in model.layers if isinstance(each, layers.Normalization))
    np.testing.assert_array_equal(smaller.get_layer(name)(X), model.get_layer(name)(X))


def test_state_that_no_copy_has_is_refused_by_the_layers_name():
    layer = Remembering(name="remembering")
    model = functional(layers.Dense(4), functional(layer, layers.Dense(4)), layers.Dense(2))
    copy_model(model)
    layer.offset = 1.0
    expected = r"must answer the same .*layer '\w+/remembering' of class Remembering computes"
    with pytest.raises(ValueError, match=expected):
        copy_model(model)


def test_a_normalization_that_does_not_compute_with_its_variables_is_refused():
    model = functional(adapted(), layers.Dense(2))
    twin = keras.models.clone_model(model)
    twin.set_weights(model.get_weights())  # does not tell the layer
    with pytest.raises(ValueError, match="Normalization .* call its `finalize_state"):
        copy_model(twin)
    twin.layers[1].finalize_state()

    np.testing.assert_array_equal(copy_model(twin)(X), model(X))


def test_a_layer_that_is_shared_where_no_config_tells_is_refused():
    shared = layers.Dense(4, name="shared")
    one, two = keras.Sequential([shared]), keras.Sequential([shared])
    model = functional(one, two)
    with pytest.raises(ValueError, match="must share its layers .*'shared', which is one layer"):
        copy_model(model)


def test_variables_that_a_copy_does_not_have_are_refused():
    model = Backwards()
    model.extra = layers.Dense(3, name="extra")
    model.extra.build((None, 4))
    with pytest.raises(ValueError, match="'extra' of class Dense, which has 2 variables, none in"):
        copy_model(model)


def test_a_model_that_is_copied_draws_counts_and_regularizes_as_if_it_had_not_been():
    class Counting(layers.Layer):
        def build(self, shape):
            self.runs = self.add_weight(name="runs", initializer="zeros", trainable=False)

        def call(self, inputs):
            self.runs.assign_add(1.0)
            return inputs

    counting = Counting()
    model = functional(counting, layers.Dense(4, activity_regularizer="l2"), layers.Dropout(0.5))
    states = [np.asarray(variable) for variable in model.variables]
    numpy_state = np.random.get_state()[1].copy()
    copy = copy_model(model)

    for now, then in zip(model.variables, states, strict=True):
        np.testing.assert_array_equal(now, then)
    assert model.losses == copy.losses == []
    assert not any("call" in vars(layer) for layer in model._flatten_layers())
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)


def test_a_model_that_answers_otherwise_each_time_is_copied():
    class Noisy(layers.Layer):
        def call(self, inputs):
            return inputs + np.random.default_rng().normal()

    model = functional(layers.Dense(4), Noisy())
    np.testing.assert_array_equal(copy_model(model).layers[1].kernel, model.layers[1].kernel)


def test_a_difference_is_seen_in_images_of_any_size():
    """The convolutions leave nothing of 32 x 32 pixels, so a larger image has to show it."""
    layer = Remembering()
    x = inputs = keras.Input((None, None, 3))
    for _ in range(2):
        x = layers.Conv2D(4, 17)(x)
    model = keras.Model(inputs, layers.GlobalAveragePooling2D()(layer(x)))
    copy_model(model)
    layer.offset = 1.0
    with pytest.raises(ValueError, match="must answer the same"):
        copy_model(model)


def test_a_model_with_numbers_that_are_none_is_copied():
    model = functional(layers.Dense(4), layers.Dense(2))
    model.layers[1].bias.assign([np.nan, 1.0, 2.0, np.inf])

    np.testing.assert_array_equal(copy_model(model)(X), model(X))
