from __future__ import annotations

import csv
import json
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st

from tfdistill.datasets import read_labelled_text, text_data

ROWS = [("rain, then snow", "wet"), ('she said "sun"', "dry"), ("two\nlines", "wet")]


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_csv_with_quotes_commas_and_line_breaks_is_read(tmp_path: Path):
    path = tmp_path / "weather.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *ROWS])

    assert read_labelled_text(path) == ([text for text, _ in ROWS], ["wet", "dry", "wet"])


def test_tsv_takes_quotes_as_they_are(tmp_path: Path):
    path = write(tmp_path, "weather.tsv", 'label\ttext\r\nwet\t"rain\r\ndry\tsun "s"\r\n')

    assert read_labelled_text(path) == (['"rain', 'sun "s"'], ["wet", "dry"])


def test_json_lines_with_other_keys_and_number_labels_are_read(tmp_path: Path):
    path = write(
        tmp_path, "a.jsonl", '{"body": "a\\u2028b", "y": 3, "id": 1}\n\n{"body":"ß","y":"4"}'
    )

    assert read_labelled_text(path, text="body", label="y") == (["a\u2028b", "ß"], ["3", "4"])


def test_byte_order_mark_and_upper_case_ending_are_accepted(tmp_path: Path):
    path = write(tmp_path, "A.CSV", "\ufefftext,label\nrain,wet\n")

    assert read_labelled_text(str(path)) == (["rain"], ["wet"])


def test_text_longer_than_the_csv_modules_limit_is_read(tmp_path: Path):
    limit = csv.field_size_limit()
    long = "a" * (limit + 1)

    texts, _ = read_labelled_text(write(tmp_path, "long.csv", f"text,label\n{long},wet\n"))

    assert texts == [long]
    assert csv.field_size_limit() == limit


@hypothesis.given(
    st.lists(
        st.tuples(
            st.text(st.characters(codec="utf-8", exclude_characters="\0\r")),
            st.text(st.characters(categories=["L", "N"]), min_size=1),
        ).filter(lambda row: bool(row[0].strip())),
        min_size=1,
    )
)
@hypothesis.settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
def test_what_is_written_as_csv_and_json_lines_is_read_back(
    tmp_path: Path, rows: list[tuple[str, str]]
):
    table = tmp_path / "rows.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    lines = write(
        tmp_path,
        "rows.jsonl",
        "\n".join(json.dumps({"text": text, "label": label}) for text, label in rows),
    )

    expected = ([text for text, _ in rows], [label for _, label in rows])
    assert read_labelled_text(table) == expected
    assert read_labelled_text(lines) == expected


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "text,label\na,b\nc\n", r"line 3: expected 2 fields. Received: \['c'\]"),
        ("a.csv", 'text,label\n"a\nb",x\nc,d,e\n', r"line 4: expected 2 fields"),
        ("a.csv", 'text,label\na,b\n"c,d\n', r"line 3: not a table row \(unexpected end"),
        ("a.csv", "text,label\na,b\n ,b\n", r"line 3: expected a 'text' that is not empty"),
        ("a.tsv", "text\tlabel\na\t\n", r"line 2: expected a 'label' that is not empty"),
        ("a.csv", b"text,label\na,b\n\xff,b\n", r"line 3: expected UTF-8 text. Received: b'\\xff'"),
        ("a.jsonl", '{"text": "a", "label": "b"}\n{', r"line 2: expected one JSON object"),
        ("a.jsonl", "[" * 100_000, r"line 1: expected one JSON object. Received: '\[\[.*\.\.\."),
        ("a.jsonl", '["a", "b"]', r"line 1: expected an object with the keys 'text' and 'label'"),
        ("a.jsonl", '{"text": "a"}', r"line 1: expected an object with the keys"),
        ("a.jsonl", '{"text": 1, "label": "b"}', r"expected 'text' to be a string. Received: 1"),
        ("a.jsonl", '{"text": "a", "label": true}', r"'label' to be a string or an integer"),
    ],
)
def test_row_that_is_not_right_is_named(
    name: str, content: str | bytes, message: str, tmp_path: Path
):
    with pytest.raises(ValueError, match=message):
        read_labelled_text(write(tmp_path, name, content))


@pytest.mark.parametrize("content", ["text,label\n", "text,label\n\n\n"])
def test_file_without_rows_is_refused(content: str, tmp_path: Path):
    with pytest.raises(ValueError, match="`path` must hold at least one row"):
        read_labelled_text(write(tmp_path, "a.csv", content))


@pytest.mark.parametrize("content", ["", "body,label\na,b\n", "text,text,label\na,b,c\n"])
def test_missing_or_double_column_is_refused_with_the_header(content: str, tmp_path: Path):
    with pytest.raises(ValueError, match=r"`text` must name one column of .*The columns are \["):
        read_labelled_text(write(tmp_path, "a.csv", content))


def test_unknown_ending_is_refused(tmp_path: Path):
    with pytest.raises(
        ValueError, match=r"`path` must end in .csv, .tsv, .jsonl, .*Received: path="
    ):
        read_labelled_text(tmp_path / "a.xlsx")


def test_one_column_for_both_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="`text` and `label` must name two columns"):
        read_labelled_text(tmp_path / "a.csv", text="a", label="a")


def test_missing_file_is_pythons_own_error(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.csv"):
        read_labelled_text(tmp_path / "nothing.csv")


def test_class_ids_follow_the_sorted_names_of_the_training_part():
    data = text_data((["a", "b", "c"], ["z", "x", "z"]), (["d"], ["x"]))

    assert data.label_names == ("x", "z")
    assert data.train_labels.tolist() == [1, 0, 1]
    assert data.test_labels.tolist() == [0]
    assert data.train_labels.dtype == "int32"


def test_test_label_that_training_lacks_is_refused():
    with pytest.raises(
        ValueError, match=r"Received: 'y' at index 1. Known labels: x\. `keep_known_labels`"
    ):
        text_data((["a"], ["x"]), (["b", "c"], ["x", "y"]))


def test_texts_without_labels_are_refused():
    with pytest.raises(ValueError, match=r"`train` must have .* Received: 2 texts, 1 labels"):
        text_data((["a", "b"], ["x"]), ([], []))
