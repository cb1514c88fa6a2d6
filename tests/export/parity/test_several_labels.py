"""Labels of which an example has several are compared one by one, and never by the largest."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

import tfdistill as td
from tfdistill.export.parity.differences import check_labels, measures
from tfdistill.export.parity.several_labels import f1_of_labels, label_measures
from tfdistill.reports import metric_score


def identity_model(bias: list[float]) -> keras.Model:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)])
    model.set_weights([np.eye(3), np.array(bias)])
    return model


X = np.array([[2, 1, -1], [-1, 3, -2], [1, -1, 2], [-2, -1, -3]], "float32")
Y = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]])


def test_compare_tells_the_f1_of_each_label_and_no_accuracy(tmp_path: Path):
    model = identity_model([0, 0, 0])
    path = td.to_tflite(model, tmp_path / "labels.tflite", quantize=None)
    report = td.compare(model, path, X, Y)

    # Said are labels 0 and 1, 1, 0 and 2, none: of label 0 one is right of two that are said.
    assert report.label_f1 == ((2 / 3, 2 / 3), (1.0, 1.0), (1.0, 1.0))
    assert report.model_accuracy is None and report.file_accuracy is None
    assert report.agreement == 1.0 and report.kl == pytest.approx(0.0, abs=1e-9)
    assert report.model_macro_f1 == report.file_macro_f1 == pytest.approx(8 / 9)
    assert str(report).splitlines()[-6:] == [
        "label agreement  1.0000",
        f"KL divergence    {report.kl:.3g} nats",
        "macro F1         0.8889 model, 0.8889 file",
        "F1 of label 0    0.667 model, 0.667 file",
        "F1 of label 1    1.000 model, 1.000 file",
        "F1 of label 2    1.000 model, 1.000 file",
    ]
    report.assert_close(quantize=None)


def test_a_file_that_says_other_labels_is_told(tmp_path: Path):
    path = td.to_tflite(identity_model([-5, 0, 0]), tmp_path / "other.tflite", quantize=None)
    report = td.compare(identity_model([0, 0, 0]), path, X, Y)

    # The file never says label 0: two of twelve yeses and noes differ.
    assert report.agreement == pytest.approx(10 / 12)
    assert report.label_f1[0] == (2 / 3, 0.0)
    assert report.file_macro_f1 == pytest.approx(2 / 3)
    with pytest.raises(AssertionError, match="differs from the model"):
        report.assert_close(quantize=None)


def test_rows_of_one_label_each_are_still_classes(tmp_path: Path):
    model = identity_model([0, 0, 0])
    path = td.to_tflite(model, tmp_path / "classes.tflite", quantize=None)
    report = td.compare(model, path, X, np.eye(3)[[0, 1, 2, 1]])

    assert report.model_accuracy == 1.0 and report.label_f1 == () and report.model_macro_f1 is None
    assert "macro F1" not in str(report) and "top-1 agreement" in str(report)


def test_what_is_neither_0_nor_1_stays_a_distribution():
    labels = check_labels([[0.2, 0.8], [0.7, 0.3]], shape=(2, 2))
    assert labels is not None and labels.tolist() == [1, 0]


def test_figures_equal_those_of_the_reports(rng: np.random.Generator):
    model, file = rng.normal(size=(2, 50, 8))
    truth = (rng.random((50, 8)) < 0.3).astype(int)
    parts = [slice(0, 30), slice(30, 50)]
    found = [
        measures({"y": model[part]}, {"y": file[part]}, output="y", labels=truth[part] > 0)
        for part in parts
    ]
    joined = {name: np.concatenate([each[name] for each in found]) for name in found[0]}
    f1 = f1_of_labels(joined)

    for column, logits in enumerate((model, file)):
        wanted = metric_score("macro_f1", truth, (logits >= 0).astype(int))
        assert np.mean([pair[column] for pair in f1]) == pytest.approx(wanted)
    assert joined["agreement"].mean() == pytest.approx(np.mean((model >= 0) == (file >= 0)))


def test_divergence_is_that_of_each_label():
    # Probabilities 1/2 and 3/4: 1/2 ln(2/3) + 1/2 ln 2 = ln 2 - 1/2 ln 3.
    model, file = np.array([[0.0, -9.0]]), np.array([[np.log(3.0), -9.0]])
    found = label_measures(model, file, np.array([[1, 1]]))
    np.testing.assert_allclose(found["kl"], (np.log(2) - np.log(3) / 2) / 2)
    probabilities = label_measures(np.array([[0.5, 0.1]]), np.array([[0.75, 0.1]]), np.eye(2)[:1])
    np.testing.assert_allclose(probabilities["kl"], found["kl"])
    assert probabilities["agreement"].tolist() == [1.0]


def test_an_answer_that_is_no_number_agrees_with_nothing():
    bad = np.array([[np.nan, 1.0]])
    for one, other in ((bad, bad), (bad, np.ones((1, 2))), (np.ones((1, 2)), bad)):
        found = label_measures(one, other, np.array([[1, 1]]))
        assert found["agreement"].tolist() == [0.5]


def test_a_label_that_is_neither_there_nor_said_has_no_figure():
    found = label_measures(np.array([[1.0, -1.0]]), np.array([[1.0, -1.0]]), np.array([[1, 0]]))
    assert f1_of_labels(found) == ((1.0, 1.0), (None, None))
