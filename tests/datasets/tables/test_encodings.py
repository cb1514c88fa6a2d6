"""Letters are right, or the file is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tfdistill.datasets import Table, read_labelled_text

Read = Callable[..., Table]
GERMAN = [
    "Das Hotel war schön, aber das Frühstück ließ zu wünschen übrig.",
    "Sehr gut, würde ich wieder kaufen.",
    "Die Größe passt nicht, Rückgabe war möglich.",
    "Für den Preis völlig in Ordnung – „gern wieder“.",
]
RUSSIAN = [
    "Очень хороший товар, рекомендую всем друзьям.",
    "Доставка заняла три недели, это ужасно.",
    "Качество плохое, деньги не вернули.",
]


def content(texts: list[str]) -> str:
    return "text;label\n" + "".join(f"{text};x\n" for text in texts * 5)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_marked_encoding_is_no_guess(encoding: str, read: Read):
    table = read("a.csv", content(GERMAN).encode(encoding))

    assert table.columns["text"] == GERMAN * 5
    assert (table.encoding, table.guesses) == (encoding, ())


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("texts", [GERMAN, RUSSIAN, ["日本語の文章", "中文"], ["一一一一", "ĀāĀā"]])
def test_utf_16_without_its_mark_is_found_and_said(encoding: str, texts: list[str], read: Read):
    table = read("a.csv", content(texts).encode(encoding))

    assert table.columns["text"] == texts * 5
    assert table.guesses == (f"encoding {encoding} told by its zero bytes",)


@pytest.mark.parametrize(
    ("texts", "encoding"),
    [
        (GERMAN, "cp1252"),
        (["schöner Text"], "cp1252"),
        (RUSSIAN, "cp1251"),
        (RUSSIAN, "koi8_r"),
        (RUSSIAN, "iso8859_5"),
    ],
)
def test_an_old_encoding_is_guessed_and_said(texts: list[str], encoding: str, read: Read):
    table = read("a.csv", content(texts).encode(encoding))

    assert table.columns["text"] == texts * 5
    assert table.encoding == encoding and f"encoding {encoding}" in table.summary()
    assert table.guesses == (f"encoding {encoding} guessed from the text",)


def test_latin_1_without_its_rare_letters_is_read_as_cp1252(read: Read):
    table = read("a.csv", content(GERMAN[:3]).encode("latin-1"))

    assert (table.columns["text"], table.encoding) == (GERMAN[:3] * 5, "cp1252")


def test_a_guess_is_a_warning_where_only_texts_are_returned(write: Callable[..., Path]):
    path = write("a.csv", content(GERMAN).encode("cp1252"))

    with pytest.warns(UserWarning, match=r"a\.csv: encoding cp1252 guessed from the text\."):
        texts, _ = read_labelled_text(path)
    assert texts == GERMAN * 5
    assert read_labelled_text(path, encoding="cp1252")[0] == texts


@pytest.mark.parametrize(
    "raw",
    [
        "text,label\ncafé,x\n".encode("cp1252"),
        "text,label\nこれは良い製品です,x\n配送が遅い,y\n".encode("cp932"),
        "text,label\nabc,x\nTisk szőlő,x\n".encode("cp1250"),
        b"text,label\nabc,x\n" + bytes(range(128, 256)) + b",x\n",
    ],
)
def test_an_encoding_that_is_not_sure_is_refused_with_its_flag(raw: bytes, read: Read):
    with pytest.raises(
        ValueError, match=r"a\.csv, line [23]: expected UTF-8 text.* Set `encoding` \(--encoding\)"
    ):
        read("a.csv", raw)


def test_a_refusal_shows_how_the_nearest_encodings_read_a_word(read: Read):
    raw = "text,label\nUn café, por favor,x\nEl niño comió,x\n".encode("cp1252")

    with pytest.raises(ValueError, match="A word of it is '.*' in .*, '.*' in "):
        read("a.csv", raw.replace(b",x\n", b";x\n").replace(b"text,", b"text;"))


def test_an_encoding_that_is_named_overrides_the_guess(read: Read):
    raw = content(GERMAN).encode("cp1252")

    assert read("a.csv", raw, encoding="mac_roman").columns["text"][1] != GERMAN[1]
    assert read("a.csv", raw, encoding="CP1252").columns["text"] == GERMAN * 5


def test_bytes_that_the_named_encoding_lacks_are_told_by_line(read: Read):
    raw = "text,label\na,x\nß,x\n".encode("cp1252")

    with pytest.raises(ValueError, match=r"line 3: expected ascii text\. Received: b'\\xdf'"):
        read("a.csv", raw, encoding="ascii")
    with pytest.raises(ValueError, match=r"line 3: expected UTF-8 text.*\(--encoding\)"):
        read("a.csv", raw, encoding="utf-8")


def test_a_damaged_line_of_utf_8_is_no_reason_to_read_it_otherwise(read: Read):
    raw = content(GERMAN).encode().replace("Größe".encode(), b"Gr\xf6\xdfe", 1)

    with pytest.raises(ValueError, match=r"line 4: expected UTF-8 text\. Received: b'\\xf6\\xdf'"):
        read("a.csv", raw)
    table = read("a.csv", raw, skip_bad_rows=True)
    assert ([row.number for row in table.skipped], table.num_rows) == ([4], 19)


def test_utf_16_that_is_cut_off_is_told_by_line(read: Read):
    with pytest.raises(ValueError, match=r"line 3: expected utf-16 text"):
        read("a.csv", "text,label\na,x\nb,y".encode("utf-16")[:-1])


@pytest.mark.parametrize("encoding", ["cp1225", "base64", "", "no such", 8])
def test_an_encoding_that_python_lacks_is_refused(encoding: object, read: Read):
    with pytest.raises(ValueError, match=r"`encoding` must be a text encoding .*\(--encoding\)"):
        read("a.csv", "text,label\na,x\n", encoding=encoding)


def test_a_misspelled_encoding_is_suggested(read: Read):
    with pytest.raises(ValueError, match=r"Did you mean .*'cp1252'"):
        read("a.csv", "text,label\na,x\n", encoding="cp12522")


def test_nul_characters_are_told_by_line(read: Read):
    with pytest.raises(ValueError, match=r"line 3: expected a 'text' without NUL.*\(--encoding\)"):
        read("a.csv", "text,label\na,x\nb\0c,x\n")
