"""What holds for every technique on every kind of model."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import pytest

from tfdistill import prune_low_magnitude, quantize_aware, strip
from tfdistill.compress import Compressed, Prune, Quantize
from tfdistill.compress.clustering.cluster import Cluster
from tfdistill.introspection.weights import Target, find_targets

STEPS = 6  # of which the first half are made before the model goes through a file


def matrix_of(target: Target) -> np.ndarray:
    return target.variable.numpy().reshape(target.matrix_shape)


def levels(matrix: np.ndarray, *, kind: str, bits: int) -> np.ndarray:
    """The integers that TFLite will store; they are whole numbers only on the right grid."""
    axis = 0 if kind == "kernel" else (None if bits == 8 else 1)
    largest = np.abs(matrix).max(axis=axis, keepdims=axis is not None)
    return matrix / np.where(largest == 0, 1, largest) * (2 ** (bits - 1) - 1)


def half_is_zero(targets: list[Target]) -> None:
    for target in targets:
        value = target.variable.numpy()
        # TF-MOT keeps a whole number of weights, so half a weight may be missing.
        assert abs(np.mean(value == 0) - 0.5) <= 0.5 / value.size + 1e-9, target.path


def half_is_zero_or_more(targets: list[Target]) -> None:
    for target in targets:  # a small weight may round to zero besides
        value = target.variable.numpy()
        assert np.mean(value == 0) >= 0.5 - 0.5 / value.size - 1e-9, target.path


def half_of_all_is_zero(targets: list[Target]) -> None:
    values = np.concatenate([target.variable.numpy().ravel() for target in targets])
    # Each tensor keeps its largest weight, whatever the threshold is.
    assert 0 <= 0.5 - np.mean(values == 0) + 0.5 / values.size <= len(targets) / values.size


def one_of_two_stays(targets: list[Target]) -> None:
    for target in targets:
        lines = matrix_of(target) if target.kind == "embedding" else matrix_of(target).T
        assert set(np.count_nonzero(lines.reshape(-1, 2), axis=1)) == {1}, target.path


def half_of_the_pairs_is_zero(targets: list[Target]) -> None:
    for target in targets:
        matrix = matrix_of(target)
        pairs = np.add.reduceat(matrix != 0, np.arange(0, matrix.shape[1], 2), axis=1)
        assert abs(np.mean(pairs == 0) - 0.5) <= 0.5 / pairs.size + 1e-9, target.path


def on_the_grid(bits: int) -> Callable[[list[Target]], None]:
    def check(targets: list[Target]) -> None:
        for target in targets:
            on_grid = levels(matrix_of(target), kind=target.kind, bits=bits)
            # A level is read back as value / scale: some 1e-5 of rounding at level 127.
            np.testing.assert_allclose(on_grid, np.round(on_grid), atol=1e-4)

    return check


def few_values(number: int, *, axis: int | None) -> Callable[[list[Target]], None]:
    def check(targets: list[Target]) -> None:
        for target in targets:
            matrix = matrix_of(target)
            channels = [matrix] if axis is None or target.kind == "embedding" else list(matrix.T)
            assert max(np.unique(channel).size for channel in channels) <= number, target.path

    return check


class Technique(NamedTuple):
    """How a model gets it, and what then holds for the weights that were compressed."""

    apply: Callable[[keras.Model], Compressed]
    holds: tuple[Callable[[list[Target]], None], ...]


def pruning(**settings) -> Callable[[keras.Model], Compressed]:
    return lambda model: prune_low_magnitude(model, steps=STEPS, **settings)


def recipe(*transforms) -> Callable[[keras.Model], Compressed]:
    return lambda model: Compressed(model, recipe=list(transforms))


# To test a technique is to add its line.
TECHNIQUES = {
    "prune": Technique(pruning(), (half_is_zero,)),
    "prune_global": Technique(pruning(scope="global"), (half_of_all_is_zero,)),
    "prune_n_of_m": Technique(pruning(pattern=(1, 2)), (one_of_two_stays,)),
    "prune_blocks": Technique(pruning(block_size=(1, 2)), (half_of_the_pairs_is_zero,)),
    "prune_no_regrowth": Technique(pruning(regrow=False), (half_is_zero,)),
    "quantize": Technique(quantize_aware, (on_the_grid(8),)),
    "quantize_4": Technique(lambda model: quantize_aware(model, bits=4), (on_the_grid(4),)),
    "cluster": Technique(recipe(Cluster(number_of_clusters=4)), (few_values(4, axis=None),)),
    "prune_quantize": Technique(
        recipe(Prune(steps=STEPS), Quantize(begin_step=2)), (half_is_zero_or_more, on_the_grid(8))
    ),
    "joint": Technique(
        recipe(Prune(steps=STEPS), Cluster(number_of_clusters=5, begin_step=1), Quantize()),
        (half_is_zero_or_more, on_the_grid(8), few_values(5, axis=0)),
    ),
}

KINDS = ("sequential", "attention", "tied", "subclassed", "nested", "convolution",
         "convolution_2d", "twice", "text_encoder", "keras_hub")  # fmt: skip
# Every technique on the first kind, the basic ones on the second, which has a table and attention,
# and the joint recipe on these; the rest takes minutes.
BASIC = ("prune", "quantize", "cluster")
JOINT = ("attention", "tied", "subclassed", "convolution")


def is_quick(technique: str, kind: str) -> bool:
    if technique == "joint":
        return kind in JOINT
    return kind == "sequential" or (kind == "attention" and technique in BASIC)


PAIRS = [
    pytest.param(technique, kind, marks=[] if is_quick(technique, kind) else pytest.mark.slow)
    for technique in TECHNIQUES
    for kind in KINDS
]


def values(model: keras.Model) -> list[np.ndarray]:
    return [variable.numpy().copy() for variable in model.variables]


def same(ours: list[np.ndarray], theirs: list[np.ndarray]) -> list[bool]:
    return [np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True)]


def fit(compressed: Compressed, inputs: np.ndarray) -> None:
    """Makes three steps, without a trace of the graph, which would take longer than they do."""
    labels = np.arange(16) % 3
    with warnings.catch_warnings():
        # A backbone has layers that a classifier does not use.
        warnings.filterwarnings("ignore", "Gradients do not exist")
        compressed.fit(inputs, labels, batch_size=6, shuffle=False, verbose=0)


@pytest.mark.quick_cases(
    "prune_quantize-sequential",
    "prune_no_regrowth-sequential",
    "prune_blocks-sequential",
    "prune-sequential",
    "cluster-sequential",
    "prune_n_of_m-sequential",
    "quantize_4-sequential",
    "quantize-sequential",
    "prune_global-sequential",
    "joint-attention",
)
@pytest.mark.parametrize(("technique", "model_kind"), PAIRS)
def test_a_model_is_compressed_as_promised(
    technique: str, model_kind: str, model: keras.Model, inputs: np.ndarray, tmp_path
):
    apply, holds = TECHNIQUES[technique]
    before = values(model)
    expected = model(inputs).numpy()
    compressed = apply(model)

    # It is a model to train, and starts where the given one stands.
    assert isinstance(compressed, Compressed)
    if technique.startswith("prune"):
        np.testing.assert_array_equal(compressed(inputs), expected)
    compressed.compile(
        keras.optimizers.Adam(0.01),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        run_eagerly=True,
    )
    start = values(compressed.student)
    fit(compressed, inputs)
    assert int(compressed.step) == STEPS // 2
    assert not all(same(values(compressed.student), start))

    # The given model is as it was.
    assert all(same(values(model), before))

    # A half-trained one goes on from its file as if nothing had happened: masks, thresholds,
    # ranges, optimizer, steps and dropout seeds are all there.
    compressed.save(tmp_path / "half.keras")
    again = keras.models.load_model(tmp_path / "half.keras")
    again.run_eagerly = True
    assert all(same(values(again), values(compressed)))
    for each in (compressed, again):
        fit(each, inputs)
    assert all(same(values(again), values(compressed)))
    assert all(same(values(again.optimizer), values(compressed.optimizer)))
    assert int(again.step) == STEPS

    # The stripped model answers the same, and has what was promised.
    trained = values(compressed)
    answers = compressed(inputs).numpy()
    plain = strip(compressed)
    assert type(plain) is type(model)
    np.testing.assert_array_equal(plain(inputs), answers)
    for check in holds:
        check(find_targets(plain))
    np.testing.assert_array_equal(strip(again)(inputs), answers)

    # Neither asking nor stripping changed the compressed model.
    assert all(same(values(compressed), trained))


@pytest.mark.parametrize("technique", TECHNIQUES)
def test_no_variable_is_shared_with_the_given_model(technique: str, x: np.ndarray, make_model):
    model = make_model("sequential")
    compressed = TECHNIQUES[technique].apply(model)
    plain = strip(quantize_aware(model))
    sets = [{id(v) for v in each.variables} for each in (model, compressed, plain)]

    assert not sets[0] & sets[1] and not sets[0] & sets[2]


@pytest.mark.parametrize(
    ("technique", "policy"),
    [
        ("quantize_4", "mixed_bfloat16"),
        ("joint", "mixed_float16"),
        *(
            pytest.param(technique, policy, marks=pytest.mark.slow)
            for technique in ("prune_n_of_m", "cluster")
            for policy in ("mixed_bfloat16", "mixed_float16")
        ),
    ],
)
def test_half_precision_models_are_compressed_in_full_precision(
    technique: str, policy: str, x: np.ndarray
):
    # The last layer is float32, so rounding its weights on the way would show.
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(6, dtype=policy),
            keras.layers.Dense(3, dtype="float32"),
        ]
    )
    compressed = TECHNIQUES[technique].apply(model)
    compressed.compile(keras.optimizers.SGD(0.1), loss="mse", run_eagerly=True)
    compressed.fit(x, np.ones((16, 3)), batch_size=6, epochs=2, verbose=0)

    np.testing.assert_array_equal(strip(compressed)(x), compressed(x))


@pytest.mark.parametrize(
    "technique",
    ["joint", *(pytest.param(name, marks=pytest.mark.slow) for name in ("quantize_4", "cluster"))],
)
def test_a_model_whose_own_policy_is_half_precision_keeps_its_state_in_full(
    technique: str, x: np.ndarray, tmp_path
):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(6), keras.layers.Dense(3)])
        compressed = TECHNIQUES[technique].apply(model)
        compressed.compile(keras.optimizers.SGD(0.1), loss="mse", run_eagerly=True)
        compressed.fit(x, np.ones((16, 3)), batch_size=6, epochs=2, verbose=0)
        plain = strip(compressed)
    finally:
        keras.config.set_dtype_policy(before)

    compressed.save(tmp_path / "half.keras")
    again = keras.models.load_model(tmp_path / "half.keras")
    assert again.dtype_policy.name == compressed.dtype_policy.name == "mixed_bfloat16"
    np.testing.assert_array_equal(again(x), compressed(x))
    assert {variable.dtype for variable in compressed.variables} <= {"float32", "int64", "uint32"}
    for check in TECHNIQUES[technique].holds:
        check(find_targets(plain))
    np.testing.assert_array_equal(plain(x), compressed(x))


def test_a_layer_that_is_used_twice_moves_its_schedule_once_in_a_step(make_model, x):
    # TF-MOT counts its calls: two uses would have ended this schedule after three steps.
    compressed = prune_low_magnitude(make_model("twice"), sparsity=0.5, steps=6)
    for step in range(1, 7):
        compressed(x, training=True)
        assert int(compressed.step) == step
        zeros = int(np.sum(compressed.weight_states[0].mask.numpy() == 0))
        # Of 16 weights 16 · 0.5 · (1 − (1 − t/6)³) are gone, of which a whole number stays.
        assert zeros == round(8 * (1 - (1 - step / 6) ** 3))


def test_a_tied_table_is_counted_once(make_model, ids):
    compressed = prune_low_magnitude(make_model("tied"), sparsity=0.5, steps=1)
    compressed(ids, training=True)
    paths = [target.path for target in find_targets(strip(compressed))]

    assert paths == ["words/embeddings", "inner/kernel"]
    assert len(compressed.weight_states) == 2
