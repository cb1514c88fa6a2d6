"""GGUF files: every stored type, the order of rows, the tokenizer, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tfdistill.language import gguf_tokenizer, language_model, load_gguf, read_gguf
from tfdistill.language.gguf_model import half_split


def llama_logits(tensors: dict[str, np.ndarray], ids: np.ndarray) -> np.ndarray:
    """Llama as its paper and llama.cpp write it: neighboring coordinates turn together."""
    x = tensors["token_embd.weight"][ids]
    angles = np.arange(len(ids))[:, None] * 100.0 ** (-np.arange(0, 8, 2) / 8)[None]
    turn = np.exp(1j * angles)[:, None]

    def norm(x: np.ndarray, scale: np.ndarray) -> np.ndarray:
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * scale

    def heads(matrix: np.ndarray, *, turned: bool) -> np.ndarray:
        rows = (x_normed @ matrix.T).reshape(len(ids), -1, 8)
        if not turned:
            return rows
        pairs = (rows[..., ::2] + 1j * rows[..., 1::2]) * turn
        return np.stack([pairs.real, pairs.imag], -1).reshape(rows.shape)

    for i in range(2):
        block = {name: tensors[f"blk.{i}.{name}.weight"] for name in (
            "attn_norm", "ffn_norm", "attn_q", "attn_k", "attn_v", "attn_output",
            "ffn_gate", "ffn_up", "ffn_down",
        )}  # fmt: skip
        x_normed = norm(x, block["attn_norm"])
        query, key = heads(block["attn_q"], turned=True), heads(block["attn_k"], turned=True)
        key, value = key.repeat(2, 1), heads(block["attn_v"], turned=False).repeat(2, 1)
        scores = np.einsum("qhd,khd->hqk", query, key) / np.sqrt(8)
        scores = np.where(np.tri(len(ids), dtype=bool), scores, -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        mixed = np.einsum("hqk,khd->qhd", weights, value).reshape(len(ids), -1)
        x = x + mixed @ block["attn_output"].T
        x_normed = norm(x, block["ffn_norm"])
        gate = x_normed @ block["ffn_gate"].T
        inner = gate / (1 + np.exp(-gate)) * (x_normed @ block["ffn_up"].T)
        x = x + inner @ block["ffn_down"].T
    return norm(x, tensors["output_norm.weight"]) @ tensors["token_embd.weight"].T


def test_a_float_file_answers_as_llama_computed_in_numpy(tensors, write_gguf):
    ids = np.array([3, 200, 7, 41, 5])
    model = language_model(load_gguf(write_gguf(tensors)).backbone)

    # float32 sums in another order; logits are of size 1.
    np.testing.assert_allclose(model(ids[None])[0], llama_logits(tensors, ids), atol=2e-5)


@pytest.mark.parametrize(
    ("kind", "steps"),
    # Half a step of the largest |w|: 2^-11 of each number; 1/127; (max - min)/15 of a block.
    [("F16", 2**-11), ("Q8_0", 0.5 / 127), ("Q4_1", 1 / 15)],
)
def test_a_stored_type_is_read_within_half_a_step(kind, steps, tensors, write_gguf):
    file = read_gguf(write_gguf(tensors, kind=kind))
    matrix = tensors["blk.0.ffn_up.weight"]
    read = file.tensor("blk.0.ffn_up.weight", shape=matrix.shape)

    assert 0 < np.abs(read - matrix).max() <= np.abs(matrix).max() * steps * 1.01


def test_an_output_table_of_its_own_is_kept_apart(tensors, write_gguf, rng):
    tensors["output.weight"] = rng.normal(size=tensors["token_embd.weight"].shape).astype("f4")
    ids = np.array([[1, 2, 3]])
    model = language_model(load_gguf(write_gguf(tensors)).backbone)
    tied = {**tensors, "token_embd.weight": tensors["output.weight"]}

    assert model.count_params() == sum(value.size for value in tensors.values())
    assert not np.allclose(model(ids)[0], llama_logits(tied, ids[0]), atol=0.1)


def test_the_tokenizer_splits_digits_and_gives_every_text_back(tensors, write_gguf):
    lm = load_gguf(write_gguf(tensors))
    text = "oil oil 12 Zürich\n\t☕"

    assert lm.tokenizer.encode("oil oil 12").tokens == ["oil", "Ġoil", "Ġ", "1", "2"]
    assert lm.tokenizer.decode(lm.tokenizer.encode(text).ids) == text
    assert lm.tokenizer.encode("a<|end|>b").ids[1] == 0
    assert (lm.context_length, lm.end_id, lm.chat_template) == (64, 0, None)


def test_half_split_of_two_heads_keeps_them_apart():
    rows = np.arange(8)[:, None]
    assert half_split(rows, head_dim=4).ravel().tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="`path` must be an existing GGUF file"):
        load_gguf(tmp_path / "none.gguf")


def test_another_kind_of_file_is_told(tmp_path):
    path = tmp_path / "model.gguf"
    path.write_bytes(b"PK\x03\x04 a zip")
    with pytest.raises(ValueError, match="must be a GGUF file, which begins with b'GGUF'"):
        load_gguf(path)


@pytest.mark.parametrize("share", [0.0005, 0.01, 0.3, 0.6, 0.99])
def test_a_truncated_file_is_told(share, tensors, write_gguf):
    path: Path = write_gguf(tensors)
    content = path.read_bytes()
    path.write_bytes(content[: max(int(len(content) * share), 6)])
    with pytest.raises(ValueError, match="must be a complete GGUF file.*cut off or damaged"):
        load_gguf(path)


def test_an_unknown_architecture_is_told(tensors, write_gguf):
    path = write_gguf(tensors, architecture="mamba")
    with pytest.raises(ValueError, match="architecture 'llama'. Received: .*'mamba'"):
        load_gguf(path)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: t.pop("blk.1.ffn_up.weight"), "must hold the tensor 'blk.1.ffn_up.weight'"),
        (lambda t: t.update({"blk.0.attn_q.bias": np.ones(32, "f4")}), "has no place"),
        (
            lambda t: t.update({"output_norm.weight": np.ones(31, "f4")}),
            r"output_norm.weight of shape \(31,\), stated: \(32,\)",
        ),
    ],
)
def test_tensors_that_do_not_fit_are_told(spoil: Callable, message, tensors, write_gguf):
    spoil(tensors)
    with pytest.raises(ValueError, match=message):
        load_gguf(write_gguf(tensors))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "llama"}, "byte-level BPE tokenizer .* Received: 'llama'"),
        ({"pre": "qwen9"}, "Received: tokenizer.ggml.pre='qwen9'"),
        ({"llama.rope.scaling.type": "yarn"}, "scaling.type='yarn'"),
        ({"llama.rope.dimension_count": 4}, "dimension_count=4 with heads of 8"),
    ],
)
def test_metadata_that_cannot_be_served_is_told(changes, message, tensors, write_gguf):
    with pytest.raises(ValueError, match=message):
        load_gguf(write_gguf(tensors, **changes))


def test_weights_load_without_the_tokenizer(tensors, write_gguf):
    assert load_gguf(write_gguf(tensors, model="llama"), tokenizer=False).tokenizer is None


def test_a_file_without_a_tokenizer_is_told():
    with pytest.raises(ValueError, match="Received: None"):
        gguf_tokenizer({})


def test_merges_of_tokens_that_are_not_there_are_told():
    metadata = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": ["a", "b"],
        "tokenizer.ggml.merges": ["a b"],
    }
    with pytest.raises(ValueError, match="vocabulary and merges that fit together"):
        gguf_tokenizer(metadata)
