"""SmolLM2-135M-Instruct, the real file: the figures that the loader has to reproduce."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tfdistill import datasets
from tfdistill.language import causal_parts, language_model, load_gguf, sample

pytestmark = [pytest.mark.slow, pytest.mark.network]


@pytest.fixture(scope="module")
def smollm2():
    try:
        folder = datasets.extract(datasets.SMOLLM2)
    except datasets.AssetUnreachableError as error:
        pytest.skip(str(error))
    (path,) = Path(folder).rglob("*.gguf")
    lm = load_gguf(path)
    return lm, language_model(lm.backbone)


def test_perplexity_on_wikitext2_is_31_83(smollm2, shared_data: Path):
    lm, model = smollm2
    text = (shared_data / "wikitext2" / "test.txt").read_text(encoding="utf-8")[:40_000]
    rows = np.array(lm.tokenizer.encode(text).ids[:2048]).reshape(8, 256)
    losses = []
    for row in rows:
        log_probs = tf.nn.log_softmax(model(row[None, :-1], training=False))
        losses.append(-tf.gather(log_probs, row[None, 1:], batch_dims=2).numpy())

    assert np.exp(np.mean(losses)) == pytest.approx(31.83, abs=0.05)


def test_the_capital_of_france_is_paris(smollm2):
    lm, model = smollm2
    prompt = lm.tokenizer.encode("The capital of France is").ids
    (row,) = sample(model, [prompt], num_tokens=1, temperature=0.0)

    assert lm.tokenizer.decode(row[-1:].tolist()) == " Paris"


def test_step_by_step_decoding_equals_one_pass_to_1e_4(smollm2):
    lm, model = smollm2
    ids = np.array([lm.tokenizer.encode("Oil prices rose after the meeting in Vienna.").ids])
    parts = causal_parts(model)
    blocks, groups, head_dim = parts.cache_shape
    keys = np.zeros((blocks, 1, groups, 16, head_dim), "float32")
    values, steps = keys.copy(), []
    for at in range(ids.shape[1]):
        states, new_keys, new_values = parts.extend(
            ids[:, at : at + 1], positions=np.array([at]), keys=keys, values=values
        )
        keys[..., at : at + 1, :], values[..., at : at + 1, :] = new_keys, new_values
        steps.append(parts.table(states, reverse=True).numpy())

    # The logits reach 35; float32 sums in another order.
    np.testing.assert_allclose(np.concatenate(steps, axis=1), model(ids), atol=1e-4)
