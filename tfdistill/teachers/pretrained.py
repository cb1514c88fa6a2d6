"""Pretrained teachers: a KerasHub backbone from a folder, made into a text classifier.

Any folder that KerasHub reads will do: its own presets, or the files of a Hugging Face model.
The classifier takes one input, the token ids, so that teacher and student can be fed alike.
"""

from __future__ import annotations

import importlib
import pathlib

import keras
import numpy as np
from keras import ops

from tfdistill.introspection.backend import check_model
from tfdistill.students.encoder_blocks import MaskedMean, TokenLookup

__all__ = ["load_backbone", "text_classifier", "text_features", "with_head"]


def load_backbone(folder: str | pathlib.Path) -> keras.Model:
    """Loads a BERT-like backbone with KerasHub.

    Args:
        folder: A KerasHub preset, or a folder with a Hugging Face `config.json` and weights.

    Returns:
        A KerasHub `BertBackbone`.

    Raises:
        ImportError: If KerasHub is not installed.
        ValueError: If the folder holds no model that KerasHub knows.
    """
    try:
        hub = importlib.import_module("keras_hub")
    except ImportError as error:
        raise ImportError(
            "Loading a pretrained teacher needs KerasHub. "
            "Install it with `pip install 'tfdistill[hub]'`."
        ) from error
    try:
        return hub.models.BertBackbone.from_preset(str(folder))
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(
            "`folder` must hold a BERT model that KerasHub can read. "
            f"Received: folder={str(folder)!r}. It needs config.json and model.safetensors."
        ) from error


def text_features(
    backbone: keras.Model, *, sequence_length: int | None, kept_ids: np.ndarray | None = None
) -> keras.Model:
    """Makes a model from token ids to the mean of the backbone's last hidden states.

    Args:
        backbone: A KerasHub BERT backbone.
        sequence_length: Number of ids per text, or None for any; 0 is padding.
        kept_ids: If the ids are those of a cut vocabulary, the teacher's id of each.

    Returns:
        A Functional model, int32 `[B, T]` to float32 `[B, D]`; it shares the backbone's weights.

    Raises:
        TypeError: If `backbone` is not a Keras 3 model.
    """
    check_model(backbone, argument="backbone")
    ids = keras.Input((sequence_length,), dtype="int32", name="ids")
    tokens = ids if kept_ids is None else TokenLookup(kept_ids, name="lookup")(ids)
    is_token = ops.not_equal(ids, 0)
    states = backbone(
        {
            "token_ids": tokens,
            "segment_ids": ops.zeros_like(ids),
            "padding_mask": ops.cast(is_token, "int32"),
        }
    )["sequence_output"]
    return keras.Model(ids, MaskedMean(name="pooling")(states, is_token), name="features")


def text_classifier(
    features: keras.Model, *, num_classes: int, hidden_dim: int | None = None
) -> keras.Model:
    """Makes the head of a teacher: features in, logits out.

    The features are standardized by a layer that is part of the head, so the same settings
    train a head on any backbone; call `head.get_layer("scale").adapt(features)` before `fit`.

    Args:
        features: The model that makes the features, for their width.
        num_classes: Number of classes.
        hidden_dim: Width of one hidden layer, or None for a linear head.

    Returns:
        A Functional model, float32 `[B, D]` to float32 `[B, C]`.
    """
    inputs = keras.Input(features.output_shape[1:], name="features")
    x = keras.layers.Normalization(name="scale")(inputs)
    if hidden_dim is not None:
        x = keras.layers.Dense(hidden_dim, activation="relu", name="hidden")(x)
        x = keras.layers.Dropout(0.2, name="dropout")(x)
    logits = keras.layers.Dense(num_classes, name="logits")(x)
    return keras.Model(inputs, logits, name="head")


def with_head(features: keras.Model, head: keras.Model) -> keras.Model:
    """Joins features and head into a teacher: ids in, logits out.

    Args:
        features: From `text_features`.
        head: From `text_classifier`, trained on these features.

    Returns:
        A Functional model that shares the weights of both.
    """
    return keras.Model(features.input, head(features.output), name="teacher")
