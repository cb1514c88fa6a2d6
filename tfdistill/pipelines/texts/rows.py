"""The rows of a run: texts and targets for training, for decisions and for the test.

    table ─ read_rows ─▶ TextRows(train, held_out, test, unlabeled; task)

Held-out rows train nothing. They choose the teacher and the student, and set thresholds; the test
rows are asked once, at the end.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tfdistill.datasets.splits import contradictions, held_out_rows, keep_known_labels
from tfdistill.datasets.tables.columns import Column
from tfdistill.datasets.tables.table import Table, read_table
from tfdistill.pipelines.texts.tasks import TextTask, doubt_of, infer_task, names_in, task_of

__all__ = ["Part", "TextRows", "read_rows"]

TEST_SHARE, HELD_SHARE, MOST_HELD = 0.2, 0.1, 3000
_ENOUGH_HELD = 500  # held-out rows on which two students can be told apart
_WATCHED_SHARE = 0.2


@dataclass(frozen=True, eq=False)
class Part:
    """Texts and what is right for them.

    Attributes:
        texts: N raw texts.
        targets: As the task makes them: class ids int32 `[N]`, 0 and 1 float32 `[N, C]`, or numbers
            float32 `[N]`.
        rows: Their numbers among the rows of the data and, behind these, of the test rows, `[N]`.
    """

    texts: list[str]
    targets: np.ndarray
    rows: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True, eq=False)
class TextRows:
    """All rows of a run.

    Attributes:
        name: Where they came from, for the report.
        task: What is asked of a text.
        train: Rows that models learn from.
        held_out: Rows that decide.
        test: Rows that are measured once.
        unlabeled: Texts without a target, for the teacher alone.
        num_rows: Rows of the data and of the test that were read.
        watched: Texts without a target that train nothing. Where few rows are held out, students
            are also judged by how often they say there what the teacher says.
    """

    name: str
    task: TextTask
    train: Part
    held_out: Part
    test: Part
    unlabeled: tuple[str, ...]
    num_rows: int = 0
    watched: tuple[str, ...] = ()


def read_rows(
    data: Any,
    *,
    text: str = "text",
    label: str = "label",
    task: str = "auto",
    test: Any = None,
    unlabeled: Any = None,
    delimiter: str | None = None,
    encoding: str | None = None,
    skip_bad_rows: bool = False,
    seed: int = 0,
    say: Callable[[str], None] = lambda line: None,
) -> TextRows:
    """Reads tables and splits them.

    A fifth of the rows is the test where `test` is None; a tenth of what is left, at most 3,000
    rows, is held out. Texts that occur several times stay on one side. Where fewer than 500 rows
    are held out, up to a fifth of the texts without a label is kept from training, too.

    Args:
        data: A file, a data frame, or a pair of texts and labels, as `read_table` takes them.
        text: Name of the column of the texts.
        label: Name of the column of the labels.
        task: "class", "labels", "number", or "auto", which looks at the column.
        test: Test rows of the same form, or None.
        unlabeled: More texts without labels: a file or frame with the same text column, or a list
            of texts; or None.
        delimiter: As `read_table`.
        encoding: As `read_table`.
        skip_bad_rows: Whether to leave out rows that are not right.
        seed: Seed of the splits.
        say: Called with lines for the user.

    Returns:
        The rows.

    Raises:
        FileNotFoundError: If a file is not there.
        ValueError: If a table is not right, or has too few rows.
    """
    options: dict[str, Any] = {
        "delimiter": delimiter,
        "encoding": encoding,
        "skip_bad_rows": skip_bad_rows,
    }

    def read(source: Any, kind: Any) -> Table:
        columns = (Column(text, "text", argument="text"), Column(label, kind, argument="label"))
        return read_table(source, columns=columns, **options)

    doubt = ""
    if task == "auto":
        raw = read(data, "raw").columns[label]
        task = infer_task(raw)
        doubt = doubt_of(task, raw)
    kind = {"class": "label", "labels": "raw", "number": "number"}.get(task, "label")
    table = read(data, kind)
    _tell(table, say)
    known = task_of(task, table.columns[label])
    if task == "number":
        known = replace(known, label_names=(label,))
    say(f"task: {known.describe()}")
    if doubt:
        say(doubt)
    texts, cells = table.columns[text], table.columns[label]
    if task == "class":
        _tell_contradictions(texts, cells, table, say)
    groups = cells if task == "class" else None
    if test is None:
        apart = held_out_rows(texts, groups=groups, share=TEST_SHARE, seed=seed)
        test_part = _part(known, texts, cells, np.flatnonzero(apart))
    else:
        own = read(test, kind)
        _tell(own, say)
        if task == "class":
            kept = keep_known_labels(own, cells, label=label, skip_bad_rows=skip_bad_rows)
            if kept is not own:
                say(f"with labels of the training rows alone: {kept.summary()}")
            own = kept
        if task == "labels":
            _tell_unknown(known, own.columns[label], say)
        test_part = _part(
            known, own.columns[text], own.columns[label], None, first=len(texts)
        )  # fmt: skip
        apart = np.isin(np.array(texts, object), list(set(own.columns[text])))
        if apart.any():
            say(f"{int(apart.sum())} training rows have a text of the test rows: left out")
    rest = np.flatnonzero(~apart)
    share = min(HELD_SHARE, MOST_HELD / max(len(rest), 1))
    own_groups = None if groups is None else [groups[row] for row in rest]
    held = held_out_rows([texts[row] for row in rest], groups=own_groups, share=share, seed=seed)
    parts = {
        "train": _part(known, texts, cells, rest[~held]),
        "held_out": _part(known, texts, cells, rest[held]),
        "test": test_part,
    }
    for name, part in parts.items():
        if not len(part):
            raise ValueError(
                f"`data` must have enough different texts for training, held-out and test rows. "
                f"Received: {len(texts)} rows, of which none is left for {name!r}. Add rows."
            )
    more = _unlabeled(unlabeled, text=text, options=options, say=say)
    seen = {*texts, *test_part.texts}
    others = tuple(dict.fromkeys(one for one in more if one not in seen))
    watched = _watched(others, missing=_ENOUGH_HELD - len(parts["held_out"]), seed=seed)
    return TextRows(
        name=_name(data),
        num_rows=len(texts) + (0 if test is None else len(test_part)),
        task=known.scaled_to(parts["train"].targets),
        unlabeled=tuple(one for one in others if one not in watched),
        watched=tuple(one for one in others if one in watched),
        **parts,
    )


def _watched(texts: Sequence[str], *, missing: int, seed: int) -> set[str]:
    """Draws texts that are kept from training, so many as are missing and can be spared."""
    count = min(max(missing, 0), int(_WATCHED_SHARE * len(texts)))
    return {texts[row] for row in np.random.default_rng(seed).permutation(len(texts))[:count]}


def _part(
    task: TextTask,
    texts: Sequence[str],
    cells: Sequence[Any],
    rows: np.ndarray | None,
    *,
    first: int = 0,
) -> Part:
    chosen = np.arange(len(texts)) if rows is None else rows
    numbers = chosen.tolist()
    targets = task.encode([cells[row] for row in numbers])
    return Part([texts[row] for row in numbers], targets, first + chosen)


def _unlabeled(
    source: Any, *, text: str, options: dict[str, Any], say: Callable[[str], None]
) -> list[str]:
    if source is None:
        return []
    if isinstance(source, (list, tuple)) and all(isinstance(one, str) for one in source):
        return [one for one in source if one.strip()]
    table = read_table(source, columns=(Column(text, "text", argument="text"),), **options)
    _tell(table, say)
    return table.columns[text]


def _tell(table: Table, say: Callable[[str], None]) -> None:
    say(table.summary())
    for row in table.skipped[:3]:
        say(f"skipped {row.place}: {row.reason}")
    for note in table.notes:
        if note != f"delimiter {table.delimiter!r}":
            say(note)


def _tell_unknown(task: TextTask, cells: Sequence[Any], say: Callable[[str], None]) -> None:
    """Says which labels only the test rows have: no model can know them, and none is asked."""
    unknown = {name for cell in cells for name in names_in(cell)} - set(task.label_names)
    if unknown:
        shown = ", ".join(map(repr, sorted(unknown)[:6])) + ", …" * (len(unknown) > 6)
        say(f"test rows have {len(unknown)} labels that no other row has, left out: {shown}")


def _tell_contradictions(
    texts: Sequence[str], labels: Sequence[str], table: Table, say: Callable[[str], None]
) -> None:
    found = contradictions(texts, labels)
    for first, row in found[:3]:
        say(
            f"{table.place(row)} has the label {labels[row]!r} for the text of "
            f"{table.place(first)}, which has {labels[first]!r}: {texts[row][:60]!r}"
        )
    if len(found) > 3:
        say(f"and {len(found) - 3} more rows like these")


def _name(data: Any) -> str:
    if isinstance(data, (str, os.PathLike)):
        return os.path.basename(os.fspath(data))
    return "texts and labels" if isinstance(data, (list, tuple)) else "data frame"
