from __future__ import annotations

import gzip
from typing import Any

import keras
import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from tfdistill.files.atomic import gzip_bytes
from tfdistill.introspection import count_nonzero, count_parameters, gzip_weight_bytes, weight_bytes
from tfdistill.reports import accuracy, agreement, macro_f1


def test_macro_f1_equals_the_number_on_paper() -> None:
    # Class 0: TP 2, FP 1, FN 1 → 4/6. Class 1: TP 1, FP 0, FN 1 → 2/3. Class 2: TP 1, FP 1 → 2/3.
    assert macro_f1([0, 0, 0, 1, 1, 2], [0, 0, 2, 1, 0, 2], 3) == pytest.approx(2 / 3)


def test_macro_f1_does_not_reward_naming_only_the_frequent_class() -> None:
    labels, predictions = [0] * 9 + [1], [0] * 10
    assert accuracy(labels, predictions) == 0.9
    assert macro_f1(labels, predictions, 2) == pytest.approx((18 / 19 + 0) / 2)


@pytest.mark.parametrize("seed", range(5))
def test_macro_f1_and_accuracy_equal_scikit_learns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, predictions = rng.integers(0, 6, (2, 50)) ** 2 // 6  # unbalanced, some never occur
    expected = f1_score(labels, predictions, average="macro", zero_division=0)
    assert macro_f1(labels, predictions, 8) == pytest.approx(expected, abs=1e-12)
    assert accuracy(labels, predictions) == accuracy_score(labels, predictions)


def test_a_class_that_occurs_nowhere_does_not_change_macro_f1() -> None:
    assert macro_f1([0, 1], [0, 1], 2) == macro_f1([0, 1], [0, 1], 100) == 1.0


def test_agreement_is_symmetric_and_about_two_models() -> None:
    assert agreement([1, 2, 3, 4], [1, 2, 0, 0]) == agreement([1, 2, 0, 0], [1, 2, 3, 4]) == 0.5


@pytest.mark.parametrize(
    ("labels", "predictions", "error", "message"),
    [
        ([0, 1], [0], ValueError, r"`labels` and `predictions` must .*shape \(2,\).*shape \(1,\)"),
        ([], [], ValueError, r"same shape \[N\], N at least 1"),
        ([[0, 1]], [[0, 1]], ValueError, r"labels of shape \(1, 2\)"),
        ([0, 1], [0.2, 0.8], TypeError, "`predictions` must be class indices.*argmax"),
        ([0, 5], [0, 1], ValueError, r"`labels` must be class indices in \[0, 3\).*0 to 5"),
        ([0, 1], [-1, 1], ValueError, r"`predictions` must be class indices in \[0, 3\).*-1 to 1"),
    ],
)
def test_predictions_that_do_not_fit_are_refused(
    labels: Any, predictions: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        macro_f1(labels, predictions, 3)


def test_agreement_names_its_own_arguments() -> None:
    with pytest.raises(ValueError, match="`reference` and `predictions` must have the same shape"):
        agreement([1], [1, 2])


def shared_model() -> keras.Model:
    """One layer used twice, between two others, with dropout and batch statistics."""
    x = keras.Input((4,))
    shared = keras.layers.Dense(4, use_bias=False, name="shared")
    y = keras.layers.Dropout(0.5)(shared(shared(x)))
    y = keras.layers.BatchNormalization()(y)
    return keras.Model(x, keras.layers.Dense(2)(y))


def test_a_shared_layer_counts_once_and_dropout_seeds_not_at_all() -> None:
    # 4·4 shared, 4 vectors of 4 in the normalization, 4·2 + 2 in the head.
    assert count_parameters(shared_model()) == 16 + 16 + 10
    assert weight_bytes(shared_model()) == 4 * 42


def test_zeros_are_counted_exactly() -> None:
    model = keras.Sequential([keras.Input((10,)), keras.layers.Dense(5)])
    kernel = np.zeros((10, 5))
    kernel[:3] = 1e-30  # tiny is not zero
    model.set_weights([kernel, np.ones(5)])
    assert count_nonzero(model) == 15 + 5


def test_the_gzip_size_of_weights_is_that_of_their_float32_bytes() -> None:
    keras.utils.set_random_seed(0)
    model = shared_model()
    content = b"".join(weight.numpy().astype("<f4").tobytes() for weight in model.weights)
    assert gzip_weight_bytes(model) == len(gzip.compress(content, 9, mtime=0))


def test_pruned_weights_only_shrink_after_gzip(rng: np.random.Generator) -> None:
    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(64, use_bias=False)])
    dense, sizes = rng.standard_normal((64, 64)), []
    for mask in (np.ones((64, 64)), rng.random((64, 64)) < 0.2):
        model.set_weights([dense * mask])
        sizes.append((weight_bytes(model), gzip_weight_bytes(model)))
    assert sizes[0][0] == sizes[1][0] == 4 * 4096
    assert sizes[1][1] < 0.4 * sizes[0][1]


def test_gzip_bytes_does_not_depend_on_how_the_data_is_cut(rng: np.random.Generator) -> None:
    data = rng.integers(0, 9, 100_000, dtype="uint8").tobytes()
    pieces = [data[begin : begin + 777] for begin in range(0, len(data), 777)]
    assert gzip_bytes(pieces) == gzip_bytes([data]) == len(gzip.compress(data, 9, mtime=0))


def test_an_unbuilt_model_has_no_size() -> None:
    with pytest.raises(ValueError, match="`model` must be built"):
        count_parameters(keras.Sequential([keras.layers.Dense(2)]))
