"""Rebuilds the tokenizer that a GGUF file describes, with the `tokenizers` package.

The file holds the tokens, their merges and the name of the rule that splits text before merging.
Byte-level BPE knows all 256 bytes, so every text has ids and decodes to itself again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

__all__ = ["gguf_tokenizer"]

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
