"""Layers by path: "encoder_1", "bert_backbone/transformer_layer_5", or its unambiguous end.

A path is made of the names of the layers on the way down, as `model.summary(expand_nested=True)`
shows them, with slashes between. It reaches layers inside nested models, inside other layers,
in attributes and lists of subclassed models, and inside a `Compressed` student, whose layers go
by the names of the plain one.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import keras

from tfdistill.introspection.weights import walk_layers

__all__ = [
    "StudentWrapper",
    "find_attention",
    "find_layer",
    "list_layers",
    "match_path",
]


class StudentWrapper:
    """Marks a model that runs another one, whose layers users name by their own paths.

    Attributes:
        student: The model inside.
    """

    student: keras.Model


def list_layers(*models: keras.layers.Layer) -> dict[str, list[keras.layers.Layer]]:
    """Lists every layer below a model by its path.

    Args:
        models: A Keras 3 model; of a `Compressed` one, the student inside. If there are several,
            the paths begin with their names.

    Returns:
        Paths, each with its layers: more than one where siblings have the same name.

    Example:
        >>> inner = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="a")], name="b")
        >>> list(list_layers(keras.Sequential([keras.Input((2,)), inner])))
        ['b', 'b/a']
    """
    found: dict[str, list[keras.layers.Layer]] = {}
    tops = [
        (
            f"{model.name}/" if len(models) > 1 else "",
            model.student if isinstance(model, StudentWrapper) else model,
        )
        for model in models
    ]
    for path, layer in walk_layers(tops):
        same = found.setdefault(path, [])
        if not any(layer is other for other in same):
            same.append(layer)
    return found


def match_path(path: str, paths: Sequence[str], *, argument: str, where: str) -> str:
    """Finds the one path that is `path` or ends in it.

    Args:
        path: What the user wrote.
        paths: What there is.
        argument: Name of the user's argument, for the messages.
        where: What `paths` belong to, for the messages.

    Returns:
        An element of `paths`.

    Raises:
        ValueError: If there is none, with the nearest names, or more than one.

    Example:
        >>> match_path("encoder_1", ["bert/encoder_0", "bert/encoder_1"], argument="teacher",
        ...            where="the teacher")
        'bert/encoder_1'
    """
    if path in paths:
        return path
    matches = [other for other in paths if other.endswith(f"/{path}")]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise ValueError(
            f"`{argument}` must name one layer of {where}. Received: {argument}={path!r}, which "
            f"may be {_listing(matches)}. Write more of the path."
        )
    if not paths:
        raise ValueError(
            f"`{argument}` must name a layer of {where}. Received: {argument}={path!r}, "
            f"but {where} has no layers."
        )
    raise ValueError(
        f"`{argument}` must name a layer of {where}. Received: {argument}={path!r}. "
        f"The nearest names are {_listing(_nearest(path, paths))}."
    )


def find_layer(
    models: Sequence[keras.Model], path: str, *, argument: str, where: str
) -> tuple[str, keras.layers.Layer]:
    """Finds a layer by its path or the unambiguous end of it.

    Args:
        models: The Keras 3 models to look in.
        path: The path.
        argument: Name of the user's argument, for the messages.
        where: What the models are, for the messages.

    Returns:
        The whole path and the layer.

    Raises:
        ValueError: If no layer or more than one fits.
    """
    layers = list_layers(*models)
    # A layer that is reached in two ways is still one layer: its shortest path stands for it.
    shortest: dict[int, str] = {}
    for whole, same in layers.items():
        for layer in same:
            shortest.setdefault(id(layer), whole)
    known = [whole for whole, same in layers.items() if shortest[id(same[0])] == whole]
    named = path if path not in layers else shortest[id(layers[path][0])]
    whole = match_path(named, known, argument=argument, where=where)
    if len(layers[whole]) > 1:
        raise ValueError(
            f"`{argument}` must name one layer of {where}. Received: {argument}={path!r}, which "
            f"{len(layers[whole])} layers are called. Give them names of their own."
        )
    return whole, layers[whole][0]


def find_attention(
    path: str, layer: keras.layers.Layer, *, argument: str
) -> tuple[str, keras.layers.MultiHeadAttention]:
    """Finds the attention layer that a path means: the layer itself or the only one inside.

    Args:
        path: Whole path of the layer.
        layer: The layer.
        argument: Name of the user's argument, for the messages.

    Returns:
        Path and layer; KerasHub's `CachedMultiHeadAttention` is one as well.

    Raises:
        ValueError: If there is none or more than one inside.
    """
    if isinstance(layer, keras.layers.MultiHeadAttention):
        return path, layer
    inside = [
        (f"{path}/{below}", same[0])
        for below, same in list_layers(layer).items()
        if isinstance(same[0], keras.layers.MultiHeadAttention)
    ]
    if len(inside) == 1:
        return inside[0]
    found = "none" if not inside else _listing([whole for whole, _ in inside])
    raise ValueError(
        f"`{argument}` must name a MultiHeadAttention layer, or a layer with exactly one of them "
        f"inside, for a loss on attention. Received: {argument}={path!r}, which has {found}."
    )


def _nearest(path: str, paths: Sequence[str]) -> list[str]:
    """Ranks by the end of the path, of as many parts as the user wrote."""
    parts = path.count("/") + 1
    ends: dict[str, list[str]] = {}
    for other in paths:
        ends.setdefault("/".join(other.split("/")[-parts:]), []).append(other)
    near = difflib.get_close_matches(path, list(ends), n=3, cutoff=0.0)
    return [other for end in near for other in ends[end]]


def _listing(paths: Sequence[str]) -> str:
    shown = ", ".join(repr(path) for path in paths[:5])
    return shown if len(paths) <= 5 else f"{shown} and {len(paths) - 5} more"
