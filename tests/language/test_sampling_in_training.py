"""A model that writes during training: greedy, sampled, seeded, and from the current weights."""

from __future__ import annotations

import numpy as np
import pytest

from tfdistill.language import Sampler, sample
from tfdistill.students import causal_lm


@pytest.fixture(scope="module")
def model():
    model = causal_lm(
        vocabulary_size=11, num_layers=1, hidden_dim=8, num_heads=2, intermediate_dim=8, seed=1
    )
    table = model.get_layer("token_embedding").embeddings
    table.assign(table * 50.0)  # far from even, so that greedy text is no accident
    return model


def test_greedy_text_is_the_argmax_of_the_model_on_its_own_text(model):
    prompts = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]])
    rows = sample(model, prompts, num_tokens=6, temperature=0.0, batch_size=2)

    assert rows.shape == (3, 9)
    assert np.array_equal(rows[:, :3], prompts)
    best = np.argmax(model.predict(rows, verbose=0), axis=-1)
    assert np.array_equal(rows[:, 3:], best[:, 2:-1])


def test_samples_at_temperature_1_have_the_models_frequencies(model):
    rows = sample(model, np.full((4000, 2), 3), num_tokens=1, batch_size=4000, seed=5)
    logits = model(np.array([[3, 3]])).numpy()[0, -1]
    expected = np.exp(logits - logits.max())
    expected /= expected.sum()

    # Four standard deviations of a share of 4,000 draws are 0.032 at most.
    np.testing.assert_allclose(np.bincount(rows[:, 2], minlength=11) / 4000, expected, atol=0.032)


def test_equal_seeds_write_equal_rows_and_others_do_not(model):
    prompts = np.full((8, 1), 2)
    first, again = (sample(model, prompts, num_tokens=12, seed=3) for _ in range(2))
    other = sample(model, prompts, num_tokens=12, seed=4)

    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_writer_follows_the_weights():
    model = causal_lm(
        vocabulary_size=7, num_layers=1, hidden_dim=4, num_heads=1, intermediate_dim=4, seed=0
    )
    sampler = Sampler(model, rows=1, prompt_length=2, num_tokens=1)
    sampler(np.array([[1, 1]]), temperature=0.0)
    table, norm = model.get_layer("token_embedding"), model.get_layer("final_norm")
    norm.scale.assign(np.ones(4))
    rows = np.eye(7, 4, dtype="float32")
    rows[6] = 9.0 * model.get_layer("token_embedding").embeddings.numpy()[1]
    table.embeddings.assign(rows)
    best = int(np.argmax(model(np.array([[1, 1]])).numpy()[0, -1]))

    assert sampler(np.array([[1, 1]]), temperature=0.0).numpy()[0, 0] == best


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prompts": [[]]}, "`prompts` must be token ids of shape"),
        ({"prompts": [[1]], "num_tokens": 0}, "`num_tokens` must be an int of at least 1"),
        ({"prompts": [[1]], "temperature": -1.0}, "`temperature` must be at least 0"),
    ],
)
def test_what_cannot_be_sampled_is_refused(model, arguments, message):
    with pytest.raises(ValueError, match=message):
        sample(model, **{"num_tokens": 2, **arguments})


def test_a_sampler_refuses_prompts_of_another_shape(model):
    sampler = Sampler(model, rows=2, prompt_length=1, num_tokens=1)
    with pytest.raises(ValueError, match=r"`prompts` must have the shape \(2, 1\)"):
        sampler(np.array([[1]]))
