"""Pretrained language models: a GGUF file of the Llama family, or a KerasHub preset.

Both come back as a KerasHub backbone with its tokenizer. `language_model` makes the teacher of
it: token ids in, logits of the next token out.
"""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from tokenizers import Tokenizer

from tfdistill.language.gguf_reader import GGUFFile, gguf_tokenizer, read_gguf

__all__ = ["PretrainedLM", "half_split", "load_gguf"]

# The tensors of one block: GGUF's name, and which dimensions it has (outputs, inputs).
_MATRICES = {
    "query": ("attn_q", "heads", "hidden"),
    "key": ("attn_k", "key_value", "hidden"),
    "value": ("attn_v", "key_value", "hidden"),
    "attention_output": ("attn_output", "hidden", "heads"),
    "feedforward_gate_dense": ("ffn_gate", "units", "hidden"),
    "feedforward_intermediate_dense": ("ffn_up", "units", "hidden"),
    "feedforward_output_dense": ("ffn_down", "hidden", "units"),
}
_NORMS = {"self_attention_layernorm": "attn_norm", "feedforward_layernorm": "ffn_norm"}


@dataclass(frozen=True)
class PretrainedLM:
    """A pretrained language model.

    Attributes:
        backbone: A KerasHub backbone: ids and padding mask in, hidden states out.
        tokenizer: Its tokenizer, None if it was not asked for.
        context_length: Number of positions that it was trained for.
        end_id: Id of the token that ends a text or a turn, None if the file names none.
        chat_template: The Jinja template of the file as text, None if it has none. It comes from
            whoever made the file: never render it outside of a sandbox.
    """

    backbone: keras.Model
    tokenizer: Tokenizer | None
    context_length: int
    end_id: int | None
    chat_template: str | None


def half_split(matrix: np.ndarray, *, head_dim: int) -> np.ndarray:
    """Undoes the order in which GGUF stores the rows of queries and keys.

    llama.cpp turns neighboring coordinates (0, 1), (2, 3), … together, KerasHub coordinates
    i and i + d/2. The same rotation needs the rows in another order.

    Args:
        matrix: Float array `[H·d, D]`, the rows of each head interleaved.
        head_dim: Width of a head d.

    Returns:
        An array of the same shape.

    Example:
        >>> half_split(np.array([[0], [1], [2], [3]]), head_dim=4).ravel().tolist()
        [0, 2, 1, 3]
    """
    rows, width = matrix.shape
    pairs = matrix.reshape(rows // head_dim, head_dim // 2, 2, width)
    return pairs.swapaxes(1, 2).reshape(rows, width)


def load_gguf(path: str | os.PathLike[str], *, tokenizer: bool = True) -> PretrainedLM:
    """Loads a GGUF file of the Llama architecture into KerasHub.

    Args:
        path: The file; its tensors may be F32, F16, Q8_0, Q4_1 or what else the `gguf` package
            decodes. They become float32.
        tokenizer: Whether to rebuild the tokenizer as well.

    Returns:
        The `LlamaBackbone`, the tokenizer and what the file says about its use.

    Raises:
        ImportError: If `gguf` or KerasHub is not installed.
        FileNotFoundError: If there is no file.
        ValueError: If the file is damaged, of another architecture, or has parts that a
            `LlamaBackbone` has no place for.
    """
    file = read_gguf(path)
    architecture = file.metadata.get("general.architecture")
    if architecture != "llama":
        raise ValueError(
            "`path` must be a GGUF file of the architecture 'llama'. Received: "
            f"general.architecture={architecture!r}. Load other architectures with "
            "keras_hub.models.Backbone.from_preset."
        )
    sizes = _sizes(file)
    names = _tensor_names(sizes["layers"])
    foreign = sorted(set(file.tensors) - names - {"output.weight"})
    if foreign:
        raise ValueError(
            "`path` must hold the tensors of a plain Llama model. Received: also "
            f"{foreign[:5]}, for which a LlamaBackbone has no place."
        )
    return PretrainedLM(
        backbone=_backbone(file, sizes),
        tokenizer=gguf_tokenizer(file.metadata) if tokenizer else None,
        context_length=int(file.metadata["llama.context_length"]),
        end_id=file.metadata.get("tokenizer.ggml.eos_token_id"),
        chat_template=file.metadata.get("tokenizer.chat_template"),
    )


def _sizes(file: GGUFFile) -> dict[str, int]:
    def size(name: str, default: int | None = None) -> int:
        value = file.metadata.get(f"llama.{name}", default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(
                f"`path` must state llama.{name}, a positive int. Received: {value!r}. "
                "The file is damaged or not a whole model."
            )
        return value

    hidden, num_heads = size("embedding_length"), size("attention.head_count")
    num_key_value = size("attention.head_count_kv", num_heads)
    size("context_length")
    head_dim = hidden // num_heads
    turned = size("rope.dimension_count", head_dim)
    scaling = file.metadata.get("llama.rope.scaling.type", "none")
    if turned != head_dim or scaling != "none":
        raise ValueError(
            "`path` must turn whole heads by unscaled positions. Received: "
            f"llama.rope.dimension_count={turned} with heads of {head_dim}, "
            f"llama.rope.scaling.type={scaling!r}. Load the model with KerasHub's own converter."
        )
    table = file.tensors.get("token_embd.weight")
    rows = len(file.metadata.get("tokenizer.ggml.tokens", ())) or 0
    return {
        "layers": size("block_count"),
        "hidden": hidden,
        "num_heads": num_heads,
        "num_key_value": num_key_value,
        "head_dim": head_dim,
        "heads": num_heads * head_dim,
        "key_value": num_key_value * head_dim,
        "units": size("feed_forward_length"),
        "vocabulary": int(table.shape[1]) if table is not None else max(rows, 1),
    }


def _tensor_names(num_layers: int) -> set[str]:
    inside = [name for name, *_ in _MATRICES.values()] + list(_NORMS.values())
    blocks = {f"blk.{i}.{name}.weight" for i in range(num_layers) for name in inside}
    return blocks | {"token_embd.weight", "output_norm.weight"}


def _backbone(file: GGUFFile, sizes: dict[str, int]) -> keras.Model:
    try:
        hub = importlib.import_module("keras_hub")
    except ImportError as error:
        raise ImportError(
            "Loading a pretrained language model needs KerasHub. "
            "Install it with `pip install 'tfdistill[language]'`."
        ) from error
    backbone = hub.models.LlamaBackbone(
        vocabulary_size=sizes["vocabulary"],
        num_layers=sizes["layers"],
        num_query_heads=sizes["num_heads"],
        num_key_value_heads=sizes["num_key_value"],
        hidden_dim=sizes["hidden"],
        intermediate_dim=sizes["units"],
        rope_max_wavelength=float(file.metadata.get("llama.rope.freq_base", 10000.0)),
        layer_norm_epsilon=float(file.metadata["llama.attention.layer_norm_rms_epsilon"]),
        tie_word_embeddings="output.weight" not in file.tensors,
    )
    table = (sizes["vocabulary"], sizes["hidden"])
    embedding = backbone.token_embedding
    embedding.embeddings.assign(file.tensor("token_embd.weight", shape=table))
    if "output.weight" in file.tensors:
        embedding.reverse_embeddings.assign(file.tensor("output.weight", shape=table).T)
    backbone.layer_norm.scale.assign(file.tensor("output_norm.weight", shape=(sizes["hidden"],)))
    for index, block in enumerate(backbone.transformer_layers):
        layers = {layer.name: layer for layer in block._flatten_layers(include_self=False)}
        for name, stored in _NORMS.items():
            scale = file.tensor(f"blk.{index}.{stored}.weight", shape=(sizes["hidden"],))
            layers[name].scale.assign(scale)
        for name in _MATRICES:
            kernel = layers[name].kernel
            kernel.assign(_matrix(file, index, name, sizes).reshape(kernel.shape))
    return backbone


def _matrix(file: GGUFFile, index: int, name: str, sizes: dict[str, int]) -> Any:
    """Reads a kernel as Keras stores it: inputs first."""
    stored, outputs, inputs = _MATRICES[name]
    matrix = file.tensor(f"blk.{index}.{stored}.weight", shape=(sizes[outputs], sizes[inputs]))
    if name in ("query", "key"):
        matrix = half_split(matrix, head_dim=sizes["head_dim"])
    return matrix.T
