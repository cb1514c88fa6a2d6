"""One row of the results table for each stage, all measured in the same way.

The latency of a Keras model is that of its float TFLite file: nobody deploys `model.predict`,
and a ratio against it would flatter everything else.
"""

from __future__ import annotations

import gzip
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np

from tfdistill.datasets.assets import MINILM
from tfdistill.export.tflite import to_tflite
from tfdistill.introspection.weights import (
    count_nonzero,
    count_parameters,
    gzip_weight_bytes,
    weight_bytes,
)
from tfdistill.pipelines.data import Encoded
from tfdistill.reports.metrics import accuracy, agreement, macro_f1
from tfdistill.reports.stage_table import StageRow
from tfdistill.runtime.benchmark import measure

__all__ = ["bag_of_words_row", "facts", "file_row", "model_row", "notes_on", "scored"]


def scored(stage: str, predictions: np.ndarray, *, data: Encoded, teacher: np.ndarray) -> StageRow:
    """Starts a row with what the predictions on the test set are worth.

    Args:
        stage: Name of the stage.
        predictions: Classes, int `[M]`.
        data: The data set.
        teacher: The teacher's predictions, int `[M]`.

    Returns:
        A row without costs.
    """
    labels = data.texts.test_labels
    return StageRow(
        stage=stage,
        accuracy=accuracy(labels, predictions),
        macro_f1=macro_f1(labels, predictions, data.num_classes),
        parameters=None,
        nonzero=None,
        size_bytes=None,
        gzip_bytes=None,
        latency_ms_p50=None,
        latency_ms_p95=None,
        teacher_agreement=agreement(teacher, predictions),
    )


def model_row(row: StageRow, model: keras.Model, *, scratch: Path) -> StageRow:
    """Adds what a Keras model costs: its float32 weights, and the time of its float file.

    Args:
        row: From `scored`.
        model: The model.
        scratch: Folder for the float file, which stays there.

    Returns:
        The row.
    """
    timing = measure(to_tflite(model, scratch / f"{row.stage}_float.tflite", quantize=None))
    return replace(
        row,
        parameters=count_parameters(model),
        nonzero=count_nonzero(model),
        size_bytes=weight_bytes(model),
        gzip_bytes=gzip_weight_bytes(model),
        latency_ms_p50=timing.latency_ms_p50,
        latency_ms_p95=timing.latency_ms_p95,
    )


def file_row(row: StageRow, path: Path, *, model: keras.Model) -> StageRow:
    """Adds what a `.tflite` file costs.

    Args:
        row: From `scored`.
        path: The file.
        model: The model that it was made from, for its parameters.

    Returns:
        The row.
    """
    timing = measure(path)
    return replace(
        row,
        parameters=count_parameters(model),
        nonzero=count_nonzero(model),
        size_bytes=timing.size_bytes,
        gzip_bytes=timing.gzip_bytes,
        latency_ms_p50=timing.latency_ms_p50,
        latency_ms_p95=timing.latency_ms_p95,
    )


def bag_of_words_row(data: Encoded, *, teacher: np.ndarray, calls: int = 200) -> StageRow:
    """Trains the rival that needs no teacher and no network: TF-IDF and a linear classifier.

    Args:
        data: The data set; the classifier gets the same labelled texts as everyone.
        teacher: The teacher's predictions, int `[M]`.
        calls: How many single texts to time.

    Returns:
        The whole row; its bytes are those of the weights and of the vocabulary's text.

    Raises:
        ImportError: If scikit-learn is missing.
    """
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise ImportError(
            "The bag-of-words row needs scikit-learn. Install it with `pip install "
            "'tfdistill[demo]'`."
        ) from error
    texts = data.texts
    vectorizer = TfidfVectorizer(sublinear_tf=True)
    inputs = vectorizer.fit_transform([texts.train_texts[row] for row in data.labelled])
    classifier = LogisticRegression(C=100.0, max_iter=2000).fit(inputs, data.known_labels)
    predictions = classifier.predict(vectorizer.transform(texts.test_texts))
    weights = np.concatenate(
        [classifier.coef_.ravel(), classifier.intercept_, vectorizer.idf_]
    ).astype(np.float32)
    content = weights.tobytes() + "\n".join(vectorizer.get_feature_names_out()).encode()
    milliseconds = []
    for text in texts.test_texts[:calls]:
        start = time.perf_counter()
        classifier.predict(vectorizer.transform([text]))
        milliseconds.append(1e3 * (time.perf_counter() - start))
    return replace(
        scored("tfidf", predictions, data=data, teacher=teacher),
        parameters=int(weights.size),
        nonzero=int(np.count_nonzero(weights)),
        size_bytes=len(content),
        gzip_bytes=len(gzip.compress(content, 9, mtime=0)),
        latency_ms_p50=float(np.percentile(milliseconds, 50)),
        latency_ms_p95=float(np.percentile(milliseconds, 95)),
    )


def notes_on(rows: Sequence[StageRow]) -> list[str]:
    """Says in words what the table shows, against the controls.

    Args:
        rows: The table, with the stages of the demo.

    Returns:
        Sentences.
    """

    def of(stage: str, column: str) -> float:
        return getattr(next(row for row in rows if row.stage == stage), column)

    def points(column: str) -> float:
        return 100 * (of("distilled", column) - of("control", column))

    smaller = of("teacher", "size_bytes") / of("tflite", "size_bytes")
    faster = of("teacher", "latency_ms_p50") / of("tflite", "latency_ms_p50")
    kept = 100 * of("tflite", "accuracy") / of("teacher", "accuracy")
    notes = [
        "One seed. `control` is the same student trained on the labels alone, for as many steps: "
        f"the teacher's answers to unlabelled text moved accuracy by {points('accuracy'):+.1f} "
        f"points and agreement with the teacher by {points('teacher_agreement'):+.1f}.",
        f"The TFLite file is {smaller:.0f}x smaller and {faster:.0f}x faster than the teacher's "
        f"and has {kept:.1f} % of its accuracy.",
        "For Keras rows the size is that of the float32 weights and ms are those of the float "
        "TFLite file. Zeros shrink the gzip column alone: TFLite multiplies by them like by any "
        "number.",
    ]
    if all(row.stage != "tfidf" for row in rows):
        return notes
    words = of("tfidf", "accuracy")
    beaten = [stage for stage in ("teacher", "tflite", "control") if words > of(stage, "accuracy")]
    if beaten:
        notes.append(
            f"TF-IDF with a linear classifier ({words:.3f}) beats {', '.join(beaten)} in accuracy "
            "here, with no network at all."
        )
    return notes


def facts(data: Encoded, *, labels: int) -> dict[str, str]:
    """Says in the bundle's card what the student was made from.

    Args:
        data: The data set.
        labels: How many training texts kept their label.
    """
    return {
        "Data": f"{len(data.texts.train_texts):,} training texts, {labels:,} of them with a label, "
        f"and {len(data.texts.test_texts):,} test texts",
        "License of the data": "that of the texts; whoever passes this on has to know it",
        "Teacher": "all-MiniLM-L6-v2 and a head trained on the labels",
        "License of the teacher": MINILM.licence,
        "Recipe": "distilled from the teacher's answers, then pruned and trained in 8 bits",
    }
