"""An optimizer that is built before `fit` saves a trace and changes nothing else."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import pytest

import tfdistill as td
from tfdistill.introspection.optimizer_state import build_optimizer

X = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
Y = np.arange(8) % 3


def network(seed: int = 0) -> keras.Model:
    keras.utils.set_random_seed(seed)
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])


def a_distiller() -> keras.Model:
    return td.Distiller(student=network(), teacher=network(1))


def a_compressed_model() -> keras.Model:
    return td.quantize_aware(network())


@pytest.mark.parametrize("make", [a_distiller, a_compressed_model])
def test_a_training_step_is_traced_once(make: Callable[[], keras.Model]):
    traced = []

    class Counting(keras.optimizers.SGD):
        def apply_gradients(self, *arguments):
            traced.append(1)
            return super().apply_gradients(*arguments)

    model = make()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(Counting(0.1, momentum=0.9), loss=loss)
    model.fit(X, Y, batch_size=4, epochs=2, verbose=0)
    assert len(traced) == 1


def test_what_is_not_compiled_or_is_built_stays_as_it_is():
    model = network()
    build_optimizer(model, model.trainable_variables)
    assert not model.compiled

    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    build_optimizer(model, [])
    assert not model.optimizer.built
    build_optimizer(model, model.trainable_variables)
    before = model.optimizer.variables
    build_optimizer(model, model.trainable_variables)
    assert [id(one) for one in model.optimizer.variables] == [id(one) for one in before]
