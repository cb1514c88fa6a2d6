"""CSV and TSV as spreadsheets, R and pandas write them."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable

import hypothesis
import pytest
from hypothesis import strategies as st

from tfdistill.datasets import Column, Table, read_table

Read = Callable[..., Table]


def rows_of(table: Table) -> list[tuple[str, str]]:
    return list(zip(table.columns["text"], table.columns["label"], strict=True))


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("ending", [".csv", ".tsv"])
def test_the_delimiter_is_found_whatever_the_ending(delimiter: str, ending: str, read: Read):
    lines = [("id", "text", "label"), ("1", "rain then snow", "wet"), ("2", "sun", "dry")]
    table = read("a" + ending, "\n".join(delimiter.join(line) for line in lines))

    assert rows_of(table) == [("rain then snow", "wet"), ("sun", "dry")]
    assert table.delimiter == delimiter
    usual = {".csv": ",", ".tsv": "\t"}[ending]
    assert (f"delimiter {delimiter!r}" in table.notes) == (delimiter != usual)
    assert f"delimiter {delimiter!r}" in table.summary()


def test_commas_in_the_texts_do_not_hide_the_semicolon(read: Read):
    table = read("a.csv", "text;label\none, two, three;x\nfour, five;y\n")

    assert rows_of(table) == [("one, two, three", "x"), ("four, five", "y")]


def test_a_table_of_one_column_may_hold_any_delimiter(read: Read):
    table = read("a.csv", "text\nrain; snow\nsun, wind\n|\n", columns=[Column("text")])

    assert table.columns["text"] == ["rain; snow", "sun, wind", "|"]


@pytest.mark.parametrize("spelled", ["tab", "\\t", "\t"])
def test_a_delimiter_that_is_named_is_used(spelled: str, read: Read):
    assert rows_of(read("a.csv", "text\tlabel\na,b\tx\n", delimiter=spelled)) == [("a,b", "x")]
    assert rows_of(read("b.csv", "text#label\na\tb#x\n", delimiter="#")) == [("a\tb", "x")]


@pytest.mark.parametrize("delimiter", ["", ";;", '"', "\n", 7])
def test_a_delimiter_that_cannot_be_one_is_refused(delimiter: object, read: Read):
    with pytest.raises(ValueError, match=r"`delimiter` must be one character .*\(--delimiter\)"):
        read("a.csv", "text,label\na,b\n", delimiter=delimiter)


def test_excels_line_that_names_the_delimiter_is_no_header(read: Read):
    table = read("a.csv", "sep=;\r\ntext;label\r\na,b;x\r\n")

    assert rows_of(table) == [("a,b", "x")]
    assert table.row_numbers.tolist() == [3]


def test_blanks_after_the_delimiter_do_not_make_quotes_characters(read: Read):
    table = read("a.csv", '"text", "label"\n"rain, snow", "wet"\nsun, dry\n')

    assert rows_of(table) == [("rain, snow", "wet"), ("sun", "dry")]
    assert table.notes[0] == "blanks after the delimiter skipped"


def test_quotes_in_a_tsv_are_characters_unless_they_have_to_enclose(read: Read):
    plain = read("a.tsv", 'text\tlabel\n"rain\twet\nhe said "sun"\tdry\n"fog"\twet\n')
    assert rows_of(plain) == [('"rain', "wet"), ('he said "sun"', "dry"), ('"fog"', "wet")]
    assert "quotes read as plain characters" in plain.notes

    # As pandas, R and Excel write them.
    inside = read("b.tsv", 'text\tlabel\n"she said ""sun""\tand left"\tdry\nfog\twet\n')
    assert rows_of(inside) == [('she said "sun"\tand left', "dry"), ("fog", "wet")]
    assert "quotes enclose fields" in inside.notes
    around = read("c.tsv", '"text"\t"label"\n"fog"\t"wet"\n')
    assert rows_of(around) == [("fog", "wet")]


def test_a_quote_that_never_closes_is_told_by_the_line_where_it_opens(read: Read):
    good = [f"text {number},x" for number in range(2, 1008)]
    content = "\n".join(["text,label", *good[:5], '"text 7,x', *good[6:]]) + "\n"

    with pytest.raises(ValueError, match=r"a\.csv, line 7: not a table row .*opens on this line"):
        read("a.csv", content)
    table = read("a.csv", content, skip_bad_rows=True)
    assert [row.number for row in table.skipped] == [7]
    assert table.num_rows == 1005 and table.row_numbers[-1] == 1007


def test_a_stray_quote_does_not_swallow_the_quoted_rows_after_it(read: Read):
    content = 'text,label\n"rain,wet\n"sun",dry\n"two\nlines",wet\n'

    with pytest.raises(ValueError, match=r"line 2: .* closes on line 3, inside a field"):
        read("a.csv", content)
    table = read("a.csv", content, skip_bad_rows=True)
    assert rows_of(table) == [("sun", "dry"), ("two\nlines", "wet")]
    assert table.row_numbers.tolist() == [3, 4]


def test_lines_are_counted_through_fields_of_several_lines(read: Read):
    content = 'text,label\n"a\nb\nc",x\n\nd,x\ne\nf,x,y\n'

    with pytest.raises(ValueError, match=r"line 7: expected 2 fields\. Received: \['e'\]"):
        read("a.csv", content)
    table = read("a.csv", content, skip_bad_rows=True)
    assert table.row_numbers.tolist() == [2, 6]
    assert [(row.place, row.reason) for row in table.skipped] == [
        ("line 7", "expected 2 fields. Received: ['e']."),
        ("line 8", "expected 2 fields. Received: ['f', 'x', 'y']."),
    ]


def test_a_wrong_number_of_fields_names_both_flags(read: Read):
    with pytest.raises(ValueError, match=r"\(--delimiter\).*\(--skip-bad-rows\)"):
        read("a.csv", "text,label\na,b,c\n")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_of_every_system_are_read(end: str, read: Read):
    table = read("a.csv", end.join(["text,label", '"a\u2028b",x', "c\x85d,y", ""]))

    assert rows_of(table) == [("a\u2028b", "x"), ("c\x85d", "y")]
    assert table.row_numbers.tolist() == [2, 3]


def test_a_header_of_other_case_is_taken_and_said(read: Read):
    table = read("a.csv", " Text ,LABEL\na,x\nb,x\n")

    assert rows_of(table) == [("a", "x"), ("b", "x")]
    assert table.guesses == ("column ' Text ' taken for 'text'", "column 'LABEL' taken for 'label'")
    assert set(table.guesses) <= set(table.notes)


def test_an_exact_name_is_taken_before_a_near_one(read: Read):
    assert rows_of(read("a.csv", "Text,text,label\nno,yes,x\n")) == [("yes", "x")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("Text,TEXT,label\na,b,c\n", r"Did you mean 'Text' or 'TEXT'\? Set `text` \(--text\)"),
        ("texts,label\na,b\n", r"line 1\. Received: text='text'\. The columns are \['texts', "),
        ("review_text,label\na,b\n", r"Did you mean 'review_text'\? Set `text` \(--text\)"),
        ("text,text,label\na,b,c\n", r"2 of them have this name: rename all but one"),
        ("I love it,good\nAwful,bad\n", r"The first line must name the columns"),
        ("text/label\na/b\n", r"set `delimiter` \(--delimiter\), which is ',' here"),
        ("t\0text\0label\n", r"NUL characters: is it text\? Else set `encoding` \(--encoding\)"),
        ("", r"The columns are \[\]\. It is empty"),
        ("\n\ntext,mood\na,b\n", r"line 3\. Received: label='label'"),
    ],
)
def test_a_column_that_is_not_there_is_refused(content: str, message: str, read: Read):
    with pytest.raises(ValueError, match=message):
        read("a.csv", content)


def test_compressed_tables_are_read(read: Read):
    for name, content in (("a.csv.gz", "text,label\na,x\n"), ("b.TSV.GZ", "text\tlabel\na\tx\n")):
        assert rows_of(read(name, gzip.compress(content.encode()))) == [("a", "x")]


def test_the_csv_modules_limit_is_as_before_after_a_refusal(read: Read):
    limit = csv.field_size_limit()
    long = "a" * (limit + 1)

    with pytest.raises(ValueError, match="line 3: expected a 'text' that is not empty") as refusal:
        read("a.csv", f"text,label\n{long},x\n ,x\n")
    assert refusal.value and csv.field_size_limit() == limit
    assert read("b.csv", f"text,label\n{long},x\n").columns["text"] == [long]


CELLS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12
).filter(lambda cell: bool(cell.strip()))
ENCODINGS = (
    "utf-8",
    "utf-8-sig",
    "utf-16",
    "utf-32",
    "cp1252",
    "gb18030",
    "utf-16-le",
    "utf-16-be",
)


@hypothesis.given(
    rows=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=8),
    delimiter=st.sampled_from(",;|"),
    line_end=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    encoding=st.sampled_from(ENCODINGS),
)
@hypothesis.settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
def test_what_any_dialect_and_encoding_wrote_is_read_back(
    rows: list[tuple[str, str]],
    delimiter: str,
    line_end: str,
    quoting: int,
    encoding: str,
    write: Callable[..., object],
):
    if line_end == "\n" and quoting == csv.QUOTE_MINIMAL:
        # Here Python's csv.writer leaves fields with "\r" unquoted, which its reader refuses.
        hypothesis.assume(not any("\r" in cell for row in rows for cell in row))
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter=delimiter, lineterminator=line_end, quoting=quoting)
    writer.writerows([("text", "label"), *rows])
    try:
        path = write("a.csv", buffer.getvalue().encode(encoding))
    except UnicodeEncodeError:
        hypothesis.reject()
    # The unmarked ones have to be named: so short a text does not tell them.
    named = encoding if encoding in ("cp1252", "gb18030", "utf-16-le", "utf-16-be") else None

    columns = [Column("text", "raw"), Column("label", "raw")]
    table = read_table(path, columns=columns, encoding=named)

    assert rows_of(table) == rows
    assert table.delimiter == delimiter


@hypothesis.given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=8))
@hypothesis.settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
def test_tabs_with_quotes_around_all_fields_are_read_back(
    write: Callable[..., object], rows: list[tuple[str, str]]
):
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter="\t", quoting=csv.QUOTE_ALL)
    writer.writerows([("text", "label"), *rows])
    path = write("a.tsv", buffer.getvalue())

    table = read_table(path, columns=[Column("text", "raw"), Column("label", "raw")])

    assert rows_of(table) == rows
