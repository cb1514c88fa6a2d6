"""Weight clustering: few values per tensor, trained with everything else."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import tfdistill as td
from tfdistill.compress import Cluster, Compressed, Prune, Quantize, verify_compression

SIX = [[-1.0], [-0.9], [0.1], [0.3], [0.8], [1.0]]


def dense(kernel) -> keras.Model:
    kernel = np.float32(kernel)
    layer = keras.layers.Dense(kernel.shape[1], use_bias=False, name="only")
    model = keras.Sequential([keras.Input((len(kernel),)), layer])
    layer.kernel.assign(kernel)
    return model


def kernel_of(model: keras.Model) -> np.ndarray:
    return td.strip(model).layers[0].kernel.numpy()


def centroids_of(model: Compressed) -> np.ndarray:
    return model.weight_states[-1].variables["centroids"].numpy()


def fit(model: keras.Model, x: np.ndarray, y: np.ndarray, *, epochs: int = 1) -> None:
    model.compile(keras.optimizers.SGD(0.05), loss="mse", run_eagerly=True)
    model.fit(x, y, batch_size=8, epochs=epochs, shuffle=False, verbose=0)


@pytest.fixture
def xy(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Thirty-two rows of six numbers, and what is to be learned from them."""
    x = rng.normal(size=(32, 6)).astype("float32")
    return x, (x @ rng.normal(size=(6, 4))).astype("float32")


def test_six_weights_take_three_evenly_spaced_values():
    clustered = td.cluster_weights(dense(SIX), number_of_clusters=3, centroids="linear")

    # Centroids -1, 0, 1: 0.3 is nearer to 0, and 0.8 to 1.
    assert kernel_of(clustered).ravel().tolist() == [-1, -1, 0, 0, 1, 1]


def test_one_step_moves_a_centroid_by_the_sum_and_each_weight_by_its_own_gradient():
    clustered = td.cluster_weights(dense(SIX), number_of_clusters=3, centroids="linear")
    clustered.compile(keras.optimizers.SGD(0.1), loss=lambda y, logits: logits, run_eagerly=True)
    # The loss is x·w, so that the gradient of weight i is x_i.
    clustered.train_on_batch(np.float32([[1, 2, 3, 4, 5, 6]]), np.zeros((1, 1)))

    # -1 - 0.1 · (1 + 2), 0 - 0.1 · (3 + 4), 1 - 0.1 · (5 + 6)
    np.testing.assert_allclose(centroids_of(clustered), [[-1.3, -0.7, -0.1]], atol=1e-6)
    np.testing.assert_allclose(
        clustered.student.layers[0].kernel.numpy().ravel(),
        [-1.1, -1.1, -0.2, -0.1, 0.3, 0.4],
        atol=1e-6,
    )
    # Now -1.1 is nearest to -1.3, and all others to -0.1.
    np.testing.assert_allclose(
        kernel_of(clustered).ravel(), [-1.3, -1.3, -0.1, -0.1, -0.1, -0.1], atol=1e-6
    )


def test_the_mean_moves_a_centroid_by_the_mean_of_its_gradients():
    clustered = td.cluster_weights(
        dense(SIX), number_of_clusters=3, centroids="linear", gradient_aggregation="mean"
    )
    clustered.compile(keras.optimizers.SGD(0.1), loss=lambda y, logits: logits, run_eagerly=True)
    clustered.train_on_batch(np.float32([[1, 2, 3, 4, 5, 6]]), np.zeros((1, 1)))

    np.testing.assert_allclose(centroids_of(clustered), [[-1.15, -0.35, 0.45]], atol=1e-6)


@pytest.mark.parametrize(
    ("method", "number"),
    [("linear", 5), ("random", 5), ("density_based", 5), ("kmeans++", 5), ("kmeans++", 2)],
)
def test_a_trained_tensor_has_at_most_that_many_values(method: str, number: int, xy, rng):
    model = dense(rng.normal(size=(6, 4)))
    clustered = td.cluster_weights(model, number_of_clusters=number, centroids=method)
    start = centroids_of(clustered)
    fit(clustered, *xy)

    assert len(np.unique(kernel_of(clustered))) <= number
    assert not np.array_equal(centroids_of(clustered), start)


def test_every_channel_has_values_of_its_own(xy, rng):
    model = dense(rng.normal(size=(6, 4)))
    clustered = td.cluster_weights(model, number_of_clusters=3, per_channel=True)
    fit(clustered, *xy)
    kernel = kernel_of(clustered)

    assert centroids_of(clustered).shape == (4, 3)
    assert max(len(np.unique(column)) for column in kernel.T) <= 3
    assert len(np.unique(kernel)) > 3


def test_a_table_shares_one_set_even_per_channel(make_model):
    clustered = td.cluster_weights(make_model("attention"), number_of_clusters=4, per_channel=True)
    states = clustered.weight_states
    shapes = {state.target.path: state.variables["centroids"].shape for state in states}

    assert shapes["words/embeddings"] == (1, 4)
    assert shapes["scores/kernel"] == (3, 4)


def test_weights_of_few_values_keep_them():
    kernel = np.float32([[0.5, -2.0], [0.5, 3.0], [0.25, 0.5]])
    clustered = td.cluster_weights(dense(kernel), number_of_clusters=16)

    np.testing.assert_array_equal(kernel_of(clustered), kernel)


def test_the_given_model_is_untouched_and_the_centroids_are_trained_beside_its_weights(xy, rng):
    model = dense(rng.normal(size=(6, 4)))
    before = model.layers[0].kernel.numpy().copy()
    clustered = td.cluster_weights(model, number_of_clusters=4)
    fit(clustered, *xy)

    np.testing.assert_array_equal(model.layers[0].kernel, before)
    assert len(clustered.trainable_variables) == 2
    assert not np.array_equal(clustered.student.layers[0].kernel, before)


def test_a_frozen_weight_has_frozen_centroids(xy, rng):
    model = dense(rng.normal(size=(6, 4)))
    model.layers[0].trainable = False

    assert not td.cluster_weights(model).trainable_variables


@pytest.mark.slow
def test_the_distiller_trains_the_centroids_as_plain_fit_does(make_model, ids):
    model = make_model("attention")
    plain, distilled = (td.cluster_weights(model, number_of_clusters=4) for _ in range(2))
    for each in (plain, distilled):  # dropout draws alike in both
        each.student.get_layer("attention")._dropout = 0.0
    labels = (np.arange(16) % 3).astype("int32")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    start = [state.variables["centroids"].numpy().copy() for state in plain.weight_states]
    plain.compile(keras.optimizers.SGD(0.1), loss=loss)
    plain.fit(ids, labels, batch_size=8, epochs=2, shuffle=False, verbose=0)
    distiller = td.Distiller(student=distilled, teacher=model)
    distiller.compile(keras.optimizers.SGD(0.1), loss=loss, alpha=1.0)
    distiller.fit(ids, labels, batch_size=8, epochs=2, shuffle=False, verbose=0)

    for ours, theirs, before in zip(
        distilled.weight_states, plain.weight_states, start, strict=True
    ):
        # alpha = 1 is plain `fit`; sums may come in another order.
        found, expected = ours.variables["centroids"].numpy(), theirs.variables["centroids"].numpy()
        np.testing.assert_allclose(found, expected, atol=1e-6)
        assert not np.array_equal(found, before)


def test_a_half_trained_model_goes_on_from_its_file_to_the_bit(xy, rng, tmp_path):
    def make() -> Compressed:
        model = td.cluster_weights(dense(kernel), number_of_clusters=4, preserve_sparsity=True)
        model.compile(keras.optimizers.SGD(0.05, momentum=0.9), loss="mse")
        return model

    kernel = rng.normal(size=(6, 4))
    kernel[0] = 0
    straight, broken = make(), make()
    rows = dict(batch_size=8, shuffle=False, verbose=0)
    straight.fit(*xy, epochs=4, **rows)
    broken.fit(*xy, epochs=2, **rows)
    broken.save(tmp_path / "half.keras")
    again = keras.models.load_model(tmp_path / "half.keras")
    again.fit(*xy, epochs=2, **rows)

    for ours, theirs in zip(again.variables, straight.variables, strict=True):
        np.testing.assert_array_equal(ours, theirs, theirs.path)
    assert (kernel_of(again)[0] == 0).all()


def test_zeros_of_a_stripped_model_stay_zeros_if_asked(xy, rng):
    kernel = rng.normal(size=(6, 4))
    kernel[:, :2] = 0
    clustered = td.cluster_weights(dense(kernel), number_of_clusters=5, preserve_sparsity=True)
    fit(clustered, *xy, epochs=3)
    found = kernel_of(clustered)

    assert not found[:, :2].any()
    assert found[:, 2:].any()
    assert len(np.unique(found)) <= 5
    assert centroids_of(clustered).shape == (1, 4)  # and zero, which no optimizer can move


def test_zeros_are_lost_without_that(xy, rng):
    kernel = rng.normal(size=(6, 4))
    kernel[:, :2] = 0
    clustered = td.cluster_weights(dense(kernel), number_of_clusters=5)
    fit(clustered, *xy, epochs=3)

    assert kernel_of(clustered)[:, :2].any()


def test_pruning_clustering_and_quantization_hold_together(xy, rng):
    model = dense(rng.normal(size=(6, 4)))
    recipe = [Prune(sparsity=0.5, steps=4), Cluster(number_of_clusters=5), Quantize(bits=8)]
    joint = td.Compressed(model, recipe=recipe)
    fit(joint, *xy, epochs=3)
    kernel = kernel_of(joint)
    levels = kernel / np.maximum(np.abs(kernel).max(axis=0), 1e-9) * 127

    assert np.mean(kernel == 0) >= 0.5
    assert max(len(np.unique(column)) for column in kernel.T) <= 5
    # A level is read back as value / scale: some 1e-5 of rounding at level 127.
    np.testing.assert_allclose(levels, np.round(levels), atol=1e-4)


def test_clustering_added_to_a_trained_model_begins_with_its_weights(xy, rng):
    pruned = td.prune_low_magnitude(dense(rng.normal(size=(6, 4))), sparsity=0.5, steps=4)
    fit(pruned, *xy)
    weights = kernel_of(pruned)
    clustered = td.cluster_weights(pruned, number_of_clusters=24)
    # 12 weights are left, and zero: 24 values are enough for all of them.
    np.testing.assert_array_equal(kernel_of(clustered), weights)
    fit(clustered, *xy)
    kernel = kernel_of(clustered)

    assert np.mean(kernel == 0) == 0.5
    assert not np.array_equal(kernel, weights)


def test_a_technique_that_begins_later_chooses_its_values_then(xy, rng):
    kernel = rng.normal(size=(6, 4)).astype("float32")
    recipe = [Cluster(number_of_clusters=3, centroids="linear", begin_step=4)]
    later = td.Compressed(dense(kernel), recipe=recipe)
    fit(later, *xy)  # 4 steps
    weights = later.student.layers[0].kernel.numpy()
    assert len(np.unique(weights)) == 24
    low, high = weights.min(), weights.max()
    expected = np.float32([low, (low + high) / 2, high])
    np.testing.assert_allclose(np.unique(kernel_of(later)), expected, atol=1e-6)
    later.compile(keras.optimizers.SGD(0.0), loss="mse")  # in a graph, and nothing moves
    later.fit(*xy, batch_size=32, verbose=0)

    np.testing.assert_allclose(centroids_of(later)[0], expected, atol=1e-6)


@pytest.mark.quick_cases("text_encoder", "sequential")
def test_a_model_of_every_kind_is_clustered_and_comes_back(model_kind, model, inputs, tmp_path):
    if model_kind == "keras_hub":
        pytest.skip("slow to copy and to save: pruning and quantization cover it")
    clustered = td.cluster_weights(model, number_of_clusters=4)
    clustered.compile(
        keras.optimizers.SGD(0.1),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    clustered.fit(inputs, np.arange(16) % 3, batch_size=6, verbose=0)
    answers = clustered(inputs).numpy()
    plain = td.strip(clustered)

    np.testing.assert_array_equal(plain(inputs), answers)
    assert max(weight.unique for weight in td.survey(plain).compressible) <= 4
    clustered.save(tmp_path / "clustered.keras")
    again = keras.models.load_model(tmp_path / "clustered.keras")
    np.testing.assert_array_equal(again(inputs), answers)


def test_a_half_precision_model_is_clustered_in_full_precision(x, rng):
    layers = [keras.layers.Dense(6, dtype="mixed_bfloat16"), keras.layers.Dense(3)]
    model = keras.Sequential([keras.Input((4,)), *layers])
    clustered = td.cluster_weights(model, number_of_clusters=4)
    fit(clustered, x, np.ones((16, 3), "float32"))

    np.testing.assert_array_equal(td.strip(clustered)(x), clustered(x))
    assert clustered.weight_states[0].variables["centroids"].dtype == "float32"


def test_the_values_survive_the_file_and_make_it_smaller_after_gzip(rng, tmp_path):
    model = dense(rng.normal(size=(64, 64)))
    plain = td.strip(td.cluster_weights(model, number_of_clusters=16))
    sizes = {}
    for name, each in (("given", model), ("clustered", plain)):
        path = td.to_tflite(each, tmp_path / f"{name}.tflite")
        sizes[name] = td.survey(path).gzip_bytes
        if each is plain:
            (weight,) = verify_compression(plain, path).compressible
            assert weight.bits == 8 and weight.unique_per_channel <= 16

    assert sizes["clustered"] < 0.8 * sizes["given"]


def test_the_arguments_come_back_from_the_config():
    transform = Cluster(
        number_of_clusters=7,
        centroids="linear",
        include="a",
        per_channel=True,
        preserve_sparsity=True,
        gradient_aggregation="mean",
        begin_step=3,
    )

    assert vars(Cluster.from_config(transform.get_config())) == vars(transform)
