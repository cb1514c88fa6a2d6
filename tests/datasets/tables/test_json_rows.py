"""JSON as APIs, notebooks and labeling tools write it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable

import pandas as pd
import pytest

from tfdistill.datasets import Table

Read = Callable[..., Table]
ROWS = [{"text": "rain", "label": "wet"}, {"text": "sun", "label": "dry"}]


def rows_of(table: Table) -> list[tuple[str, str]]:
    return list(zip(table.columns["text"], table.columns["label"], strict=True))


def is_weather(table: Table) -> bool:
    return rows_of(table) == [("rain", "wet"), ("sun", "dry")]


@pytest.mark.parametrize("indent", [None, 2])
def test_an_array_of_objects_is_read(indent: int | None, read: Read):
    assert is_weather(read("a.json", json.dumps(ROWS, indent=indent)))


def test_an_object_of_columns_is_read(read: Read):
    assert is_weather(read("a.json", '{"label": ["wet", "dry"], "text": ["rain", "sun"]}'))


@pytest.mark.parametrize("orient", ["records", "columns", "split", "table"])
def test_what_pandas_writes_is_read(orient: str, read: Read):
    assert is_weather(read("a.json", pd.DataFrame(ROWS).to_json(orient=orient)))


@pytest.mark.parametrize("key", ["data", "rows", "records", "examples"])
def test_rows_under_a_key_are_read_and_said(key: str, read: Read):
    table = read("a.json", json.dumps({"version": 1, key: ROWS}))

    assert is_weather(table) and f"rows under {key!r}" in table.notes
    assert table.guesses == ()


def test_one_object_a_line_is_read_from_json_too(read: Read):
    table = read("a.json", "\n".join(map(json.dumps, ROWS)))

    assert is_weather(table) and "one JSON object a line" in table.notes
    assert table.guesses == ()


def test_a_guessed_encoding_is_said_of_each_form(read: Read):
    texts = ["Das Frühstück ließ zu wünschen übrig.", "Die Größe passt für mich nicht, schön."]
    rows = [{"Text": text, "label": "x"} for text in texts]
    columns = {"Text": texts, "label": ["x", "x"]}
    for name, content in (
        ("a.json", json.dumps(rows, ensure_ascii=False)),
        ("b.json", json.dumps(columns, ensure_ascii=False)),
        ("c.json", json.dumps({"data": rows}, ensure_ascii=False)),
        ("d.jsonl", "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)),
    ):
        table = read(name, content.encode("cp1252"))
        assert table.columns["text"] == texts
        assert table.guesses == (
            "encoding cp1252 guessed from the text",
            "column 'Text' taken for 'text'",
        )


def test_compressed_json_lines_are_read(read: Read):
    content = "\r\n".join(map(json.dumps, ROWS)).encode()

    assert is_weather(read("a.jsonl.gz", gzip.compress(content)))
    assert is_weather(read("a.ndjson", b"\xef\xbb\xbf" + content))
    assert is_weather(read("b.jsonl", content.decode().encode("utf-16")))


def test_keys_of_other_case_are_taken_and_said(read: Read):
    table = read("a.jsonl", '{"Text": "a", "LABEL": 1}\n{"Text": "b", "LABEL": 2.0}\n')

    assert rows_of(table) == [("a", "1"), ("b", "2")]
    assert table.guesses == ("column 'Text' taken for 'text'", "column 'LABEL' taken for 'label'")


def test_a_key_that_is_not_there_is_refused_with_near_ones(read: Read):
    with pytest.raises(
        ValueError, match=r"line 1: .*Did you mean 'review_text'\? Set `text` \(--text\)"
    ):
        read("a.jsonl", '{"review_text": "a", "label": "x"}\n')


@pytest.mark.parametrize(
    ("escape", "name"), [("\\ud83d", "a.jsonl"), ("\\udc00", "a.jsonl"), ("\\ud83d", "a.json")]
)
def test_half_a_surrogate_pair_is_told_by_line(escape: str, name: str, read: Read):
    bad = f'{{"text": "half {escape} pair", "label": "x"}}'
    lines = ['{"text": "\\ud83d\\ude00", "label": "x"}', bad]
    content = "[" + ",\n".join(lines) + "]" if name == "a.json" else "\n".join(lines)

    with pytest.raises(
        ValueError,
        match=rf"{name}, line 2.*: expected a 'text' of whole characters.*\(--skip-bad-rows\)",
    ):
        read(name, content)
    table = read(name, content, skip_bad_rows=True)
    assert (table.columns["text"], len(table.skipped)) == (["😀"], 1)


def test_bytes_that_are_not_utf_8_are_told_by_line(read: Read):
    content = '{"text": "größer", "label": "x"}\n'.encode() * 3 + b'{"text": "\xff", "label": "x"}'

    with pytest.raises(ValueError, match=r"line 4: expected UTF-8 text\. Received: b'\\xff'"):
        read("a.jsonl", content)
    assert len(read("a.jsonl", content, skip_bad_rows=True).skipped) == 1


def test_items_of_an_array_are_told_by_line_and_number(read: Read):
    content = json.dumps([*ROWS, {"text": "fog", "label": None}], indent=1)

    with pytest.raises(
        ValueError, match=r"a\.json, line 10 \(item 3\): expected a 'label' that is not missing"
    ):
        read("a.json", content)
    table = read("a.json", content, skip_bad_rows=True)
    assert table.row_numbers.tolist() == [1, 2]
    assert table.summary().endswith("1 bad row skipped: item 3")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"a\.json, line 1: not JSON: Expecting value"),
        ('[{"text": "a", "label": "x"}', r"line 1: not JSON: expected ',' or '\]' after item 1"),
        ('[{"text": "a",\n"label": x}]', r"line 2: not JSON: Expecting value"),
        ('[{"text": "a", "label": "x"}]\n}', r"line 2: not JSON: expected nothing after the array"),
        ("[" * 100_000, r"line 1: not JSON: it is nested too deeply"),
        ("3", r"line 1: expected an array of objects.* Received: 3"),
        ('{"a": {"text": "b"}}', r"expected an array of objects.* an object with the keys \['a'\]"),
        ('{"texts": ["a"], "label": ["x"]}', r"Did you mean 'texts'\? Set `text` \(--text\)"),
        ('{"text": ["a"], "label": []}', r"columns of one length\. Received: 1 of 'text', 0 of"),
        ("[]", r"`path` must hold at least one row"),
        ("[1]", r"line 1 \(item 1\): expected an object with the keys 'text' and 'label'"),
        ('[{"text": "a", "label": NaN}]', r"expected a 'label' that is not missing"),
        ('[{"text": "a", "label": []}]', r"expected 'label' to be a string or a number"),
        ('[{"text": "a", "label": true}]', r"'label' to be a string or an integer, no boolean"),
    ],
)
def test_json_that_is_no_table_is_refused(content: str, message: str, read: Read):
    with pytest.raises(ValueError, match=message):
        read("a.json", content)
