"""Hidden states in a teacher cache: the same training as with the teacher, or a refusal."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

import tfdistill as td

IDS = np.random.default_rng(2).integers(1, 8, (12, 4)) * (np.arange(4) < 3)
LABELS = np.arange(12) % 2


def encoder(hidden_dim: int, seed: int, num_layers: int = 1) -> keras.Model:
    return td.students.text_encoder(
        vocabulary_size=8, sequence_length=4, num_layers=num_layers, hidden_dim=hidden_dim,
        num_heads=2, intermediate_dim=4, num_classes=2, dropout=0.0, seed=seed,
    )  # fmt: skip


@pytest.fixture(scope="module")
def teacher() -> keras.Model:
    return encoder(8, seed=1, num_layers=2)


@pytest.fixture(scope="module")
def cache(teacher, tmp_path_factory) -> td.TeacherCache:
    folder = tmp_path_factory.mktemp("cache") / "layers"
    return td.TeacherCache.build(
        teacher, IDS, folder, layers=("encoder_0", "encoder_1"), batch_size=5
    )


def pair(teacher="encoder_1", loss="hidden_mse", **kwargs) -> td.FeatureLoss:
    return td.FeatureLoss(teacher=teacher, student="encoder_0", loss=loss, **kwargs)


def distiller(source, *losses) -> td.Distiller:
    keras.utils.set_random_seed(5)  # projectors start alike
    made = td.Distiller(student=encoder(4, seed=2), teacher=source, feature_losses=list(losses))
    made.compile(keras.optimizers.SGD(0.1), alpha=0.3)
    made.run_eagerly = True  # a few steps take less time than the trace of one
    return made


def test_cache_holds_the_outputs_and_the_padding_of_its_layers(cache, teacher):
    assert cache.layers == ("encoder_0", "encoder_1")
    (batch,) = next(iter(cache.dataset(IDS, batch_size=12, shuffle=False)))
    stored = batch["tfdistill_teacher_features"]
    for path in cache.layers:
        whole = keras.Model(teacher.input, teacher.get_layer(path).output)
        # Another batch size may sum in another order.
        np.testing.assert_allclose(stored[path]["states"], whole(IDS), atol=1e-6)
        np.testing.assert_array_equal(stored[path]["mask"], IDS != 0)


@pytest.mark.slow
def test_training_on_stored_layers_equals_training_with_the_teacher(cache, teacher):
    weights, logs = [], []
    pairs = [pair(), pair("encoder_0", "hidden_cosine", weight=0.5)]
    for source in (teacher, cache):
        made = distiller(source, *pairs)
        if source is teacher:
            history = made.fit(IDS, LABELS, batch_size=4, shuffle=False, epochs=2, verbose=0)
        else:
            data = cache.dataset(IDS, LABELS, batch_size=4, shuffle=False)
            history = made.fit(data, epochs=2, verbose=0)
        weights.append([variable.numpy() for variable in made.trainable_variables])
        logs.append(history.history)
    for online, offline in zip(*weights, strict=True):
        np.testing.assert_allclose(online, offline, atol=1e-6)
    for name, values in logs[0].items():
        np.testing.assert_allclose(logs[1][name], values, atol=1e-6)
    assert {"hidden_mse_encoder_0", "hidden_cosine_encoder_0"} < set(logs[0])


def test_rows_stay_with_their_states_under_shuffling(cache, teacher):
    whole = keras.Model(teacher.input, teacher.get_layer("encoder_1").output)
    for inputs, labels in cache.dataset(IDS, LABELS, batch_size=5, seed=3):
        found = inputs["tfdistill_teacher_features"]["encoder_1"]["states"]
        np.testing.assert_allclose(found, whole(inputs["tfdistill_inputs"]), atol=1e-6)
        assert len(found) == len(labels)


def test_validation_without_stored_answers_is_measured_on_labels_alone(cache):
    data = cache.dataset(IDS, LABELS, batch_size=6)
    made = distiller(cache, pair())
    logs = made.fit(data, validation_data=(IDS, LABELS), verbose=0).history
    assert sorted(name for name in logs if name.startswith("val_")) == ["val_hard_loss", "val_loss"]


def test_top_k_and_layers_are_kept_together(teacher, tmp_path: Path):
    cache = td.TeacherCache.build(teacher, IDS, tmp_path / "c", top_k=1, layers=["encoder_1"])
    logs = distiller(cache, pair()).fit(cache.dataset(IDS, LABELS), verbose=0).history
    assert logs["hidden_mse_encoder_0"][0] > 0


@pytest.mark.parametrize(
    ("policy", "stored"), [("mixed_float16", "float16"), ("mixed_bfloat16", "float32")]
)
def test_states_are_stored_in_the_precision_of_the_teacher(policy: str, stored: str, tmp_path):
    teacher = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(3, name="hidden", dtype=policy),
         keras.layers.Dense(2, dtype="float32")]
    )  # fmt: skip
    x = np.ones((4, 4), "float32")
    cache = td.TeacherCache.build(teacher, x, tmp_path / "c", layers=["hidden"])
    assert cache.layer_specs()["hidden"]["states"].dtype == stored
    assert "mask" not in cache.layer_specs()["hidden"]


def test_path_may_be_longer_or_shorter_than_the_one_that_was_stored(teacher, tmp_path):
    inputs = keras.Input((4,), dtype="int32")
    outer = keras.Model(inputs, teacher(inputs))
    cache = td.TeacherCache.build(outer, IDS, tmp_path / "c", layers=["text_encoder/encoder_1"])
    assert distiller(cache, pair("encoder_1")).projectors
    short = td.TeacherCache.build(outer, IDS, tmp_path / "d", layers=["encoder_1"])
    assert distiller(short, pair("text_encoder/encoder_1")).projectors


def test_cache_of_version_0_1_opens_without_layers(teacher, tmp_path: Path):
    td.TeacherCache.build(teacher, IDS, tmp_path)
    manifest = tmp_path / "manifest.json"
    manifest.write_text(manifest.read_text().replace('  "layers": [],\n', ""))
    assert '"layers"' not in manifest.read_text()
    assert td.TeacherCache(tmp_path).layers == ()
    td.TeacherCache.build(teacher, IDS, tmp_path)  # goes on with it


def test_other_layers_are_another_build(cache, teacher):
    message = "must hold answers of the same build.*differs in layers"
    with pytest.raises(ValueError, match=message):
        td.TeacherCache.build(teacher, IDS, cache.path, layers=["encoder_1"], batch_size=5)


def test_layer_that_was_not_stored_is_refused(cache):
    message = "must name a layer of the TeacherCache, whose `layers` are fixed.*names are 'encoder_"
    with pytest.raises(ValueError, match=message):
        distiller(cache, pair("pooling"))


def test_cache_without_layers_is_refused(teacher, tmp_path):
    plain = td.TeacherCache.build(teacher, IDS, tmp_path / "c")
    message = r"must be a cache with layers.*Build it with .*layers=\('encoder_1',\)\)"
    with pytest.raises(ValueError, match=message):
        distiller(plain, pair())


@pytest.mark.parametrize("loss", ["attention_kl", "relation_kl"])
def test_loss_on_attention_is_refused_on_a_cache(cache, loss: str):
    with pytest.raises(ValueError, match="TeacherCache, which holds no queries and keys"):
        distiller(cache, pair(loss=loss))


@pytest.mark.parametrize("layers", ["encoder_1", [3]])
def test_layers_that_are_no_list_of_paths_are_refused(teacher, tmp_path, layers):
    with pytest.raises(TypeError, match="`layers` must be a list or tuple of layer paths"):
        td.TeacherCache.build(teacher, IDS, tmp_path / "c", layers=layers)


def test_layer_that_the_teacher_does_not_have_is_refused(teacher, tmp_path):
    message = "`layers` must name a layer of the teacher .*layers='encoder_7'. The nearest names"
    with pytest.raises(ValueError, match=message):
        td.TeacherCache.build(teacher, IDS, tmp_path / "c", layers=["encoder_7"])
    assert not (tmp_path / "c").exists()


def test_layers_of_a_callable_are_refused(tmp_path):
    message = "`layers` must be empty for a teacher that is no Keras model"
    with pytest.raises(ValueError, match=message):
        td.TeacherCache.build(lambda x: x, IDS, tmp_path / "c", layers=["a"], fingerprint="f")
