"""The oracle: TF-MOT's `ClusterWeights` on an equal `tf_keras` layer, step by step, bit for bit."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays

import tfdistill as td
from tfdistill.compress.clustering.centroids import (
    initial_centroids,
    nearest_centroids,
    share_values,
)
from tfdistill.introspection.backend import tfmot

STEPS = 50
NAMES = {"linear": "LINEAR", "density_based": "DENSITY_BASED", "kmeans++": "KMEANS_PLUS_PLUS"}
quick = settings(max_examples=25, deadline=None, derandomize=True, database=None)


def their_wrapper(kernel: np.ndarray, *, method: str, with_zero: bool, aggregation: str):
    tfmot()
    from tensorflow_model_optimization.python.core.clustering.keras import (
        cluster_config,
        cluster_wrapper,
    )

    layer = tf_keras.layers.Dense(kernel.shape[1])
    layer.build((None, len(kernel)))
    layer.set_weights([kernel, np.zeros(kernel.shape[1], "float32")])
    how = {"sum": "SUM", "mean": "AVG"}[aggregation]
    return cluster_wrapper.ClusterWeights(
        layer,
        5,
        cluster_config.CentroidInitialization[NAMES[method]],
        preserve_sparsity=with_zero,
        cluster_gradient_aggregation=cluster_config.GradientAggregation[how],
    )


SETTINGS = [
    (name, how, zero) for name in NAMES for how in ("sum", "mean") for zero in (False, True)
]


@pytest.mark.quick_cases("linear-mean-True", "kmeans++-sum-False")
@pytest.mark.parametrize(
    ("method", "aggregation", "with_zero"),
    [
        # By default the way that the centroids begin, and each of the other settings once.
        pytest.param(*one, marks=[] if number % 4 == 0 or number < 4 else pytest.mark.slow)
        for number, one in enumerate(SETTINGS)
    ],
)
def test_centroids_assignments_and_weights_equal_tfmots_at_every_step(
    method: str, aggregation: str, with_zero: bool, rng: np.random.Generator
):
    kernel = rng.normal(size=(8, 6)).astype("float32")
    if with_zero:
        kernel[np.abs(kernel) < 0.5] = 0.0
    x = rng.normal(size=(STEPS, 16, 8)).astype("float32")
    y = rng.normal(size=(STEPS, 16, 6)).astype("float32")
    wrapper = their_wrapper(kernel, method=method, with_zero=with_zero, aggregation=aggregation)
    peer = tf_keras.Sequential([tf_keras.Input((8,)), wrapper])
    peer.compile(tf_keras.optimizers.SGD(0.02), "mse")
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(6)])
    model.layers[0].kernel.assign(kernel)
    own = td.cluster_weights(
        model,
        number_of_clusters=5,
        centroids=method,
        preserve_sparsity=with_zero,
        gradient_aggregation=aggregation,
    )
    own.compile(keras.optimizers.SGD(0.02), loss="mse")
    (state,) = own.weight_states
    moved, before = 0, None
    for step in range(STEPS):
        peer.train_on_batch(x[step], y[step])
        own.train_on_batch(x[step], y[step])
        wrapper.update_clustered_weights_associations()  # what its next forward pass does first
        centroids = state.variables["centroids"].numpy()[0]
        if with_zero:  # TF-MOT keeps it as a variable, which it resets to zero at each call
            centroids = np.append(centroids, np.float32(0))
        theirs = wrapper.cluster_centroids["kernel"].numpy()
        np.testing.assert_array_equal(np.sort(centroids), np.sort(theirs), f"step {step}")
        original = wrapper.original_clusterable_weights["kernel"]
        np.testing.assert_array_equal(state.target.variable, original, f"step {step}")
        # Equal values of distinct centroids are equal assignments.
        ((_, clustered),) = own.effective_weights(training=False)
        np.testing.assert_array_equal(clustered, wrapper.layer.kernel, f"step {step}")
        indices = wrapper.pulling_indices["kernel"].numpy()
        moved += 0 if before is None else int((indices != before).sum())
        before = indices
    # Weights did change clusters on the way, and the clusters did not fall into one.
    assert moved >= 5
    assert len(np.unique(clustered)) >= 3
    if with_zero:
        assert (np.asarray(clustered)[kernel == 0] == 0).all()


@pytest.mark.parametrize("with_zero", [False, True])
@pytest.mark.parametrize("method", NAMES)
def test_first_centroids_equal_tfmots(method: str, with_zero: bool, rng: np.random.Generator):
    weights = rng.normal(size=500).astype("float32")
    weights[rng.random(500) < 0.3] = 0.0
    tfmot()
    from tensorflow_model_optimization.python.core.clustering.keras import clustering_centroids

    kind = clustering_centroids.CentroidInitialization[NAMES[method]]
    factory = clustering_centroids.CentroidsInitializerFactory
    theirs = factory.get_centroid_initializer(kind)(
        tf.constant(weights), 16, preserve_sparsity=with_zero
    ).get_cluster_centroids()
    ours = initial_centroids(
        weights, number=15 if with_zero else 16, method=method, beside_zero=with_zero
    )

    if with_zero:
        ours = np.append(ours, np.float32(0))
    np.testing.assert_array_equal(np.sort(ours), np.sort(theirs))


@quick
@given(
    arrays(np.float32, (2, 9), elements=st.floats(-10, 10, width=16)),
    arrays(np.float32, (2, 4), elements=st.floats(-10, 10, width=16)),
)
def test_no_centroid_is_nearer_than_the_one_that_is_taken(weights, centroids):
    shared = share_values(tf.constant(weights), tf.constant(centroids)).numpy()
    distances = np.abs(weights[:, :, None] - centroids[:, None, :])

    # A midpoint is rounded: a weight that lies on it may go to either side, 1e-6 · 10 apart.
    np.testing.assert_allclose(np.abs(shared - weights), distances.min(axis=-1), atol=1e-5)


def test_in_the_middle_the_smaller_value_is_taken():
    weights, centroids = tf.constant([[0.5, -9.0, 9.0]]), tf.constant([[0.0, 1.0, 2.0]])

    assert nearest_centroids(weights, centroids).numpy().tolist() == [[0, 0, 2]]


def test_each_group_takes_its_own_values_and_hands_them_its_own_gradients():
    weights = tf.constant([[0.9, 0.2, 1.4], [4.0, 9.0, 5.0]])
    centroids = tf.constant([[1.0, 0.0], [3.0, 10.0]])
    factors = tf.constant([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]])
    with tf.GradientTape() as tape:
        tape.watch([weights, centroids])
        shared = share_values(weights, centroids)
        loss = tf.reduce_sum(shared * factors)
    to_weights, to_centroids = tape.gradient(loss, [weights, centroids])

    assert shared.numpy().tolist() == [[1.0, 0.0, 1.0], [3.0, 10.0, 3.0]]
    assert to_centroids.numpy().tolist() == [[5.0, 2.0], [40.0, 16.0]]
    np.testing.assert_array_equal(to_weights, factors)


def test_random_centroids_lie_between_the_extremes_and_are_the_same_each_time(rng):
    weights = rng.normal(size=100).astype("float32")
    first, again = (initial_centroids(weights, number=8, method="random") for _ in range(2))

    assert weights.min() <= first.min() < first.max() <= weights.max()
    np.testing.assert_array_equal(first, again)


def test_centroids_are_split_between_the_sides_as_the_weights_are():
    # 2 of 8 weights are negative, so 1 of 4 centroids is; zeros do not count.
    weights = np.float32([-2, -1, 0, 0, 1, 2, 3, 4, 5, 6])
    found = initial_centroids(weights, number=4, method="linear", beside_zero=True)

    # One centroid of a linear range is its lower end; three span 1 to 6.
    assert found.tolist() == [-2.0, 1.0, 3.5, 6.0]
