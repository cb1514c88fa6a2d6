"""A small Llama written to a GGUF file by llama.cpp's own package, and two small bundles."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import keras
import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from tfdistill.agents import Generator
from tfdistill.export import save_language_bundle
from tfdistill.students import causal_lm

HIDDEN, HEADS, KEY_VALUE, UNITS, LAYERS = 32, 4, 2, 64, 2
LETTERS = sorted(pre_tokenizers.ByteLevel.alphabet())
TOKENS = ["<|end|>", *LETTERS, "oi", "oil", "Ġoil"]
MERGES = ["o i", "oi l", "Ġ oil"]
WRITTEN: list[tuple[Path, Path]] = []  # the bundles, once they are there


def llama_tensors(rng: np.random.Generator) -> dict[str, np.ndarray]:
    def draw(*shape: int) -> np.ndarray:
        return (rng.normal(size=shape) / np.sqrt(shape[-1])).astype("float32")

    head_dim = HIDDEN // HEADS
    tensors = {
        "token_embd.weight": draw(len(TOKENS), HIDDEN),
        "output_norm.weight": rng.uniform(0.5, 1.5, HIDDEN).astype("float32"),
    }
    for i in range(LAYERS):
        tensors |= {
            f"blk.{i}.attn_norm.weight": rng.uniform(0.5, 1.5, HIDDEN).astype("float32"),
            f"blk.{i}.ffn_norm.weight": rng.uniform(0.5, 1.5, HIDDEN).astype("float32"),
            f"blk.{i}.attn_q.weight": draw(HIDDEN, HIDDEN),
            f"blk.{i}.attn_k.weight": draw(KEY_VALUE * head_dim, HIDDEN),
            f"blk.{i}.attn_v.weight": draw(KEY_VALUE * head_dim, HIDDEN),
            f"blk.{i}.attn_output.weight": draw(HIDDEN, HIDDEN),
            f"blk.{i}.ffn_gate.weight": draw(UNITS, HIDDEN),
            f"blk.{i}.ffn_up.weight": draw(UNITS, HIDDEN),
            f"blk.{i}.ffn_down.weight": draw(HIDDEN, UNITS),
        }
    return tensors


@pytest.fixture
def tensors(rng: np.random.Generator) -> dict[str, np.ndarray]:
    return llama_tensors(rng)


@pytest.fixture
def write_gguf(tmp_path: Path) -> Callable[..., Path]:
    """Writes a file; `kind` is how matrices are stored, `changes` are metadata."""

    def write(
        tensors: dict[str, np.ndarray],
        *,
        kind: str = "F32",
        architecture: str = "llama",
        **changes: Any,
    ) -> Path:
        path = tmp_path / "tiny.gguf"
        writer = gguf.GGUFWriter(path, architecture)
        metadata = {
            "llama.block_count": LAYERS,
            "llama.context_length": 64,
            "llama.embedding_length": HIDDEN,
            "llama.feed_forward_length": UNITS,
            "llama.attention.head_count": HEADS,
            "llama.attention.head_count_kv": KEY_VALUE,
            "tokenizer.ggml.eos_token_id": 0,
        } | {name: value for name, value in changes.items() if isinstance(value, int)}
        for name, value in metadata.items():
            writer.add_uint32(name, value)
        for name, value in changes.items():
            if isinstance(value, str):
                writer.add_string(name, value)
        writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
        writer.add_float32("llama.rope.freq_base", 100.0)
        writer.add_string("tokenizer.ggml.model", changes.get("model", "gpt2"))
        writer.add_string("tokenizer.ggml.pre", changes.get("pre", "smollm"))
        writer.add_token_list(TOKENS)
        writer.add_token_types([3] + [1] * (len(TOKENS) - 1))
        writer.add_token_merges(MERGES)
        quantization = gguf.GGMLQuantizationType[kind]
        for name, value in tensors.items():
            if value.ndim == 1 or kind == "F32":
                writer.add_tensor(name, value)
            else:
                stored = gguf.quants.quantize(value, quantization)
                writer.add_tensor(name, stored, raw_dtype=quantization)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path

    return write


@functools.cache
def bytes_tokenizer() -> Tokenizer:
    vocabulary = {token: index for index, token in enumerate([*LETTERS, "<|end|>"])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|end|>"])
    return tokenizer


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return bytes_tokenizer()


def build(seed: int) -> keras.Model:
    model = causal_lm(
        vocabulary_size=257, num_layers=2, hidden_dim=16, num_heads=4, num_key_value_heads=2,
        intermediate_dim=16, groups=1, seed=seed,
    )  # fmt: skip
    table = model.get_layer("token_embedding").embeddings
    table.assign(table * 40.0)
    return model


@functools.cache  # a fixture is made anew for each folder that imports it
def model_of(seed: int) -> keras.Model:
    return build(seed)


@pytest.fixture(scope="session")
def model() -> keras.Model:
    return model_of(0)


def written(folder: Path) -> tuple[Path, Path]:
    paths = folder / "one", folder / "other"
    for path, each in zip(paths, (model_of(0), model_of(1)), strict=True):
        save_language_bundle(
            each, path, tokenizer=bytes_tokenizer(), context_length=24, prefill_lengths=[8],
            quantize=None, eos_ids=[256], max_new_tokens=5,
        )  # fmt: skip
    return paths


@pytest.fixture(scope="session")
def bundles(tmp_path_factory) -> tuple[Path, Path]:
    if not WRITTEN:
        WRITTEN.append(written(tmp_path_factory.mktemp("language")))
    return WRITTEN[0]


@pytest.fixture(scope="session")
def generator(bundles) -> Generator:
    return Generator(bundles[0])
