"""Reads GGUF, the file format of llama.cpp: metadata, and tensors that may be quantized.

A GGUF file is data only: keys with values, and blocks of numbers. Each quantized block is turned
into float32 by the `gguf` package (level times scale, plus a minimum where the type has one).

Rebuilds the tokenizer that a GGUF file describes, with the `tokenizers` package.

The file holds the tokens, their merges and the name of the rule that splits text before merging.
Byte-level BPE knows all 256 bytes, so every text has ids and decodes to itself again.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

__all__ = ["GGUFFile", "gguf_tokenizer", "read_gguf"]

_MAGIC = b"GGUF"


@dataclass(frozen=True)
class GGUFFile:
    """A GGUF file whose structure has been read; tensors are decoded when they are asked for.

    Attributes:
        path: The file.
        metadata: Its keys and values, read-only; lists as Python lists.
        tensors: The stored tensors by name, as the `gguf` package describes them.
    """

    path: Path
    metadata: Mapping[str, Any]
    tensors: Mapping[str, Any]

    def tensor(self, name: str, *, shape: tuple[int, ...]) -> np.ndarray:
        """Decodes one tensor.

        Args:
            name: Its name in the file.
            shape: The shape that it has to have, rows first (outputs, inputs).

        Returns:
            float32 array of that shape.

        Raises:
            ValueError: If it is missing, of another shape, or of a type that cannot be decoded.
        """
        stored = self.tensors.get(name)
        if stored is None:
            raise ValueError(
                f"`path` must hold the tensor {name!r}. Received: path={str(self.path)!r} with "
                f"{len(self.tensors)} tensors and none of that name. Is it a whole model?"
            )
        found = tuple(int(size) for size in reversed(stored.shape))
        if found != shape:
            raise ValueError(
                f"`path` must hold tensors of the sizes that its metadata state. Received: {name} "
                f"of shape {found}, stated: {shape}. The file is damaged; download it again."
            )
        quants = importlib.import_module("gguf.quants")
        try:
            values = quants.dequantize(stored.data, stored.tensor_type)
        except NotImplementedError as error:
            raise ValueError(
                "`path` must hold tensors that the gguf package decodes, such as F32, F16, Q8_0 "
                f"or Q4_1. Received: {name} of type {stored.tensor_type.name}. Convert the file."
            ) from error
        return np.asarray(values, np.float32).reshape(shape)


def read_gguf(path: str | os.PathLike[str]) -> GGUFFile:
    """Opens a GGUF file.

    Args:
        path: The file.

    Returns:
        Its metadata and tensors.

    Raises:
        ImportError: If the `gguf` package is not installed.
        FileNotFoundError: If there is no file.
        ValueError: If it is no GGUF file, or was cut short.

    Example:
        >>> read_gguf("no/such.gguf")
        Traceback (most recent call last):
        ...
        FileNotFoundError: `path` must be an existing GGUF file. Received: path='no/such.gguf'.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(
            f"`path` must be an existing GGUF file. Received: path={str(path)!r}."
        )
    with file.open("rb") as stream:
        magic = stream.read(4)
    if magic != _MAGIC:
        raise ValueError(
            f"`path` must be a GGUF file, which begins with {_MAGIC!r}. "
            f"Received: path={str(path)!r}, which begins with {magic!r}."
        )
    try:
        gguf = importlib.import_module("gguf")
    except ImportError as error:
        raise ImportError(
            "Reading GGUF files needs the gguf package. "
            "Install it with `pip install 'tfdistill[language]'`."
        ) from error
    try:
        reader = gguf.GGUFReader(str(file))
        metadata = {key: field.contents() for key, field in reader.fields.items()}
        tensors = {tensor.name: tensor for tensor in reader.tensors}
    # What reading past the end of the mapped file ends in, depending on where it was cut.
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, MemoryError) as error:
        raise ValueError(
            "`path` must be a complete GGUF file. Received: "
            f"path={str(path)!r}, {file.stat().st_size} bytes, which cannot be read "
            f"({type(error).__name__}: {error}). It was cut off or damaged; download it again."
        ) from error
    return GGUFFile(file, MappingProxyType(metadata), MappingProxyType(tensors))


_CONTROL, _USER_DEFINED = 3, 4  # llama.cpp's token types
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_KEY = "tokenizer.ggml."


def gguf_tokenizer(metadata: Mapping[str, Any]) -> Tokenizer:
    """Makes a tokenizer from the metadata of a GGUF file.

    Args:
        metadata: Keys and values, as `read_gguf` gives them.

    Returns:
        A byte-level BPE tokenizer with the file's ids; it adds no token of its own accord.

    Raises:
        ValueError: If the file holds no tokenizer, or one of a kind that is not known.

    Example:
        >>> tokenizer = gguf_tokenizer({
        ...     "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "smollm",
        ...     "tokenizer.ggml.tokens": ["<end>", "o", "i", "l", "oi"],
        ...     "tokenizer.ggml.token_type": [3, 1, 1, 1, 1],
        ...     "tokenizer.ggml.merges": ["o i"]})
        >>> tokenizer.encode("oil<end>").ids
        [4, 3, 0]
    """
    kind = metadata.get(f"{_KEY}model")
    if kind != "gpt2":
        raise ValueError(
            "`path` must hold a byte-level BPE tokenizer (tokenizer.ggml.model = 'gpt2'). "
            f"Received: {kind!r}. Load the weights alone with `load_gguf(path, tokenizer=False)` "
            "and bring a tokenizer.json of the model."
        )
    rule = metadata.get(f"{_KEY}pre", "gpt-2")
    splitters = _splitters()
    if rule not in splitters:
        raise ValueError(
            f"`path` must hold a tokenizer with one of the splitting rules {sorted(splitters)}. "
            f"Received: tokenizer.ggml.pre={rule!r}. Load the weights alone with "
            "`load_gguf(path, tokenizer=False)` and bring a tokenizer.json of the model."
        )
    tokens = metadata.get(f"{_KEY}tokens", [])
    merges = [tuple(merge.split(" ", 1)) for merge in metadata.get(f"{_KEY}merges", [])]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    # Checked here, because the library panics on some of these.
    foreign = [pair for pair in merges if not {*pair, "".join(pair)} <= vocabulary.keys()]
    if foreign or not tokens:
        raise ValueError(
            f"`path` must hold a vocabulary and merges that fit together. Received: {len(tokens)} "
            f"tokens, {len(merges)} merges, {len(foreign)} of them of tokens that are not there. "
            "The file is damaged; download it again."
        )
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = splitters[rule]
    tokenizer.decoder = decoders.ByteLevel()
    kinds = metadata.get(f"{_KEY}token_type", [1] * len(tokens))
    for token, token_kind in zip(tokens, kinds, strict=True):
        if token_kind in (_CONTROL, _USER_DEFINED):
            special = token_kind == _CONTROL
            added = AddedToken(token, special=special, normalized=False)
            (tokenizer.add_special_tokens if special else tokenizer.add_tokens)([added])
    return tokenizer


def _splitters() -> dict[str, pre_tokenizers.PreTokenizer]:
    """Returns the rules of llama.cpp by their names there."""
    words = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    raw = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    digits = pre_tokenizers.Digits(individual_digits=True)
    llama3 = pre_tokenizers.Split(Regex(_LLAMA3), "isolated")
    return {
        "gpt-2": words,
        "llama-bpe": pre_tokenizers.Sequence([llama3, raw]),
        "smollm": pre_tokenizers.Sequence([digits, words]),
    }
