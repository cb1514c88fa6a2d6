"""What the losses take, and what they refuse."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdistill import losses

TEACHER = [[0.0, math.log(3.0)]]
STUDENT = [[0.0, 0.0]]
EVERY_LOSS = [losses.forward_kl, losses.reverse_kl, losses.jensen_shannon, losses.skewed_kl]


@pytest.mark.parametrize("make", [tf.constant, tf.Variable, keras.Variable, np.float32, np.array])
def test_temperature_may_be_a_tensor_or_variable(make):
    value = losses.forward_kl(TEACHER, STUDENT, temperature=make(2.0)).numpy()

    assert value == losses.forward_kl(TEACHER, STUDENT, temperature=2.0).numpy()


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("forward_kl", losses.forward_kl),
        ("jensen_shannon", losses.jensen_shannon),
        ("reverse_kl", losses.reverse_kl),
        ("skewed_kl", losses.skewed_kl),
    ],
)
def test_each_loss_is_found_by_its_name(name: str, loss):
    assert losses.by_name(name) is loss


def test_a_function_is_found_as_it_is():
    assert losses.by_name(losses.forward_kl) is losses.forward_kl


@pytest.mark.parametrize("name", [3, None, losses.forward_kl.__class__])
def test_what_is_neither_name_nor_function_is_refused(name):
    with pytest.raises(TypeError, match=r"`soft_loss` must be one of .* or a function of"):
        losses.by_name(name)


def test_an_unknown_name_lists_the_known_ones():
    known = (
        r"\['binary_kl', 'forward_kl', 'jensen_shannon', 'reverse_kl', 'skewed_kl', "
        r"'squared_error'\]"
    )
    with pytest.raises(ValueError, match=rf"`soft_loss` must be one of {known}.*'kl'"):
        losses.by_name("kl")


@pytest.mark.parametrize("loss", EVERY_LOSS)
@pytest.mark.parametrize("temperature", [0.0, -1, math.nan, math.inf])
def test_a_temperature_out_of_range_is_refused(loss, temperature):
    expected = rf"`temperature` must be a float in \(0, inf\)\. Received: temperature={temperature}"
    with pytest.raises(ValueError, match=expected):
        loss(TEACHER, STUDENT, temperature=temperature)


@pytest.mark.parametrize("temperature", ["2", True, None, [2.0, 2.0], {}])
def test_a_temperature_that_is_no_number_is_refused(temperature):
    with pytest.raises(TypeError, match=r"`temperature` must be a float in \(0, inf\)"):
        losses.forward_kl(TEACHER, STUDENT, temperature=temperature)


@pytest.mark.parametrize("loss", EVERY_LOSS)
def test_different_numbers_of_classes_are_refused(loss):
    with pytest.raises(ValueError, match=r"teacher_logits → \(1, 3\), student_logits → \(1, 2\)"):
        loss([[0.0, 1.0, 2.0]], STUDENT)


@pytest.mark.parametrize("beta", [-0.1, 1.5, 50, math.nan])
def test_a_beta_out_of_range_is_refused(beta):
    with pytest.raises(ValueError, match=rf"`beta` must be a float in \[0, 1\].*beta={beta}"):
        losses.jensen_shannon(TEACHER, STUDENT, beta=beta)


@pytest.mark.parametrize("beta", ["half", None, True])
def test_a_beta_that_is_no_number_is_refused(beta):
    with pytest.raises(TypeError, match=rf"`beta` must be a float in \[0, 1\].*beta={beta!r}"):
        losses.jensen_shannon(TEACHER, STUDENT, beta=beta)


@pytest.mark.parametrize("skew", [-0.1, 1.5])
def test_a_skew_out_of_range_is_refused(skew):
    with pytest.raises(ValueError, match=rf"`skew` must be a float in \[0, 1\].*skew={skew}"):
        losses.skewed_kl(TEACHER, STUDENT, skew=skew)


def test_a_skew_of_1_is_refused_because_the_student_would_not_matter():
    with pytest.raises(ValueError, match=r"`skew` must be a float in \[0, 1\)\. .*skew=1\.0"):
        losses.skewed_kl(TEACHER, STUDENT, skew=1.0)
