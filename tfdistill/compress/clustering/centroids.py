"""Equations of weight sharing by value: where the shared values start, and who takes which.

A weight is seen as lines `[G, M]`: G groups of M numbers, each group with K centroids of its own.
G is 1 where a whole tensor shares, and the number of output channels where each has its own.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import tensorflow as tf

from tfdistill.introspection.backend import tfmot

__all__ = ["METHODS", "initial_centroids", "nearest_centroids", "share_values"]

METHODS = ("linear", "random", "density_based", "kmeans++")
_MODULE = "tensorflow_model_optimization.python.core.clustering.keras.clustering_centroids"


def initial_centroids(
    values: np.ndarray, *, number: int, method: str, beside_zero: bool = False
) -> np.ndarray:
    """Chooses the values that the weights of one group are to share at first.

    "linear" spaces them evenly between the extremes, "random" draws them between the extremes
    (always the same ones), "density_based" spaces them evenly in the weights' cumulative
    distribution, and "kmeans++" picks weights, each far from those picked before. All but
    "random" are TF-MOT's own code. Weights of no more than `number` different values keep them.

    Args:
        values: Weights of the group, float array of shape `[M]`.
        number: K, how many to choose.
        method: One of `METHODS`.
        beside_zero: Whether zero is shared besides, so that zeros in `values` do not count. The
            K are split between the negative and the positive weights, as these are many.

    Returns:
        float32 array of shape `[K]`, in no order. Where there is nothing left to choose, the
        last one is repeated.

    Example:
        >>> weights = np.array([-1.0, -0.5, 0.0, 0.25, 0.5, 1.0], "float32")
        >>> initial_centroids(weights, number=3, method="linear").tolist()
        [-1.0, 0.0, 1.0]
        >>> initial_centroids(weights, number=4, method="linear", beside_zero=True).tolist()
        [-1.0, -0.5, 0.25, 1.0]

    References:
        Arthur, Vassilvitskii. "k-means++: The Advantages of Careful Seeding", 2007.
        Han, Mao, Dally. "Deep Compression", 2016, section 3. https://arxiv.org/abs/1510.00149
    """
    values = np.asarray(values, np.float32).ravel()
    if beside_zero:
        values = values[values != 0]
    distinct = np.unique(values)
    if distinct.size <= number:
        last = distinct[-1:] if distinct.size else np.zeros(1, np.float32)
        return np.concatenate([distinct, np.repeat(last, number - distinct.size)])
    if not beside_zero:
        return _in_interval(values, number, method, beside_zero=False)
    negative, positive = values[values < 0], values[values > 0]
    below = round(number * (negative.size / values.size))
    return np.concatenate(
        [
            _in_interval(side, count, method, beside_zero=True)
            for side, count in ((negative, below), (positive, number - below))
        ]
    )


def _in_interval(values: np.ndarray, number: int, method: str, *, beside_zero: bool) -> np.ndarray:
    if number == 0:
        return np.zeros(0, np.float32)
    if method == "random":
        drawn = np.random.default_rng(9).uniform(values.min(), values.max(), number)
        return drawn.astype(np.float32)
    numbers = tf.constant(values)
    initialiser = _tfmot_class(method)(numbers, number, preserve_sparsity=beside_zero)
    return initialiser._calculate_centroids_for_interval(numbers, number).numpy()


def _tfmot_class(method: str) -> Any:
    """Finds TF-MOT's initialiser; it works on plain tensors, whatever Keras they come from."""
    kinds = tfmot().clustering.keras.CentroidInitialization
    kind = {
        "linear": kinds.LINEAR,
        "density_based": kinds.DENSITY_BASED,
        "kmeans++": kinds.KMEANS_PLUS_PLUS,
    }[method]
    return importlib.import_module(_MODULE).CentroidsInitializerFactory.get_centroid_initializer(
        kind
    )


def nearest_centroids(lines: tf.Tensor, centroids: tf.Tensor) -> tf.Tensor:
    """Finds for each weight the centroid that is nearest to it.

    TF-MOT writes argmin |w − c| over a tensor K times as large as the weight. Where the centroids
    are sorted, the number of midpoints between two of them that lie below w is the same.

    Args:
        lines: Weights, float tensor of shape `[G, M]`.
        centroids: Shared values, same type, shape `[G, K]`, K at least 2, ascending.

    Returns:
        int32 indices into each group's centroids, shape `[G, M]`. In the middle between two
        the smaller value is taken (by TF-MOT, the one that comes first).

    Example:
        >>> nearest_centroids(tf.constant([[0.1, 0.9, 0.5]]), tf.constant([[0.0, 1.0]])).numpy()
        array([[0, 1, 0]], dtype=int32)
    """
    midpoints = (centroids[:, 1:] + centroids[:, :-1]) / 2
    return tf.searchsorted(midpoints, lines)


def share_values(lines: tf.Tensor, centroids: tf.Tensor, *, aggregation: str = "sum") -> tf.Tensor:
    """Replaces each weight by the centroid nearest to it, with a gradient for both.

    The gradient of a centroid is the sum, or the mean, of those of the weights that share it.
    That of a weight goes through as if it had not been replaced (straight-through estimator), so
    a weight can move on and take another centroid.

    Args:
        lines: Weights, float tensor of shape `[G, M]`.
        centroids: Shared values, same type, shape `[G, K]`, K at least 2, in any order.
        aggregation: "sum" or "mean".

    Returns:
        Tensor like `lines` with at most K different values in each group.

    Example:
        >>> weights, centroids = tf.constant([[0.2, 0.7, 1.4]]), tf.constant([[0.0, 1.0]])
        >>> with tf.GradientTape() as tape:
        ...     tape.watch([weights, centroids])
        ...     shared = share_values(weights, centroids)
        ...     loss = tf.reduce_sum(shared * [[1.0, 2.0, 3.0]])
        >>> shared.numpy().tolist()
        [[0.0, 1.0, 1.0]]
        >>> [gradient.numpy().tolist() for gradient in tape.gradient(loss, [weights, centroids])]
        [[[1.0, 2.0, 3.0]], [[1.0, 5.0]]]
    """
    groups, number = centroids.shape
    ordered = tf.gather(centroids, tf.argsort(centroids, axis=-1, stable=True), batch_dims=1)
    indices = tf.stop_gradient(nearest_centroids(lines, ordered))
    cells = indices + number * tf.range(groups, dtype=indices.dtype)[:, tf.newaxis]

    @tf.custom_gradient
    def share(weights: tf.Tensor, values: tf.Tensor) -> Any:
        def gradients(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            total = tf.math.unsorted_segment_sum(upstream, cells, groups * number)
            if aggregation == "mean":
                ones = tf.ones_like(upstream)
                count = tf.math.unsorted_segment_sum(ones, cells, groups * number)
                total = tf.math.divide_no_nan(total, count)
            return upstream, total

        return tf.gather(values, cells), gradients

    return share(lines, tf.reshape(ordered, [-1]))
