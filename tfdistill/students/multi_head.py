"""One encoder, several heads: taggers that answer every token, and students with many tasks.

A request needs several answers, and most of what an answer costs is reading the text. So the tasks
share one encoder, are trained together, and are exported as one file whose signatures share their
weights (`head_signatures`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from tfdistill.arguments import check_int
from tfdistill.introspection.backend import check_model
from tfdistill.students.encoder import text_encoder
from tfdistill.students.encoder_blocks import EncoderBlock

__all__ = ["at_length", "head_signatures", "multi_head_encoder", "token_tagger"]

_OWN_NAMES = ("encode", "hidden", "ids", "logits", "pooled")


def token_tagger(*, num_tags: int, seed: int | None = None, **sizes: Any) -> keras.Model:
    """Builds a student that answers every token: int32 token ids in, logits per token out.

    Its blocks are those of `text_encoder`; what reads them is a Dense layer per token in place of
    the pooling. It is distilled as a classifier is: a Distiller takes logits of `[B, L, C]`, with
    a `sample_weight` of `[B, L]` that is 0 at padding.

    Args:
        num_tags: Number of tags C, at least 2.
        seed: Seed of the initial weights and of dropout; None draws one.
        **sizes: What `text_encoder` takes besides: `vocabulary_size`, `sequence_length`,
            `hidden_dim` and so on.

    Returns:
        A Functional model with the input `ids`, int32 `[B, L]`, and the output `logits`, float32
        `[B, L, C]`.

    Raises:
        ValueError: If a size is out of range.

    Example:
        >>> import numpy as np
        >>> tagger = token_tagger(num_tags=5, vocabulary_size=100, sequence_length=8, seed=0,
        ...                       hidden_dim=8, num_layers=1, intermediate_dim=16)
        >>> tagger(np.array([[5, 7, 0, 0, 0, 0, 0, 0]])).shape
        TensorShape([1, 8, 5])

    References:
        Devlin et al. "BERT", 2018, section 5.3. https://arxiv.org/abs/1810.04805
    """
    both = multi_head_encoder(token_heads={"tags": num_tags}, seed=seed, **sizes)
    return keras.Model(both.input, both.output["tags"], name="token_tagger")


def multi_head_encoder(
    *,
    token_heads: Mapping[str, int] | None = None,
    text_heads: Mapping[str, int] | None = None,
    blocks_read: Mapping[str, int] | None = None,
    seed: int | None = None,
    name: str = "multi_head_encoder",
    **sizes: Any,
) -> keras.Model:
    """Builds one encoder with several heads: token ids in, a dict of logits out.

    Args:
        token_heads: Number of tags of each head that answers every token, by its name.
        text_heads: Number of classes of each head that answers the text, by its name.
        blocks_read: After how many blocks a token head reads the states, an int in
            [1, num_layers], by its name; a signature of that head alone runs no more of them. A
            head that is not named reads what comes out of the last.
        seed: Seed of the initial weights and of dropout; None draws one.
        name: Name of the model.
        **sizes: What `text_encoder` takes besides.

    Returns:
        A Functional model with the input `ids`, int32 `[B, L]`, and for each head its logits,
        float32 `[B, L, C]` or `[B, C]`. The layer of a head has the head's name.

    Raises:
        ValueError: If there is no head, two have one name, a size is out of range, or
            `blocks_read` names no token head or no block.

    Example:
        >>> import numpy as np
        >>> student = multi_head_encoder(
        ...     token_heads={"slots": 5}, text_heads={"intent": 3}, vocabulary_size=100, seed=0,
        ...     sequence_length=8, hidden_dim=8, num_layers=1, intermediate_dim=16)
        >>> {name: tuple(logits.shape) for name, logits in student(np.ones((2, 8))).items()}
        {'slots': (2, 8, 5), 'intent': (2, 3)}

    References:
        Caruana. "Multitask Learning", 1997. https://doi.org/10.1023/A:1007379606734
    """
    per_token, per_text = dict(token_heads or {}), dict(text_heads or {})
    names = [*per_token, *per_text]
    if not names or len(set(names)) < len(names) or set(names) & set(_OWN_NAMES):
        raise ValueError(
            "`token_heads` and `text_heads` must name at least one head, each once, and none of "
            f"{_OWN_NAMES}. Received: {names}."
        )
    for head, classes in (per_token | per_text).items():
        check_int(classes, argument=head, at_least=2, hint="It is the head's number of classes.")
    seed = int(np.random.default_rng(seed).integers(2**30))
    # The classes of the encoder's own head do not matter: that layer is left out.
    body = text_encoder(num_classes=2, seed=seed, **sizes)
    states = _states(body)
    depths = _check_depths(blocks_read or {}, heads=per_token, blocks=len(states))
    pooled = body.get_layer("logits").input
    outputs = {}
    for index, (head, classes) in enumerate((per_token | per_text).items()):
        layer = keras.layers.Dense(
            classes,
            kernel_initializer=keras.initializers.GlorotUniform(seed=seed + 1000 + index),
            name=head,
        )
        outputs[head] = layer(states[depths[head] - 1] if head in per_token else pooled)
    return keras.Model(body.input, outputs, name=name)


def _states(body: keras.Model) -> list[Any]:
    """Lists what comes out of each block of an encoder, the first block's first."""
    states = [body.get_layer("pooling").input[0]]
    while True:
        history = states[0]._keras_history
        node = history.operation._inbound_nodes[history.node_index]
        before = node.input_tensors[0]
        if not isinstance(before._keras_history.operation, EncoderBlock):
            return states
        states.insert(0, before)


def _check_depths(
    given: Mapping[str, int], *, heads: Mapping[str, int], blocks: int
) -> dict[str, int]:
    """Returns the number of blocks that each token head reads through."""
    for head, depth in given.items():
        whole = isinstance(depth, int) and not isinstance(depth, bool)
        if head not in heads or not whole or not 1 <= depth <= blocks:
            raise ValueError(
                f"`blocks_read` must give token heads {sorted(heads)} a number of blocks in "
                f"[1, {blocks}]. Received: blocks_read={dict(given)!r}. A head that answers the "
                "text reads them all."
            )
    return {head: given.get(head, blocks) for head in heads}


def at_length(model: keras.Model, sequence_length: int | None) -> keras.Model:
    """Gives an encoder another length: for export, shorter than it was built; None leaves it open.

    Args:
        model: A model of this file or of `text_encoder`. Its weights are shared with the result.
        sequence_length: Number of ids per text, at most the model's own; None reads any.

    Returns:
        A Functional model of the very same layers.

    Raises:
        TypeError: If `model` is not a Keras 3 model.
    """
    check_model(model, argument="model")
    ids = keras.Input((sequence_length,), dtype="int32", name="ids")
    return keras.models.clone_model(model, input_tensors=ids, clone_function=lambda layer: layer)


def head_signatures(model: keras.Model) -> dict[str, keras.Model]:
    """Cuts a model with several heads into the signatures of one file.

    ==========  ==============================================================================
    `encode`    ids → `hidden` `[B, L, D]` and, where a head needs it, `pooled`: once per text
    a head      `hidden` or `pooled` → its logits, by the head's name
    `all`       ids → the logits of every head, in one call
    ==========  ==============================================================================

    A head that reads other states than the token heads before it (`blocks_read`) has them as
    `<head>_hidden`.

    Args:
        model: From `multi_head_encoder`.

    Returns:
        Models by the name of their signature, for `to_tflite`; they share their weights, which
        the file holds once.

    Raises:
        ValueError: If the model has not several named heads.

    Example:
        >>> student = multi_head_encoder(
        ...     token_heads={"slots": 5}, text_heads={"intent": 3}, vocabulary_size=100,
        ...     sequence_length=8, hidden_dim=8, num_layers=1, intermediate_dim=16)
        >>> sorted(head_signatures(student))
        ['all', 'encode', 'intent', 'slots']
    """
    if not isinstance(model.output, Mapping):
        raise ValueError(
            "`model` must have a dict of heads, as `multi_head_encoder` makes it. Received: "
            f"{model.name!r} with outputs {model.output}."
        )
    parts: dict[str, Any] = {}
    signatures: dict[str, keras.Model] = {}
    for head in model.output:
        layer = model.get_layer(head)
        source = "hidden" if len(layer.input.shape) == 3 else "pooled"
        if parts.setdefault(source, layer.input) is not layer.input:
            source = f"{head}_hidden"
            parts[source] = layer.input
        inputs = keras.Input(layer.input.shape[1:], name=source)
        signatures[head] = keras.Model(inputs, {"logits": layer(inputs)}, name=head)
    encode = keras.Model(model.input, parts, name="encode")
    return {"encode": encode, **signatures, "all": model}
