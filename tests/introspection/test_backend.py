"""One Keras: what is refused, and what the import of TF-MOT leaves behind."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import keras
import pytest
import tf_keras

import tfdistill as td
from tfdistill.introspection.backend import check_backend, check_model, full_name, is_legacy, tfmot


class LegacySubclass(tf_keras.Model):
    pass


def test_a_built_keras_3_model_passes():
    check_model(keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]), argument="model")


def test_a_tf_keras_model_is_refused_with_the_way_out():
    legacy = tf_keras.Sequential([tf_keras.layers.Dense(2, input_shape=(3,))])
    expected = r"`student` must be a Keras 3 model .*student=tf_keras\..*older tf_keras: rebuild"
    with pytest.raises(TypeError, match=expected):
        check_model(legacy, argument="student")


def test_a_class_derived_from_tf_keras_is_told_the_same():
    with pytest.raises(TypeError, match="LegacySubclass. This is a model of the older tf_keras"):
        check_model(LegacySubclass(), argument="model")


@pytest.mark.parametrize("value", [None, 3, keras.layers.Dense(2), keras.Model])
def test_what_is_no_model_is_refused_by_its_full_name(value):
    expected = rf"`model` must be a Keras 3 model .*model={full_name(value)}\. Pass the model"
    with pytest.raises(TypeError, match=expected):
        check_model(value, argument="model")


@pytest.mark.parametrize("path", ["student.tflite", Path("student.tflite")])
def test_a_file_is_refused_with_what_it_is_good_for(path):
    for function in (
        td.quantize_aware,
        td.prune_low_magnitude,
        td.cluster_weights,
        td.share_layers,
    ):
        with pytest.raises(
            TypeError, match=r"A file is no model: .* \.tflite file is an end product"
        ):
            function(path)


def test_an_unbuilt_model_is_refused_by_its_name_unless_that_is_allowed():
    unbuilt = keras.Sequential([keras.layers.Dense(2)], name="empty")

    check_model(unbuilt, argument="model", built=False)
    with pytest.raises(ValueError, match="`model` must be built, .* Received: model='empty'"):
        check_model(unbuilt, argument="model")


@pytest.mark.parametrize(
    ("value", "expected"),
    [(tf_keras.layers.Dense(1), True), (LegacySubclass(), True), (keras.layers.Dense(1), False)],
)
def test_the_two_kerases_are_told_apart(value, expected: bool):
    assert is_legacy(value) is expected


def test_another_backend_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(RuntimeError, match="must be 'tensorflow', .*backend='jax'.*KERAS_BACKEND"):
        check_backend()


def a_model() -> keras.Model:
    return keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])


@pytest.mark.parametrize(
    "door",
    [
        lambda model: td.Distiller(student=model, teacher=model),
        lambda model: td.Compressed(model, recipe=[td.compress.Quantize()]),
        td.prune_low_magnitude,
        td.quantize_aware,
        td.strip,
        lambda _: td.students.text_encoder(vocabulary_size=4, sequence_length=2, num_classes=2),
    ],
)
def test_another_backend_is_refused_at_every_door(door, monkeypatch: pytest.MonkeyPatch):
    model = a_model()
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(RuntimeError, match="backend must be 'tensorflow'.*backend='torch'"):
        door(model)


@pytest.mark.slow
def test_the_environment_is_as_it_was_before_tfmot_was_imported():
    # A process of its own, because an import only happens once. The last line shows that the
    # import does set the variable when nobody puts it back.
    code = """
        import importlib, os, sys
        os.environ.pop("TF_USE_LEGACY_KERAS", None)
        from tfdistill.introspection.backend import tfmot

        def forget():
            tfmot.cache_clear()
            for name in [n for n in sys.modules if n.startswith("tensorflow_model_opt")]:
                del sys.modules[name]

        tfmot()
        print("TF_USE_LEGACY_KERAS" in os.environ)
        forget()
        os.environ["TF_USE_LEGACY_KERAS"] = "0"
        tfmot()
        print(os.environ["TF_USE_LEGACY_KERAS"])
        forget()
        importlib.import_module("tensorflow_model_optimization")
        print(os.environ["TF_USE_LEGACY_KERAS"])
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.stdout == "False\n0\n1\n", done.stderr[-2000:]


def test_tfmot_is_imported_once():
    assert tfmot() is tfmot()
