"""The cheapest rivals of a student: a bag of words on the labels, with scikit-learn.

TF-IDF of words and pairs of words beside that of characters 2 to 5 inside of words, and a linear
classifier: on short texts of many classes this is hard to beat, and it trains in seconds.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfdistill.pipelines.texts.rows import Part
from tfdistill.pipelines.texts.tasks import TextTask

__all__ = ["WordsRival", "milliseconds", "train_on_words"]


@dataclass(frozen=True, eq=False)
class WordsRival:
    """A bag of words and what it answered.

    Attributes:
        predictions: For the test texts, as the task has them: classes int `[M]`, 0 and 1 `[M, C]`,
            or numbers `[M]`.
        held_predictions: The same for the held-out texts.
        parameters: Number of its weights.
        size_bytes: Weights as float32 and the text of its vocabulary.
        text_ms: Milliseconds from text to answer, one for each text that was timed.
    """

    predictions: np.ndarray
    held_predictions: np.ndarray
    parameters: int
    size_bytes: int
    text_ms: tuple[float, ...]


def train_on_words(
    train: Part, held_out: Part, test: Part, *, task: TextTask, timed: int = 200, seed: int = 0
) -> WordsRival:
    """Trains the rival that needs no teacher and no network.

    Args:
        train: Texts and targets.
        held_out: Texts to be answered, which do not train; they choose the threshold of each label,
            as they do for the student.
        test: The same.
        task: What is asked.
        timed: How many test texts to time.
        seed: Seed of the solver.

    Returns:
        The rival.

    Raises:
        ImportError: If scikit-learn is missing.
    """
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import Ridge
        from sklearn.multiclass import OneVsRestClassifier
        from sklearn.pipeline import make_pipeline, make_union
        from sklearn.svm import LinearSVC
    except ImportError as error:
        raise ImportError(
            "The bag of words on the labels needs scikit-learn. Install it with "
            "`pip install 'tfdistill[demo]'`."
        ) from error
    features = make_union(
        TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b"),
        TfidfVectorizer(sublinear_tf=True, analyzer="char_wb", ngram_range=(2, 5), min_df=2),
    )
    model = {
        "class": LinearSVC(random_state=seed),
        "labels": OneVsRestClassifier(LinearSVC(random_state=seed)),
        "number": Ridge(random_state=seed),
    }[task.kind]
    targets = train.targets.astype(int) if task.kind == "labels" else train.targets
    with warnings.catch_warnings():
        # Classes of one text each, and a solver that stops at its limit, are the table's own.
        warnings.simplefilter("ignore", UserWarning)
        pipeline = make_pipeline(features, model).fit(train.texts, targets)
    answers = _answers(pipeline, held_out, test, task=task)
    times = []
    for text in test.texts[:timed]:
        start = time.perf_counter()
        pipeline.predict([text])
        times.append(1e3 * (time.perf_counter() - start))
    names = features.get_feature_names_out()
    parts = model.estimators_ if task.kind == "labels" else [model]
    weights = sum(
        np.size(part.coef_) + np.size(part.intercept_) for part in parts if hasattr(part, "coef_")
    ) + len(names)
    words = sum(len(name.split("__", 1)[-1].encode("utf-8")) + 1 for name in names)
    return WordsRival(
        predictions=answers[1],
        held_predictions=answers[0],
        parameters=int(weights),
        size_bytes=int(4 * weights + words),
        text_ms=tuple(times),
    )


def _answers(pipeline: Any, held_out: Part, test: Part, *, task: TextTask) -> list[np.ndarray]:
    """Answers held-out and test texts; labels from thresholds that the held-out rows choose."""
    if task.kind != "labels":
        return [np.asarray(pipeline.predict(part.texts)) for part in (held_out, test)]
    margins = [np.asarray(pipeline.decision_function(part.texts)) for part in (held_out, test)]
    thresholds = task.thresholds(margins[0], held_out.targets)
    return [task.answers(each, thresholds) for each in margins]


def milliseconds(times: Sequence[float]) -> tuple[float, float]:
    """Returns the median and the 95th percentile."""
    return float(np.percentile(times, 50)), float(np.percentile(times, 95))
