"""Half precision, and two devices that train as one does."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import tfdistill as td
from tfdistill.distill.callbacks import LossMonitor

X = np.random.default_rng(1).normal(size=(64, 5)).astype("float32")
Y = np.random.default_rng(2).integers(0, 3, 64).astype("int32")


def net(seed: int = 0, units: int = 8, policy: str = "float32") -> keras.Model:
    keras.utils.set_random_seed(seed)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        return keras.Sequential(
            [
                keras.Input((5,)),
                keras.layers.Dense(units, "relu", name="hidden"),
                keras.layers.Dense(3, kernel_regularizer="l2"),
            ]
        )
    finally:
        keras.config.set_dtype_policy(before)


def fitted(*, student="float32", teacher="float32", epochs: int = 6) -> tuple:
    made = td.Distiller(student=net(policy=student), teacher=net(1, policy=teacher))
    made.compile(keras.optimizers.Adam(0.01))
    monitor = LossMonitor(every=8)
    history = made.fit(
        X, Y, batch_size=16, shuffle=False, epochs=epochs, callbacks=[monitor], verbose=0
    ).history
    return made, history, monitor


@functools.lru_cache(maxsize=1)
def plain_history() -> dict[str, list[float]]:
    return fitted()[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("student", "teacher"),
    [
        ("float32", "mixed_bfloat16"),
        ("mixed_bfloat16", "float32"),
        ("mixed_float16", "float32"),
        ("mixed_float16", "mixed_bfloat16"),
    ],
)
def test_half_precision_trains_as_float32_does(student: str, teacher: str):
    plain = plain_history()
    made, history, monitor = fitted(student=student, teacher=teacher)
    # bfloat16 has 8 bits of mantissa: logits of size 1 are off by up to 0.004.
    np.testing.assert_allclose(history["loss"], plain["loss"], rtol=0.02)
    assert history["soft_loss"][-1] < 0.8 * history["soft_loss"][0]
    assert {variable.dtype for variable in made.student.trainable_variables} == {"float32"}
    assert 0.0 < monitor.suggested_alpha < 1.0


@pytest.mark.slow
def test_the_loss_of_a_float16_student_is_scaled_and_its_norms_are_not():
    half, _, monitor = fitted(student="mixed_float16", epochs=1)
    assert isinstance(half.optimizer, keras.optimizers.LossScaleOptimizer)
    plain, _, plain_monitor = fitted(epochs=1)
    assert not isinstance(plain.optimizer, keras.optimizers.LossScaleOptimizer)
    expected = plain_monitor.measurements[0].norms
    assert monitor.measurements[0].norms == pytest.approx(expected, rel=0.02)


TWO_DEVICES = """
import sys, json, contextlib
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
sys.path[:0] = sys.argv[1:3]
import keras, numpy as np
import tfdistill as td
from test_replicas import X, Y, net

def train(strategy, monitor=None, cache=None):
    with strategy.scope() if strategy else contextlib.nullcontext():
        loss = td.FeatureLoss(teacher="hidden", student="hidden", loss="hidden_mse", weight=0.3)
        distiller = td.Distiller(
            student=net(), teacher=cache or net(1, 12), feature_losses=[] if cache else [loss])
        distiller.compile(keras.optimizers.Adam(0.01), alpha=0.3, metrics=["accuracy"])
    callbacks = [td.callbacks.Schedule("alpha", td.callbacks.cosine(0.1, 0.9))]
    callbacks += [monitor] if monitor else []
    if cache:
        data, arguments = [cache.dataset(X, Y, batch_size=16)], {}
    else:
        data, arguments = [X, Y], dict(batch_size=16, shuffle=False)
    fitted = distiller.fit(*data, epochs=3, callbacks=callbacks, verbose=0, **arguments)
    weights = [variable.numpy() for variable in distiller.weights]
    return weights, fitted.history

def difference(one, other):
    weights = max(np.abs(a - b).max() for a, b in zip(one[0], other[0], strict=True))
    logs = max(np.abs(np.subtract(one[1][k], other[1][k])).max() for k in one[1])
    return float(max(weights, logs))

two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
one_result, two_result = train(None), train(two)
found = {"replicas": two.num_replicas_in_sync, "online": difference(one_result, two_result)}
if sys.argv[4] == "all":
    monitor = td.callbacks.LossMonitor(every=3)
    cache = td.TeacherCache.build(net(1), X, sys.argv[3])
    found["cached"] = difference(train(None, cache=cache), train(two, cache=cache))
    found["monitored"] = difference(two_result, train(two, monitor))
    found["norms"] = monitor.measurements[0].norms
print(json.dumps(found))
"""


def on_two_devices(folder: Path, what: str) -> dict:
    folders = [str(Path(td.__file__).parents[1]), str(Path(__file__).parent)]
    done = subprocess.run(
        [sys.executable, "-c", TWO_DEVICES, *folders, str(folder / "cache"), what],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_two_devices_train_as_one_does(tmp_path: Path):
    found = on_two_devices(tmp_path, "online")
    assert found["replicas"] == 2
    # Sums in another order: 6e-8 was measured, 1e-5 is promised.
    assert found["online"] < 1e-5


@pytest.mark.slow
def test_two_devices_train_as_one_does_on_a_cache_and_with_a_monitor(tmp_path: Path):
    found = on_two_devices(tmp_path, "all")
    assert found["cached"] < 1e-5
    assert found["monitored"] < 1e-5
    assert all(0.0 < norm < 10.0 for norm in found["norms"].values())
