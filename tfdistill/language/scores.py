"""How good a language model is, and how near to its teacher: three numbers over a text."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdistill.divergence import kl
from tfdistill.language.running_text import IGNORED, next_tokens

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
    model: keras.Model,
    rows: Any,
    *,
    labels: Any = None,
    teacher: keras.Model | None = None,
    batch_size: int = 8,
) -> LanguageScores:
    """Measures perplexity and, with a teacher, agreement and divergence.

    Args:
        model: Token ids `[B, L]` in, logits `[B, L, V]` out.
        rows: Token ids, int `[N, L]`.
        labels: The next token of each position, `IGNORED` where none counts; None takes
            `next_tokens(rows)`.
        teacher: A model of the same vocabulary, or None.
        batch_size: Rows at a time.

    Returns:
        The `LanguageScores` over all positions that count.

    Raises:
        ValueError: If no position counts.

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

    @tf.function(reduce_retracing=True)
    def sums(ids: tf.Tensor, wanted: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        counts = tf.cast(wanted != IGNORED, tf.float32)
        log_q = tf.nn.log_softmax(tf.cast(model(ids, training=False), tf.float32))
        chosen = tf.gather(log_q, tf.maximum(wanted, 0), batch_dims=2)
        loss = -tf.reduce_sum(counts * chosen)
        if teacher is None:
            return loss, tf.constant(0.0), tf.constant(0.0)
        log_p = tf.nn.log_softmax(tf.cast(teacher(ids, training=False), tf.float32))
        same = tf.cast(tf.argmax(log_p, -1) == tf.argmax(log_q, -1), tf.float32)
        return loss, tf.reduce_sum(counts * same), tf.reduce_sum(counts * kl(log_p, log_q))

    totals = np.zeros(3)
    for start in range(0, len(rows), batch_size):
        part = slice(start, start + batch_size)
        totals += [float(each) for each in sums(tf.constant(rows[part]), tf.constant(labels[part]))]
    loss, same, divergence = totals / count
    known = teacher is not None
    return LanguageScores(
        perplexity=math.exp(loss),
        agreement=float(same) if known else None,
        kl=max(divergence, 0.0) if known else None,
        num_tokens=count,
    )
