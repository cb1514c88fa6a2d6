"""Data frames and Parquet files, without a word from the libraries that made them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet
import pytest

from tfdistill.datasets import Column, read_table

Columns = tuple[Column, ...]
DATA = {"id": [1, 2], "text": ["rain", "sun"], "label": ["wet", "dry"]}
WEATHER = {"text": ["rain", "sun"], "label": ["wet", "dry"]}


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table, dict])
def test_frames_of_each_library_are_read(make: Callable[..., object], labelled: Columns):
    table = read_table(make(DATA), columns=labelled)

    assert table.columns == WEATHER
    assert (table.unit, table.row_numbers.tolist(), table.delimiter) == ("row", [0, 1], None)


def test_texts_and_labels_are_read_as_they_are(labelled: Columns):
    table = read_table((WEATHER["text"], np.array([3, 4])), columns=labelled)

    assert table.columns == {"text": ["rain", "sun"], "label": ["3", "4"]}


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([1, 2], ["1", "2"]),
        (np.array([1, 2], np.int8), ["1", "2"]),
        ([1.0, 2.5], ["1", "2.5"]),
        ([True, False], ["True", "False"]),
        (pd.Categorical(["b ", " a"]), ["b", "a"]),
        (pd.array([1, 2], "Int64"), ["1", "2"]),
        (pd.array(["x", "y"], "string"), ["x", "y"]),
        (pd.array([1, "y"], object), ["1", "y"]),
    ],
)
def test_labels_of_each_type_become_names(labels: object, expected: list[str], labelled: Columns):
    frame = pd.DataFrame({"text": ["rain", "sun"], "label": labels})

    assert read_table(frame, columns=labelled).columns["label"] == expected


@pytest.mark.parametrize(
    "labels",
    [
        [1, None],
        ["x", None],
        ["x", np.nan],
        pd.array([1, pd.NA], "Int64"),
        pd.array(["x", None], "string"),
        pd.array([True, pd.NA], "boolean"),
        ["x", pd.NaT],
    ],
)
def test_a_label_that_is_missing_is_told_by_row(labels: object, labelled: Columns):
    frame = pd.DataFrame({"text": ["rain", "sun"], "label": labels})

    with pytest.raises(
        ValueError, match=r"a DataFrame, row 1: expected a 'label' that is not missing"
    ):
        read_table(frame, columns=labelled)


def test_whole_numbers_that_gaps_made_floats_are_whole_again(labelled: Columns):
    frame = pd.DataFrame({"text": ["a", "b", "c"], "label": [1, None, 2]})
    assert frame["label"].dtype == float

    table = read_table(frame, columns=labelled, skip_bad_rows=True)
    assert table.columns == {"text": ["a", "c"], "label": ["1", "2"]}
    assert table.summary() == "read 2 rows of a DataFrame; 1 bad row skipped: row 1"


@pytest.mark.parametrize("cell", [None, np.nan, "", " \n", 7, "a\ud83d", "a\0"])
def test_a_text_that_is_none_is_told_by_row(cell: object, labelled: Columns):
    frame = {"text": ["rain", cell], "label": ["wet", "dry"]}

    with pytest.raises(ValueError, match=r"a dict, row 1: expected .*'text'.*\(--skip-bad-rows\)"):
        read_table(frame, columns=labelled)


def test_frames_name_their_columns_when_one_is_not_there(labelled: Columns):
    frame = pd.DataFrame({"Text": ["a"], "stars": [5]})

    with pytest.raises(ValueError, match=r"`label` must name one column of the DataFrame.*'stars'"):
        read_table(frame, columns=labelled)
    with pytest.raises(ValueError, match="2 of them have this name"):
        read_table(pd.DataFrame([["a", "b"]], columns=["text", "text"]), columns=labelled)


@pytest.mark.parametrize("source", [7, None, [("a", "x")], {"a"}, {"train": pd.DataFrame(DATA)}])
def test_what_is_no_table_is_refused(source: object, labelled: Columns):
    with pytest.raises(TypeError, match="`source` must be the path of a file, a data frame"):
        read_table(source, columns=labelled)


def test_sequences_must_fit_each_other_and_the_columns(labelled: Columns):
    with pytest.raises(ValueError, match="one sequence for each column, text, label.* 1 seq"):
        read_table((["a"],), columns=labelled)
    with pytest.raises(ValueError, match="one length. Received: 2 of 'text', 1 of 'label'"):
        read_table((["a", "b"], ["x"]), columns=labelled)
    with pytest.raises(TypeError, match="Received: the string 'ab' as a column"):
        read_table(("ab", "xy"), columns=labelled)


def test_parquet_is_read_with_the_wanted_columns_alone(tmp_path: Path, labelled: Columns):
    path = tmp_path / "a.parquet"
    data = {"Text": ["rain", "sun"], "label": pa.array([True, False]), "blob": [b"1", b"2"]}
    pyarrow.parquet.write_table(pa.table(data), path)

    table = read_table(path, columns=labelled)

    assert table.columns == {"text": ["rain", "sun"], "label": ["True", "False"]}
    assert (table.format, table.guesses) == ("parquet", ("column 'Text' taken for 'text'",))


def test_parquet_without_pyarrow_names_the_extra(
    tmp_path: Path, labelled: Columns, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pa.table(DATA), path)
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    with pytest.raises(ImportError, match=r"pip install 'tfdistill\[tables\]'"):
        read_table(path, columns=labelled)


def test_damaged_parquet_is_refused(tmp_path: Path, labelled: Columns):
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pa.table(DATA), path)
    path.write_bytes(path.read_bytes()[:-5])

    with pytest.raises(ValueError, match=r"a\.parquet must be a whole Parquet file"):
        read_table(path, columns=labelled)
    pyarrow.parquet.write_table(pa.table(DATA), path, compression="none", use_dictionary=False)
    path.write_bytes(path.read_bytes().replace(b"rain", b"\xff\xff\xff\xff"))
    with pytest.raises(ValueError, match=r"a\.parquet must be a whole Parquet file.* 0xff"):
        read_table(path, columns=labelled)


def test_a_frame_without_rows_is_refused(labelled: Columns):
    with pytest.raises(ValueError, match="`source` must hold at least one row. .*'a DataFrame'"):
        read_table(pd.DataFrame({"text": [], "label": []}), columns=labelled)
