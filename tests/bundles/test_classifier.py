from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

import tfdistill
from tfdistill.bundles import Bundle, describe_bundle, open_bundle
from tfdistill.export import save_bundle
from tfdistill.runtime.interpreter import Interpreter

LENGTH = 6
LABELS = ("grain", "oil", "trade")
NAMES = {"card.md", "labels.json", "manifest.json", "model.tflite", "tokenizer.json"}


def make_model(*, vocabulary: int, classes: int, seed: int = 21) -> keras.Model:
    keras.utils.set_random_seed(seed)
    ids = keras.Input((LENGTH,), dtype="int32", name="ids")
    x = keras.layers.Embedding(vocabulary, 8)(ids)
    x = keras.layers.GlobalAveragePooling1D()(x)
    return keras.Model(ids, keras.layers.Dense(classes, name="logits")(x))


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    words = ["[PAD]", "[UNK]", "oil", "wheat", "tariff", "rose", "fell"]
    model = models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]")
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


@pytest.fixture(scope="module")
def model(tokenizer: Tokenizer) -> keras.Model:
    return make_model(vocabulary=tokenizer.get_vocab_size(), classes=len(LABELS))


@pytest.fixture(scope="module")
def original(
    model: keras.Model, tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory
) -> Bundle:
    path = tmp_path_factory.mktemp("original") / "bundle"
    return save_bundle(model, path, tokenizer=tokenizer, labels=LABELS)


@pytest.fixture
def copy(original: Bundle, tmp_path: Path) -> Path:
    """A bundle that a test may damage."""
    return Path(shutil.copytree(original.path, tmp_path / "bundle"))


def test_saved_bundle_opens_and_says_what_it_is(original: Bundle):
    assert original.labels == LABELS
    assert original.sequence_length == LENGTH
    assert {path.name for path in original.path.iterdir()} == NAMES
    assert original.signatures == Interpreter(original.model_path).signatures
    assert original.manifest["format"] == 1
    assert original.manifest["quantize"] == "dynamic"
    assert original.manifest["created_with"]["tfdistill"] == tfdistill.__version__
    assert original.manifest["created_with"]["keras"] == keras.__version__


def test_manifest_states_the_hash_and_size_of_every_other_file(original: Bundle):
    files = original.manifest["files"]

    assert set(files) == NAMES - {"manifest.json"}
    for name, stated in files.items():
        content = (original.path / name).read_bytes()
        assert stated == {
            "sha256": hashlib.sha256(content).hexdigest(),
            "size_bytes": len(content),
        }


def test_tokenizer_gives_the_same_ids_after_the_round_trip(original: Bundle, tokenizer: Tokenizer):
    again = Tokenizer.from_file(str(original.tokenizer_path))

    assert again.encode("oil zzz rose").ids == tokenizer.encode("oil zzz rose").ids == [2, 1, 5]


def test_saving_leaves_model_and_tokenizer_alone(
    model: keras.Model, tokenizer: Tokenizer, tmp_path: Path
):
    weights = [value.copy() for value in model.get_weights()]
    serialized = tokenizer.to_str()

    save_bundle(model, tmp_path / "b", tokenizer=tokenizer, labels=LABELS)

    assert tokenizer.to_str() == serialized
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_card_states_classes_and_that_accuracy_is_unknown(original: Bundle):
    card = (original.path / "card.md").read_text()

    assert "Classes (3): grain, oil, trade" in card
    assert f"first {LENGTH} tokens" in card
    assert f"{original.model_path.stat().st_size:,} bytes" in card
    assert "Accuracy was not measured" in card


def test_existing_bundle_is_replaced_and_nothing_else_is_left(
    tokenizer: Tokenizer, copy: Path, original: Bundle
):
    other = make_model(vocabulary=7, classes=2, seed=5)

    bundle = save_bundle(other, copy, tokenizer=tokenizer, labels=["down", "up"])

    assert bundle.labels == open_bundle(copy).labels == ("down", "up")
    assert [path.name for path in copy.parent.iterdir()] == ["bundle"]


def test_interpreter_of_the_old_bundle_lives_on_after_replacing(
    model: keras.Model, tokenizer: Tokenizer, copy: Path
):
    ids = np.ones((1, LENGTH), np.int32)
    old = Interpreter(copy / "model.tflite")
    before = old.run({"ids": ids})["logits"]

    save_bundle(make_model(vocabulary=7, classes=2), copy, tokenizer=tokenizer, labels=["a", "b"])

    np.testing.assert_array_equal(old.run({"ids": ids})["logits"], before)


def test_empty_folder_is_filled(model: keras.Model, tokenizer: Tokenizer, tmp_path: Path):
    (tmp_path / "empty").mkdir()

    assert (
        save_bundle(
            model, tmp_path / "empty", tokenizer=tokenizer, labels=LABELS, quantize=None
        ).labels
        == LABELS
    )


def test_failed_export_keeps_the_old_bundle_and_leaves_nothing(copy: Path, tokenizer: Tokenizer):
    before = {path.name: path.read_bytes() for path in copy.iterdir()}

    with pytest.raises(ValueError, match="4 classes"):
        save_bundle(make_model(vocabulary=7, classes=4), copy, tokenizer=tokenizer, labels=LABELS)

    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before
    assert [path.name for path in copy.parent.iterdir()] == ["bundle"]


@pytest.mark.parametrize(
    "content", [{"notes.txt": "mine"}, {"manifest.json": "{}", "notes.txt": "x"}, {"card.md": ""}]
)
def test_folder_of_something_else_is_not_overwritten(
    model: keras.Model, tokenizer: Tokenizer, tmp_path: Path, content: dict[str, str]
):
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, text in content.items():
        (folder / name).write_text(text)

    with pytest.raises(FileExistsError, match="free or an existing bundle folder.*a folder with"):
        save_bundle(model, folder, tokenizer=tokenizer, labels=LABELS)

    assert {path.name: path.read_text() for path in folder.iterdir()} == content


def test_users_file_in_a_bundle_is_named_and_kept(
    model: keras.Model, tokenizer: Tokenizer, copy: Path
):
    (copy / "notes.txt").write_text("mine")
    before = {path.name: path.read_bytes() for path in copy.iterdir()}

    for write in (
        lambda: save_bundle(model, copy, tokenizer=tokenizer, labels=LABELS),
        lambda: describe_bundle(copy, about={"Data": "R8"}),
    ):
        with pytest.raises(FileExistsError, match=r"\['notes.txt'\] besides, which tfdistill did"):
            write()
        assert {path.name: path.read_bytes() for path in copy.iterdir()} == before


def test_bundle_that_cannot_be_opened_again_leaves_the_old_one(
    model: keras.Model, tokenizer: Tokenizer, copy: Path
):
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    labels = [letter * 6 * 2**20 for letter in "abc"]  # 18 MiB, more than labels.json may be

    with pytest.raises(ValueError, match=r"labels.json in the bundle .* at most 16777216 bytes"):
        save_bundle(model, copy, tokenizer=tokenizer, labels=labels)
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before

    with pytest.raises(ValueError, match=r"card.md in the bundle .* at most 1048576 bytes"):
        describe_bundle(copy, about={"Data": "x" * 2**20})
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before
    assert [path.name for path in copy.parent.iterdir()] == [copy.name]


def test_file_and_link_are_not_overwritten(
    model: keras.Model, tokenizer: Tokenizer, tmp_path: Path, copy: Path
):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(copy)
    for name in ("file", "link"):
        with pytest.raises(FileExistsError, match=f"{name}', a file or a link"):
            save_bundle(model, tmp_path / name, tokenizer=tokenizer, labels=LABELS)


def test_missing_parent_is_named(model: keras.Model, tokenizer: Tokenizer, tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="in an existing folder.*mkdir"):
        save_bundle(model, tmp_path / "a" / "b", tokenizer=tokenizer, labels=LABELS)


def test_tokenizer_of_another_kind_is_refused(model: keras.Model, tmp_path: Path):
    with pytest.raises(TypeError, match=r"agents.NGrams. Received: tokenizer=.*\(method_descr"):
        save_bundle(model, tmp_path / "b", tokenizer=str.split, labels=LABELS)  # type: ignore[arg-type]


def test_tokenizer_with_python_parts_is_refused(model: keras.Model, tmp_path: Path):
    class Own:
        def pre_tokenize(self, text: object) -> None:
            pass

    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.PreTokenizer.custom(Own())

    with pytest.raises(ValueError, match="`tokenizer` must be one that can be saved"):
        save_bundle(model, tmp_path / "b", tokenizer=tokenizer, labels=LABELS)


def test_tokenizer_with_more_ids_than_the_model_is_refused(tokenizer: Tokenizer, tmp_path: Path):
    with pytest.raises(ValueError, match="no id beyond the model's vocabulary.*ids up to 6"):
        save_bundle(
            make_model(vocabulary=6, classes=3),
            tmp_path / "b",
            tokenizer=tokenizer,
            labels=LABELS,
        )


@pytest.mark.parametrize(
    ("labels", "kind", "message"),
    [
        ("oil", TypeError, "must be a list of class names. Received: labels='oil'"),
        (["oil", 3, "x"], TypeError, r"labels\[1\]=3 \(int\)"),
        (["oil", "", "x"], ValueError, r"no empty name. Received: labels\[1\]=''"),
        ([], ValueError, r"at least one class. Received: labels=\[\]"),
        (["oil", "oil", "x"], ValueError, r"different from each other. Received: \['oil'\]"),
        (["oil", "x"], ValueError, "2 labels, model → 3 classes"),
    ],
)
def test_labels_are_checked(
    model: keras.Model,
    tokenizer: Tokenizer,
    tmp_path: Path,
    labels: list[str],
    kind: type[Exception],
    message: str,
):
    with pytest.raises(kind, match=message):
        save_bundle(model, tmp_path / "b", tokenizer=tokenizer, labels=labels)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("quantize", ["int8", "int8_16"])
def test_full_integer_modes_are_refused(
    quantize: str, model: keras.Model, tokenizer: Tokenizer, tmp_path: Path
):
    with pytest.raises(
        ValueError,
        match=rf"'int8_fc', 'int4'\) for a bundle. Received: quantize='{quantize}', whose fixed "
        "grids cost .* quantize='int8_fc' keeps softmax and norms in float",
    ):
        save_bundle(
            model,
            tmp_path / "b",
            tokenizer=tokenizer,
            labels=LABELS,
            quantize=quantize,
            calibration=np.ones((8, LENGTH), "int32"),
        )
    assert list(tmp_path.iterdir()) == []


def test_model_of_another_shape_is_refused(tokenizer: Tokenizer, tmp_path: Path):
    model = keras.Sequential([keras.Input((LENGTH,)), keras.layers.Dense(3)])

    with pytest.raises(ValueError, match="classifier with one input of integer token ids"):
        save_bundle(model, tmp_path / "b", tokenizer=tokenizer, labels=LABELS)


def test_model_that_returns_probabilities_is_refused(tokenizer: Tokenizer, tmp_path: Path):
    model = make_model(vocabulary=7, classes=3)
    softmax = keras.Model(model.input, keras.layers.Softmax()(model.output))

    with pytest.raises(ValueError, match="`model` must return logits, not probabilities"):
        save_bundle(softmax, tmp_path / "b", tokenizer=tokenizer, labels=LABELS)
    assert list(tmp_path.iterdir()) == []


def test_model_that_answers_nan_is_refused(tokenizer: Tokenizer, tmp_path: Path):
    model = make_model(vocabulary=7, classes=3)
    model.set_weights([np.full_like(weight, np.nan) for weight in model.get_weights()])

    with pytest.raises(ValueError, match=r"finite logits. Received: \[nan, nan, nan\]"):
        save_bundle(model, tmp_path / "b", tokenizer=tokenizer, labels=LABELS)
    assert list(tmp_path.iterdir()) == []


def test_opening_needs_no_tensorflow(original: Bundle):
    code = (
        "import sys; from tfdistill.bundles import open_bundle; open_bundle(sys.argv[1]);"
        "sys.exit(len({'tensorflow', 'keras', 'ray'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code, str(original.path)], check=True, timeout=60)
