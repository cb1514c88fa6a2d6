"""N:M patterns, blocks, one threshold for all, and pruning without regrowth."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tf_keras

from tfdistill import Distiller, prune_low_magnitude, strip, survey
from tfdistill.compress import Prune
from tfdistill.introspection.backend import tfmot
from tfdistill.introspection.weights import find_targets

WIDE = np.random.default_rng(7).normal(size=(16, 8)).astype("float32")


def dense(units: int = 16, *, inputs: int = 8) -> keras.Model:
    return keras.Sequential([keras.Input((inputs,)), keras.layers.Dense(units, name="scores")])


def stepped(compressed, x, steps: int):
    for _ in range(steps):
        compressed(x, training=True)
    return compressed


def groups_of_4(target) -> np.ndarray:
    """Nonzero weights in each group of 4: of one output, or of one row of an embedding."""
    matrix = target.variable.numpy().reshape(target.matrix_shape)
    lines = matrix if target.kind == "embedding" else matrix.T
    return np.count_nonzero(lines.reshape(-1, 4), axis=1)


def text_model() -> keras.Model:
    ids = keras.Input((6,), dtype="int32")
    x = keras.layers.Embedding(11, 8, name="words")(ids)
    x = keras.layers.MultiHeadAttention(2, 4, name="attention")(x, x)
    return keras.Model(ids, keras.layers.Dense(3, name="scores")(x))


# N:M.


def test_two_of_four_holds_in_attention_and_embeddings_too(ids):
    compressed = prune_low_magnitude(text_model(), pattern=(2, 4), steps=3)
    plain = strip(stepped(compressed, ids % 11, 3))
    targets = find_targets(plain)

    assert [target.variable.ndim for target in targets] == [2, 3, 3, 3, 3, 2]
    for target in targets:
        assert set(groups_of_4(target)) == {2}, target.path
    assert all(tensor.is_2_of_4 for tensor in survey(plain).compressible)


def test_the_largest_of_each_group_stay():
    compressed = stepped(prune_low_magnitude(dense(), pattern=(1, 4), steps=1), WIDE, 1)
    before = compressed.student.layers[0].kernel.numpy()
    kernel = strip(compressed).layers[0].kernel.numpy()
    model = dense()
    model.layers[0].kernel.assign(np.arange(128).reshape(8, 16) - 40.3)
    by_hand = strip(stepped(prune_low_magnitude(model, pattern=(1, 4), steps=1), WIDE, 1))

    assert np.mean(kernel == 0) == 0.75
    np.testing.assert_array_equal(kernel[kernel != 0], before[kernel != 0])
    # Column 0 is -40.3, -24.3, -8.3, 7.7 and 23.7, 39.7, 55.7, 71.7.
    assert np.flatnonzero(by_hand.layers[0].kernel.numpy()[:, 0]).tolist() == [0, 7]


def test_a_pattern_is_reached_gradually():
    # 128 weights, 64 losers: 0.5 · (1 − (1 − t/4)³) = 0.289, 0.4375, 0.492, 0.5 at t = 1 … 4.
    compressed = prune_low_magnitude(dense(), pattern=(2, 4), steps=4)
    zeros = []
    for _ in range(5):
        stepped(compressed, WIDE, 1)
        zeros.append(int(np.sum(compressed.weight_states[0].mask.numpy() == 0)))

    assert zeros == [37, 56, 63, 64, 64]


def test_a_pattern_holds_although_the_last_update_comes_before_the_last_step():
    # 59 steps are updated every second one: the last is step 58, at 0.9999951 of the way.
    rng = np.random.default_rng(0)
    model = dense(512, inputs=512)
    model.layers[0].kernel.assign(rng.normal(size=(512, 512)))
    compressed = prune_low_magnitude(model, pattern=(2, 4), steps=59)
    compressed.step.assign(57)
    stepped(compressed, np.zeros((1, 512), "float32"), 2)

    (target,) = find_targets(strip(compressed))
    assert set(groups_of_4(target)) == {2}


def test_two_of_four_masks_equal_tfmots_on_a_dense_layer():
    pruning = tfmot().sparsity.keras
    own = prune_low_magnitude(
        dense(), pattern=(2, 4), pruning_schedule=pruning.ConstantSparsity(0.5, 0, frequency=1)
    )
    peer = pruning.prune_low_magnitude(
        tf_keras.Sequential([tf_keras.layers.Dense(16, input_shape=(8,))]),
        pruning_schedule=pruning.ConstantSparsity(0.5, 0, frequency=1),
        sparsity_m_by_n=(2, 4),
    )
    peer.layers[0].layer.kernel.assign(own.student.layers[0].kernel)
    callback = pruning.UpdatePruningStep()
    callback.set_model(peer)
    callback.on_train_begin()
    callback.on_train_batch_begin(0)
    peer.compile(tf_keras.optimizers.SGD(0.0), "mse")
    peer.train_on_batch(WIDE, np.zeros((16, 16)))
    stepped(own, WIDE, 1)

    mask = peer.layers[0].pruning_vars[0][1].numpy()
    np.testing.assert_array_equal(own.weight_states[0].mask, mask)
    assert mask.mean() == 0.5


def test_a_pattern_short_of_its_end_is_told_in_strip():
    compressed = stepped(prune_low_magnitude(dense(), pattern=(2, 4), steps=4), WIDE, 3)
    with pytest.warns(UserWarning, match=r"after 3 .* scores/kernel: sparsity 0\.492 of 0\.500"):
        strip(compressed)


# Blocks.


@pytest.mark.quick_cases("AVG-block_size2", "MAX-block_size1")
@pytest.mark.parametrize("block_size", [(1, 4), (2, 2), (3, 5)])
@pytest.mark.parametrize("pooling", ["AVG", "MAX"])
def test_block_masks_and_thresholds_equal_tfmots_at_every_step(block_size, pooling, rng):
    x, y = rng.normal(size=(12, 16, 8)), rng.normal(size=(12, 16, 16))
    pruning = tfmot().sparsity.keras
    schedule = pruning.PolynomialDecay(0.0, 0.7, begin_step=0, end_step=12, frequency=1)
    settings = {"block_size": block_size, "block_pooling_type": pooling}
    own = prune_low_magnitude(dense(), pruning_schedule=schedule, **settings)
    peer = pruning.prune_low_magnitude(
        tf_keras.Sequential([tf_keras.layers.Dense(16, input_shape=(8,))]),
        pruning_schedule=schedule,
        **settings,
    )
    peer.layers[0].layer.kernel.assign(own.student.layers[0].kernel)
    own.compile(keras.optimizers.SGD(0.05), loss="mse")
    peer.compile(tf_keras.optimizers.SGD(0.05), "mse")
    callback = pruning.UpdatePruningStep()
    callback.set_model(peer)
    callback.on_train_begin()
    for step in range(12):
        callback.on_train_batch_begin(step)
        peer.train_on_batch(x[step], y[step])
        own.train_on_batch(x[step], y[step])
        _, mask, threshold = peer.layers[0].pruning_vars[0]
        np.testing.assert_array_equal(own.weight_states[0].mask, mask, f"step {step}")
        np.testing.assert_array_equal(own.weight_states[0].threshold, threshold)
    assert 0.5 < np.mean(mask.numpy() == 0) < 0.8  # cut blocks at the edge weigh less


def test_blocks_of_attention_kernels_are_removed_whole(ids):
    model = text_model()
    compressed = prune_low_magnitude(
        model, sparsity=0.5, steps=1, block_size=(2, 4), include="attention"
    )
    plain = strip(stepped(compressed, ids % 11, 1))
    for target in find_targets(plain)[1:5]:
        matrix = target.variable.numpy().reshape(target.matrix_shape)
        blocks = (matrix != 0).reshape(4, 2, 2, 4).sum(axis=(1, 3))
        assert sorted(blocks.ravel()) == [0] * 4 + [8] * 4, target.path


def test_a_block_is_judged_by_its_mean_or_its_largest_weight():
    model = dense(4, inputs=2)
    model.layers[0].kernel.assign([[3.0, 0.0, 2.0, 2.0], [1.0, 1.0, 0.5, 0.5]])
    kept = {}
    for pooling in ("AVG", "MAX"):
        compressed = prune_low_magnitude(
            model, sparsity=0.75, steps=1, block_size=(1, 2), block_pooling_type=pooling
        )
        kernel = strip(stepped(compressed, WIDE[:, :2], 1)).layers[0].kernel.numpy()
        kept[pooling] = kernel[kernel != 0].tolist()

    assert kept == {"AVG": [2.0, 2.0], "MAX": [3.0]}


def test_the_promise_of_blocks_is_counted_in_blocks():
    # 5 of 10 blocks go; the cut ones at the edge hold fewer weights, and nothing is missing.
    compressed = prune_low_magnitude(dense(9, inputs=2), sparsity=0.5, steps=1, block_size=(1, 2))
    kernel = strip(stepped(compressed, WIDE[:, :2], 1)).layers[0].kernel.numpy()

    assert np.sum(kernel == 0) in (8, 9, 10)


# Regrowth.


@pytest.mark.parametrize("wrap", ["fit", "Distiller"])
@pytest.mark.parametrize("regrow", [False, True])
def test_without_regrowth_weights_are_zero_after_every_optimizer_step(wrap: str, regrow: bool):
    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            kernel, mask = (
                student.student.layers[0].kernel.numpy(),
                student.weight_states[0].mask.numpy(),
            )
            seen.append((int(np.sum(kernel[mask == 0] != 0)), mask == 0))

    seen: list[tuple[int, np.ndarray]] = []
    student = prune_low_magnitude(dense(4), sparsity=0.5, steps=4, regrow=regrow)
    model = Distiller(student=student, teacher=dense(4)) if wrap == "Distiller" else student
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.1), loss=loss)
    model.fit(WIDE, np.arange(16) % 4, batch_size=4, epochs=2, verbose=0, callbacks=[Watch()])
    regrown, gone = zip(*seen, strict=True)

    assert len(seen) == 8
    assert all(count > 0 for count in regrown) if regrow else set(regrown) == {0}
    if not regrow:  # what is gone stays gone
        assert all((later >= earlier).all() for earlier, later in zip(gone, gone[1:], strict=False))
    assert np.mean(strip(student).layers[0].kernel.numpy() == 0) == 0.5


def test_the_promise_holds_between_steps_wherever_it_is_looked_at(tmp_path):
    compressed = prune_low_magnitude(dense(), sparsity=0.5, steps=2)
    compressed.compile(keras.optimizers.SGD(0.1), loss="mse")
    for _ in range(3):
        compressed.train_on_batch(WIDE, np.ones((16, 16)))
    assert np.mean(compressed.student.layers[0].kernel.numpy() == 0) < 0.5  # regrown for a step
    compressed.save(tmp_path / "between.keras")
    loaded = keras.models.load_model(tmp_path / "between.keras")

    for model in (compressed, loaded):
        kernel = strip(model).layers[0].kernel.numpy()
        assert np.mean(kernel == 0) == 0.5
        bias = model.student.layers[0].bias.numpy()
        # Evaluated as stripped; sums of 8 products in another order.
        np.testing.assert_allclose(model(WIDE), WIDE @ kernel + bias, rtol=1e-5, atol=1e-6)


# Settings.


def test_all_settings_come_back_from_the_config():
    settings = [
        {"pattern": (2, 4), "scope": "global", "regrow": False, "begin_step": 7},
        {"block_size": (2, 3), "block_pooling_type": "MAX", "sparsity": 0.3},
    ]
    for setting in settings:
        config = Prune(steps=60, **setting).get_config()
        again = Prune.from_config(config)
        assert again.get_config() == config
        assert again.end_step == 60 + setting.get("begin_step", 0)
    assert Prune(pattern=[1, 4]).target_sparsity == 0.75  # a file holds lists for tuples


def test_a_schedule_without_an_end_has_none():
    constant = tfmot().sparsity.keras.ConstantSparsity(0.5, begin_step=0)

    assert Prune(pruning_schedule=constant).end_step is None
