"""A backbone made into a language model: what stays equal, what is found in it, what is refused."""

from __future__ import annotations

import keras
import keras_hub
import numpy as np
import pytest

import tfdistill as td
from tfdistill.language import causal_parts, language_model
from tfdistill.students import causal_lm

IDS = np.array([[1, 4, 2, 8, 5, 7]])


@pytest.fixture
def backbone() -> keras.Model:
    return keras_hub.models.LlamaBackbone(
        vocabulary_size=12,
        num_layers=3,
        num_query_heads=4,
        num_key_value_heads=2,
        hidden_dim=16,
        intermediate_dim=8,
        tie_word_embeddings=True,
    )


def test_a_llama_backbone_answers_the_same_and_is_left_untouched(backbone):
    backbone.layer_norm.scale.assign(np.linspace(0.5, 2, 16))
    before = [value.copy() for value in backbone.get_weights()]
    states = backbone({"token_ids": IDS, "padding_mask": np.ones_like(IDS)})
    model = language_model(backbone)
    for variable in model.variables:
        variable.assign(variable + 1.0)

    fresh = language_model(backbone)(IDS)
    # float32 sums in another order; logits are below 1.
    np.testing.assert_allclose(fresh, backbone.token_embedding(states, reverse=True), atol=1e-5)
    assert all(np.array_equal(a, b) for a, b in zip(before, backbone.get_weights(), strict=True))


def test_a_cut_backbone_becomes_a_student(backbone):
    calibration = {"token_ids": IDS, "padding_mask": np.ones_like(IDS)}
    small, _ = td.prune_vocabulary(backbone, keep=[0, 1, 2, 4, 5, 7, 8])
    ids = np.array([[1, 3, 2, 6, 4, 5]])
    calibration["token_ids"] = ids
    small, _ = td.drop_layers(small, keep=2, calibration=calibration)
    small, _ = td.prune_ffn(small, keep=4, calibration=calibration)
    small, _ = td.prune_heads(small, keep=2, calibration=calibration)
    model = language_model(small)
    states = small(calibration)

    # Table 7·16; in 2 blocks q 16·2·4, k and v 16·1·4, output 2·4·16, FFN 3·16·4 and norms.
    assert model.count_params() == 7 * 16 + 2 * (128 + 64 + 64 + 128 + 192 + 32) + 16
    table = small.get_layer("token_embedding")
    np.testing.assert_allclose(model(ids), table(states, reverse=True), atol=1e-5)


def test_another_backbone_is_wrapped_as_it_is():
    backbone = keras_hub.models.GPT2Backbone(
        vocabulary_size=12, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=8
    )
    model = language_model(backbone)
    states = backbone({"token_ids": IDS, "padding_mask": np.ones_like(IDS)})

    assert model.count_params() == backbone.count_params()
    np.testing.assert_allclose(
        model(IDS), backbone.token_embedding(states, reverse=True), atol=1e-6
    )


@pytest.mark.parametrize("groups", [None, 1])
def test_cached_steps_equal_one_pass(groups):
    model = causal_lm(
        vocabulary_size=12, num_layers=2, hidden_dim=16, num_heads=4, num_key_value_heads=2,
        intermediate_dim=8, groups=groups, seed=0,
    )  # fmt: skip
    parts = causal_parts(model)
    blocks, heads, head_dim = parts.cache_shape
    keys = np.full((blocks, 1, heads, 9, head_dim), 7.0, "float32")  # slots not yet used may hold
    values, found = keys.copy(), []  # anything
    for start, stop in ((0, 3), (3, 4), (4, 6)):
        states, new_keys, new_values = parts.extend(
            IDS[:, start:stop], positions=np.arange(start, stop), keys=keys, values=values
        )
        keys[..., start:stop, :], values[..., start:stop, :] = new_keys, new_values
        found.append(parts.table(states, reverse=True).numpy())

    assert (blocks, heads, head_dim) == (2, 2, 4)
    np.testing.assert_allclose(np.concatenate(found, axis=1), model(IDS), atol=1e-5)


def test_a_model_that_is_no_language_model_is_told():
    classifier = td.students.text_encoder(
        vocabulary_size=9, sequence_length=4, num_layers=1, hidden_dim=4, num_heads=1,
        intermediate_dim=4, num_classes=2,
    )  # fmt: skip
    with pytest.raises(ValueError, match="`model` must be a language model of this package"):
        causal_parts(classifier)
    with pytest.raises(ValueError, match="`backbone` must have a ReversibleEmbedding"):
        language_model(classifier)
