"""Recipes: several techniques on one weight, one after the other or at the same time."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfdistill as td
from tfdistill import Compressed, prune_low_magnitude, quantize_aware, strip
from tfdistill.compress import Guarantee, Prune, Quantize, WeightState, WeightTransform
from tfdistill.compress.guarantees import CLUSTERS, CLUSTERS_WITH_ZERO, SPARSITY
from tfdistill.introspection.weights import find_targets

X = np.random.default_rng(7).normal(size=(16, 8)).astype("float32")
Y = np.arange(16) % 4


def network() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((8,)),
            keras.layers.Dense(8, activation="relu", name="hidden"),
            keras.layers.Dense(4, name="scores"),
        ]
    )


def fitted(compressed, *, epochs: int = 1) -> Compressed:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    compressed.compile(keras.optimizers.Adam(0.05), loss=loss)
    compressed.fit(X, Y, batch_size=4, epochs=epochs, verbose=0)
    return compressed


def levels(plain: keras.Model, layer: str) -> np.ndarray:
    kernel = plain.get_layer(layer).kernel.numpy()
    largest = np.abs(kernel).max(axis=0)
    return kernel / np.where(largest == 0, 1, largest) * 127


class Own(WeightTransform):
    """Guarantees and preserves what it is told to, and passes the weights through."""

    def __init__(self, *guarantees: Guarantee, preserved: tuple[Guarantee, ...] = (), **settings):
        super().__init__(**settings)
        self.guarantees, self.preserved = guarantees, preserved

    def preserves(self, guarantee: Guarantee) -> bool:
        return guarantee in self.preserved

    def create(self, owner, target):
        return WeightState(self, target)


class Shared(Own):
    """Stands for clustering, of which only the guarantee matters here."""


def test_pruning_and_quantization_in_one_fit_keep_both_guarantees():
    recipe = [Prune(sparsity=0.5, steps=8), Quantize(bits=8)]
    plain = strip(fitted(Compressed(network(), recipe=recipe), epochs=2))
    for layer in ("hidden", "scores"):
        on_grid = levels(plain, layer)
        np.testing.assert_allclose(on_grid, np.round(on_grid), atol=1e-4)  # float32 at 127
        assert np.mean(on_grid == 0) >= 0.5


def test_a_joint_recipe_is_distilled():
    recipe = [Prune(pattern=(2, 4), steps=6, regrow=False), Quantize(bits=4, begin_step=4)]
    student = Compressed(network(), recipe=recipe)
    distiller = td.Distiller(student=student, teacher=network())
    distiller.compile("adam")
    distiller.fit(X, Y, batch_size=4, epochs=2, verbose=0)
    found = td.survey(student)

    assert [tensor.is_2_of_4 for tensor in found.compressible] == [True, True]
    assert [tensor.bits for tensor in found.compressible] == [4, 4]


def test_what_begins_later_leaves_the_weights_alone_until_then():
    compressed = Compressed(network(), recipe=[Quantize(bits=4, begin_step=2)])
    plain = [layer.kernel.numpy() for layer in compressed.student.layers]
    seen = []
    for _ in range(4):
        compressed(X, training=True)
        values = compressed.effective_weights(training=False)
        seen.append(
            [
                np.array_equal(kernel, value)
                for kernel, (_, value) in zip(plain, values, strict=True)
            ]
        )

    # After step 2 the next step is the first on the grid, and so is what is evaluated.
    assert seen == [[True, True], [False, False], [False, False], [False, False]]


def test_a_training_step_after_begin_step_is_the_first_to_see_the_technique():
    compressed = Compressed(network(), recipe=[Quantize(bits=4, begin_step=1)])
    quantized = quantize_aware(network(), bits=4)
    for target, own in zip(
        find_targets(quantized.student), find_targets(compressed.student), strict=True
    ):
        target.variable.assign(own.variable)
    expected = [compressed.student(X).numpy(), quantized(X, training=True).numpy()]
    answers = [compressed(X, training=True).numpy() for _ in range(2)]

    np.testing.assert_array_equal(answers, expected)
    assert np.abs(expected[0] - expected[1]).max() > 1e-3


def test_pruning_counts_from_its_first_step():
    # 64 weights: 64 less 45.5, 36, 32.5 and 32, halves to even, at t = 1 … 4.
    compressed = Compressed(network(), recipe=[Prune(sparsity=0.5, steps=4, begin_step=3)])
    zeros = []
    for _ in range(8):
        compressed(X, training=True)
        zeros.append(int(np.sum(compressed.weight_states[0].mask.numpy() == 0)))

    assert zeros[:3] == [0, 0, 0]
    assert zeros[3:] == [18, 28, 32, 32, 32]


def test_a_second_pruning_may_begin_where_the_first_has_ended():
    recipe = [Prune(sparsity=0.25, steps=3), Prune(sparsity=0.75, steps=3, begin_step=3)]
    compressed = Compressed(network(), recipe=recipe)
    zeros = []
    for _ in range(6):
        compressed(X, training=True)
        value = compressed.effective_weights(training=False)[0][1]
        zeros.append(float(np.mean(value.numpy() == 0)))

    assert zeros[2] == 0.25 and zeros[5] == 0.75


def test_techniques_on_different_weights_need_no_order():
    recipe = [Quantize(include="hidden"), Prune(sparsity=0.5, steps=4, include="scores")]
    plain = strip(fitted(Compressed(network(), recipe=recipe)))

    assert np.mean(plain.get_layer("scores").kernel.numpy() == 0) == 0.5
    on_grid = levels(plain, "hidden")
    np.testing.assert_allclose(on_grid, np.round(on_grid), atol=1e-4)


def test_a_technique_that_is_added_takes_the_place_where_it_undoes_nothing():
    quantized = fitted(quantize_aware(network()))
    both = prune_low_magnitude(quantized, sparsity=0.5, steps=4)

    assert [type(item) for item in both.recipe] == [Prune, Quantize]
    assert both.recipe[0].begin_step == 4
    for old, new in zip(quantized.weight_states, both.weight_states[2:], strict=True):
        np.testing.assert_array_equal(new.variables["max_var"], old.variables["max_var"])
    assert td.survey(fitted(both)).compressible[0].nonzero <= 32


def test_prune_then_quantize_keeps_its_sparsity_where_tfmot_loses_it():
    import tf_keras

    from tfdistill.introspection.backend import tfmot

    pruning, quantization = tfmot().sparsity.keras, tfmot().quantization.keras
    schedule = pruning.ConstantSparsity(0.5, begin_step=0, frequency=1)
    peer = pruning.prune_low_magnitude(
        tf_keras.Sequential([tf_keras.layers.Dense(4, input_shape=(8,))]), schedule
    )
    peer.compile("adam", tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    peer.fit(X, Y, verbose=0, callbacks=[pruning.UpdatePruningStep()])
    theirs = quantization.quantize_model(pruning.strip_pruning(peer))
    theirs.compile("adam", tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    theirs.fit(X, Y, epochs=2, verbose=0)
    kernel = next(weight for weight in theirs.weights if "kernel" in weight.name)
    ours = fitted(quantize_aware(fitted(prune_low_magnitude(network(), steps=4))), epochs=2)

    assert np.mean(kernel.numpy() == 0) == 0.0
    for layer in strip(ours).layers:
        assert np.mean(layer.kernel.numpy() == 0) >= 0.5


@pytest.mark.slow
def test_a_pattern_holds_in_the_exported_file(tmp_path):
    recipe = [Prune(pattern=(2, 4), steps=4), Quantize(bits=8)]
    compressed = fitted(Compressed(wide(), recipe=recipe))
    path = td.to_tflite(compressed, tmp_path / "model.tflite")
    found = td.survey(path).compressible

    assert [(tensor.is_2_of_4, tensor.bits) for tensor in found] == [(True, 8), (True, 8)]
    td.compress.verify_compression(compressed, path)


def wide() -> keras.Model:
    """Large enough for the converter to quantize it: it leaves tiny tensors as they are."""
    return keras.Sequential(
        [
            keras.Input((8,)),
            keras.layers.Dense(128, activation="relu", name="hidden"),
            keras.layers.Dense(64, name="scores"),
        ]
    )


def test_a_recipe_with_delays_comes_back_from_its_file(tmp_path):
    recipe = [Prune(sparsity=0.5, steps=4, begin_step=2), Quantize(bits=4, begin_step=6)]
    compressed = fitted(Compressed(network(), recipe=recipe))
    compressed.save(tmp_path / "half.keras")
    again = keras.models.load_model(tmp_path / "half.keras")

    assert [item.begin_step for item in again.recipe] == [2, 6]
    for model in (compressed, again):
        model.fit(X, Y, batch_size=4, shuffle=False, verbose=0)
    np.testing.assert_array_equal(again(X), compressed(X))


def test_masks_move_under_a_strategy_too():
    # One device is enough to take the road of a strategy, which forbids much inside a condition.
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        recipe = [Prune(sparsity=0.5, steps=2, begin_step=1, regrow=False), Quantize(begin_step=2)]
        compressed = fitted(Compressed(network(), recipe=recipe))

    assert np.mean(strip(compressed).layers[0].kernel.numpy() == 0) >= 0.5


def test_stripping_before_a_technique_begins_says_so():
    compressed = Compressed(network(), recipe=[Quantize(begin_step=9)])
    expected = (
        r"after 0 training steps, .* hidden/kernel: Quantize begins after step 9 \(and 1 more"
    )
    with pytest.warns(UserWarning, match=expected):
        plain = strip(compressed)

    np.testing.assert_array_equal(plain.layers[0].kernel, compressed.student.layers[0].kernel)


# What is refused.


@pytest.mark.parametrize(
    ("recipe", "undone", "hint"),
    [
        (
            [Quantize(), Prune()],
            "Prune undoes the grid that Quantize",
            "Put Prune before Quantize.",
        ),
        (
            [Quantize(), Shared(CLUSTERS, preserved=(SPARSITY,))],
            "Shared undoes the grid that Quantize",
            "Put Shared before Quantize.",
        ),
        (
            [Shared(CLUSTERS, preserved=(SPARSITY,)), Prune()],
            "Prune undoes the clusters that Shared",
            "Put Prune before Shared.",
        ),
        (
            [Prune(), Shared(CLUSTERS)],
            "Shared undoes the sparsity that Prune",
            "Keep them apart with `include` and `exclude`.",
        ),
    ],
)
def test_an_order_that_undoes_an_earlier_guarantee_is_refused(recipe, undone: str, hint: str):
    names = ", ".join(type(item).__name__ for item in recipe)
    expected = (
        rf"`recipe` must not undo an earlier guarantee\. Received: recipe=\[{names}\], where "
        rf"{undone} guarantees for 'hidden/kernel'\. {hint}"
    )
    with pytest.raises(ValueError, match=expected):
        Compressed(network(), recipe=recipe)


def test_clusters_that_keep_zero_may_be_pruned():
    keeping = Own(preserved=(SPARSITY, CLUSTERS_WITH_ZERO))
    recipe = [Shared(CLUSTERS_WITH_ZERO), Prune(), keeping, Quantize()]

    assert len(Compressed(network(), recipe=recipe).weight_states) == 8


@pytest.mark.parametrize("recipe", [[Quantize(), Quantize(bits=4)], [Prune(), Prune()]])
def test_a_technique_twice_on_one_weight_is_refused(recipe):
    name = type(recipe[0]).__name__
    expected = (
        r"`recipe` must apply a technique once to each weight\. Received: "
        rf"recipe=\[{name}, {name}\], with {name} twice for 'hidden/kernel'\. Keep them apart"
    )
    with pytest.raises(ValueError, match=expected):
        Compressed(network(), recipe=recipe)


def test_a_second_pruning_that_begins_too_early_is_told_when_it_may():
    recipe = [Prune(steps=10), Prune(sparsity=0.7, begin_step=9)]
    with pytest.raises(ValueError, match=r"begin at the first's end: begin_step=10\."):
        Compressed(network(), recipe=recipe)


def test_a_technique_that_has_no_place_is_refused_when_it_is_added():
    with pytest.raises(ValueError, match=r"must apply a technique once .*Quantize twice"):
        quantize_aware(quantize_aware(network()), bits=4)
