"""Magnitude pruning: TF-MOT's schedule on any weight, and masks that outlive what follows."""

from __future__ import annotations

import warnings

import keras
import numpy as np
import pytest
import tf_keras

from tfdistill import Distiller, prune_low_magnitude, quantize_aware, strip
from tfdistill.compress import Prune
from tfdistill.introspection.backend import tfmot

WIDE = np.random.default_rng(7).normal(size=(16, 8)).astype("float32")


def dense(units: int = 16) -> keras.Model:
    return keras.Sequential([keras.Input((8,)), keras.layers.Dense(units, name="scores")])


def zeros_of(compressed, steps: int) -> list[int]:
    """Steps on, and counts the zeros in the mask after each."""
    counts = []
    for _ in range(steps):
        compressed(WIDE, training=True)
        counts.append(int(np.sum(compressed.weight_states[0].mask.numpy() == 0)))
    return counts


def test_sparsity_grows_as_the_schedule_says():
    # 128 weights: 0.5 · (1 − (1 − t/4)³) = 0.289, 0.4375, 0.492, 0.5 at t = 1 … 4.
    assert zeros_of(prune_low_magnitude(dense(), sparsity=0.5, steps=4), 6) == [
        37, 56, 63, 64, 64, 64,
    ]  # fmt: skip


def test_masks_are_updated_twenty_times_on_the_way():
    # 100 steps: every fifth one.
    counts = zeros_of(prune_low_magnitude(dense(), sparsity=0.5, steps=100), 100)

    assert np.flatnonzero(np.diff([0, *counts]))[:3].tolist() == [4, 9, 14]
    assert counts[-1] == 64


def test_the_smallest_weights_go():
    model = dense()
    compressed = prune_low_magnitude(model, sparsity=0.5, steps=1)
    compressed(WIDE, training=True)
    kernel, pruned = model.layers[0].kernel.numpy(), strip(compressed).layers[0].kernel.numpy()

    assert np.abs(kernel[pruned == 0]).max() < np.abs(kernel[pruned != 0]).min()
    np.testing.assert_array_equal(pruned[pruned != 0], kernel[pruned != 0])
    np.testing.assert_array_equal(strip(compressed).layers[0].bias, model.layers[0].bias)


def test_a_schedule_of_tfmot_replaces_sparsity_and_steps():
    schedule = tfmot().sparsity.keras.ConstantSparsity(0.75, begin_step=2, frequency=1)

    assert zeros_of(prune_low_magnitude(dense(), pruning_schedule=schedule), 3) == [0, 96, 96]


def test_a_schedule_of_your_own_is_followed():
    class Half(tfmot().sparsity.keras.PruningSchedule):
        def __call__(self, step):
            return step > 1, 0.5

        def get_config(self):
            return {}

    compressed = prune_low_magnitude(dense(), pruning_schedule=Half())

    assert zeros_of(compressed, 2) == [0, 64]
    assert np.sum(strip(compressed).layers[0].kernel.numpy() == 0) == 64


@pytest.mark.slow
def test_weights_under_fit_equal_tfmots_at_the_end_of_each_epoch(rng: np.random.Generator):
    # The re-masking at each epoch's end is among what is compared. After 4 of 12 steps
    # 0.7 · (1 − (8/12)³) = 0.493 of 128 weights are gone, and 0.7 after 12.
    x, y = rng.normal(size=(64, 8)), rng.normal(size=(64, 16))
    pruning = tfmot().sparsity.keras
    schedule = pruning.PolynomialDecay(0.0, 0.7, begin_step=0, end_step=12, frequency=1)
    own = prune_low_magnitude(dense(), pruning_schedule=schedule)
    peer = pruning.prune_low_magnitude(
        tf_keras.Sequential([tf_keras.layers.Dense(16, input_shape=(8,))]),
        pruning_schedule=schedule,
    )
    peer.layers[0].layer.kernel.assign(own.student.layers[0].kernel)
    ours, theirs = [], []
    own.compile(keras.optimizers.Adam(0.1), loss="mse")
    watch = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: ours.append(own.student.layers[0].kernel.numpy())
    )
    own.fit(x, y, batch_size=16, epochs=4, shuffle=False, verbose=0, callbacks=[watch])
    peer.compile(tf_keras.optimizers.Adam(0.1), loss="mse")
    peer_watch = tf_keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: theirs.append(peer.layers[0].layer.kernel.numpy())
    )
    callbacks = [pruning.UpdatePruningStep(), peer_watch]
    peer.fit(x, y, batch_size=16, epochs=4, shuffle=False, verbose=0, callbacks=callbacks)

    np.testing.assert_array_equal(ours, theirs)
    assert [int(np.sum(kernel == 0)) for kernel in ours] == [63, 86, 90, 90]


def test_attention_and_embeddings_are_pruned_like_dense_kernels(make_model, ids):
    compressed = prune_low_magnitude(make_model("attention"), sparsity=0.75, steps=1)
    compressed(ids, training=True)
    plain = strip(compressed)
    attention = plain.get_layer("attention")
    weights = {
        "query": attention.query_dense.kernel,  # [D, H, d]
        "output": attention.output_dense.kernel,  # [H, d, D]
        "words": plain.get_layer("words").embeddings,
    }

    assert {name: w.numpy().ndim for name, w in weights.items()} == {
        "query": 3, "output": 3, "words": 2,
    }  # fmt: skip
    assert [float(np.mean(w.numpy() == 0)) for w in weights.values()] == [0.75] * 3


def test_what_is_excluded_stays_as_it_is(make_model, ids):
    model = make_model("attention")
    compressed = prune_low_magnitude(model, sparsity=0.75, steps=1, exclude="words")
    compressed(ids, training=True)
    plain = strip(compressed)

    np.testing.assert_array_equal(
        plain.get_layer("words").embeddings, model.get_layer("words").embeddings
    )
    assert np.mean(plain.get_layer("scores").kernel.numpy() == 0) == 0.75


@pytest.mark.parametrize("bits", [8, 4])
def test_quantizing_a_pruned_model_keeps_its_sparsity_while_it_trains(bits: int):
    # TF-MOT's own prune-then-quantize falls back from 0.5 to 0.
    pruned = prune_low_magnitude(dense(), sparsity=0.5, steps=4)
    zeros_of(pruned, 4)
    both = quantize_aware(pruned, bits=bits)
    np.testing.assert_array_equal(both.weight_states[0].mask, pruned.weight_states[0].mask)
    assert int(both.step) == 4

    both.compile(keras.optimizers.SGD(0.1), loss="mse", run_eagerly=True)
    both.fit(WIDE, np.ones((16, 16)), batch_size=4, epochs=2, verbose=0)
    assert np.mean(both.weight_states[0].mask.numpy() == 0) == 0.5
    assert np.mean(strip(both).layers[0].kernel.numpy() == 0) >= 0.5
    assert np.mean(strip(pruned).layers[0].kernel.numpy() == 0) == 0.5  # and is left alone


def test_pruning_a_quantized_model_keeps_the_grid():
    both = prune_low_magnitude(quantize_aware(dense()), sparsity=0.5, steps=2)
    for _ in range(2):
        both(WIDE, training=True)
    kernel = strip(both).layers[0].kernel.numpy()
    levels = kernel / np.abs(kernel).max(axis=0) * 127

    assert np.mean(kernel == 0) >= 0.5
    np.testing.assert_allclose(levels, np.round(levels), atol=1e-4)  # float32 at 127


def test_a_pruned_student_is_distilled_to_its_sparsity():
    student = prune_low_magnitude(dense(4), sparsity=0.5, steps=8)
    distiller = Distiller(student=student, teacher=dense(4))
    distiller.compile("adam")
    distiller.fit(WIDE, np.arange(16) % 4, batch_size=4, epochs=2, verbose=0)

    assert int(student.step) == 8
    assert np.mean(strip(student).layers[0].kernel.numpy() == 0) == 0.5


def test_stripping_before_the_end_warns_with_both_numbers():
    compressed = prune_low_magnitude(dense(), sparsity=0.5, steps=4)
    zeros_of(compressed, 2)
    expected = r"after 2 training steps, .* scores/kernel: sparsity 0\.438 of 0\.500\.$"
    with pytest.warns(UserWarning, match=expected):
        plain = strip(compressed)

    assert np.sum(plain.layers[0].kernel.numpy() == 0) == 56  # what was reached is kept


def test_the_warning_counts_the_other_weights(make_model, ids):
    compressed = prune_low_magnitude(make_model("attention"), sparsity=0.5, steps=40)
    with pytest.warns(UserWarning, match=r"sparsity 0\.000 of 0\.500 \(and 5 more\)\.$"):
        strip(compressed)


def test_a_weight_that_is_zero_anyway_is_no_shortfall():
    model = dense()
    model.layers[0].kernel.assign(np.zeros((8, 16)))
    compressed = prune_low_magnitude(model, sparsity=0.5, steps=1)
    compressed(WIDE, training=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        strip(compressed)


def test_the_schedule_comes_back_from_its_config():
    config = Prune(sparsity=0.3, steps=60, exclude=["scores"]).get_config()
    again = Prune.from_config(config)

    assert again.get_config() == config
    assert again.target_sparsity == 0.3
    assert again.exclude == ["scores"]


@pytest.mark.parametrize(
    ("sparsity", "hint"),
    [(50, r"Did you mean 0\.5\?"), (1.0, "0.5 is a safe start"), (-0.1, "0.5 is a safe start")],
)
def test_a_sparsity_out_of_range_is_refused(sparsity: float, hint: str):
    expected = (
        rf"`sparsity` must be a fraction in \[0, 1\)\. Received: sparsity={sparsity}\. {hint}"
    )
    with pytest.raises(ValueError, match=expected):
        prune_low_magnitude(dense(), sparsity=sparsity)


@pytest.mark.parametrize("sparsity", ["0.5", None, True])
def test_a_sparsity_that_is_no_number_is_refused(sparsity):
    with pytest.raises(TypeError, match=rf"`sparsity` must be a frac.*sparsity={sparsity!r}"):
        prune_low_magnitude(dense(), sparsity=sparsity)


@pytest.mark.parametrize("steps", [0, -3, 1.5, True, "10"])
def test_steps_that_are_no_positive_int_are_refused(steps):
    message = rf"`steps` must be an int of .*steps={steps!r}.* Epochs"
    with pytest.raises((TypeError, ValueError), match=message):
        prune_low_magnitude(dense(), steps=steps)


@pytest.mark.parametrize(
    "schedule", ["polynomial", 0.5, keras.optimizers.schedules.LearningRateSchedule]
)
def test_a_schedule_of_another_kind_is_refused(schedule):
    with pytest.raises(TypeError, match="`pruning_schedule` must be a TF-MOT PruningSchedule"):
        prune_low_magnitude(dense(), pruning_schedule=schedule)


def test_a_schedule_in_a_file_that_is_not_one_of_tfmots_is_refused():
    config = {"class_name": "Popen", "config": {"args": "true"}}
    with pytest.raises(ValueError, match=r"one of \['Const.*'Poly.*'\].*pruning_schedule='Popen'"):
        Prune(pruning_schedule=config)
