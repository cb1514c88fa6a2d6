"""Losses between what two networks hold inside: tensors in, one loss per example or token out.

Hidden states are compared as vectors, attention as the distributions that it is, and relations
(MiniLMv2) as the distributions that the dot products of queries, keys or values make, which
asks neither for equal widths nor for equal head counts. None of them lets a gradient through to
the teacher, and all of them compute in float32 at least.
"""

from __future__ import annotations

import math

import tensorflow as tf

from tfdistill.distill.losses.divergence import at_least_float32, kl

__all__ = ["attention_kl", "attention_scores", "hidden_cosine", "hidden_mse", "relation_kl"]

_WIDTHS = "A `FeatureLoss` brings another width to the teacher's with a learned projector."
_HEADS = "`relation_kl` compares layers of different head counts."


def hidden_mse(teacher_states: tf.Tensor, student_states: tf.Tensor) -> tf.Tensor:
    """Measures how far the student's hidden states are from the teacher's.

    (1/D) · Σ (s − t)². The gradient on the student's states is 2 · (s − t) / D.

    Args:
        teacher_states: Float tensor of shape `[..., D]`. Receives no gradient.
        student_states: Float tensor of the same shape.

    Returns:
        Mean squared error, float tensor of shape `[...]`: one for each example or token.

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> float(hidden_mse([[1.0, 2.0]], [[1.0, 4.0]])[0])
        2.0

    References:
        Romero et al. "FitNets: Hints for Thin Deep Nets", 2014.
        https://arxiv.org/abs/1412.6550
    """
    teacher, student = _pair(teacher_states, student_states, what="states", hint=_WIDTHS)
    return tf.reduce_mean(tf.math.squared_difference(teacher, student), axis=-1)


def hidden_cosine(teacher_states: tf.Tensor, student_states: tf.Tensor) -> tf.Tensor:
    """Measures how far the student's hidden states point away from the teacher's.

    1 − s·t / (|s| · |t|): the direction counts, the length does not. A vector of zeros has no
    direction; its loss is 1 and its gradient 0.

    Args:
        teacher_states: Float tensor of shape `[..., D]`. Receives no gradient.
        student_states: Float tensor of the same shape.

    Returns:
        Loss in [0, 2], float tensor of shape `[...]`.

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> hidden_cosine([[0.0, 2.0]] * 3, [[0.0, 9.0], [1.0, 0.0], [0.0, -1.0]]).numpy()
        array([0., 1., 2.], dtype=float32)

    References:
        Sanh et al. "DistilBERT", 2019, section 3. https://arxiv.org/abs/1910.01108
    """
    teacher, student = _pair(teacher_states, student_states, what="states", hint=_WIDTHS)
    return 1.0 - tf.reduce_sum(_direction(teacher) * _direction(student), axis=-1)


def attention_scores(query: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
    """Computes what an attention layer takes the softmax of: Q·Kᵀ / √d.

    Args:
        query: Float tensor of shape `[B, L, H, d]`.
        key: Float tensor of the same shape.

    Returns:
        Float tensor of shape `[B, H, L, L]`; the keys are on the last axis.

    Example:
        >>> attention_scores([[[[2.0]], [[1.0]]]], [[[[3.0]], [[4.0]]]]).numpy()[0, 0]
        array([[6., 8.], [3., 4.]], dtype=float32)
    """
    query, key = at_least_float32(query), at_least_float32(key)
    return tf.einsum("blhd,bmhd->bhlm", query / math.sqrt(query.shape[-1]), key)


def attention_kl(
    teacher_scores: tf.Tensor, student_scores: tf.Tensor, *, mask: tf.Tensor | None = None
) -> tf.Tensor:
    """Measures how differently the student's heads distribute their attention.

    (1/H) · Σ KL( softmax(teacher) ‖ softmax(student) ) over the heads, for each position. The
    gradient on the student's scores is (q − p) / H.

    Args:
        teacher_scores: Attention before its softmax (`attention_scores`), float tensor of shape
            `[B, H, L, L]`. Receives no gradient.
        student_scores: Float tensor of the same shape.
        mask: Which keys a position may attend to, bool tensor that broadcasts to the scores;
            None is all of them.

    Returns:
        Loss in nats, float tensor of shape `[B, L]`.

    Raises:
        ValueError: If the shapes, and with them the numbers of heads, differ.

    Example:
        >>> teacher = tf.math.log([[[[0.25, 0.75]] * 2]])  # one head, two positions
        >>> attention_kl(teacher, tf.zeros([1, 1, 2, 2])).numpy().round(4)
        array([[0.1308, 0.1308]], dtype=float32)

    References:
        Wang et al. "MiniLM", 2020, section 3.1. https://arxiv.org/abs/2002.10957
    """
    teacher, student = _pair(teacher_scores, student_scores, what="scores", hint=_HEADS)
    divergence = kl(_log_softmax(teacher, mask), _log_softmax(student, mask))
    return tf.reduce_mean(divergence, axis=-2)


def relation_kl(
    teacher_vectors: tf.Tensor,
    student_vectors: tf.Tensor,
    *,
    mask: tf.Tensor | None = None,
    relation_heads: int | None = None,
) -> tf.Tensor:
    """Measures how differently the student relates each position to all others.

    The vectors A of all heads are joined and split again into r relation heads, so that only r
    has to divide both widths. R = softmax(A·Aᵀ / √(H·d/r)) then is a distribution over the
    positions on both sides, and the loss is (1/r) · Σ KL(R_teacher ‖ R_student). MiniLMv2 takes
    the loss of the queries, of the keys and of the values; `FeatureLoss` averages the three.

    Args:
        teacher_vectors: Queries, keys or values of an attention layer, float tensor of shape
            `[B, L, H, d]`. Receives no gradient.
        student_vectors: Float tensor `[B, L, H', d']`.
        mask: Which positions are real, bool tensor `[B, L]`; None is all of them.
        relation_heads: Number r of relation heads, an int that divides H·d and H'·d'. None
            takes the largest one that is not above the teacher's H. The paper has 48 for a
            width of 768: more, and thus narrower, than the attention has.

    Returns:
        Loss in nats, float tensor of shape `[B, L]`.

    Raises:
        ValueError: If the lengths differ or `relation_heads` does not divide the widths.

    Example:
        >>> root = math.sqrt(math.log(3.0))
        >>> teacher = tf.constant([[[[0.0]], [[root]]]])  # relations (1/2, 1/2) and (1/4, 3/4)
        >>> relation_kl(teacher, tf.zeros([1, 2, 2, 3])).numpy().round(4)  # two heads of width 3
        array([[0.    , 0.1308]], dtype=float32)

    References:
        Wang et al. "MiniLMv2", 2021, section 3. https://arxiv.org/abs/2012.15828
    """
    teacher = tf.stop_gradient(at_least_float32(teacher_vectors))
    student = tf.cast(at_least_float32(student_vectors), teacher.dtype)
    if not teacher.shape[:2].is_compatible_with(student.shape[:2]):
        raise ValueError(
            "`teacher_vectors` and `student_vectors` must have the same number of positions. "
            f"Received: teacher_vectors → {tuple(teacher.shape)}, student_vectors → "
            f"{tuple(student.shape)}. Feed both models the same tokens."
        )
    widths = [math.prod(vectors.shape[2:]) for vectors in (teacher, student)]
    heads = _relation_heads(relation_heads, widths, at_most=teacher.shape[2])
    keys = None if mask is None else tf.cast(mask, tf.bool)[:, tf.newaxis, tf.newaxis, :]
    log_relations = []
    for vectors, width in zip((teacher, student), widths, strict=True):
        shape = tf.concat([tf.shape(vectors)[:2], [heads, width // heads]], axis=0)
        split = tf.reshape(vectors, shape)
        split = tf.ensure_shape(split, [*vectors.shape[:2], heads, width // heads])
        log_relations.append(_log_softmax(attention_scores(split, split), keys))
    return tf.reduce_mean(kl(*log_relations), axis=1)


def _relation_heads(given: int | None, widths: list[int], *, at_most: int) -> int:
    common = math.gcd(*widths)
    if given is None:
        return max(count for count in range(1, at_most + 1) if common % count == 0)
    if isinstance(given, bool) or not isinstance(given, int) or given < 1 or common % given:
        example = _relation_heads(None, widths, at_most=max(1, common // 16))  # 16 numbers each
        raise ValueError(
            "`relation_heads` must divide the widths of teacher and student. Received: "
            f"relation_heads={given!r}, teacher → {widths[0]}, student → {widths[1]}. "
            f"Divisors of {common} do, for example {example}."
        )
    return given


def _pair(
    teacher: tf.Tensor, student: tf.Tensor, *, what: str, hint: str
) -> tuple[tf.Tensor, tf.Tensor]:
    """Brings both sides to one precision and cuts the gradient to the teacher."""
    teacher, student = at_least_float32(teacher), at_least_float32(student)
    if not teacher.shape.is_compatible_with(student.shape):
        raise ValueError(
            f"`teacher_{what}` and `student_{what}` must have the same shape. Received: "
            f"teacher_{what} → {tuple(teacher.shape)}, "
            f"student_{what} → {tuple(student.shape)}. {hint}"
        )
    return tf.stop_gradient(tf.cast(teacher, student.dtype)), student


def _direction(vectors: tf.Tensor) -> tf.Tensor:
    """Scales vectors to length 1 without squaring anything large; zeros stay zeros."""
    largest = tf.stop_gradient(tf.reduce_max(tf.abs(vectors), axis=-1, keepdims=True))
    return tf.math.l2_normalize(tf.math.divide_no_nan(vectors, largest), axis=-1)


def _log_softmax(scores: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
    if mask is not None:
        # Finite, so that a row without a single key gives numbers and no NaN.
        scores = tf.where(tf.cast(mask, tf.bool), scores, scores.dtype.min / 2)
    return tf.nn.log_softmax(scores)
