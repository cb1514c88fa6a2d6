"""Texts as token ids, and which of them keep their label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tokenizers import Tokenizer

from tfdistill.arguments.numeric import check_int
from tfdistill.datasets.text_files import TextData
from tfdistill.students.text_rows import encode
from tfdistill.students.vocabulary import cut_vocabulary

__all__ = ["Encoded", "encode_texts", "one_hot_where_labelled", "pick_labelled"]


@dataclass(frozen=True)
class Encoded:
    """A data set as the teacher and the student see it.

    Attributes:
        texts: The data set itself.
        tokenizer: The student's tokenizer, with the cut vocabulary.
        kept_ids: The teacher's id of each of the student's ids, int32 `[V]`.
        teacher_train: Ids for the teacher, int32 `[N, L]`.
        teacher_test: The same for the test texts.
        student_train: Ids for the student, int32 `[N, L]`.
        student_test: The same for the test texts.
        labelled: Which training rows keep their label, int64 `[labels]`.
    """

    texts: TextData
    tokenizer: Tokenizer
    kept_ids: np.ndarray
    teacher_train: np.ndarray
    teacher_test: np.ndarray
    student_train: np.ndarray
    student_test: np.ndarray
    labelled: np.ndarray

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.texts.label_names)

    @property
    def known_labels(self) -> np.ndarray:
        """Labels of the labelled rows, int32 `[labels]`."""
        return self.texts.train_labels[self.labelled]


def encode_texts(
    texts: TextData,
    tokenizer: Tokenizer,
    *,
    sequence_length: int,
    labels: int | None,
    seed: int,
) -> Encoded:
    """Turns texts into ids and cuts the vocabulary to what the training texts use.

    Args:
        texts: The data set.
        tokenizer: The teacher's WordPiece tokenizer.
        sequence_length: Number of ids per text.
        labels: How many training texts keep their label; None keeps all.
        seed: Seed of that choice.

    Returns:
        What both models are fed.
    """
    small, kept_ids = cut_vocabulary(tokenizer, texts.train_texts, sequence_length=sequence_length)
    ids = {
        (who, split): encode(own, rows, sequence_length=sequence_length)
        for who, own in (("teacher", tokenizer), ("student", small))
        for split, rows in (("train", texts.train_texts), ("test", texts.test_texts))
    }
    return Encoded(
        texts=texts,
        tokenizer=small,
        kept_ids=kept_ids,
        teacher_train=ids["teacher", "train"],
        teacher_test=ids["teacher", "test"],
        student_train=ids["student", "train"],
        student_test=ids["student", "test"],
        labelled=pick_labelled(texts.train_labels, labels=labels, seed=seed),
    )


def pick_labelled(train_labels: np.ndarray, *, labels: int | None, seed: int) -> np.ndarray:
    """Draws which rows keep their label, at least one of each class where there are enough.

    Args:
        train_labels: All labels, int `[N]`.
        labels: How many to keep, an int from the number of classes to N; None keeps all.
        seed: Seed of the draw.

    Returns:
        Row numbers in rising order, int64 `[labels]`.

    Raises:
        ValueError: If `labels` is out of range, or all labels are the same.

    Example:
        >>> pick_labelled(np.array([0, 0, 0, 1]), labels=2, seed=0).tolist()[-1]
        3
    """
    rows = len(train_labels)
    classes = np.unique(train_labels)
    if len(classes) < 2:
        raise ValueError(
            "`train_labels` must be of two or more classes. "
            f"Received: train_labels of class {classes.tolist()} only. Were the texts cut from a "
            "data set that is sorted by class?"
        )
    if labels is None:
        return np.arange(rows)
    check_int(
        labels,
        argument="labels",
        at_least=len(classes),
        at_most=rows,
        hint="From one per class to all; None (on the command line: all) keeps every label.",
    )
    order = np.random.default_rng(seed).permutation(rows)
    first_of_class = [order[train_labels[order] == label][0] for label in classes]
    others = order[~np.isin(order, first_of_class)]
    return np.sort(np.concatenate([first_of_class, others[: labels - len(classes)]]))


def one_hot_where_labelled(data: Encoded) -> np.ndarray:
    """Makes one-hot labels with a row of zeros for each text whose label is not known.

    Args:
        data: The encoded data set.

    Returns:
        float32 `[N, C]`.
    """
    rows = np.zeros((len(data.student_train), data.num_classes), np.float32)
    rows[data.labelled, data.known_labels] = 1.0
    return rows
