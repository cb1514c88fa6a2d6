"""Labelled texts of your own: read from a table, and turned into class ids.

    reviews.csv ─ read_labelled_text ─▶ texts, labels ─ text_data ─▶ TextData

`TextData` is what every data set of this folder returns, so a domain of your own goes through
the same functions as the examples do.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tfdistill.datasets.tables.columns import Column
from tfdistill.datasets.tables.table import read_table

__all__ = ["TextData", "read_labelled_text", "text_data"]


@dataclass(frozen=True, eq=False)
class TextData:
    """Texts with their classes, split into training and test.

    Attributes:
        train_texts: Raw strings, N of them.
        train_labels: Class ids in [0, C), int32 array of shape `[N]`.
        test_texts: Raw strings, M of them.
        test_labels: Class ids in [0, C), int32 array of shape `[M]`.
        label_names: Name of each class, C of them, sorted.
    """

    train_texts: list[str]
    train_labels: npt.NDArray[np.int32]
    test_texts: list[str]
    test_labels: npt.NDArray[np.int32]
    label_names: tuple[str, ...]


def text_data(
    train: tuple[Sequence[str], Sequence[str]], test: tuple[Sequence[str], Sequence[str]]
) -> TextData:
    """Turns named labels into class ids.

    The classes are the labels of the training part, sorted, so that the ids depend on
    nothing but their names.

    Args:
        train: Texts and as many labels.
        test: Texts and as many labels; none that the training part lacks.

    Returns:
        The data set.

    Raises:
        ValueError: If a part has not as many texts as labels, or a test label is unknown.

    Example:
        >>> data = text_data((["rain", "sun"], ["wet", "dry"]), (["fog"], ["wet"]))
        >>> data.label_names, data.train_labels.tolist(), data.test_labels.tolist()
        (('dry', 'wet'), [1, 0], [1])
    """
    for name, (texts, labels) in (("train", train), ("test", test)):
        if len(texts) != len(labels):
            raise ValueError(
                f"`{name}` must have as many texts as labels. Received: "
                f"{len(texts)} texts, {len(labels)} labels."
            )
    names = tuple(sorted(set(train[1])))
    ids = {name: index for index, name in enumerate(names)}
    for row, label in enumerate(test[1]):
        if label not in ids:
            raise ValueError(
                f"`test` must only have labels that `train` has. Received: {label!r} at "
                f"index {row}. Known labels: {', '.join(names[:8])}{' …' * (len(names) > 8)}. "
                "`keep_known_labels` leaves such rows out."
            )
    return TextData(
        train_texts=list(train[0]),
        train_labels=np.array([ids[label] for label in train[1]], dtype=np.int32),
        test_texts=list(test[0]),
        test_labels=np.array([ids[label] for label in test[1]], dtype=np.int32),
        label_names=names,
    )


def read_labelled_text(
    path: str | os.PathLike[str],
    *,
    text: str = "text",
    label: str = "label",
    delimiter: str | None = None,
    encoding: str | None = None,
) -> tuple[list[str], list[str]]:
    r"""Reads texts and their labels from a file; `read_table` also tells what it found out.

    The formats are those of `read_table`. Nothing is dropped silently: the first row that is not
    right ends the reading.

    Args:
        path: The file; its ending tells the format.
        text: Name of the column, or key, that holds the text.
        label: Name of the column, or key, that holds the class.
        delimiter: What separates fields of CSV and TSV files. None finds it.
        encoding: How bytes become characters, such as "cp1252". None finds it.

    Returns:
        Texts and labels, two lists of one length.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the ending is unknown, a column is missing, there is no row, or a row
            is not right; the message names its line.

    Warns:
        UserWarning: If the encoding was guessed, or a column was taken by a near name.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder) / "weather.csv"
        ...     _ = file.write_text('text,label\n"rain, then snow",wet\n')
        ...     read_labelled_text(file)
        (['rain, then snow'], ['wet'])
    """
    table = read_table(
        path,
        columns=(
            Column(text, "text", argument="text"),
            Column(label, "label", argument="label"),
        ),
        delimiter=delimiter,
        encoding=encoding,
    )
    if table.guesses:
        warnings.warn(f"{table.source}: {'; '.join(table.guesses)}.", stacklevel=2)
    return table.columns[text], table.columns[label]
