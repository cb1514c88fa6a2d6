"""Cuts a byte-level BPE vocabulary to a domain; every text can still be written in it.

A language model's table has a row for each of some 50,000 tokens, most of which the texts of one
domain never need. What is cut falls apart into smaller pieces, in the end into single bytes, which
are all kept: what the tokenizer could write it still can, only in more tokens.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from tokenizers import Tokenizer, pre_tokenizers

__all__ = ["cut_byte_bpe"]

_ASCII = {chr(byte) for byte in range(0x21, 0x7F)} | {"Ġ"}  # Ġ is the space


def cut_byte_bpe(
    tokenizer: Tokenizer, texts: Sequence[str], *, size: int
) -> tuple[Tokenizer, np.ndarray]:
    """Makes a tokenizer of at most `size` tokens, those that the texts use most.

    A token is kept together with the tokens that it is merged from, so a word whose tokens are
    all kept is split as before: of the merges that apply to it none is gone.

    Args:
        tokenizer: A byte-level BPE tokenizer. Left untouched.
        texts: Texts of the domain.
        size: Largest number of tokens, an int above that of the bytes and special tokens.

    Returns:
        The smaller tokenizer, and `kept_ids`, int32 `[V]`: the old id of each new id, rising.

    Raises:
        TypeError: If `tokenizer` is not a `tokenizers.Tokenizer`, or `texts` is one str.
        ValueError: If it is no byte-level BPE, there is no text, or `size` is too small.

    Example:
        >>> from tokenizers import models
        >>> letters = sorted(pre_tokenizers.ByteLevel.alphabet())
        >>> words = {token: index for index, token in enumerate([*letters, "oi", "oil", "as"])}
        >>> merges = [("o", "i"), ("oi", "l"), ("a", "s")]
        >>> whole = Tokenizer(models.BPE(vocab=words, merges=merges))
        >>> whole.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        >>> small, kept_ids = cut_byte_bpe(whole, ["oil oil gas"], size=258)
        >>> small.encode("oil").tokens, small.encode("gas").tokens
        (['oil'], ['g', 'a', 's'])
    """
    state = _state(tokenizer)
    if isinstance(texts, str):
        raise TypeError(f"`texts` must be a list of str. Received: texts={texts!r}.")
    if not len(texts):
        raise ValueError("`texts` must not be empty. Received: texts=[]. Give the domain's texts.")
    vocabulary: dict[str, int] = state["model"]["vocab"]
    merges = [tuple(merge) for merge in state["model"]["merges"]]
    parents = {left + right: (left, right) for left, right in merges}
    always = set(pre_tokenizers.ByteLevel.alphabet()) & set(vocabulary)
    always |= {token["content"] for token in state["added_tokens"]}
    if isinstance(size, bool) or not isinstance(size, int) or size < len(always):
        raise ValueError(
            f"`size` must be an int of at least {len(always)}, the bytes and special tokens. "
            f"Received: size={size!r}. 4,000 to 8,000 suit a narrow domain."
        )
    kept = set(always)
    for token, _ in _by_use(tokenizer, texts):
        needed = _with_parents(token, parents) - kept
        if len(kept) + len(needed) <= size:
            kept |= needed
    old_ids = {**vocabulary, **{token["content"]: token["id"] for token in state["added_tokens"]}}
    kept_ids = sorted(old_ids[token] for token in kept)
    new_id = {old: new for new, old in enumerate(kept_ids)}
    state["model"]["vocab"] = {
        token: new_id[old] for token, old in vocabulary.items() if token in kept
    }
    state["model"]["merges"] = [list(merge) for merge in merges if {*merge, "".join(merge)} <= kept]
    for added in state["added_tokens"]:
        added["id"] = new_id[added["id"]]
    return Tokenizer.from_str(json.dumps(state)), np.array(kept_ids, np.int32)


def _state(tokenizer: Tokenizer) -> dict:
    if not isinstance(tokenizer, Tokenizer):
        raise TypeError(
            "`tokenizer` must be a tokenizers.Tokenizer. Received: tokenizer="
            f"{type(tokenizer).__name__}. Tokenizer.from_file('tokenizer.json') makes one."
        )
    state = json.loads(tokenizer.to_str())
    kind, vocabulary = state["model"]["type"], state["model"]["vocab"]
    missing = [] if kind != "BPE" else sorted(_ASCII - set(vocabulary))
    if kind != "BPE" or missing:
        raise ValueError(
            "`tokenizer` must be a byte-level BPE tokenizer. Received: tokenizer with model "
            f"{kind}, without tokens for {missing[:5]}. `cut_vocabulary` cuts WordPiece."
        )
    return state


def _by_use(tokenizer: Tokenizer, texts: Sequence[str]) -> Iterable[tuple[str, int]]:
    """Counts the tokens of the texts, the most frequent first; ties in the order of their text."""
    counts: Counter[str] = Counter()
    for encoding in tokenizer.encode_batch(list(texts), add_special_tokens=False):
        counts.update(encoding.tokens)
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _with_parents(token: str, parents: dict[str, tuple[str, str]]) -> set[str]:
    """Lists a token and all that it is merged from."""
    found, waiting = set(), [token]
    while waiting:
        piece = waiting.pop()
        if piece not in found:
            found.add(piece)
            waiting.extend(parents.get(piece, ()))
    return found
