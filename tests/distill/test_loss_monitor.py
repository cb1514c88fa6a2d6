"""The monitor tells who pulls how hard, and training does not notice it."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, strategies as st

import tfdistill as td
from tfdistill.distill.callbacks import LossMonitor
from tfdistill.distill.loss_monitor import GradientNorms, balanced_alpha, drowned, table

X = np.random.default_rng(1).normal(size=(70, 5)).astype("float32")
Y = np.random.default_rng(2).integers(0, 3, 70).astype("int32")


def net(seed: int = 0, units: int = 8) -> keras.Model:
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input((5,)),
            keras.layers.Dense(units, "relu", name="hidden"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5, seed=seed),
            keras.layers.Dense(3),
        ]
    )


def run(monitor, *, compress=False, y=Y, metrics=("accuracy",), x=X, **arguments):
    student = net()
    if compress:
        student = td.quantize_aware(td.prune_low_magnitude(student, sparsity=0.5, steps=10))
    features = [td.FeatureLoss(teacher="hidden", student="hidden", loss="hidden_mse", weight=0.5)]
    made = td.Distiller(student=student, teacher=net(1, units=12), feature_losses=features)
    made.compile("adam", alpha=0.3, metrics=list(metrics))
    keras.utils.set_random_seed(7)
    # Batches of 12, the last one smaller: a graph that knew the size would divide otherwise.
    callbacks = [monitor] if monitor else []
    history = made.fit(
        x, y, batch_size=12, epochs=3, verbose=0, callbacks=callbacks, **arguments
    ).history
    state = [*made.variables, *made.optimizer.variables, *made.metrics_variables]
    return [np.asarray(variable) for variable in state], history


@pytest.mark.slow
@pytest.mark.parametrize(("every", "compress"), [(1, False), (4, True)])
def test_training_is_the_same_to_the_bit_with_the_monitor(every: int, compress: bool):
    plain, history = run(None, compress=compress)
    watched, watched_history = run(LossMonitor(every=every), compress=compress)
    # Weights, batch statistics, dropout seeds, masks, optimizer, metrics.
    for one, other in zip(plain, watched, strict=True):
        np.testing.assert_array_equal(one, other)
    assert {name: watched_history[name] for name in history} == history


@pytest.mark.slow
def test_without_labels_training_is_the_same_too_and_no_alpha_is_suggested():
    monitor = LossMonitor(every=4)
    plain, watched = run(None, y=None, metrics=())[0], run(monitor, y=None, metrics=())[0]
    for one, other in zip(plain, watched, strict=True):
        np.testing.assert_array_equal(one, other)
    assert monitor.measurements[0].norms["hard_loss"] == 0.0
    assert math.isnan(monitor.suggested_alpha)


def linear_student() -> keras.Model:
    """One input that is 1, two logits that are its kernel, which is zero; no bias."""
    dense = keras.layers.Dense(2, use_bias=False, kernel_initializer="zeros")
    return keras.Sequential([keras.Input((1,)), dense])


def test_norms_and_the_alpha_that_balances_them_are_the_hand_computed_ones():
    # Student (½, ½), label 0: gradient of the hard loss (−½, ½), norm √½.
    # Teacher (¼, ¾) at T = 2: gradient T · (q − p) = 2 · (¼, −¼), norm √½ again, so alpha ½;
    # at T = 1 the teacher says (1/10, 9/10): (0.4, −0.4), norm 0.4·√2, and alpha 0.8 / 1.8.
    teacher = [[0.0, 2 * math.log(3.0)]]
    for temperature, soft, alpha in ((2.0, 0.5 * 2**0.5, 0.5), (1.0, 0.4 * 2**0.5, 4 / 9)):
        made = td.Distiller(
            student=linear_student(),
            teacher=lambda x: tf.tile(tf.constant(teacher), [tf.shape(x)[0], 1]),
        )
        made.compile(keras.optimizers.SGD(0.0), alpha=0.1, temperature=temperature)
        monitor = LossMonitor(every=1)
        history = made.fit(
            np.ones((6, 1)), np.zeros(6, "int32"), callbacks=[monitor], verbose=0
        ).history
        (measured,) = monitor.measurements
        assert measured.norms == pytest.approx({"hard_loss": 0.5**0.5, "soft_loss": soft})
        assert measured.weights == pytest.approx({"hard_loss": 0.1, "soft_loss": 0.9})
        assert monitor.suggested_alpha == pytest.approx(alpha, rel=1e-6)
        assert history["suggested_alpha"] == [monitor.suggested_alpha]
        assert history["hard_gradient"] == [measured.norms["hard_loss"]]
        assert history["soft_gradient"] == [measured.norms["soft_loss"]]


def test_rows_of_an_embedding_that_occur_twice_are_added_up():
    # Both tokens are row 0: its gradient is that of the mean, (−½, ½) twice a half.
    inputs = keras.Input((2,), dtype="int32")
    table_ = keras.layers.Embedding(3, 2, embeddings_initializer="zeros")
    student = keras.Model(inputs, keras.layers.GlobalAveragePooling1D()(table_(inputs)))
    made = td.Distiller(student=student, teacher=lambda x: tf.zeros([tf.shape(x)[0], 2]))
    made.compile(keras.optimizers.SGD(0.0))
    monitor = LossMonitor(every=1)
    made.fit(np.zeros((1, 2), "int32"), np.zeros(1, "int32"), callbacks=[monitor], verbose=0)
    assert monitor.measurements[0].norms == pytest.approx({"hard_loss": 0.5**0.5, "soft_loss": 0})


def test_every_n_steps_are_measured_counted_over_epochs_and_fits():
    monitor = LossMonitor(every=4)
    made = td.Distiller(student=net(), teacher=net(1))
    made.compile("sgd")
    for expected in ([0, 4, 8], [10, 12, 16]):  # a fit begins with a measurement
        made.fit(X, Y, batch_size=14, epochs=2, callbacks=[monitor], verbose=0)
        assert [one.step for one in monitor.measurements] == expected


@pytest.mark.slow
def test_several_steps_in_one_call_are_measured_as_well():
    plain, monitored = [], LossMonitor(every=4)
    for callbacks in ([], [monitored]):
        made = td.Distiller(student=net(), teacher=net(1))
        made.compile("sgd")
        made.steps_per_execution = 3
        keras.utils.set_random_seed(7)
        made.fit(X, Y, batch_size=14, epochs=2, callbacks=callbacks, verbose=0)
        plain.append(made.student.get_weights())
    for one, other in zip(*plain, strict=True):
        np.testing.assert_array_equal(one, other)
    # Calls begin at steps 0, 3 | 5, 8; the second one of them has the fourth step in it.
    assert [one.step for one in monitored.measurements] == [0, 3, 8]


@pytest.mark.slow
def test_an_epoch_without_a_measurement_shows_the_latest_one():
    monitor = LossMonitor(every=1000)
    history = run(monitor)[1]
    assert len(monitor.measurements) == 1
    assert history["soft_gradient"] == [monitor.measurements[0].norms["soft_loss"]] * 3
    assert "hidden_mse_hidden_gradient" in history


def test_columns_are_in_the_logs_of_batches():
    seen = []
    monitor = LossMonitor(every=2)
    made = td.Distiller(student=net(), teacher=net(1))
    made.compile("sgd")
    keep = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(logs))
    made.fit(X, Y, callbacks=[monitor, keep], verbose=0)
    assert {"hard_gradient", "soft_gradient", "suggested_alpha"} <= set(seen[0])


def test_a_term_that_drowns_another_is_warned_of_once():
    made = td.Distiller(student=net(), teacher=net(1))
    made.compile("sgd", alpha=0.0001)
    monitor = LossMonitor(every=1)
    with pytest.warns(UserWarning, match="soft_loss drowns hard_loss: its weighted") as caught:
        made.fit(X, Y, epochs=3, callbacks=[monitor], verbose=0)
    texts = [str(one.message) for one in caught if "drowns" in str(one.message)]
    assert len(texts) == 1
    assert "would balance labels and teacher" in texts[0]


def test_after_an_error_the_next_fit_is_measured_once_per_step():
    made = td.Distiller(student=net(), teacher=net(1))
    made.compile("sgd")

    def stop(batch, logs):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopping = keras.callbacks.LambdaCallback(on_train_batch_end=stop)
        made.fit(X, Y, callbacks=[LossMonitor(every=1), stopping], verbose=0)
    monitor = LossMonitor(every=1)
    made.fit(X, Y, batch_size=35, callbacks=[monitor], verbose=0)
    assert [one.step for one in monitor.measurements] == [1, 2]


def test_nothing_is_left_in_the_model():
    made = td.Distiller(student=net(), teacher=net(1))
    made.compile("sgd")
    made.fit(X, Y, verbose=0)
    function = made.train_function
    made.fit(X, Y, callbacks=[LossMonitor(every=1)], verbose=0)
    assert made.train_function is function


def norms(hard: float, soft: float, alpha: float = 0.5) -> GradientNorms:
    weights = {"hard_loss": alpha, "soft_loss": 1.0 - alpha}
    return GradientNorms(0, {"hard_loss": hard, "soft_loss": soft}, weights)


@given(st.floats(1e-6, 1e6), st.floats(1e-6, 1e6))
def test_the_balanced_alpha_makes_both_halves_pull_equally(hard: float, soft: float):
    alpha = balanced_alpha(hard, soft)
    assert 0.0 < alpha < 1.0 or max(hard, soft) / min(hard, soft) > 1e11
    assert alpha * hard == pytest.approx((1.0 - alpha) * soft, rel=1e-3)


@pytest.mark.parametrize(
    ("hard", "soft", "alpha", "loud"),
    [
        (1.0, 100.0, 0.5, None),
        (1.0, 101.0, 0.5, "soft_loss drowns hard_loss"),
        (101.0, 1.0, 0.5, "hard_loss drowns soft_loss"),
        (1.0, 1.0, 0.001, "soft_loss drowns hard_loss"),
        (1.0, 1.0, 0.0, None),  # what has no weight was not meant to be heard
        (0.0, 1.0, 0.5, None),
        (0.0, 0.0, 0.5, None),
    ],
)
def test_a_hundred_to_one_is_drowned_and_silence_is_not(hard, soft, alpha, loud):
    text = drowned([norms(hard, soft, alpha)])
    assert (text or "").startswith(loud or "") and (text is None) == (loud is None)


def test_the_summary_is_a_table_of_means():
    monitor = LossMonitor()
    assert monitor.summary() == table([]) == "Nothing was measured yet."
    monitor.measurements = [norms(1.0, 4.0), norms(3.0, 4.0)]
    lines = monitor.summary().splitlines()
    assert lines[1].split() == ["hard_loss", "2", "0.5", "1"]
    assert lines[-1] == "suggested alpha: 0.6667"


@pytest.mark.parametrize("every", [0, 1.5, True, "often"])
def test_every_out_of_range_is_refused(every):
    with pytest.raises((TypeError, ValueError), match="`every` must be an int of at least 1"):
        LossMonitor(every=every)


def test_a_model_that_is_no_distiller_is_refused():
    model = net()
    model.compile("sgd", "mse")
    with pytest.raises(TypeError, match="A LossMonitor must be a callback of Distiller.fit"):
        model.fit(X, np.zeros((70, 3)), callbacks=[LossMonitor()], verbose=0)
