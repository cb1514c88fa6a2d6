"""A technique that this package does not know joins recipes, files and checks like its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfdistill as td
from tfdistill.compress import (
    Cluster,
    Compressed,
    Guarantee,
    Prune,
    Quantize,
    StateOwner,
    WeightMatrix,
    WeightState,
    WeightTransform,
    strip,
    verify_compression,
)
from tfdistill.compress.inspection.statistics import verify_file
from tfdistill.introspection.weights import Target

# What a user writes.


def most_magnitudes(weight: WeightMatrix) -> int:
    """Counts the distinct |w| > 0 in the channel that has most."""
    magnitudes = np.abs(weight.channels.astype(np.float64)).T
    return max(np.unique(channel[channel > 0]).size for channel in magnitudes)


TERNARY = Guarantee(
    "ternary weights",
    unit="magnitudes in a channel",
    measure=most_magnitudes,
    limit=1,
    survives=frozenset({"zeroing", "rounding"}),
    per_channel=True,
)


@keras.saving.register_keras_serializable(package="outside")
class Ternary(WeightTransform):
    """Each weight becomes −s, 0 or s, where s belongs to its output channel.

    s = mean |w| over |w| > ratio · mean |w|, and weights below are zero (Li et al. "Ternary Weight
    Networks", 2016, section 2.2, https://arxiv.org/abs/1605.04711). The gradient goes straight
    through.
    """

    guarantees = (TERNARY,)

    def __init__(self, *, ratio: float = 0.7, **settings: Any):
        super().__init__(**settings)
        self.ratio = ratio

    def preserves(self, guarantee: Guarantee) -> bool:
        return "rounding" in guarantee.survives  # it is an odd function of each weight

    def create(self, owner: StateOwner, target: Target) -> WeightState:
        return TernaryState(self, owner, target)

    def get_config(self) -> dict:
        return {**super().get_config(), "ratio": self.ratio}


class TernaryState(WeightState):
    def __init__(self, transform: Ternary, owner: StateOwner, target: Target):
        super().__init__(transform, target)
        self.axis = 0 if target.kind == "kernel" else 1
        channels = target.matrix_shape[1 - self.axis]
        self.scale = owner.add_state(target, "ternary_scale", shape=(channels,), initial=0.0)

    @property
    def variables(self) -> dict[str, keras.Variable]:
        return {"scale": self.scale}

    def __call__(self, value: tf.Tensor, *, training: bool) -> tf.Tensor:
        matrix = self.target.to_matrix(value)
        sizes = tf.abs(matrix)
        least = self.transform.ratio * tf.reduce_mean(sizes, self.axis, keepdims=True)
        kept = tf.cast(sizes > least, sizes.dtype)
        number = tf.reduce_sum(kept, self.axis, keepdims=True)
        scale = tf.math.divide_no_nan(tf.reduce_sum(sizes * kept, self.axis, keepdims=True), number)
        if training:
            self.scale.value.assign(tf.reshape(scale, [-1]))
        through = tf.custom_gradient(
            lambda w: (tf.sign(w) * kept * scale, lambda upstream: upstream)
        )
        return self.target.from_matrix(through(matrix))


# What it may expect.

RNG = np.random.default_rng(11)
X = RNG.normal(size=(64, 48)).astype("float32")
Y = (X[:, :3] @ np.array([[2.0, -1, 0], [0, 2, -1], [-1, 0, 2]])).argmax(axis=1)
RECIPES = {
    "alone": [Ternary()],
    "after pruning": [Prune(sparsity=0.6, steps=8), Ternary()],
    "after clustering": [Cluster(number_of_clusters=4, per_channel=True), Ternary()],
    "before quantization": [Ternary(), Quantize(bits=8)],
    "amid all": [Prune(sparsity=0.6, steps=8), Ternary(begin_step=4), Quantize(bits=4)],
    "before pruning": [Ternary(), Prune(sparsity=0.6, steps=8)],
}


def network() -> keras.Model:
    keras.utils.set_random_seed(3)
    return keras.Sequential(
        [
            keras.Input((48,), name="x"),
            keras.layers.Dense(32, "relu", name="wide"),
            keras.layers.Dense(40, "relu", name="hidden"),
            keras.layers.Dense(3, name="scores"),
        ]
    )


def fitted(recipe: list[WeightTransform], *, epochs: int = 12) -> tuple[Compressed, list[float]]:
    compressed = Compressed(network(), recipe=recipe)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    compressed.compile(keras.optimizers.Adam(0.005), loss=loss)
    history = compressed.fit(X, Y, batch_size=16, epochs=epochs, verbose=0)
    return compressed, history.history["loss"]


@pytest.fixture(scope="module")
def ternary() -> Compressed:
    return fitted([Prune(sparsity=0.6, steps=8), Ternary(), Quantize(bits=8)])[0]


def with_noise(plain: keras.Model) -> keras.Model:
    copy = keras.models.clone_model(plain)
    copy.set_weights(plain.get_weights())
    kernel = copy.get_layer("wide").kernel
    kernel.assign(kernel + RNG.normal(size=kernel.shape) * 0.01)
    return copy


@pytest.mark.quick_cases("alone")
@pytest.mark.parametrize(
    "name",
    [
        "alone",
        "amid all",
        *(pytest.param(n, marks=pytest.mark.slow) for n in list(RECIPES)[1:4]),
        pytest.param("before pruning", marks=pytest.mark.slow),
    ],
)
def test_it_trains_in_a_recipe_and_holds_in_model_and_file(name: str, tmp_path: Path):
    compressed, losses = fitted(RECIPES[name])
    assert losses[-1] < 0.8 * losses[0]

    plain = strip(compressed)
    kernel = plain.get_layer("wide").kernel.numpy()
    assert {np.unique(np.abs(column[column != 0])).size for column in kernel.T} == {1}
    if "pruning" in name or "all" in name:
        assert np.mean(kernel == 0) >= 0.6 - 1e-3

    quantize = "int4" if "all" in name else "dynamic"
    path = td.to_tflite(compressed, tmp_path / "m.tflite", quantize=quantize)
    found = verify_compression(compressed, path)
    assert {t.measured[TERNARY] for t in found.tensors if t.shape == (32, 48)} == {(1, True)}
    assert td.compare(compressed, path, X).agreement >= 62 / 64  # activations have 8 bits


@pytest.mark.slow
def test_a_file_of_floats_is_the_model_to_the_last_digits(ternary: Compressed, tmp_path: Path):
    path = td.to_tflite(ternary, tmp_path / "m.tflite", quantize=None)

    assert td.compare(ternary, path, X).max_error < 1e-5  # float32 sums in another order
    verify_compression(ternary, path)


def test_it_is_saved_and_loaded_with_its_state(ternary: Compressed, tmp_path: Path):
    ternary.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")

    assert repr(loaded.recipe[1]) == "Ternary()"
    scales = [m.weight_states[3].variables["scale"].numpy() for m in (ternary, loaded)]
    assert scales[0].shape == (32,) and scales[0].min() > 0
    np.testing.assert_array_equal(*scales)
    np.testing.assert_array_equal(ternary(X), loaded(X))


def test_it_is_added_where_it_undoes_nothing_and_others_around_it(ternary: Compressed):
    alone = Compressed(network(), recipe=[Ternary()])

    assert [type(t) for t in td.quantize_aware(alone).recipe] == [Ternary, Quantize]
    # Clustering undoes it, so it goes before.
    assert [type(t) for t in td.cluster_weights(alone).recipe] == [Cluster, Ternary]
    grown = td.cluster_weights(alone)
    np.testing.assert_array_equal(grown.weight_states[3].variables["scale"], np.zeros(32))


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (
            [Quantize(), Ternary()],
            r"Ternary undoes the grid that Quantize guarantees for 'wide/kernel'\. "
            r"Put Ternary before Quantize\.",
        ),
        (
            [Ternary(), Cluster()],
            r"Cluster undoes the ternary weights that Ternary guarantees for 'wide/kernel'\. "
            r"Put Cluster before Ternary\.",
        ),
    ],
)
def test_an_order_in_which_one_undoes_the_other_is_refused(recipe, message: str):
    with pytest.raises(ValueError, match=message):
        Compressed(network(), recipe=recipe)


def test_noise_on_the_stripped_model_is_found_in_it_and_in_its_file(
    ternary: Compressed, tmp_path: Path
):
    noisy = with_noise(strip(ternary))
    gone = r"wide/kernel: 1 magnitudes in a channel → \d\d"
    with pytest.raises(RuntimeError, match=gone):
        verify_compression(ternary, noisy)
    # Without the recipe the guarantee has to be named.
    with pytest.raises(RuntimeError, match=gone):
        verify_compression(strip(ternary), noisy, guarantees=[TERNARY])

    path = td.to_tflite(noisy, tmp_path / "m.tflite", quantize="dynamic")
    with pytest.raises(RuntimeError, match=gone):
        verify_compression(ternary, path)
    with pytest.raises(RuntimeError, match=r"must keep what the model was compressed to.*" + gone):
        verify_file(strip(ternary), path, quantize="dynamic", guarantees=[TERNARY])


@keras.saving.register_keras_serializable(package="outside")
class PowersOfTwo(Ternary):
    """Guarantees more than an 8-bit file can keep: magnitudes that are powers of two."""

    guarantees = (
        Guarantee(
            "powers of two",
            unit="other numbers",
            measure=lambda weight: int(np.sum(np.frexp(np.abs(weight.matrix))[0] % 0.5 != 0)),
            limit=0,
        ),
    )

    def create(self, owner: StateOwner, target: Target) -> WeightState:
        return PowersState(self, target)


class PowersState(WeightState):
    def __call__(self, value: tf.Tensor, *, training: bool) -> tf.Tensor:
        exponent = tf.round(tf.math.log(tf.abs(value) + 1e-9) / tf.math.log(2.0))
        return tf.sign(value) * tf.pow(2.0, exponent)


def test_an_export_that_loses_it_is_refused_and_leaves_no_file(tmp_path: Path):
    compressed = Compressed(network(), recipe=[PowersOfTwo()])
    td.to_tflite(compressed, tmp_path / "float.tflite", quantize=None)

    with pytest.raises(RuntimeError, match=r"wide/kernel: 0 other numbers → \d+"):
        td.to_tflite(compressed, tmp_path / "m.tflite", quantize="dynamic")
    assert [file.name for file in tmp_path.iterdir()] == ["float.tflite"]


def test_a_survey_that_was_made_without_the_guarantee_cannot_show_it(ternary: Compressed):
    plain = strip(ternary)
    with pytest.raises(ValueError, match=r"`found` must be a survey .* without 'ternary weights'"):
        verify_compression(ternary, td.survey(plain))
    verify_compression(ternary, td.survey(plain, guarantees=[TERNARY]))


def test_operations_that_a_guarantee_cannot_survive_are_refused():
    with pytest.raises(ValueError, match=r"`survives` must be a set of .* survives='zeroing'"):
        Guarantee("x", unit="x", measure=lambda weight: 0, limit=0, survives="zeroing")


def test_a_technique_that_defines_nothing_preserves_nothing():
    assert WeightTransform.guarantees == ()
    assert not WeightTransform().preserves(TERNARY)
