"""Starts a student from its teacher instead of from noise.

A small student has not the text to learn what words mean. Its teacher's embedding table knows,
and so do the teacher's answers to single words; a principal component analysis brings either to
the student's width with the least loss of variance.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np

from tfdistill.introspection.backend import check_model
from tfdistill.introspection.clone import copy_model
from tfdistill.introspection.weights import find_targets

__all__ = ["initial_values", "principal_components", "start_embedding", "token_features"]


def initial_values(model: keras.Model, *, seed: int) -> list[tuple[keras.Variable, np.ndarray]]:
    """Draws the initial kernels and tables of a model from one seed.

    Kernels are Glorot uniform, U(−a, a) with a = √(6 / (inputs + outputs)), where an attention
    projection counts as the matrix that it is. Keras' own initializer takes its three axes for
    a convolution, and a seed given to it makes query, key and value the same matrix. Tables are
    normal with standard deviation 0.02, as BERT's.

    Args:
        model: A built Keras 3 model. Left untouched.
        seed: Seed of the draw.

    Returns:
        Each kernel and embedding table with its value, a float32 array of its shape.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> ((variable, value),) = initial_values(model, seed=0)
        >>> value.round(3).ravel()
        array([ 0.387, -0.651], dtype=float32)

    References:
        Glorot, Bengio. "Understanding the difficulty of training deep feedforward neural
        networks", 2010, equation 16.
    """
    generator = np.random.default_rng(seed)
    values = []
    for target in find_targets(model):
        shape = target.matrix_shape
        if target.kind == "embedding":
            matrix = generator.normal(0.0, 0.02, shape)
        else:
            limit = np.sqrt(6.0 / sum(shape))
            matrix = generator.uniform(-limit, limit, shape)
        values.append((target.variable, matrix.astype("float32").reshape(target.variable.shape)))
    return values


def principal_components(table: np.ndarray, *, width: int) -> np.ndarray:
    """Projects the rows of a table on its `width` directions of greatest variance.

    With the centered table X = U · S · Vᵀ the result is X · V[:, :width]. Signs are fixed so
    that the largest entry of each direction is positive.

    Args:
        table: Float array `[V, D]`.
        width: Number of directions, an int in [1, D].

    Returns:
        float32 array `[V, width]`, columns ordered by falling variance.

    Raises:
        ValueError: If `width` is out of range.

    Example:
        >>> principal_components(np.array([[3.0, 0.0], [-3.0, 0.0], [0.0, 0.1]]), width=1).ravel()
        array([ 3., -3.,  0.], dtype=float32)
    """
    if not 1 <= width <= table.shape[1]:
        raise ValueError(
            f"`width` must be an int in [1, {table.shape[1]}]. Received: width={width!r}. "
            "A table has no more directions than columns."
        )
    centered = table.astype(np.float64) - table.mean(axis=0, dtype=np.float64)
    _, directions = np.linalg.eigh(centered.T @ centered)
    directions = directions[:, ::-1][:, :width]
    largest = np.abs(directions).argmax(axis=0)
    directions = directions * np.sign(directions[largest, np.arange(width)])
    return (centered @ directions).astype(np.float32)


def start_embedding(
    student: keras.Model, *, teacher_table: np.ndarray, kept_ids: np.ndarray
) -> keras.Model:
    """Copies a student with the teacher's token embedding, brought to its width by PCA.

    Args:
        student: A student of `text_encoder`. Left untouched.
        teacher_table: The teacher's token embedding, float array `[V, D]`.
        kept_ids: The teacher's id of each of the student's ids, int array `[v]`.

    Returns:
        A student of the same architecture, equal but for its `token_embedding`.

    Raises:
        ValueError: If the sizes do not fit, an id is not one of the teacher's, or all rows are
            equal.

    Example:
        >>> from tfdistill.students.encoder import text_encoder
        >>> student = text_encoder(vocabulary_size=3, sequence_length=4, num_layers=1,
        ...                        hidden_dim=2, num_heads=1, intermediate_dim=2, num_classes=2)
        >>> started = start_embedding(
        ...     student, teacher_table=np.eye(5, 4), kept_ids=np.array([0, 1, 4]))
        >>> round(float(started.get_layer("token_embedding").embeddings.numpy().std()), 4)
        0.02
    """
    check_model(student, argument="student")
    copy = copy_model(student)
    embedding = copy.get_layer("token_embedding").embeddings
    rows, width = embedding.shape
    if len(kept_ids) != rows:
        raise ValueError(
            f"`kept_ids` must name one teacher id for each of the student's {rows} ids. "
            f"Received: kept_ids of length {len(kept_ids)}. Both come from `cut_vocabulary`."
        )
    if np.min(kept_ids) < 0 or np.max(kept_ids) >= len(teacher_table):
        raise ValueError(
            f"`kept_ids` must be rows of the teacher's table, in [0, {len(teacher_table)}). "
            f"Received: ids from {np.min(kept_ids)} to {np.max(kept_ids)}."
        )
    reduced = principal_components(np.asarray(teacher_table)[kept_ids], width=width)
    if not reduced.std() > 0:
        raise ValueError(
            "`teacher_table` must have rows that differ. Received: teacher_table whose kept rows "
            "are all equal. Is it a trained table?"
        )
    # The scale of the student's own initial values, which its layer norm expects.
    embedding.assign(reduced * (0.02 / reduced.std()))
    return copy


def token_features(
    features: keras.Model,
    *,
    token_ids: np.ndarray,
    before: Sequence[int] = (),
    after: Sequence[int] = (),
    batch_size: int = 256,
) -> np.ndarray:
    """Asks a teacher for each token as if it were a whole text.

    The rows are a `teacher_table` for `start_embedding`. Where the teacher's own table says
    which words are used alike, its features say which ones the trained task takes for alike:
    after fine-tuning, also of words that no training text has.

    Args:
        features: The teacher without its head, int32 `[B, T]` to float `[B, D]`, for instance
            from `tfdistill.teachers.text_features`.
        token_ids: The ids to ask for, int array `[V]`.
        before: Ids that open each text of the teacher, for BERT that of [CLS].
        after: Ids that close it, for BERT that of [SEP].
        batch_size: Tokens per call of the teacher.

    Returns:
        float32 array `[V, D]`. The row of id 0, which is padding, is zero.

    Raises:
        ValueError: If `token_ids` has not one axis, or the teacher does not return `[B, D]`.

    Example:
        >>> ids = keras.Input((None,), dtype="int32")
        >>> teacher = keras.Model(ids, keras.layers.GlobalAveragePooling1D()(
        ...     keras.layers.Embedding(9, 4)(ids)))
        >>> token_features(teacher, token_ids=np.array([0, 3, 8])).shape
        (3, 4)

    References:
        Minish Lab. "Model2Vec", 2024: a static table from a sentence encoder's output.
        https://github.com/MinishLab/model2vec
    """
    token_ids = np.asarray(token_ids)
    if token_ids.ndim != 1 or not len(token_ids):
        raise ValueError(
            "`token_ids` must be a list of ids, one axis. Received: token_ids of shape "
            f"{token_ids.shape}. `cut_vocabulary` returns such a list, `kept_ids`."
        )
    edges = [np.tile(np.asarray(ids, np.int32), (len(token_ids), 1)) for ids in (before, after)]
    texts = np.concatenate([edges[0], token_ids[:, None], edges[1]], axis=1).astype(np.int32)
    rows = np.asarray(features.predict(texts, batch_size=batch_size, verbose=0), np.float32)
    if rows.ndim != 2:
        raise ValueError(
            "`features` must return one vector per text, `[B, D]`. Received: features with output "
            f"shape {features.output_shape}. Pool its states first."
        )
    return np.where(token_ids[:, None] == 0, np.float32(0), rows)
