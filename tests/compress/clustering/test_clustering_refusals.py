"""What clustering refuses, and where it goes in a recipe."""

from __future__ import annotations

import keras
import pytest

import tfdistill as td
from tfdistill.compress import Cluster, Prune, Quantize


def dense() -> keras.Model:
    return keras.Sequential([keras.Input((6,)), keras.layers.Dense(4, name="only")])


@pytest.mark.parametrize("number", [1, 0, 2.0, True, "16", None])
def test_a_number_of_clusters_out_of_range_is_refused(number):
    message = rf"`number_of_clusters` must be an int of at least 2\. Received: .*={number!r}.* 16"
    with pytest.raises((TypeError, ValueError), match=message):
        td.cluster_weights(dense(), number_of_clusters=number)


def test_two_clusters_with_zero_among_them_are_refused():
    message = r"must be an int of at least 3\. Received: number_of_clusters=2\. Zero takes one"
    with pytest.raises(ValueError, match=message):
        td.cluster_weights(dense(), number_of_clusters=2, preserve_sparsity=True)
    with pytest.raises(ValueError, match=message):
        td.Compressed(dense(), recipe=[Prune(sparsity=0.5), Cluster(number_of_clusters=2)])


def test_an_unknown_choice_of_centroids_is_refused():
    message = r"`centroids` must be one of \('linear', .*\)\. Received: centroids='kmeans'"
    with pytest.raises(ValueError, match=message):
        td.cluster_weights(dense(), centroids="kmeans")


def test_an_unknown_aggregation_is_refused():
    message = r"`gradient_aggregation` must be one of \('sum', 'mean'\)\. Received: .*='AVG'"
    with pytest.raises(ValueError, match=message):
        td.cluster_weights(dense(), gradient_aggregation="AVG")


@pytest.mark.parametrize("argument", ["per_channel", "preserve_sparsity"])
def test_a_flag_that_is_none_is_refused(argument: str):
    with pytest.raises(TypeError, match=f"`{argument}` must be True or False. Received: .*='yes'"):
        td.cluster_weights(dense(), **{argument: "yes"})


def test_clustering_after_quantization_is_refused():
    with pytest.raises(ValueError, match="Cluster undoes the grid .* Put Cluster before Quantize"):
        td.Compressed(dense(), recipe=[Quantize(), Cluster()])


def test_clustering_that_would_lose_the_zeros_is_refused():
    recipe = [Prune(sparsity=0.5), Cluster(preserve_sparsity=False)]
    with pytest.raises(ValueError, match="Cluster undoes the sparsity that Prune guarantees"):
        td.Compressed(dense(), recipe=recipe)


def test_pruning_may_follow_only_where_zero_is_one_of_the_values():
    td.Compressed(dense(), recipe=[Cluster(preserve_sparsity=True), Prune(sparsity=0.5)])
    with pytest.raises(ValueError, match="Prune undoes the clusters that Cluster guarantees"):
        td.Compressed(dense(), recipe=[Cluster(), Prune(sparsity=0.5)])


def test_added_to_a_quantized_model_it_comes_before_the_grid():
    clustered = td.cluster_weights(td.quantize_aware(dense()))

    assert [type(each).__name__ for each in clustered.recipe] == ["Cluster", "Quantize"]
