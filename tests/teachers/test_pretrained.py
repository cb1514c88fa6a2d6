"""Pretrained teachers: a backbone from a folder becomes a classifier of token ids."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import keras
import numpy as np
import pytest

import tfdistill as td
from tfdistill import Distiller, students, teachers

IDS = np.array([[2, 5, 7, 3, 0, 0], [2, 9, 3, 0, 0, 0]], "int32")


@pytest.fixture(scope="module")
def backbone() -> keras.Model:
    hub = pytest.importorskip("keras_hub")
    return hub.models.BertBackbone(
        vocabulary_size=12,
        num_layers=1,
        num_heads=2,
        hidden_dim=8,
        intermediate_dim=8,
        max_sequence_length=6,
    )


def test_features_are_the_mean_of_the_real_tokens(backbone: keras.Model):
    states = backbone(
        {
            "token_ids": IDS,
            "segment_ids": np.zeros_like(IDS),
            "padding_mask": (IDS != 0).astype("int32"),
        }
    )["sequence_output"].numpy()
    expected = np.stack([states[0, :4].mean(axis=0), states[1, :3].mean(axis=0)])
    features = teachers.text_features(backbone, sequence_length=6)

    assert features.output_shape == (None, 8)
    np.testing.assert_allclose(features(IDS), expected, atol=1e-6)  # another order of sums


def test_padding_has_no_influence_on_features(backbone: keras.Model):
    short = teachers.text_features(backbone, sequence_length=4)
    long = teachers.text_features(backbone, sequence_length=6)

    np.testing.assert_allclose(short(IDS[:, :4]), long(IDS), atol=1e-6)


def test_ids_of_a_cut_vocabulary_are_looked_up(backbone: keras.Model):
    kept_ids = np.array([0, 2, 3, 5, 7, 9], "int32")
    small = np.array([[1, 3, 4, 2, 0, 0], [1, 5, 2, 0, 0, 0]], "int32")
    np.testing.assert_array_equal(kept_ids[small], IDS)
    full = teachers.text_features(backbone, sequence_length=6)
    cut = teachers.text_features(backbone, sequence_length=6, kept_ids=kept_ids)

    np.testing.assert_array_equal(cut(small), full(IDS))


def test_a_teacher_shares_the_weights_of_features_and_head(backbone: keras.Model):
    features = teachers.text_features(backbone, sequence_length=6)
    head = teachers.text_classifier(features, num_classes=3, hidden_dim=4)
    teacher = teachers.with_head(features, head)

    assert teacher.output_shape == (None, 3)
    np.testing.assert_allclose(teacher(IDS), head(features(IDS)), atol=1e-6)
    head.get_layer("logits").bias.assign([100.0, 0.0, 0.0])
    assert teacher(IDS).numpy().argmax(-1).tolist() == [0, 0]


def test_a_head_standardizes_what_it_was_adapted_to(rng: np.random.Generator):
    features = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4)])
    head = teachers.text_classifier(features, num_classes=2)
    data = rng.normal(3.0, 2.0, size=(500, 4)).astype("float32")
    head.get_layer("scale").adapt(data)
    scaled = head.get_layer("scale")(data).numpy()

    np.testing.assert_allclose(scaled.mean(axis=0), 0.0, atol=1e-5)
    np.testing.assert_allclose(scaled.std(axis=0), 1.0, atol=1e-5)


def test_a_head_is_linear_unless_a_width_is_given():
    features = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4)])
    linear = teachers.text_classifier(features, num_classes=2)
    hidden = teachers.text_classifier(features, num_classes=2, hidden_dim=8)

    assert [layer.name for layer in linear.layers] == ["features", "scale", "logits"]
    assert {"hidden", "dropout"} < {layer.name for layer in hidden.layers}
    assert linear.get_layer("logits").activation is keras.activations.linear


def test_the_lookup_comes_back_from_its_config():
    layer = students.TokenLookup(np.array([0, 7, 9]), name="lookup")
    again = students.TokenLookup.from_config(layer.get_config())

    assert again(np.array([[2, 1, 0]])).numpy().tolist() == [[9, 7, 0]]


@pytest.mark.parametrize(("highest", "stored"), [(32_767, 2), (32_768, 4)])
def test_a_file_stores_two_bytes_for_each_id_of_a_lookup_if_they_suffice(
    tmp_path: Path, highest: int, stored: int
):
    listed = np.zeros(5_000, np.int32)
    listed[3] = highest
    ids = keras.Input((2,), dtype="int32", name="ids")
    model = keras.Model(ids, students.TokenLookup(listed)(ids))

    path = td.to_tflite(model, tmp_path / "lookup.tflite")

    assert 0 <= path.stat().st_size - 5_000 * stored < 5_000
    assert td.compare(model, path, np.array([[3, 0]], np.int32)).max_error == 0


def test_such_a_teacher_is_distilled(backbone: keras.Model):
    features = teachers.text_features(backbone, sequence_length=6)
    teacher = teachers.with_head(features, teachers.text_classifier(features, num_classes=3))
    before = [variable.numpy() for variable in teacher.variables]
    student = students.text_encoder(
        vocabulary_size=12,
        sequence_length=6,
        num_layers=1,
        hidden_dim=4,
        intermediate_dim=4,
        num_classes=3,
        seed=0,
    )
    distiller = Distiller(student=student, teacher=teacher)
    distiller.compile("adam")
    distiller.run_eagerly = True
    distiller.fit(IDS, np.array([0, 1]), verbose=0)

    for variable, value in zip(teacher.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_features_of_no_model_are_refused():
    with pytest.raises(TypeError, match="`backbone` must be a Keras 3 model.*builtins.str"):
        teachers.text_features("bert", sequence_length=6)


@pytest.mark.parametrize(
    "files",
    [{}, {"config.json": "{"}, {"config.json": json.dumps({"model_type": "unknown_type"})}],
)
def test_a_folder_without_a_model_is_refused_by_its_name(files: dict[str, str], tmp_path):
    pytest.importorskip("keras_hub")
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=f"`folder` must hold a BERT model.*'{tmp_path}'"):
        teachers.load_backbone(tmp_path)


def test_a_missing_kerashub_is_named_with_the_way_to_install_it(monkeypatch: pytest.MonkeyPatch):
    def absent(name: str):
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(ImportError, match=r"needs KerasHub\. .*pip install 'tfdistill\[hub\]'"):
        teachers.load_backbone("anywhere")


def test_the_pinned_backbone_is_loaded_with_its_own_weights(minilm_folder):
    table = teachers.load_backbone(minilm_folder).token_embedding.embeddings.numpy()
    safetensors = pytest.importorskip("safetensors.numpy")
    stored = safetensors.load_file(minilm_folder / "model.safetensors")
    (expected,) = [v for k, v in stored.items() if k.endswith("word_embeddings.weight")]

    assert table.shape == (30522, 384)
    np.testing.assert_array_equal(table, expected)
