"""A language model's folder: what it must list, what it replaces, and what it leaves alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models

from tfdistill.bundles import open_language_bundle
from tfdistill.export import save_language_bundle

NAMES = ["card.md", "model.tflite", "tokenizer.json"]


@pytest.fixture
def copy(bundles, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundles[0], tmp_path / "bundle"))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("name", NAMES)
def test_a_manifest_that_lists_a_file_less_is_refused(copy: Path, name: str):
    manifest = json.loads((copy / "manifest.json").read_text())
    del manifest["files"][name]
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=f"must list exactly the files .*{name}.*Received: "):
        open_language_bundle(copy)


@pytest.mark.slow
def test_a_bundle_is_replaced_and_a_users_file_in_it_is_named_and_kept(model, tokenizer, copy):
    settings = {"tokenizer": tokenizer, "context_length": 16, "prefill_lengths": [8]}
    assert save_language_bundle(model, copy, **settings).generation.context_length == 16
    (copy / "notes.txt").write_text("mine")
    before = contents(copy)
    with pytest.raises(FileExistsError, match=r"\['notes.txt'\] besides, which tfdistill did not"):
        save_language_bundle(model, copy, **settings)
    assert contents(copy) == before


@pytest.mark.slow
def test_a_bundle_that_cannot_be_opened_again_leaves_the_old_one(model, copy):
    before = contents(copy)
    large = Tokenizer(models.WordLevel({"a" * (65 * 2**20): 0}, unk_token="a"))  # limit: 64 MiB
    with pytest.raises(ValueError, match=r"tokenizer.json in the bundle .* at most 67108864 bytes"):
        save_language_bundle(model, copy, tokenizer=large, context_length=16, prefill_lengths=[8])
    assert contents(copy) == before
    assert [path.name for path in copy.parent.iterdir()] == [copy.name]
