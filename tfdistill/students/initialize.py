"""Starts a student from its teacher instead of from noise.

A small student has not the text to learn what words mean. Its teacher's embedding table knows;
a principal component analysis brings it to the student's width with the least loss of variance.
"""

from __future__ import annotations

import keras
import numpy as np

from tfdistill._keras import check_model
from tfdistill.compress.copying import copy_model
from tfdistill.compress.targets import find_targets

__all__ = ["initial_values", "principal_components", "start_embedding"]


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
