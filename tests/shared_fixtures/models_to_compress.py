"""Small models of every kind that is to be compressed, each with a batch of inputs."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import pytest

from tfdistill import students, teachers

RNG = np.random.default_rng(5)
X = RNG.normal(size=(16, 4)).astype("float32")
IDS = RNG.integers(0, 12, (16, 6)).astype("int32")


@keras.saving.register_keras_serializable(package="tests")
class Subclassed(keras.Model):
    """A model of its own class that tells its constructor's arguments."""

    def __init__(self, units: int = 6, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        # Automatic names would be others in each copy.
        self.inner = keras.layers.Dense(units, activation="relu", name="inner")
        self.drop = keras.layers.Dropout(0.2)
        self.outer = keras.layers.Dense(3, name="outer")

    def call(self, inputs, training=None):
        return self.outer(self.drop(self.inner(inputs), training=training))

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def sequential() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(6, activation="relu", name="inner"),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(3, name="outer"),
        ]
    )


def subclassed() -> keras.Model:
    model = Subclassed()
    model(X)
    return model


def attention() -> keras.Model:
    ids = keras.Input((6,), dtype="int32")
    x = keras.layers.Embedding(12, 8, name="words")(ids)
    x = keras.layers.MultiHeadAttention(2, 4, dropout=0.1, name="attention")(x, x)
    x = keras.layers.GlobalAveragePooling1D()(x)
    return keras.Model(ids, keras.layers.Dense(3, name="scores")(x))


def nested() -> keras.Model:
    """Two inner models whose layers have the same names."""

    def inner(name: str) -> keras.Model:
        return keras.Sequential(
            [keras.Input((4,)), keras.layers.Dense(4, "relu", name="hidden")], name=name
        )

    inputs = keras.Input((4,))
    x = inner("second")(inner("first")(inputs))
    return keras.Model(inputs, keras.layers.Dense(3, name="scores")(x))


def convolution() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((6,), dtype="int32"),
            keras.layers.Embedding(12, 4, name="words"),
            keras.layers.Conv1D(6, 3, name="window"),
            keras.layers.BatchNormalization(),
            keras.layers.GlobalMaxPooling1D(),
            keras.layers.Dense(3, name="scores"),
        ]
    )


def convolution_2d() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Reshape((2, 2, 1)),
            keras.layers.Conv2D(4, 2, padding="same", name="window"),
            keras.layers.Flatten(),
            keras.layers.Dense(3, name="scores"),
        ]
    )


def twice() -> keras.Model:
    """A layer that is used twice."""
    inputs = keras.Input((4,))
    layer = keras.layers.Dense(4, activation="relu", name="again")
    x = keras.layers.Dropout(0.2)(layer(layer(inputs)))
    return keras.Model(inputs, keras.layers.Dense(3, name="scores")(x))


def tied() -> keras.Model:
    """A language model whose table is the input's and the output's."""
    ids = keras.Input((6,), dtype="int32")
    table = keras.layers.ReversibleEmbedding(12, 8, name="words")
    x = keras.layers.EinsumDense("abc,cd->abd", (None, 8), name="inner")(table(ids))
    x = keras.layers.GlobalAveragePooling1D()(x)
    return keras.Model(ids, table(x, reverse=True))


def text_encoder() -> keras.Model:
    return students.text_encoder(
        vocabulary_size=12,
        sequence_length=6,
        num_layers=1,
        hidden_dim=8,
        intermediate_dim=8,
        num_classes=3,
        seed=0,
    )


def keras_hub() -> keras.Model:
    hub = pytest.importorskip("keras_hub")
    backbone = hub.models.BertBackbone(
        vocabulary_size=12,
        num_layers=1,
        num_heads=2,
        hidden_dim=8,
        intermediate_dim=8,
        max_sequence_length=6,
    )
    features = teachers.text_features(backbone, sequence_length=6)
    return teachers.with_head(features, teachers.text_classifier(features, num_classes=3))


KINDS: dict[str, tuple[Callable[[], keras.Model], np.ndarray]] = {
    "sequential": (sequential, X),
    "subclassed": (subclassed, X),
    "attention": (attention, IDS),
    "nested": (nested, X),
    "convolution": (convolution, IDS),
    "convolution_2d": (convolution_2d, X),
    "twice": (twice, X),
    "tied": (tied, IDS),
    "text_encoder": (text_encoder, IDS),
    "keras_hub": (keras_hub, IDS),
}


@pytest.fixture
def make_model() -> Callable[[str], keras.Model]:
    """Makes a fresh model of a kind."""
    return lambda kind: KINDS[kind][0]()


@pytest.fixture
def x() -> np.ndarray:
    """Sixteen rows of four numbers."""
    return X.copy()


@pytest.fixture
def ids() -> np.ndarray:
    """Sixteen texts of six token ids."""
    return IDS.copy()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Gives a test with an argument `model_kind` every kind, unless it says which."""
    own = [mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")]
    if "model_kind" in metafunc.fixturenames and not any("model_kind" in names for names in own):
        metafunc.parametrize("model_kind", list(KINDS))


@pytest.fixture
def model(model_kind: str) -> keras.Model:
    """A fresh model of the test's kind."""
    return KINDS[model_kind][0]()


@pytest.fixture
def inputs(model_kind: str) -> np.ndarray:
    """A batch for the model of the test's kind."""
    return KINDS[model_kind][1].copy()


KERNEL = np.random.default_rng(11).normal(size=(8, 4)).astype("float32")


@pytest.fixture
def kernel() -> np.ndarray:
    """The weights of `linear`."""
    return KERNEL.copy()


@pytest.fixture
def linear() -> Callable[[], keras.Model]:
    """Makes y = x · kernel: on the unit matrix the outputs are the weights."""

    def make() -> keras.Model:
        layer = keras.layers.Dense(4, use_bias=False, name="scores")
        model = keras.Sequential([keras.Input((8,), name="x"), layer])
        layer.kernel.assign(KERNEL)
        return model

    return make


@pytest.fixture
def two_layers() -> Callable[[], keras.Model]:
    """Makes a wide first kernel that hardly matters and a narrow second one that does."""

    def make() -> keras.Model:
        inputs = keras.Input((64,))
        x = keras.layers.Dense(64, name="wide")(inputs)
        model = keras.Model(inputs, keras.layers.Dense(2, name="narrow")(0.01 * x + inputs))
        generator = np.random.default_rng(2)
        for name in ("wide", "narrow"):
            kernel = model.get_layer(name).kernel
            kernel.assign(generator.normal(size=kernel.shape))
        return model

    return make
