"""What is asked of a table, what it is refused for, and what is said about it."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tfdistill.datasets import Column, Table, read_table

Read = Callable[..., Table]
Columns = tuple[Column, ...]


def test_the_summary_says_what_was_found_and_left_out(read: Read):
    lines = ["text;label", *("schön;x" for _ in range(1200))]
    for line in (7, 19, 22):
        lines[line - 1] = ";x"
    table = read("reviews.csv", "\n".join(lines), skip_bad_rows=True)

    assert table.summary() == (
        f"read 1,197 rows of {table.source}: delimiter ';', encoding utf-8; "
        "3 bad rows skipped: lines 7, 19, 22"
    )
    assert table.skipped[0].reason == "expected a 'text' that is not empty. Received: ''."
    assert table.place(5) == "line 8"


def test_columns_of_each_kind_are_read_side_by_side(read: Read):
    columns = (
        Column("a"),
        Column("b"),
        Column("topic", "label"),
        Column("mood", "label"),
        Column("stars", "number"),
        Column("tags", "raw"),
    )
    table = read(
        "x.csv", "tags,a,b,topic,mood,stars\nO B-x,p,q,t,m,4.5\n,r,s,t,n,-1\n", columns=columns
    )

    assert table.columns == {
        "a": ["p", "r"],
        "b": ["q", "s"],
        "topic": ["t", "t"],
        "mood": ["m", "n"],
        "stars": [4.5, -1.0],
        "tags": ["O B-x", ""],
    }
    rows = '{"tags": ["O"], "n": 3}\n{"tags": null, "n": "4"}'
    table = read("x.jsonl", rows, columns=(Column("tags", "raw"), Column("n", "number")))
    assert table.columns == {"tags": [["O"], None], "n": [3.0, 4.0]}


@pytest.mark.parametrize("cell", ["", "nan", "inf", "1e999", "1_0", "3,5", "many"])
def test_a_number_that_is_none_is_told_by_line(cell: str, read: Read):
    with pytest.raises(ValueError, match=r"a\.csv, line 3: expected .*'stars'"):
        read("a.csv", f'stars\n1\n"{cell}"\n', columns=[Column("stars", "number")])


def test_booleans_are_no_numbers(read: Read):
    with pytest.raises(ValueError, match="expected 'n' to be a finite number.* Received: True"):
        read_table({"n": [True]}, columns=[Column("n", "number")])


def test_blank_lines_are_skipped_and_an_empty_text_is_a_bad_row(read: Read):
    content = "text,label\na,x\n\n\n,x\n\nb,y\n"

    with pytest.raises(ValueError, match=r"a\.csv, line 5: expected a 'text'.*\(--skip-bad-rows\)"):
        read("a.csv", content)
    table = read("a.csv", content, skip_bad_rows=True)
    assert (table.row_numbers.tolist(), [row.number for row in table.skipped]) == ([2, 7], [5])


def test_labels_that_a_person_should_look_at_are_noted(read: Read):
    table = read("a.csv", "text,label\na,no\nb, No \nc,yes\nd,yes\ne,NO\nf,no\n")

    assert table.columns["label"] == ["no", "No", "yes", "yes", "NO", "no"]
    assert table.notes == (
        "'label' has classes of one row: 'NO', 'No'",
        "'label' has classes that differ in case or blanks alone: 'NO', 'No', 'no'",
    )
    assert table.guesses == ()


def test_one_class_and_a_class_for_each_row_are_noted(read: Read):
    assert read("a.csv", "text,label\na,x\nb,x\n").notes == ("'label' has one class only, 'x'",)
    assert read("b.csv", "text,label\na,x\nb,y\n").notes == (
        "'label' has a class for each row: is it the right column?",
    )


@pytest.mark.parametrize("content", ["text,label\n", "text,label", "text,label\r\n\r\n"])
def test_a_header_alone_is_refused(content: str, read: Read):
    with pytest.raises(ValueError, match=r"must hold at least one row\. Received: .*a\.csv'"):
        read("a.csv", content)


def test_a_table_of_bad_rows_alone_is_refused_with_the_first(read: Read):
    with pytest.raises(
        ValueError, match="no rows but 2 bad ones. The first, line 2: .*--delimiter"
    ):
        read("a.csv", "text,label\n,x\n,y\n", skip_bad_rows=True)
    with pytest.raises(ValueError, match=r"1 bad ones.* Set `text` .* or `label` \(--label\)\."):
        read("a.jsonl", '{"a": "b"}', skip_bad_rows=True)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("https://example.com/a.csv", "must be a file on this machine.*Download it first"),
        ("s3://bucket/a.csv", "must be a file on this machine"),
        ("a.xlsx", "must end in .csv.*Export the sheet"),
        ("a.txt", r"must end in .csv, .tsv, .jsonl, .ndjson, .json \(each also with .gz\)"),
        ("a", "must end in .csv"),
        ("a.gz", "must end in .csv"),
        ("a.parquet.gz", "Parquet is compressed inside: unpack the .gz"),
    ],
)
def test_a_name_that_is_no_tables_is_refused(name: str, message: str, labelled: Columns):
    with pytest.raises(ValueError, match=message):
        read_table(name, columns=labelled)


def test_a_folder_is_refused_with_the_tables_in_it(write: Callable[..., Path], labelled: Columns):
    folder = write("train.csv", "text,label\na,x\n").parent
    (folder / "inner.csv").mkdir()

    with pytest.raises(ValueError, match=r"a folder\. Tables in it: inner\.csv, train\.csv\."):
        read_table(folder, columns=labelled)
    with pytest.raises(ValueError, match=r"inner\.csv', a folder\."):
        read_table(folder / "inner.csv", columns=labelled)


@pytest.mark.parametrize("name", ["reveiws.csv", "reviews.tsv", "reviews.parquet"])
def test_a_missing_file_is_refused_with_near_names(
    name: str, write: Callable[..., Path], labelled: Columns
):
    path = write("reviews.csv", "text,label\na,x\n")

    with pytest.raises(
        FileNotFoundError, match=rf"no file .*{name}\. Did you mean '.*reviews.csv'"
    ):
        read_table(path.parent / name, columns=labelled)
    with pytest.raises(FileNotFoundError, match="is no folder either"):
        read_table(path.parent / "no" / name, columns=labelled)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(b"text,label\na,x\n", mtime=0), "gzip data: let its name end in .gz"),
        (b"PK\x03\x04rest", "a zip archive or a spreadsheet"),
        (b"PAR1rest", "Parquet data: let its name end in .parquet"),
        (b"<!DOCTYPE html>", "a web page"),
    ],
)
def test_a_file_of_another_kind_is_refused(content: bytes, message: str, read: Read):
    with pytest.raises(ValueError, match=rf"a\.csv must hold text\. It holds {message}"):
        read("a.csv", content)


@pytest.mark.parametrize(
    "content", [b"text,label\na,x\n", gzip.compress(b"text,label\n" * 99, mtime=0)[:-9]]
)
def test_gzip_that_is_not_whole_is_refused(content: bytes, read: Read):
    with pytest.raises(ValueError, match=r"a\.csv\.gz must be a whole gzip file"):
        read("a.csv.gz", content)


@pytest.mark.parametrize(
    ("columns", "error", "message"),
    [
        ((), ValueError, "`columns` must name a column or more"),
        ("text", TypeError, "`columns` must be a sequence of Column"),
        (["text", "label"], TypeError, "`columns` must be a sequence of Column"),
        ([Column("a"), Column("a")], ValueError, "`columns` must name two columns"),
        ([Column("a"), Column("A")], ValueError, "`columns` must name one column of"),
    ],
)
def test_columns_that_cannot_be_meant_are_refused(
    columns: object, error: type[Exception], message: str, read: Read
):
    with pytest.raises(error, match=message):
        read("a.csv", "a\nx\n", columns=columns)


def test_a_column_without_a_name_or_a_known_kind_is_refused():
    with pytest.raises(
        ValueError, match=r"`text` must be the name of a column\. Received: text=''"
    ):
        Column("", argument="text")
    with pytest.raises(ValueError, match="`kind` must be one of 'text', 'label', 'number', 'raw'"):
        Column("a", "class")


@pytest.mark.slow
def test_a_million_rows_take_less_than_15_seconds_of_the_processor(tmp_path: Path):
    path = tmp_path / "a.csv"
    with path.open("w", encoding="utf-8") as file:
        file.write("id,text,label\n")
        for row in range(1_000_000):
            file.write(
                f'{row},"schöner Text, der ""{row}"" heißt und etwas länger ist",c{row % 77}\n'
            )
    started = time.process_time()
    table = read_table(path, columns=(Column("text"), Column("label", "label")))

    assert time.process_time() - started < 15
    assert (table.num_rows, table.row_numbers[-1]) == (1_000_000, 1_000_001)
    assert table.columns["text"][7] == 'schöner Text, der "7" heißt und etwas länger ist'
