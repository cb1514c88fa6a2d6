"""Projectors: learned with the student, kept with the Distiller, absent from the student."""

from __future__ import annotations

import functools
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfdistill as td

X = np.random.default_rng(0).normal(size=(16, 4)).astype("float32")
Y = np.random.default_rng(1).integers(0, 3, 16)
NAME = "hidden_mse_hidden"


def classifier(width: int, seed: int) -> keras.Model:
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(width, "tanh", name="hidden"),
            keras.layers.Dense(3, name="logits"),
        ]
    )


def pair(loss="hidden_mse", weight: float = 1.0) -> td.FeatureLoss:
    return td.FeatureLoss(teacher="hidden", student="hidden", loss=loss, weight=weight)


@pytest.fixture
def distiller() -> td.Distiller:
    made = td.Distiller(
        student=classifier(2, seed=1), teacher=classifier(6, seed=2), feature_losses=[pair()]
    )
    made.compile(keras.optimizers.Adam(0.05))
    return made


def test_projector_is_linear_and_goes_from_the_students_width_to_the_teachers(distiller):
    projector = distiller.projectors[NAME]
    assert projector.kernel.shape == (2, 6)
    assert projector.activation is keras.activations.linear


def test_equal_widths_have_no_projector():
    made = td.Distiller(
        student=classifier(6, seed=1), teacher=classifier(6, seed=2), feature_losses=[pair()]
    )
    assert dict(made.projectors) == {}
    assert len(made.trainable_variables) == 4


def test_projector_is_trained_and_belongs_to_the_distiller_alone(distiller):
    kernel = distiller.projectors[NAME].kernel
    before = kernel.numpy()
    assert any(variable is kernel for variable in distiller.trainable_variables)
    assert all(variable is not kernel for variable in distiller.student.variables)
    distiller.fit(X, Y, verbose=0)
    assert np.abs(kernel.numpy() - before).min() > 1e-4
    assert [layer.name for layer in distiller.student.layers] == ["hidden", "logits"]


def test_loss_is_that_of_the_projected_states(distiller):
    logs = distiller.evaluate(X, Y, batch_size=16, verbose=0, return_dict=True)
    projector, teacher = distiller.projectors[NAME], distiller._teacher.teacher
    states = distiller.student.layers[0](X) @ projector.kernel + projector.bias
    error = np.mean((teacher.layers[0](X) - states) ** 2)
    assert logs[NAME] == pytest.approx(float(error), rel=1e-5)


def test_projected_student_comes_closer_than_an_untrained_projector(distiller):
    first = distiller.evaluate(X, Y, verbose=0, return_dict=True)[NAME]
    distiller.fit(np.tile(X, (60, 1)), np.tile(Y, 60), batch_size=16, verbose=0)
    last = distiller.evaluate(X, Y, verbose=0, return_dict=True)[NAME]
    assert last < 0.3 * first  # two dimensions of six; measured 0.08


def test_saved_distiller_goes_on_with_its_projector_exactly(distiller, tmp_path: Path):
    teacher = distiller._teacher.teacher
    distiller.fit(X, Y, batch_size=8, shuffle=False, verbose=0)
    distiller.save(tmp_path / "d.keras")
    loaded = td.Distiller.load(tmp_path / "d.keras", teacher=teacher)
    for made in (distiller, loaded):
        made.fit(X, Y, batch_size=8, shuffle=False, verbose=0)
    pairs = zip(distiller.trainable_variables, loaded.trainable_variables, strict=True)
    for one, other in pairs:
        np.testing.assert_array_equal(one, other)
    assert len(loaded.trainable_variables) == 6


def named(teacher_states, student_states):
    return tf.reduce_sum(tf.abs(teacher_states - student_states), axis=-1)


@pytest.mark.parametrize(
    "loss",
    ["attention_kl", functools.partial(td.losses.relation_kl, relation_heads=2), named],
)
def test_feature_loss_comes_back_from_its_config(loss):
    one = pair(loss, weight=0.5)
    with keras.saving.custom_object_scope({"named": named}):
        other = td.FeatureLoss.from_config(one.get_config())
    assert repr(other) == repr(one)
    if isinstance(loss, functools.partial):
        assert other.loss.keywords == {"relation_heads": 2}
    else:
        assert other.loss is one.loss


def test_function_that_a_file_names_and_nobody_has_is_refused():
    message = "`custom_objects` must hold the loss 'named' of a FeatureLoss"
    with pytest.raises(ValueError, match=message):
        td.FeatureLoss.from_config(pair(named).get_config())
