"""Training and test parts of labelled texts: held out, or two tables that must fit."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from tfdistill.arguments import check_int, check_number
from tfdistill.datasets.tables.columns import option
from tfdistill.datasets.tables.table import SkippedRow, Table
from tfdistill.datasets.text_files import TextData, text_data

__all__ = ["contradictions", "held_out_rows", "hold_out", "keep_known_labels", "pick_labelled"]


def contradictions(texts: Sequence[str], labels: Sequence[str]) -> list[tuple[int, int]]:
    """Lists the rows that give a text another label than the first row with this text does.

    Nothing is wrong with the file then, and much with what a model can learn from it.

    Args:
        texts: N raw strings.
        labels: N class names.

    Returns:
        Pairs of the first row and the later one, counted from 0, in the order of the later ones.

    Example:
        >>> contradictions(["rain", "sun", "rain", "rain"], ["wet", "dry", "wet", "dry"])
        [(0, 3)]
    """
    first: dict[str, int] = {}
    found = []
    for row, (text, label) in enumerate(zip(texts, labels, strict=True)):
        earlier = first.setdefault(text, row)
        if labels[earlier] != label:
            found.append((earlier, row))
    return found


def hold_out(
    texts: Sequence[str], labels: Sequence[str], *, share: float = 0.2, seed: int = 0
) -> TextData:
    """Splits labelled texts into training and test texts, class by class.

    Of a class with n different texts, round(share · n) are held out, and never all of them: a
    class with one text trains and is not tested. Texts that occur several times are kept on one
    side, or the test would ask what training told.

    Args:
        texts: N raw strings.
        labels: N class names.
        share: Fraction of each class's texts that is held out, in (0, 1).
        seed: Seed of the draw.

    Returns:
        The data set.

    Raises:
        ValueError: If `share` is not in (0, 1), there are fewer than two classes, or no class has
            two different texts, so that nothing can be held out.

    Example:
        >>> data = hold_out(["a", "b", "c", "d", "e"], ["x", "x", "y", "y", "z"], share=0.5)
        >>> len(data.train_texts), len(data.test_texts), data.label_names
        (3, 2, ('x', 'y', 'z'))
    """
    if not 0.0 < share < 1.0:
        raise ValueError(f"`share` must be a fraction in (0, 1). Received: share={share!r}.")
    if len(texts) != len(labels):
        raise ValueError(
            f"`texts` must be as many as `labels`. Received: {len(texts)} texts, "
            f"{len(labels)} labels."
        )
    if len(set(labels)) < 2:
        raise ValueError(
            f"`labels` must be of two or more classes. Received: {sorted(set(labels))!r} only. "
            f"Is {option('label')} the right column?"
        )
    generator = np.random.default_rng(seed)
    first_label = dict(zip(reversed(texts), reversed(labels), strict=True))
    held: set[str] = set()
    for name in sorted(set(labels)):
        own = sorted(text for text, label in first_label.items() if label == name)
        count = min(round(share * len(own)), len(own) - 1)
        held.update(own[index] for index in generator.permutation(len(own))[: max(0, count)])
    parts: dict[bool, tuple[list[str], list[str]]] = {True: ([], []), False: ([], [])}
    trained = {label for text, label in zip(texts, labels, strict=True) if text not in held}
    for text, label in zip(texts, labels, strict=True):
        # A class known from contradicting copies of held-out texts alone still has to train.
        side = parts[text in held and label in trained]
        side[0].append(text)
        side[1].append(label)
    if not parts[True][0]:
        raise ValueError(
            "`texts` must hold two different texts of some class, to hold one out. "
            f"Received: {len(texts)} texts of {len(set(labels))} classes, share={share}. "
            "Give test texts of their own, or a larger share."
        )
    return text_data(parts[False], parts[True])


def held_out_rows(
    texts: Sequence[str],
    *,
    groups: Sequence[str] | None = None,
    share: float = 0.1,
    seed: int = 0,
) -> npt.NDArray[np.bool_]:
    """Draws which rows are held out, group by group.

    Of a group with n different texts, round(share · n) are held out, and never all of them. Rows
    of one text stay on one side. A group is left in training where its texts are others' too.

    Args:
        texts: N raw strings.
        groups: The group of each row, such as its class; None draws from all rows alike.
        share: Fraction of each group's texts that is held out, in [0, 1).
        seed: Seed of the draw.

    Returns:
        Whether each row is held out, bool `[N]`.

    Raises:
        TypeError: If `share` is not a number.
        ValueError: If it is out of range.

    Example:
        >>> held_out_rows(["a", "b", "a", "c"], share=0.4).tolist()
        [False, False, False, True]
    """
    check_number(share, argument="share", interval="[0, 1)")
    names = [""] * len(texts) if groups is None else list(groups)
    of_text = dict(zip(reversed(list(texts)), reversed(names), strict=True))
    members: dict[str, list[str]] = {}
    for text, name in of_text.items():
        members.setdefault(name, []).append(text)
    generator = np.random.default_rng(seed)
    held: set[str] = set()
    for name in sorted(members):
        own = sorted(members[name])
        count = min(round(share * len(own)), len(own) - 1)
        held.update(own[index] for index in generator.permutation(len(own))[:count])
    trained = {name for text, name in zip(texts, names, strict=True) if text not in held}
    return np.array(
        [text in held and name in trained for text, name in zip(texts, names, strict=True)], bool
    )


def keep_known_labels(
    test: Table, known: Iterable[str], *, label: str = "label", skip_bad_rows: bool = False
) -> Table:
    """Refuses test rows whose class no training row has, or leaves them out.

    A model cannot be right about such rows, so they would count against it whatever it learned.

    Args:
        test: The test rows.
        known: Labels of the training rows.
        label: The test table's column of the class.
        skip_bad_rows: Whether to leave such rows out, and count them.

    Returns:
        The table; without the rows that were left out, which are added to `skipped`.

    Raises:
        ValueError: If a label is not known, or no row would be left.

    Example:
        >>> from tfdistill.datasets import Column, read_table
        >>> wanted = (Column("text"), Column("label", "label"))
        >>> test = read_table((["a", "b"], ["x", "z"]), columns=wanted)
        >>> fewer = keep_known_labels(test, ["x", "y"], skip_bad_rows=True)
        >>> fewer.columns["text"], [row.place for row in fewer.skipped]
        (['a'], ['row 1'])
    """
    names = set(known)
    labels = test.columns[label]
    unknown = [row for row, name in enumerate(labels) if name not in names]
    if not unknown:
        return test
    shown = sorted(names)[:8]
    listed = f"{', '.join(map(repr, shown))}{' …' * (len(names) > len(shown))}"
    if not skip_bad_rows:
        first = unknown[0]
        more = f" (and {len(unknown) - 1} more rows like it)" * (len(unknown) > 1)
        raise ValueError(
            f"{test.source}, {test.place(first)}: expected a {label!r} that a training row has. "
            f"Received: {labels[first]!r}{more}. Known labels: {listed}. Add training rows of it, "
            f"or leave such rows out: {option('skip_bad_rows')}."
        )
    left_out = set(unknown)
    kept = [row for row in range(test.num_rows) if row not in left_out]
    if not kept:
        raise ValueError(
            f"{test.source} must hold a row whose {label!r} a training row has. Received: "
            f"{sorted(set(labels))[:8]!r}. Known labels: {listed}. Set {option('label')}."
        )
    skipped = [
        SkippedRow(
            number=int(test.row_numbers[row]),
            place=test.place(row),
            reason=f"no training row has the {label!r} {labels[row]!r}.",
        )
        for row in unknown
    ]
    return dataclasses.replace(
        test,
        columns={name: [cells[row] for row in kept] for name, cells in test.columns.items()},
        row_numbers=test.row_numbers[kept],
        skipped=tuple(sorted((*test.skipped, *skipped), key=lambda row: row.number)),
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
