"""What each technique does to a weight at once, without training, and what that is worth in bytes.

The values are those that the trained technique would start from: pruning keeps TF-MOT's number
of weights, clustering takes its first centroids, quantization the grid of the converter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tfdistill.compress.clustering.centroids import initial_centroids, share_values
from tfdistill.compress.clustering.cluster import Cluster
from tfdistill.compress.pruning.masks import kept_count, threshold_at
from tfdistill.compress.pruning.prune import Prune
from tfdistill.compress.quantization.weights import Quantize, fake_quantize
from tfdistill.compress.technique import WeightTransform
from tfdistill.files.atomic import gzip_bytes

__all__ = ["TECHNIQUES", "Technique", "cluster_once", "prune_once", "quantize_once", "stored_bytes"]


@dataclass(frozen=True)
class Technique:
    """One technique as the sensitivity analysis sees it.

    Attributes:
        apply: From a matrix `[inputs, outputs]`, its kind and a setting to the matrix that the
            technique makes of it.
        transform: From a setting, the number of training steps and globs to the transform that
            does the same while training.
        label: How a setting is written in a column's head.
        settings: What is tried if the caller does not say.
        allows: Whether a number is a setting.
        range: What settings are, for the message that refuses another.
    """

    apply: Callable[[np.ndarray, str, float], np.ndarray]
    transform: Callable[[float, int, Sequence[str], Sequence[str] | None], WeightTransform]
    label: str
    settings: tuple[float, ...]
    allows: Callable[[float], bool]
    range: str


def prune_once(matrix: np.ndarray, kind: str, sparsity: float) -> np.ndarray:
    """Sets the smallest weights to zero.

    Args:
        matrix: Float array `[inputs, outputs]`.
        kind: "kernel" or "embedding"; both are pruned alike.
        sparsity: Share of zeros, a fraction in [0, 1).

    Returns:
        A new array.

    Example:
        >>> prune_once(np.array([[1.0, -4.0], [3.0, 2.0]], "float32"), "kernel", 0.5).tolist()
        [[0.0, -4.0], [3.0, 0.0]]
    """
    scores = tf.abs(tf.reshape(matrix, [-1]))
    threshold = threshold_at(scores, kept_count(matrix.size, tf.constant(sparsity, tf.float32)))
    return np.where(np.abs(matrix) >= threshold.numpy(), matrix, 0.0).astype(matrix.dtype)


def cluster_once(matrix: np.ndarray, kind: str, number_of_clusters: float) -> np.ndarray:
    """Replaces each weight by the nearest of a few values, chosen by k-means++.

    Args:
        matrix: Float array `[inputs, outputs]`. If it has zeros, as after pruning, zero is one
            of the values.
        kind: "kernel" or "embedding"; both are clustered alike.
        number_of_clusters: How many values, zero included, an int of at least 3.

    Returns:
        A new array.

    Example:
        >>> matrix = np.array([[0.0, 1.0], [2.0, 0.0]], "float32")
        >>> cluster_once(matrix, "kernel", 3).tolist()
        [[0.0, 1.0], [2.0, 0.0]]
    """
    beside_zero = bool((matrix == 0).any())
    number = int(number_of_clusters) - int(beside_zero)
    values = initial_centroids(matrix, number=number, method="kmeans++", beside_zero=beside_zero)
    if beside_zero:
        values = np.append(values, np.float32(0.0))
    lines = tf.constant(matrix.reshape(1, -1))
    shared = share_values(lines, tf.constant(values.reshape(1, -1), lines.dtype))
    return shared.numpy().reshape(matrix.shape)


def quantize_once(matrix: np.ndarray, kind: str, bits: float) -> np.ndarray:
    """Rounds weights to the grid on which a file of that width stores them.

    Args:
        matrix: Float array `[inputs, outputs]`; of a table `[ids, width]`.
        kind: "kernel" or "embedding".
        bits: 8 or 4.

    Returns:
        A new array.

    Example:
        >>> quantize_once(np.array([[7.0], [2.4]], "float32"), "kernel", 4).ravel().tolist()
        [7.0, 2.0]
    """
    return fake_quantize(tf.constant(matrix), bits=int(bits), axis=_axis(kind, int(bits))).numpy()


def stored_bytes(matrix: np.ndarray, *, kind: str, bits: int | None) -> int:
    """Measures what a weight takes in a download: its numbers as stored, after gzip level 9.

    Args:
        matrix: Float array `[inputs, outputs]`; on the grid if `bits` is given.
        kind: "kernel" or "embedding".
        bits: 8 (a byte a number) or 4 (two numbers in a byte); None stores float32.

    Returns:
        Size in bytes; scales are not counted.

    Example:
        >>> zeros = np.zeros((64, 64), "float32")
        >>> stored_bytes(zeros, kind="kernel", bits=8) < 64
        True
    """
    if bits is None:
        return gzip_bytes([np.ascontiguousarray(matrix.T, "<f4").tobytes()])
    axis = _axis(kind, bits)
    largest = np.abs(matrix).max(axis=None if axis is None else 1 - axis, keepdims=True)
    scale = largest / (2 ** (bits - 1) - 1)
    levels = np.round(matrix / np.where(scale == 0, 1, scale)).astype(np.int8)
    # A file has kernels with the outputs first.
    flat = (levels.T if kind == "kernel" else levels).ravel()
    if bits == 4:
        flat = np.append(flat, np.zeros(flat.size % 2, np.int8)) & 0x0F
        flat = flat[::2] | (flat[1::2] << 4)
    return gzip_bytes([flat.astype(np.int8).tobytes()])


def _axis(kind: str, bits: int) -> int | None:
    """Returns the axis that has scales: each output of a kernel, each row of a 4-bit table."""
    if kind == "kernel":
        return 1
    return 0 if bits == 4 else None


# In the order in which a recipe applies them. To add a technique is to add its entry.
TECHNIQUES: dict[str, Technique] = {
    "prune": Technique(
        prune_once,
        lambda s, steps, i, e: Prune(sparsity=s, steps=steps, include=i, exclude=e),
        "{:.0%} zeros",
        (0.25, 0.5, 0.75, 0.9),
        lambda sparsity: 0.0 < sparsity < 1.0,
        "Sparsities are fractions in (0, 1).",
    ),
    "cluster": Technique(
        cluster_once,
        lambda n, steps, i, e: Cluster(number_of_clusters=int(n), include=i, exclude=e),
        "{:.0f} values",
        (64, 16),
        lambda number: number >= 3 and number == int(number),
        "Numbers of clusters are ints of at least 3.",
    ),
    "quantize": Technique(
        quantize_once,
        lambda bits, steps, i, e: Quantize(bits=int(bits), include=i, exclude=e),
        "{:.0f} bits",
        (8, 4),
        lambda bits: bits in (8, 4),
        "Bits are 8 or 4.",
    ),
}
