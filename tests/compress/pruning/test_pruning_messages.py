"""What the arguments of pruning refuse."""

from __future__ import annotations

import keras
import pytest

from tfdistill import prune_low_magnitude
from tfdistill.compress import Prune
from tfdistill.introspection.backend import tfmot


def dense(units: int = 4, *, inputs: int = 8) -> keras.Model:
    return keras.Sequential([keras.Input((inputs,)), keras.layers.Dense(units, name="scores")])


@pytest.mark.parametrize("pattern", ["2:4", (4, 2), (0, 4), (2, 2), (2,), (2.0, 4), (True, 4), 2])
def test_a_pattern_that_is_no_n_of_m_is_refused(pattern):
    with pytest.raises(ValueError, match="`pattern` must be a pair of ints N < M. Received: patt"):
        prune_low_magnitude(dense(), pattern=pattern)


def test_a_pattern_that_does_not_divide_the_input_axis_is_refused():
    expected = (
        r"`pattern` must divide the input axis of each weight\. Received: pattern=\(2, 4\) for "
        r"'scores/kernel', whose input axis has 6 entries\. .*exclude='scores'"
    )
    with pytest.raises(ValueError, match=expected):
        prune_low_magnitude(dense(inputs=6), pattern=(2, 4))


def test_a_pattern_that_does_not_divide_the_width_of_an_embedding_is_refused():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Embedding(8, 6, name="words")])
    expected = r"divide the width .* for 'words/embeddings', whose width has 6 entries"
    with pytest.raises(ValueError, match=expected):
        prune_low_magnitude(model, pattern=(2, 4))


def test_a_pattern_beside_another_sparsity_is_refused():
    expected = r"`sparsity` must be 1 − N/M = 0\.5 with a pattern.*sparsity=0\.7, pattern=\(2, 4\)"
    with pytest.raises(ValueError, match=expected):
        prune_low_magnitude(dense(), pattern=(2, 4), sparsity=0.7)

    assert Prune(pattern=(1, 4), sparsity=0.75).target_sparsity == 0.75


def test_a_pattern_beside_a_schedule_to_another_sparsity_is_refused():
    schedule = tfmot().sparsity.keras.ConstantSparsity(0.7, begin_step=0)
    with pytest.raises(
        ValueError, match=r"`pruning_schedule` must end at 1 − N/M = 0\.5 .* to 0\.7"
    ):
        prune_low_magnitude(dense(), pattern=(2, 4), pruning_schedule=schedule)


def test_a_pattern_of_blocks_is_refused():
    with pytest.raises(ValueError, match=r"`block_size` must be \(1, 1\) with a pattern"):
        prune_low_magnitude(dense(), pattern=(2, 4), block_size=(1, 4))


@pytest.mark.parametrize("block_size", [4, (0, 4), (1, 2, 3), "14", (1.5, 2)])
def test_a_block_that_is_no_pair_of_lengths_is_refused(block_size):
    with pytest.raises(ValueError, match="`block_size` must be a pair of ints of at least 1"):
        prune_low_magnitude(dense(), block_size=block_size)


@pytest.mark.parametrize("pooling", ["MIN", "avg", None])
def test_a_pooling_that_tfmot_has_not_is_refused(pooling):
    with pytest.raises(ValueError, match="`block_pooling_type` must be 'AVG' or 'MAX'. Received"):
        prune_low_magnitude(dense(), block_pooling_type=pooling)


@pytest.mark.parametrize("scope", ["layer", None, 0.5])
def test_a_scope_of_another_name_is_refused(scope):
    with pytest.raises(ValueError, match="`scope` must be 'tensor' or 'global'. Received: scope="):
        prune_low_magnitude(dense(), scope=scope)


@pytest.mark.parametrize("regrow", [0, None, "no"])
def test_a_flag_that_is_no_bool_is_refused(regrow):
    with pytest.raises(TypeError, match="`regrow` must be True or False. Received: regrow="):
        prune_low_magnitude(dense(), regrow=regrow)


@pytest.mark.parametrize("begin_step", [-1, 1.5, None, True])
def test_a_first_step_that_is_no_count_is_refused(begin_step):
    with pytest.raises((TypeError, ValueError), match="`begin_step` must be an int of at least 0"):
        prune_low_magnitude(dense(), begin_step=begin_step)
