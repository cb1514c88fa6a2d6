"""What `open_bundle` refuses: a bundle may have been damaged, or come from a stranger."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import keras
import pytest
from tokenizers import Tokenizer, models

from tfdistill.bundles import Bundle, open_bundle
from tfdistill.export import save_bundle

LABELS = ("grain", "oil", "trade")
NAMES = {"card.md", "labels.json", "manifest.json", "model.tflite", "tokenizer.json"}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    ids = keras.Input((6,), dtype="int32", name="ids")
    x = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(3, 4)(ids))
    model = keras.Model(ids, keras.layers.Dense(3)(x))
    words = {"[PAD]": 0, "[UNK]": 1, "oil": 2}
    return save_bundle(
        model,
        tmp_path_factory.mktemp("original") / "bundle",
        tokenizer=Tokenizer(models.WordLevel(words, unk_token="[UNK]")),
        labels=LABELS,
    )


@pytest.fixture
def copy(original: Bundle, tmp_path: Path) -> Path:
    """A bundle that a test may damage."""
    return Path(shutil.copytree(original.path, tmp_path / "bundle"))


def edit_manifest(bundle: Path, **changes: object) -> None:
    path = bundle / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def rewrite(bundle: Path, name: str, content: bytes) -> None:
    """Replaces a file and vouches for it in the manifest, as a stranger could."""
    (bundle / name).write_bytes(content)
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"][name] = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "size_bytes": len(content),
    }
    (bundle / "manifest.json").write_text(json.dumps(manifest))


def test_missing_bundle_is_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="existing bundle folder. Received: path=.*gone"):
        open_bundle(tmp_path / "gone")


def test_file_in_place_of_the_folder_is_refused(original: Bundle):
    with pytest.raises(ValueError, match="which is a file. Give the folder"):
        open_bundle(original.model_path)


def test_path_of_another_type_is_refused(original: Bundle):
    with pytest.raises(TypeError, match="`path` must be a bundle folder .*Received: path=Bundle"):
        open_bundle(original)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", sorted(NAMES - {"manifest.json"}))
def test_changed_file_is_refused(copy: Path, name: str):
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)

    with pytest.raises(ValueError, match=f"{name} in the bundle .* must have the hash"):
        open_bundle(copy)


def test_file_that_was_cut_off_is_refused_by_its_size(copy: Path):
    content = (copy / "model.tflite").read_bytes()
    (copy / "model.tflite").write_bytes(content[:-1])

    with pytest.raises(ValueError, match=f"{len(content) - 1} bytes, SHA-256 not computed"):
        open_bundle(copy)


@pytest.mark.parametrize("name", sorted(NAMES - {"manifest.json"}))
def test_missing_file_is_named(copy: Path, name: str):
    (copy / name).unlink()

    with pytest.raises(ValueError, match=f"must hold {name}, which cannot be read"):
        open_bundle(copy)


@pytest.mark.parametrize("name", ["labels.json", "model.tflite", "manifest.json"])
def test_link_out_of_the_folder_is_refused(copy: Path, tmp_path: Path, name: str):
    shutil.move(copy / name, tmp_path / "elsewhere")
    (copy / name).symlink_to(tmp_path / "elsewhere")

    with pytest.raises(ValueError, match=f"must hold {name} itself. Received: a link to"):
        open_bundle(copy)


def test_link_inside_the_folder_is_fine(copy: Path):
    (copy / "labels.json").rename(copy / "real.json")
    (copy / "labels.json").symlink_to("real.json")

    assert open_bundle(copy).labels == LABELS


def test_loop_of_links_and_pipe_are_refused(copy: Path):
    (copy / "card.md").unlink()
    (copy / "card.md").symlink_to("card.md")
    with pytest.raises(ValueError, match=r"must hold card\.md, which cannot be read"):
        open_bundle(copy)

    (copy / "card.md").unlink()
    os.mkfifo(copy / "card.md")  # reading it would wait for ever
    with pytest.raises(ValueError, match=r"must hold card\.md as a regular file"):
        open_bundle(copy)


def test_folder_without_a_manifest_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="which has no manifest.json"):
        open_bundle(tmp_path)


@pytest.mark.parametrize("version", [None, 0, "1", True, 1.0])
def test_manifest_without_a_format_is_refused(copy: Path, version: object):
    edit_manifest(copy, format=version)

    with pytest.raises(ValueError, match=f"number of its format. Received: format={version!r}"):
        open_bundle(copy)


def test_newer_format_is_refused_with_the_way_out(copy: Path):
    edit_manifest(copy, format=2)

    with pytest.raises(ValueError, match=r"has format 2, and .* up to format 1. Upgrade with"):
        open_bundle(copy)


@pytest.mark.parametrize(
    "changes",
    [
        {"sequence_length": "6"},
        {"sequence_length": 0},
        {"sequence_length": 10**30},
        {"signatures": []},
        {"signatures": {"serving_default": {}}},
        {"files": None},
        {"files": {"model.tflite": {"sha256": "0", "size_bytes": float("inf")}}},
    ],
)
def test_manifest_with_nonsense_is_refused(copy: Path, changes: dict[str, object]):
    edit_manifest(copy, **changes)

    with pytest.raises(ValueError, match="must be a manifest of format 1"):
        open_bundle(copy)


def test_path_in_the_manifest_is_never_opened(copy: Path, tmp_path: Path):
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["files"]["../secret"] = manifest["files"]["card.md"]
    (copy / "manifest.json").write_text(json.dumps(manifest))

    with pytest.raises(ValueError, match=r"must list exactly the files .*Received: \['../secret'"):
        open_bundle(copy)


@pytest.mark.parametrize("name", sorted(NAMES - {"manifest.json"}))
def test_manifest_that_lists_a_file_less_is_refused(copy: Path, name: str):
    files = json.loads((copy / "manifest.json").read_text())["files"]
    del files[name]
    edit_manifest(copy, files=files)

    with pytest.raises(ValueError, match=f"must list exactly the files .*{name}.*Received: "):
        open_bundle(copy)


def test_manifest_states_its_kind_and_one_without_is_a_classifiers(copy: Path):
    manifest = json.loads((copy / "manifest.json").read_text())
    assert manifest.pop("kind") == "bundle"
    (copy / "manifest.json").write_text(json.dumps(manifest))
    assert open_bundle(copy).labels == LABELS

    edit_manifest(copy, kind="team")
    with pytest.raises(ValueError, match="must be a bundle of kind 'bundle'.*of kind 'team'"):
        open_bundle(copy)


@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b"\xff\xfe", b'{"format": 1', b"9" * 10_000], ids=lambda c: c[:8]
)
def test_manifest_that_is_not_json_is_refused(copy: Path, content: bytes):
    (copy / "manifest.json").write_bytes(content)

    with pytest.raises(ValueError, match=r"manifest\.json .* must be JSON in UTF-8"):
        open_bundle(copy)


def test_huge_manifest_is_refused_without_reading_it(copy: Path):
    os.truncate(copy / "manifest.json", 2**40)  # a sparse file of a tebibyte

    with pytest.raises(ValueError, match=r"at most 1048576 bytes. Received: 1099511627776"):
        open_bundle(copy)


def test_model_larger_than_a_flatbuffer_can_be_is_refused_without_reading_it(copy: Path):
    os.truncate(copy / "model.tflite", 2**31 + 1)  # offsets in a flatbuffer end at 2 GiB

    with pytest.raises(ValueError, match="at most 2147483648 bytes. Received: 2147483649 bytes"):
        open_bundle(copy)


@pytest.mark.parametrize("content", [b'"oil"', b"{}", b'["oil", "oil"]', b"[1]"])
def test_labels_of_a_stranger_are_checked(copy: Path, content: bytes):
    rewrite(copy, "labels.json", content)

    with pytest.raises(ValueError, match=r"labels\.json in the bundle .* must be a list of diff"):
        open_bundle(copy)
