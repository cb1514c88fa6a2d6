"""A copy answers, trains and forgets as the given model does, and shares nothing with it."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tfdistill import prune_low_magnitude
from tfdistill.introspection.clone import copy_model


class Forgetful(keras.Model):
    """A model of its own class that cannot tell its constructor's arguments."""

    def __init__(self, layer: keras.layers.Layer):
        super().__init__(name="forgetful")
        self.layer = layer

    def call(self, inputs):
        return self.layer(inputs)


def test_a_copy_equals_the_model_and_shares_nothing(model, inputs):
    copy = copy_model(model)

    np.testing.assert_array_equal(copy(inputs), model(inputs))
    assert not {id(v) for v in copy.variables} & {id(v) for v in model.variables}
    assert [v.shape for v in copy.variables] == [v.shape for v in model.variables]


@pytest.mark.parametrize("kind", ["sequential", "text_encoder"])
def test_a_copy_drops_out_what_the_model_does(kind: str, make_model, x, ids):
    model, inputs = make_model(kind), x if kind == "sequential" else ids
    model(inputs, training=True)  # the seeds have moved on from their start
    copy = copy_model(model)
    first = copy(inputs, training=True)

    np.testing.assert_array_equal(first, model(inputs, training=True))
    assert (first != copy(inputs, training=True)).numpy().any()


def test_what_is_frozen_stays_frozen(make_model):
    model = make_model("text_encoder")
    model.get_layer("encoder_0").attention.trainable = False
    model.get_layer("logits").bias.trainable = False
    copy = copy_model(model)

    assert len(copy.trainable_variables) == len(model.trainable_variables) == 13
    assert not copy.get_layer("encoder_0").attention.trainable
    assert not copy.get_layer("logits").bias.trainable
    assert copy.get_layer("logits").kernel.trainable


def test_a_frozen_model_stays_frozen(make_model):
    model = make_model("sequential")
    model.trainable = False

    assert copy_model(model).trainable_variables == []


def test_a_model_that_cannot_be_rebuilt_is_refused():
    model = Forgetful(keras.layers.Dense(2))
    model(np.ones((1, 3)))
    expected = "must be rebuildable .*model='forgetful' of class Forgetful. Give .*`get_config`"
    with pytest.raises(ValueError, match=expected):
        prune_low_magnitude(model)
