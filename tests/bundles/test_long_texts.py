"""Which tokens of a long text are read, and where a bundle says so."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from tokenizers import Tokenizer, models

from tfdistill.bundles import how_much_is_read, open_bundle
from tfdistill.bundles.long_texts import LONG_TEXTS, content_of, cut_rows, kept
from tfdistill.export import save_bundle


@pytest.mark.parametrize("long_texts", LONG_TEXTS)
@pytest.mark.parametrize("tokens", [0, 1, 5])
def test_a_text_that_fits_is_one_row_of_all_its_tokens(tokens: int, long_texts: str):
    assert kept(tokens, room=5, long_texts=long_texts) == (((0, tokens),),)


@pytest.mark.parametrize(
    ("tokens", "room", "ranges"),
    [(6, 5, ((0, 3), (4, 6))), (100, 5, ((0, 3), (98, 100))), (9, 1, ((0, 1), (9, 9)))],
)
def test_head_and_tail_have_half_each_and_the_head_one_more(tokens: int, room: int, ranges: tuple):
    assert kept(tokens, room=room, long_texts="head+tail") == (ranges,)


def test_windows_of_ten_tokens_are_even_and_share_two_or_more():
    # 26 tokens need 3 windows: 10 + 8 + 8 with an overlap of a fifth, begun at 0, 16 / 2 and 16.
    assert kept(26, room=10, long_texts="windows") == (((0, 10),), ((8, 18),), ((16, 26),))
    # One more token needs a fourth one, at 17 / 3 and 34 / 3 rounded down.
    starts = [row[0][0] for row in kept(27, room=10, long_texts="windows")]
    assert starts == [0, 5, 11, 17]


@pytest.mark.parametrize("room", [1, 2, 5, 10, 126])
@pytest.mark.parametrize("beyond", [1, 3, 17, 400, 5000])
def test_at_most_eight_windows_begin_and_end_with_the_text_and_are_all_full(room: int, beyond: int):
    rows = kept(room + beyond, room=room, long_texts="windows")
    (first, *_), (last, *_) = rows[0], rows[-1]
    assert 2 <= len(rows) <= 8 and first[0] == 0 and last[1] == room + beyond
    assert all(stop - start == room for ((start, stop),) in rows)


@pytest.mark.parametrize("long_texts", LONG_TEXTS)
def test_a_row_without_room_has_no_token_of_the_text(long_texts: str):
    assert kept(7, room=0, long_texts=long_texts) == (((0, 0),),)


def test_content_lies_between_the_special_tokens():
    assert content_of([1, 0, 0, 1, 0, 1]) == (1, 5)
    assert content_of([0, 0]) == (0, 2)
    assert content_of([]) == (0, 0)


def test_ids_are_cut_into_rows_and_filled_up_with_zeros():
    ids = np.arange(1, 8)
    assert cut_rows(ids, length=4, long_texts="head").tolist() == [[1, 2, 3, 4]]
    assert cut_rows(ids, length=4, long_texts="head+tail").tolist() == [[1, 2, 6, 7]]
    assert cut_rows(ids, length=4, long_texts="windows").tolist() == [[1, 2, 3, 4], [4, 5, 6, 7]]
    assert cut_rows(ids[:1], length=3, long_texts="windows").tolist() == [[1, 0, 0]]


@pytest.mark.parametrize(
    ("long_texts", "cut", "read", "in_windows"),
    [("head", 0.75, 0.5, 0.0), ("head+tail", 0.75, 0.5, 0.0), ("windows", 0.25, 0.8, 0.75)],
)
def test_what_is_read_is_counted_in_texts_and_in_tokens(
    long_texts: str, cut: float, read: float, in_windows: float
):
    # Of 100 tokens 8 windows of 10 cover 80.
    found = how_much_is_read([10, 20, 15, 100], room=10, long_texts=long_texts)
    assert (found.cut, found.read, found.in_windows) == (cut, pytest.approx(read), in_windows)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lengths": []}, "`lengths` must hold at least one number. Received: lengths=[]."),
        ({"room": 0}, "`room` must be an int of at least 1. Received: room=0."),
        ({"long_texts": "tail"}, "`long_texts` must be one of ('head', 'head+tail', 'windows')."),
    ],
)
def test_what_cannot_be_measured_is_refused(arguments: dict, message: str):
    given = {"lengths": [3], "room": 4, "long_texts": "head", **arguments}
    with pytest.raises(ValueError, match=re.escape(message)):
        how_much_is_read(**given)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    ids = keras.Input((4,), dtype="int32", name="ids")
    x = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(3, 4)(ids))
    model = keras.Model(ids, keras.layers.Dense(2)(x))
    tokenizer = Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1, "oil": 2}, unk_token="[UNK]"))
    path = tmp_path_factory.mktemp("original") / "bundle"
    return save_bundle(
        model, path, tokenizer=tokenizer, labels=["a", "b"], long_texts="head+tail"
    ).path


def test_a_bundle_states_it_in_its_manifest_and_on_its_card(original: Path):
    assert open_bundle(original).long_texts == "head+tail"
    assert json.loads((original / "manifest.json").read_text())["long_texts"] == "head+tail"
    assert "cut to the first and last 4 tokens" in (original / "card.md").read_text()


def test_a_bundle_that_states_nothing_reads_the_head(original: Path, tmp_path: Path):
    copy = Path(shutil.copytree(original, tmp_path / "old"))
    manifest = json.loads((copy / "manifest.json").read_text())
    del manifest["long_texts"]
    (copy / "manifest.json").write_text(json.dumps(manifest))
    assert open_bundle(copy).long_texts == "head"


@pytest.mark.parametrize("value", ["tail", None, 3, ["windows"], {"a": [[[]]]}])
def test_a_bundle_that_states_something_else_is_refused(
    value: object, original: Path, tmp_path: Path
):
    copy = Path(shutil.copytree(original, tmp_path / "odd"))
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps({**manifest, "long_texts": value}))
    with pytest.raises(ValueError, match=r"must state a known way to read long texts, or none\."):
        open_bundle(copy)
