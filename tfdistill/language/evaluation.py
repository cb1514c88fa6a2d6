"""How good a language model is, and how near to its teacher: three numbers over a text."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdistill.distill.losses.divergence import kl
from tfdistill.language.packing import IGNORED, next_tokens
from tfdistill.runtime.interpreter import Interpreter
from tfdistill.runtime.kv_cache import KVCache

__all__ = ["LanguageScores", "score_language_model"]


@dataclass(frozen=True)
class LanguageScores:
    """Figures of a language model over a text.

    Attributes:
        perplexity: exp of the mean of −log q(next token), at least 1.
        agreement: Share of positions, in [0, 1], whose most probable token is the teacher's; None
            without a teacher.
        kl: Mean of KL(teacher ‖ model) in nats; None without a teacher.
        num_tokens: Number of tokens that were predicted.
    """

    perplexity: float
    agreement: float | None
    kl: float | None
    num_tokens: int


def score_language_model(
    model: keras.Model | str | os.PathLike[str],
    rows: Any,
    *,
    labels: Any = None,
    teacher: keras.Model | None = None,
    batch_size: int = 8,
) -> LanguageScores:
    """Measures perplexity and, with a teacher, agreement and divergence.

    Args:
        model: Token ids `[B, L]` in, logits `[B, L, V]` out; or the path of a language model's
            `.tflite` file, which is read token by token, as it is in use.
        rows: Token ids, int `[N, L]`.
        labels: The next token of each position, `IGNORED` where none counts; None takes
            `next_tokens(rows)`.
        teacher: A model of the same vocabulary, or None.
        batch_size: Rows at a time.

    Returns:
        The `LanguageScores` over all positions that count.

    Raises:
        ValueError: If no position counts, or rows are longer than the file's context.

    Example:
        >>> from tfdistill.students import causal_lm
        >>> model = causal_lm(vocabulary_size=8, num_layers=1, hidden_dim=4, num_heads=1,
        ...                   intermediate_dim=4, seed=0)
        >>> _ = model.get_layer("token_embedding").embeddings.assign(np.zeros((8, 4)))
        >>> scores = score_language_model(model, [[1, 2, 3]], teacher=model)
        >>> round(scores.perplexity, 3), scores.agreement, scores.num_tokens  # even: 1 in 8
        (8.0, 1.0, 2)
    """
    rows = np.asarray(rows, np.int32)
    labels = next_tokens(rows) if labels is None else np.asarray(labels)
    count = int(np.sum(labels != IGNORED))
    if not count:
        raise ValueError(
            "`labels` must have a position that counts. Received: all of "
            f"{labels.size} are IGNORED. Give whole rows, or leave `labels` out."
        )

    in_file = isinstance(model, str | os.PathLike)
    answers = _from_file(model, rows.shape[1]) if in_file else _from_model(model)
    beliefs = None if teacher is None else _from_model(teacher)
    totals = np.zeros(3)
    for start in range(0, len(rows), batch_size):
        ids, wanted = (tf.constant(each[start : start + batch_size]) for each in (rows, labels))
        believed = None if beliefs is None else beliefs(ids)
        totals += [float(each) for each in _sums(answers(ids), believed, wanted)]
    loss, same, divergence = totals / count
    known = teacher is not None
    return LanguageScores(
        perplexity=math.exp(loss),
        agreement=float(same) if known else None,
        kl=max(divergence, 0.0) if known else None,
        num_tokens=count,
    )


def _from_model(model: keras.Model) -> Callable[[tf.Tensor], Any]:
    return tf.function(lambda ids: model(ids, training=False), reduce_retracing=True)


def _from_file(path: str | os.PathLike[str], length: int) -> Callable[[tf.Tensor], Any]:
    try:
        cache = KVCache(Interpreter(path))
    except ValueError as error:
        raise ValueError(
            f"`model` must be a language model or the path of its .tflite file. Received: "
            f"model={str(path)!r} ({error}). Write one with `save_language_bundle`."
        ) from error
    if length > cache.context_length:
        raise ValueError(
            f"`rows` must be at most as long as the file's context, {cache.context_length} tokens. "
            f"Received: rows of {length} tokens. Cut them, or export a longer context."
        )

    def logits(row: np.ndarray) -> np.ndarray:
        cache.clear()
        return np.stack([cache.read([token]) for token in row])

    return lambda ids: np.stack([logits(row) for row in ids.numpy()])


def _sums(logits: Any, teacher_logits: Any, wanted: tf.Tensor) -> tuple[Any, Any, Any]:
    """Sums over the positions that count: −log q, equal first choices, KL."""
    counts = tf.cast(wanted != IGNORED, tf.float32)
    log_q = tf.nn.log_softmax(tf.cast(logits, tf.float32))
    loss = -tf.reduce_sum(counts * tf.gather(log_q, tf.maximum(wanted, 0), batch_dims=2))
    if teacher_logits is None:
        return loss, 0.0, 0.0
    log_p = tf.nn.log_softmax(tf.cast(teacher_logits, tf.float32))
    same = tf.cast(tf.argmax(log_p, -1) == tf.argmax(log_q, -1), tf.float32)
    return loss, tf.reduce_sum(counts * same), tf.reduce_sum(counts * kl(log_p, log_q))
