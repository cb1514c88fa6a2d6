"""Importances against numbers computed by hand, and a layer that hears itself being measured."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tfdistill.compress.structured.architecture import find_blocks, parts_of
from tfdistill.compress.structured.importance import (
    block_influence,
    contribution,
    cosine_distance,
    most_important,
    part_importance,
)
from tfdistill.compress.structured.layer_sharing import share_layers
from tfdistill.compress.structured.rebuild import with_own_blocks
from tfdistill.students import text_encoder

IDS = np.array([[1, 2, 3, 1], [2, 3, 0, 0], [3, 1, 2, 0]], np.int32)


def build(**changes) -> keras.Model:
    model = text_encoder(
        **{
            "vocabulary_size": 4,
            "sequence_length": 4,
            "num_layers": 1,
            "hidden_dim": 4,
            "num_heads": 2,
            "intermediate_dim": 3,
            "num_classes": 2,
            "seed": 0,
            **changes,
        }
    )
    for variable in model.trainable_variables:
        variable.assign(np.random.default_rng(1).normal(size=variable.shape))
    return model


def test_cosine_distance_equals_the_hand_computed_values():
    before = [[[1.0, 0.0], [2.0, 0.0], [0.0, 3.0], [1.0, 1.0]]]
    after = [[[5.0, 0.0], [-1.0, 0.0], [4.0, 0.0], [3.0, 4.0]]]

    np.testing.assert_allclose(
        cosine_distance(before, after), [[0.0, 2.0, 1.0, 1 - 7 / (5 * np.sqrt(2))]], atol=1e-6
    )


def test_contribution_equals_the_hand_computed_values():
    activations = np.array([[[[1.0, 2.0], [3.0, 0.0]]]])  # one token, two heads of width 2
    kernel = np.array([[[1.0, 0.0], [1.0, 2.0]], [[0.0, 4.0], [9.0, 9.0]]])
    # (1, 2) · [[1, 0], [1, 2]] = (3, 4); (3, 0) · [[0, 4], [9, 9]] = (0, 12).
    np.testing.assert_allclose(contribution(activations, kernel), [[[5.0, 12.0]]])


def test_the_first_of_equal_parts_stay():
    assert most_important(np.array([1.0, 1.0, 0.0, 1.0]), keep=2).tolist() == [0, 1]


def states_of(model: keras.Model) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What goes into the first block, what comes out, and which positions are real."""
    inside = keras.Model(
        model.input, [model.get_layer("embedding_norm").output, model.get_layer("encoder_0").output]
    )
    before, after = (np.asarray(each, np.float64) for each in inside(IDS))
    return before, after, IDS != 0


def test_block_influence_is_the_mean_over_the_real_tokens_alone():
    model = build()
    before, after, real = states_of(model)
    cosines = (before * after).sum(-1) / (
        np.linalg.norm(before, axis=-1) * np.linalg.norm(after, axis=-1)
    )
    measured = block_influence(model, find_blocks(model), calibration=IDS)

    # float32 sums against float64 ones.
    np.testing.assert_allclose(measured, [np.mean(1 - cosines[real])], rtol=1e-5)


def test_a_units_importance_is_the_hand_computed_one():
    model = build(activation="linear")
    block = model.get_layer("encoder_0")
    for layer in (block.attention_norm, block.ffn_norm):
        layer.gamma.assign(np.zeros(4))
    block.attention_norm.beta.assign([1.0, 2.0, 0.0, 0.0])  # what every token hands the units
    block.ffn_inner.kernel.assign([[1, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 0]])
    block.ffn_inner.bias.assign([0.0, 0.0, 3.0])
    block.ffn_outer.kernel.assign([[3, 4, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]])
    scores = part_importance(model, [block], part="outer", calibration=IDS)

    # Activations 1, 2, 3 against rows of norm 5, 1, 0, the same for every token.
    np.testing.assert_allclose(scores["encoder_0"], [5.0, 2.0, 0.0], rtol=1e-6)


def test_tokens_are_averaged_and_examples_take_their_root_mean_square():
    model = build(activation="relu")
    block = model.get_layer("encoder_0")
    before, after, real = states_of(model)
    inner = keras.layers.Dense(3, activation="relu")
    inner.build((None, 4))
    inner.set_weights(block.ffn_inner.get_weights())
    attended = block.attention(before, before, attention_mask=real[:, None, :])
    units = np.asarray(inner(block.attention_norm(before + attended)), np.float64)
    added = np.abs(units) * np.linalg.norm(block.ffn_outer.kernel.numpy(), axis=1)
    means = np.stack([row[mask].mean(axis=0) for row, mask in zip(added, real, strict=True)])
    scores = part_importance(model, [block], part="outer", calibration=IDS)

    np.testing.assert_allclose(scores["encoder_0"], np.sqrt((means**2).mean(axis=0)), rtol=1e-5)


def test_a_heads_importance_is_the_norm_of_what_taking_it_out_takes_away():
    model = build()
    block = model.get_layer("encoder_0")
    before, _, real = states_of(model)
    output = parts_of(block).layers["attention_output"]
    scores = part_importance(model, [block], part="attention_output", calibration=IDS)["encoder_0"]
    kernel = output.kernel.numpy()
    whole = np.asarray(block.attention(before, before, attention_mask=real[:, None, :]))
    for head in range(2):
        without = kernel.copy()
        without[head] = 0.0
        output.kernel.assign(without)
        rest = np.asarray(block.attention(before, before, attention_mask=real[:, None, :]))
        output.kernel.assign(kernel)
        norms = np.linalg.norm(whole - rest, axis=-1)
        means = [row[mask].mean() for row, mask in zip(norms, real, strict=True)]
        assert scores[head] == pytest.approx(np.sqrt(np.mean(np.square(means))), rel=1e-5)


def test_the_batch_size_does_not_matter():
    model = build()
    many = np.tile(IDS, (12, 1))  # 36 rows: more than one batch
    once = part_importance(model, find_blocks(model), part="outer", calibration=IDS)
    often = part_importance(model, find_blocks(model), part="outer", calibration=many)

    np.testing.assert_allclose(often["encoder_0"], once["encoder_0"], rtol=1e-5)
    np.testing.assert_allclose(
        block_influence(model, find_blocks(model), calibration=many),
        block_influence(model, find_blocks(model), calibration=IDS),
        rtol=1e-5,
    )


def test_each_use_of_a_shared_block_has_an_influence_of_its_own():
    shared = share_layers(build(num_layers=3), groups=1)
    influence = block_influence(shared, find_blocks(shared), calibration=IDS)

    assert influence.shape == (3,)
    assert len(set(influence.round(6))) == 3


@pytest.mark.parametrize("kind", ["bert", "llama", "llama 3.1"])
def test_a_backbone_written_with_own_blocks_answers_the_same(kind: str):
    hub = pytest.importorskip("keras_hub")
    sizes = {"vocabulary_size": 4, "num_layers": 2, "hidden_dim": 16, "intermediate_dim": 6}
    x = {"token_ids": IDS, "padding_mask": (IDS != 0).astype("int32")}
    if kind == "bert":
        model = hub.models.BertBackbone(**sizes, num_heads=2, max_sequence_length=4)
        x["segment_ids"] = 0 * IDS
    else:
        stretched = {
            "rope_frequency_adjustment_factor": 8.0,
            "rope_low_freq_factor": 1.0,
            "rope_high_freq_factor": 4.0,
            "rope_pretraining_sequence_length": 64,
        }
        model = hub.models.LlamaBackbone(
            **sizes,
            num_query_heads=4,
            num_key_value_heads=2,
            **(stretched if kind == "llama 3.1" else {}),
        )
    for variable in model.trainable_variables:
        variable.assign(np.random.default_rng(1).normal(size=variable.shape) * 0.5)
    own = with_own_blocks(model)
    given, mine = (keras.tree.flatten(each(x)) for each in (model, own))

    for old, new in zip(given, mine, strict=True):
        # The same operations in another order: a few units of float32's last place.
        np.testing.assert_allclose(new, old, rtol=1e-5, atol=5e-6)
    assert own.count_params() == model.count_params()
