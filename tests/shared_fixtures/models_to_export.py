"""Small real models of four kinds, and a look inside `.tflite` files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tfdistill.export import to_tflite
from tfdistill.students import text_encoder

TOKENS, VOCABULARY = 8, 40


@keras.saving.register_keras_serializable(package="tests")
class MeanOfTokens(keras.Model):
    """A subclassed classifier, which does not say of what type its input is."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.embedding = keras.layers.Embedding(VOCABULARY, 32, name="table")
        self.head = keras.layers.Dense(3)

    def call(self, ids: Any) -> Any:
        return self.head(keras.ops.mean(self.embedding(ids), axis=1))


@pytest.fixture
def small_encoder() -> Callable[..., keras.Model]:
    """Builds this package's encoder, with other settings if some are given."""

    def build(**changes: Any) -> keras.Model:
        sizes = {"vocabulary_size": VOCABULARY, "sequence_length": TOKENS, "num_classes": 3}
        widths = {"num_layers": 1, "hidden_dim": 32, "intermediate_dim": 32}
        return text_encoder(**{**sizes, **widths, "seed": 0, **changes})

    return build


@pytest.fixture(scope="session")
def encoder() -> keras.Model:
    """Token ids → embedding → masked attention → logits of 3 classes."""
    keras.utils.set_random_seed(1)
    ids = keras.Input((TOKENS,), dtype="int32", name="ids")
    mask = keras.ops.not_equal(ids, 0)
    x = keras.layers.Embedding(VOCABULARY, 32, name="table")(ids)
    attended = keras.layers.MultiHeadAttention(2, 16)(x, x, attention_mask=mask[:, None, :])
    x = keras.layers.LayerNormalization()(x + attended)
    x = keras.layers.Dense(32, activation="gelu")(x)
    x = keras.layers.GlobalAveragePooling1D()(x)
    return keras.Model(ids, keras.layers.Dense(3, name="logits")(x), name="encoder")


@pytest.fixture(scope="session")
def convolution() -> keras.Model:
    """A Conv1D and Dense network on float sequences."""
    keras.utils.set_random_seed(2)
    return keras.Sequential(
        [
            keras.Input((16, 4), name="signal"),
            keras.layers.Conv1D(16, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(8, name="logits"),
        ]
    )


@pytest.fixture(scope="session")
def bert_of() -> Callable[[int], keras.Model]:
    """From a width to a KerasHub BERT of a tiny configuration: three inputs by name."""
    keras_hub = pytest.importorskip("keras_hub", reason="needs pip install tfdistill[hub]")

    def make(hidden_dim: int) -> keras.Model:
        keras.utils.set_random_seed(3)
        backbone = keras_hub.models.BertBackbone(
            vocabulary_size=VOCABULARY,
            num_layers=2,
            num_heads=2,
            hidden_dim=hidden_dim,
            intermediate_dim=2 * hidden_dim,
            max_sequence_length=TOKENS,
        )
        inputs = {
            name: keras.Input((TOKENS,), dtype="int32", name=name)
            for name in ("token_ids", "segment_ids", "padding_mask")
        }
        logits = keras.layers.Dense(3, name="logits")(backbone(inputs)["pooled_output"])
        return keras.Model(inputs, logits, name="bert_classifier")

    return make


@pytest.fixture(scope="session")
def bert(bert_of: Callable[[int], keras.Model]) -> keras.Model:
    """The narrowest of them."""
    return bert_of(8)


@pytest.fixture(scope="session")
def subclassed() -> keras.Model:
    keras.utils.set_random_seed(4)
    model = MeanOfTokens()
    model(np.ones((2, TOKENS), "int32"))
    return model


@pytest.fixture
def ids(rng: np.random.Generator) -> np.ndarray:
    """Sixty-four padded rows of token ids."""
    tokens = rng.integers(1, VOCABULARY, (64, TOKENS))
    lengths = rng.integers(2, TOKENS + 1, (64, 1))
    return np.where(np.arange(TOKENS) < lengths, tokens, 0).astype("int32")


@pytest.fixture(scope="session")
def encoder_file(encoder: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The encoder as a float file. (Opening it once also prints LiteRT's one start-up line.)"""
    path = tmp_path_factory.mktemp("encoder") / "encoder.tflite"
    return to_tflite(encoder, path, quantize=None)


@pytest.fixture(scope="session")
def example_inputs() -> Any:
    """Returns a function: model → 64 examples that it takes."""

    def make(model: keras.Model, rng: np.random.Generator, examples: int = 64) -> Any:
        tokens = rng.integers(1, VOCABULARY, (examples, TOKENS)).astype("int32")
        if model.name == "bert_classifier":
            mask = (np.arange(TOKENS) < rng.integers(2, TOKENS + 1, (examples, 1))).astype("int32")
            return {
                "token_ids": tokens * mask,
                "segment_ids": rng.integers(0, 2, tokens.shape).astype("int32"),
                "padding_mask": mask,
            }
        if isinstance(model, keras.Sequential):
            return rng.standard_normal((examples, 16, 4)).astype("float32")
        return tokens

    return make


@pytest.fixture(scope="session")
def read_tensors() -> Any:
    """Returns a function: path → (name, array, scales) of each constant of a `.tflite` file."""
    from ai_edge_litert import interpreter as litert

    plain_kernels = litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES

    def read(path: Path) -> list[tuple[str, np.ndarray, np.ndarray]]:
        # XNNPACK would take the constants away and leave nothing to read.
        engine = litert.Interpreter(str(path), experimental_op_resolver_type=plain_kernels)
        engine.allocate_tensors()
        found = []
        for detail in engine.get_tensor_details():
            try:
                value = engine.get_tensor(detail["index"])
            except ValueError:  # a tensor without data
                continue
            found.append((detail["name"], value, detail["quantization_parameters"]["scales"]))
        return found

    return read
