"""What `tfdistill.compress` and TF-MOT can compress at all; part of `compress_vs_tfmot.py`."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tf_keras

import tfdistill as td
from tfdistill.introspection.backend import tfmot

Fit = Callable[[], object]
WIDTHS = (256, 256, 256, 10)
BATCH = 32


def dense(library: Any) -> Any:
    """Builds the same model in Keras 3 or tf_keras."""
    layers = [library.layers.Dense(width, activation="relu") for width in WIDTHS[:-1]]
    return library.Sequential([library.Input((128,)), *layers, library.layers.Dense(WIDTHS[-1])])


def fit_of(model: Any, library: Any, x: np.ndarray, y: np.ndarray, callbacks: list) -> Fit:
    """Compiles a model and returns an epoch of its `fit`."""
    loss = library.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(library.optimizers.Adam(1e-3), loss=loss)
    return lambda: model.fit(x, y, batch_size=BATCH, verbose=0, callbacks=callbacks)


def attention(library: Any) -> Any:
    """Builds an embedding, an attention layer and a Dense layer."""
    ids = library.Input((8,), dtype="int32")
    x = library.layers.Embedding(16, 8)(ids)
    x = library.layers.MultiHeadAttention(2, 4)(x, x)
    x = library.layers.LayerNormalization()(x)
    x = library.layers.GlobalAveragePooling1D()(x)
    return library.Model(ids, library.layers.Dense(4)(x))


def nested(library: Any) -> Any:
    """Builds a model with a model inside."""
    inner = library.Sequential([library.Input((128,)), library.layers.Dense(8)])
    inputs = library.Input((128,))
    return library.Model(inputs, library.layers.Dense(4)(inner(inputs)))


def subclassed(library: Any) -> Any:
    """Builds a model of a class of its own."""

    class Own(library.Model):
        """One Dense layer behind a `call` of its own."""

        def __init__(self, **arguments: Any) -> None:
            super().__init__(**arguments)
            self.inner = library.layers.Dense(8, name="inner")

        def call(self, inputs: Any) -> Any:
            return self.inner(inputs)

    model = Own()
    model(np.zeros((1, 128), "float32"))
    return model


def coverage_table() -> str:
    """Lets both compress and train four kinds of models, and quotes what they say."""
    kinds: dict[str, Callable[[Any], Any]] = {
        "Dense": dense,
        "attention, embedding, norm": attention,
        "nested": nested,
        "subclassed": subclassed,
    }
    pruning, quantization = tfmot().sparsity.keras, tfmot().quantization.keras
    clustering = tfmot().clustering.keras
    constant = pruning.ConstantSparsity(0.5, begin_step=0, frequency=1)
    kmeans = clustering.CentroidInitialization.KMEANS_PLUS_PLUS
    verbs: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
        "prune": (
            lambda model: td.prune_low_magnitude(model, sparsity=0.5, steps=1),
            lambda model: pruning.prune_low_magnitude(model, constant),
        ),
        "prune 2:4": (
            lambda model: td.prune_low_magnitude(model, pattern=(2, 4), steps=1),
            lambda model: pruning.prune_low_magnitude(model, constant, sparsity_m_by_n=(2, 4)),
        ),
        "prune blocks of 1 x 4": (
            lambda model: td.prune_low_magnitude(model, block_size=(1, 4), steps=1),
            lambda model: pruning.prune_low_magnitude(model, constant, block_size=(1, 4)),
        ),
        "cluster": (
            lambda model: td.cluster_weights(model, number_of_clusters=4),
            lambda model: clustering.cluster_weights(model, 4, kmeans),
        ),
        "quantize": (td.quantize_aware, quantization.quantize_model),
    }
    lines = [
        "\nWhat each can compress and then train for a step; TF-MOT gets the model in tf_keras",
        "",
        "| model | technique | tfdistill | TF-MOT |",
        "| --- | --- | --- | --- |",
    ]
    callbacks = [pruning.UpdatePruningStep()]
    for kind, build in kinds.items():
        for verb, (ours, theirs) in verbs.items():
            said = attempt(ours, build, keras, []), attempt(theirs, build, tf_keras, callbacks)
            lines.append(f"| {kind} | {verb} | {said[0]} | {said[1]} |")
    lines += ["", "TF-MOT on the Dense model in Keras 3", "", "| technique | |", "| --- | --- |"]
    for verb, (_, theirs) in verbs.items():
        lines.append(f"| {verb} | {attempt(theirs, dense, keras, callbacks)} |")
    return "\n".join(lines)


def attempt(compress: Callable[[Any], Any], build: Callable, library: Any, callbacks: list) -> str:
    """Compresses a fresh model and trains it for a step; returns "yes" or the error's text."""
    x = np.zeros((4, 8), "int32") if build is attention else np.zeros((4, 128), "float32")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            compressed = compress(build(library))
            if compressed is None:
                return "returns None, without a word"
            prunes = any("prune" in layer.name for layer in compressed.layers)
            y = np.zeros(4, "int32")
            fit_of(compressed, library, x, y, callbacks if prunes else [])()
        except Exception as error:  # noqa: BLE001 (whatever it says is what we want to quote)
            return quote(error)
    return "yes"


def quote(error: Exception, *, length: int = 160) -> str:
    """Puts the text of an error, the innermost if it quotes others, into a cell of a table."""
    text = f"{type(error).__name__}: {error}"
    inner = re.findall(r"^\s*(\w+Error: .+)$", text, flags=re.MULTILINE)
    flat = " ".join((inner[-1] if inner else text).split()).replace("|", "\\|")
    return flat if len(flat) <= length else f"{flat[: length - 1]}…"
