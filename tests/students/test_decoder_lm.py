"""The decoder student: sizes counted by hand, causal, seeded, distilled, cut by structure tools."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

import tfdistill as td
from tfdistill.students import causal_lm

SIZES = {
    "vocabulary_size": 20, "num_layers": 2, "hidden_dim": 8, "num_heads": 4,
    "num_key_value_heads": 2, "intermediate_dim": 6,
}  # fmt: skip


@pytest.mark.parametrize(("groups", "blocks"), [(None, 2), (1, 1)])
def test_parameters_are_those_counted_by_hand(groups, blocks):
    attention = 8 * 8 + 2 * 8 * 4 + 8 * 8
    block = attention + 3 * 8 * 6 + 2 * 8
    assert causal_lm(**SIZES, groups=groups).count_params() == 20 * 8 + blocks * block + 8


def test_no_position_sees_a_later_one(rng):
    model = causal_lm(**SIZES, seed=0)
    ids = rng.integers(0, 20, (1, 6))
    other = ids.copy()
    other[0, 4:] = (ids[0, 4:] + 1) % 20

    # A row ends where it ends: what is behind it is never looked at.
    np.testing.assert_allclose(model(ids)[0, :4], model(other)[0, :4], atol=1e-6)
    assert np.abs(model(ids)[0, 4:] - model(other)[0, 4:]).max() > 1e-4


def test_a_seed_fixes_the_weights_and_no_two_matrices_are_equal():
    first, again = causal_lm(**SIZES, seed=3), causal_lm(**SIZES, seed=3)
    weights = first.get_weights()

    assert all(np.array_equal(a, b) for a, b in zip(weights, again.get_weights(), strict=True))
    block = first.get_layer("decoder_0")
    assert not np.array_equal(block.key.kernel.numpy(), block.value.kernel.numpy())


def test_it_is_saved_and_loaded(tmp_path: Path, rng):
    model = causal_lm(**SIZES, groups=1, seed=0)
    model.save(tmp_path / "student.keras")
    ids = rng.integers(0, 20, (2, 5))

    assert np.array_equal(keras.models.load_model(tmp_path / "student.keras")(ids), model(ids))


def test_it_learns_from_a_teacher_and_leaves_the_prompt_alone(rng):
    teacher, student = causal_lm(**SIZES, seed=0), causal_lm(**SIZES, groups=1, seed=1)
    ids = rng.integers(0, 20, (8, 6)).astype("int32")
    labels = td.language.next_tokens(ids, prompt_lengths=[6] * 8)
    distiller = td.Distiller(student=student, teacher=teacher)
    distiller.compile("sgd", alpha=0.5, ignore_class=td.language.IGNORED)
    before = student.get_weights()
    distiller.fit(ids, labels, epochs=1, verbose=0)

    # With every label ignored neither half of the loss has anything to say.
    assert all(np.array_equal(a, b) for a, b in zip(before, student.get_weights(), strict=True))
    labels = td.language.next_tokens(ids)
    history = distiller.fit(ids, labels, epochs=3, verbose=0).history["loss"]
    assert history[-1] < history[0]


def test_structure_tools_take_it(rng):
    model = causal_lm(**SIZES, seed=0)
    ids = rng.integers(0, 20, (4, 5)).astype("int32")
    smaller, _ = td.drop_layers(model, keep=1, calibration=ids)
    smaller, _ = td.prune_heads(smaller, keep=2, calibration=ids)
    smaller, _ = td.prune_vocabulary(smaller, keep=[0, 3, 5])

    assert smaller(np.array([[0, 1, 2]])).shape == (1, 3, 3)
    assert len(td.language.causal_parts(smaller).blocks) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_layers": 0}, "`num_layers` must be an int of at least 1"),
        ({"num_key_value_heads": 3}, "`num_heads` must be a multiple of `num_key_value_heads`"),
        ({"head_dim": 3}, "`head_dim` must be even"),
    ],
)
def test_sizes_that_do_not_fit_are_told(changes, message):
    with pytest.raises(ValueError, match=message):
        causal_lm(**{**SIZES, **changes})
