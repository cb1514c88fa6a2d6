"""The card of a bundle gets what only its maker knows; nothing else changes."""

from __future__ import annotations

import shutil
from pathlib import Path

import keras
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from tfdistill.agents import Agent
from tfdistill.bundles import describe_bundle, open_bundle
from tfdistill.export import save_bundle
from tfdistill.reports import StageRow

ROW = StageRow("tflite", 0.91, 0.9, 100, 50, 2048, 1024, 0.05, 0.06, 0.97)
ABOUT = {"Data": "3 texts about birds", "License of the data": "CC0-1.0"}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1, "owl": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    ids = keras.Input((4,), dtype="int32", name="ids")
    vectors = keras.layers.Embedding(3, 4)(ids)
    logits = keras.layers.Dense(2, name="logits")(keras.layers.Flatten()(vectors))
    path = tmp_path_factory.mktemp("describing") / "birds"
    model = keras.Model(ids, logits)
    return save_bundle(model, path, tokenizer=tokenizer, labels=["day", "night"]).path


@pytest.fixture
def copy(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "birds"))


def test_facts_and_figures_are_in_the_card_and_the_bundle_still_opens(copy: Path, original: Path):
    assert "Accuracy was not measured" in (copy / "card.md").read_text()

    bundle = describe_bundle(copy, about=ABOUT, rows=[ROW])

    card = (bundle.path / "card.md").read_text()
    assert "* Data: 3 texts about birds\n* License of the data: CC0-1.0\n" in card
    assert "| tflite | 0.910 | 0.900 |" in card and "Accuracy was not measured" not in card
    assert "* Versions: tfdistill " in card
    for name in ("model.tflite", "tokenizer.json", "labels.json"):
        assert (copy / name).read_bytes() == (original / name).read_bytes()
    assert Agent(copy).predict(["owl"]) == Agent(original).predict(["owl"])
    assert list(copy.parent.iterdir()) == [copy]


def test_describing_again_replaces_what_was_said(copy: Path):
    describe_bundle(copy, about=ABOUT)
    card = (describe_bundle(copy, about={"Data": "more birds"}).path / "card.md").read_text()
    assert "* Data: more birds\n" in card and "CC0-1.0" not in card


@pytest.mark.parametrize("text", ["", " ", "one\ntwo"])
def test_a_fact_that_is_not_one_line_is_refused_and_nothing_changes(copy: Path, text: str):
    before = (copy / "card.md").read_bytes()
    with pytest.raises(ValueError, match="`about` must be lines of text. Received: about\\['Data'"):
        describe_bundle(copy, about={"Data": text})
    assert (copy / "card.md").read_bytes() == before


def test_a_fact_that_is_not_text_is_refused(copy: Path):
    with pytest.raises(TypeError, match="`about` must be text by text. Received: about\\['n'\\]=3"):
        describe_bundle(copy, about={"n": 3})


def test_a_changed_bundle_is_not_described(copy: Path):
    (copy / "labels.json").write_text('["a", "b"]')
    with pytest.raises(ValueError, match="labels.json"):
        describe_bundle(copy, about=ABOUT)


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="bundle"):
        describe_bundle(tmp_path)
    with pytest.raises(FileNotFoundError, match="must be an existing bundle folder"):
        open_bundle(tmp_path / "none")
