from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import special

from tfdistill.export.parity.differences import check_labels, kl_divergence, measures


def test_measures_equal_the_numbers_on_paper() -> None:
    found = measures(
        {"logits": np.array([[3.0, 4.0], [1.0, 0.0]])},
        {"logits": np.array([[4.0, 3.0], [1.5, 0.0]])},
        output="logits",
        labels=np.array([0, 0]),
    )
    assert found["max_error"].tolist() == [1.0, 0.5]
    assert found["mean_error"].tolist() == [1.0, 0.25]
    assert found["largest"].tolist() == [4.0, 1.0]
    np.testing.assert_allclose(found["cosine"], [24 / 25, 1.0])
    assert found["agreement"].tolist() == [0.0, 1.0]
    assert found["model_accuracy"].tolist() == [0.0, 1.0]
    assert found["file_accuracy"].tolist() == [1.0, 1.0]


def test_errors_are_over_all_outputs_and_classes_over_one() -> None:
    ours = {"logits": np.array([[0.0, 1.0]]), "hidden": np.array([[[5.0], [6.0]]])}
    theirs = {"logits": np.array([[0.0, 1.0]]), "hidden": np.array([[[5.0], [9.0]]])}
    found = measures(ours, theirs, output="logits")
    assert found["max_error"].tolist() == [3.0]
    assert found["agreement"].tolist() == [1.0]
    assert found["kl"].tolist() == [0.0]


def test_answers_per_token_are_averaged_within_an_example() -> None:
    ours = np.array([[[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]])
    theirs = np.array([[[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]]])
    found = measures({"y": ours}, {"y": theirs}, output="y", labels=np.array([[0, 0, 0, 1]]))
    assert found["agreement"].tolist() == [0.75]
    assert found["model_accuracy"].tolist() == [0.75]
    assert found["file_accuracy"].tolist() == [0.5]


def test_a_single_number_has_no_classes() -> None:
    found = measures({"y": np.array([[0.5]])}, {"y": np.array([[0.6]])}, output="y")
    assert "agreement" not in found and "kl" not in found


def test_nan_is_reported_and_not_hidden() -> None:
    found = measures({"y": np.ones((1, 2))}, {"y": np.full((1, 2), np.nan)}, output="y")
    assert np.isnan(found["max_error"][0]) and np.isnan(found["cosine"][0])


def test_nan_agrees_with_nothing_and_is_no_class() -> None:
    nan, good = {"y": np.full((1, 2), np.nan)}, {"y": np.array([[1.0, 0.0]])}
    label = np.array([0])
    # argmax of NaN is 0, which would be agreement and a right answer in all three.
    for model, file in ((nan, nan), (nan, good), (good, nan)):
        found = measures(model, file, output="y", labels=label)
        assert found["agreement"].tolist() == [0.0]
        assert found["model_accuracy"].tolist() == [float(model is good)]
        assert found["file_accuracy"].tolist() == [float(file is good)]


def test_zero_answers_that_are_equal_have_cosine_one() -> None:
    zeros = {"y": np.zeros((1, 2))}
    assert measures(zeros, zeros, output="y")["cosine"].tolist() == [1.0]


def test_kl_equals_scipys(rng: np.random.Generator) -> None:
    p, q = rng.standard_normal((2, 5, 7))
    expected = special.rel_entr(special.softmax(p, -1), special.softmax(q, -1)).sum(-1)
    np.testing.assert_allclose(kl_divergence(p, q), expected, rtol=1e-12)


def test_kl_takes_probabilities_as_they_are(rng: np.random.Generator) -> None:
    p, q = special.softmax(rng.standard_normal((2, 5, 7)), axis=-1)
    np.testing.assert_allclose(kl_divergence(p, q), special.rel_entr(p, q).sum(-1), rtol=1e-9)


@pytest.mark.parametrize(
    "y", [[2, 0], [[2], [0]], [[0, 0, 1], [1, 0, 0]], [[0.0, 0.1, 0.9], [1, 0, 0]]]
)
def test_labels_become_class_indices(y: Any) -> None:
    labels = check_labels(y, shape=(2, 3))
    assert labels is not None and labels.tolist() == [2, 0]


@pytest.mark.parametrize(
    ("y", "shape", "error", "message"),
    [
        ([0, 1, 2], (2, 3), ValueError, r"class indices of shape \(2,\).*Received: shape=\(3,\)"),
        ([[0, 1], [1, 0]], (2, 3), ValueError, r"one-hot rows of shape \(2, 3\).*shape=\(2, 2\)"),
        ([0, 3], (2, 3), ValueError, r"indices in \[0, 3\).*values from 0 to 3"),
        ([-1, 1], (2, 3), ValueError, "values from -1 to 1"),
        ([0.0, 1.0], (2, 3), TypeError, "`y` must be class indices.*dtype=float64"),
        ([0, 1], (2, 1), ValueError, "for at least two classes"),
    ],
)
def test_labels_that_do_not_fit_are_refused(
    y: Any, shape: tuple[int, ...], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        check_labels(y, shape=shape)
