"""What `sensitivity` measures, and the recipe that it proposes."""

from __future__ import annotations

import builtins
from pathlib import Path

import keras
import numpy as np
import pytest

from tfdistill import Compressed, quantize_aware, sensitivity, strip, survey, to_tflite
from tfdistill.compress import Prune
from tfdistill.compress.clustering.cluster import Cluster, cluster_weights
from tfdistill.compress.sensitivity_analysis.one_shot import (
    cluster_once,
    prune_once,
    quantize_once,
    stored_bytes,
)

X = np.eye(8, dtype="float32")


def test_the_change_equals_the_relative_error_computed_by_hand(linear, kernel):
    (row,) = sensitivity(linear(), X, settings={"prune": [0.5]}).rows
    small = np.sort(np.abs(kernel).ravel())[:16]

    expected = np.sqrt((small**2).sum() / (kernel**2).sum())
    assert row.path == "scores/kernel" and row.technique == "prune" and row.setting == 0.5
    # The model sums in float32.
    assert row.change == pytest.approx(expected, rel=1e-5)


def test_one_shot_values_equal_those_that_the_transforms_make(linear, kernel):
    pruned = Compressed(linear(), recipe=[Prune(sparsity=0.5, steps=1)])
    pruned(X, training=True)

    np.testing.assert_array_equal(
        strip(pruned).layers[0].kernel.numpy(), prune_once(kernel, "kernel", 0.5)
    )
    np.testing.assert_array_equal(
        strip(cluster_weights(linear(), number_of_clusters=4)).layers[0].kernel.numpy(),
        cluster_once(kernel, "kernel", 4),
    )
    both = Compressed(
        linear(), recipe=[Prune(sparsity=0.5, steps=1), Cluster(number_of_clusters=4)]
    )
    both(X, training=True)
    pruned_first = cluster_once(prune_once(kernel, "kernel", 0.5), "kernel", 4)
    assert np.count_nonzero(pruned_first == 0) == 16 and np.unique(pruned_first).size == 4
    assert np.count_nonzero(strip(both).layers[0].kernel.numpy() == 0) == 16
    for bits in (8, 4):
        np.testing.assert_array_equal(
            strip(quantize_aware(linear(), bits=bits)).layers[0].kernel.numpy(),
            quantize_once(kernel, "kernel", bits),
        )


def test_every_weight_meets_every_setting_and_the_model_stays_as_it_was(
    model: keras.Model, inputs: np.ndarray, model_kind: str
):
    model(inputs)
    before = [variable.numpy().copy() for variable in model.variables]
    found = sensitivity(model, inputs, settings={"prune": [0.5], "quantize": [8]})

    weights = len(survey(model).compressible)
    assert len(found.rows) == 2 * weights
    assert all(np.isfinite(row.change) and row.change >= 0 for row in found.rows)
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_the_same_call_gives_the_same_table(two_layers):
    assert sensitivity(two_layers(), np.ones((3, 64))) == sensitivity(
        two_layers(), np.ones((3, 64))
    )


def test_stronger_settings_change_more_and_save_more(linear):
    rows = sensitivity(linear(), X).rows
    by_technique = {
        name: [(row.change, row.bytes_saved) for row in rows if row.technique == name]
        for name in ("prune", "cluster", "quantize")
    }

    for measured in by_technique.values():
        assert measured == sorted(measured)


def test_a_metric_replaces_the_error(linear, kernel):
    def share_of_large_outputs(outputs: np.ndarray) -> float:
        return float(np.mean(np.abs(outputs) > 0.1))

    (row,) = sensitivity(linear(), X, metric=share_of_large_outputs, settings={"prune": [0.5]}).rows

    expected = np.mean(np.abs(kernel) > 0.1) - 0.5  # what is left is larger than 0.1
    assert row.change == pytest.approx(expected)


def test_sizes_are_those_of_the_numbers_as_stored():
    noise = np.random.default_rng(0).normal(size=(128, 128)).astype("float32")
    on_grid = quantize_once(noise, "kernel", 4)
    sizes = {
        bits: stored_bytes(on_grid if bits == 4 else noise, kind="kernel", bits=bits)
        for bits in (None, 8, 4)
    }

    # Noise hardly compresses: 4, 1 and half a byte a number, give or take what gzip finds.
    assert 0.85 * 65536 < sizes[None] <= 65536 + 64
    assert 0.8 * 16384 < sizes[8] <= 16384 + 64
    assert 0.75 * 8192 < sizes[4] <= 8192 + 64


def test_the_table_has_a_line_for_each_weight(two_layers):
    lines = str(sensitivity(two_layers(), np.ones((2, 64)))).splitlines()

    assert lines[0].split()[:3] == ["change", "25%", "zeros"]
    assert [line.split()[0] for line in lines[1:3]] == ["wide/kernel", "narrow/kernel"]
    assert lines[3].endswith("KB of float32 after gzip")


def test_the_plot_is_a_png(tmp_path: Path, two_layers):
    pytest.importorskip("matplotlib")
    sensitivity(two_layers(), np.ones((2, 64))).plot(tmp_path / "s.png")

    assert (tmp_path / "s.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert [path.name for path in tmp_path.iterdir()] == ["s.png"]


def test_the_plot_says_what_is_missing_without_matplotlib(tmp_path: Path, monkeypatch, linear):
    found = sensitivity(linear(), X, settings={"quantize": [8]})
    original = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"The plot needs matplotlib.*tfdistill\[plots\]"):
        found.plot(tmp_path / "s.png")


def test_a_compressed_model_is_stripped_first(linear):
    (row,) = sensitivity(quantize_aware(linear()), X, settings={"quantize": [8]}).rows

    # Its weights are on the grid already: only the last digit of a float may move.
    assert row.change < 1e-6


def test_a_file_is_refused_for_a_function_that_wants_a_model(tmp_path: Path, linear):
    path = to_tflite(linear(), tmp_path / "m.tflite")

    with pytest.raises(TypeError, match="`model` must be a Keras 3 model.*a path.*survey"):
        sensitivity(path, X)


def test_a_model_without_a_weight_to_compress_is_refused():
    model = keras.Sequential([keras.Input((8,)), keras.layers.BatchNormalization()])

    with pytest.raises(ValueError, match="`model` must have a Dense"):
        sensitivity(model, X)


def test_data_of_another_shape_is_refused(linear):
    with pytest.raises(ValueError, match="`data` must have shape"):
        sensitivity(linear(), np.ones((2, 9)))


def test_a_metric_that_is_no_function_is_refused(linear):
    with pytest.raises(TypeError, match="`metric` must be a function"):
        sensitivity(linear(), X, metric="accuracy")


@pytest.mark.parametrize("value", [float("nan"), None, "high"])
def test_a_metric_without_a_number_is_refused(value: object, linear):
    with pytest.raises(ValueError, match="`metric` must return a finite number"):
        sensitivity(linear(), X, metric=lambda outputs: value)


@pytest.mark.parametrize("settings", [{}, {"prune": []}, {"distil": [1]}])
def test_settings_without_a_technique_are_refused(settings: dict, linear):
    with pytest.raises(ValueError, match="`settings` must name at least one of"):
        sensitivity(linear(), X, settings=settings)


@pytest.mark.parametrize(
    ("settings", "hint"),
    [
        ({"prune": [50]}, "prune=50. Sparsities are fractions"),
        ({"prune": [True]}, "prune=True. Sparsities"),
        ({"cluster": [2.5]}, "cluster=2.5. Numbers of clusters are ints"),
        ({"quantize": [5]}, "quantize=5. Bits are 8 or 4"),
    ],
)
def test_a_setting_out_of_range_is_refused(settings: dict, hint: str, linear):
    with pytest.raises(ValueError, match=f"`settings` must hold what .*{hint}"):
        sensitivity(linear(), X, settings=settings)


def test_a_batch_size_below_one_is_refused(linear):
    with pytest.raises(ValueError, match="`batch_size` must be an int of at least 1"):
        sensitivity(linear(), X, batch_size=0)
