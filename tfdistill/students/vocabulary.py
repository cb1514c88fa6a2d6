"""Makes a vocabulary smaller: the tokens that the texts use, or rows that rare words share.

Most of a small student is its embedding table. BERT's 30,522 rows at width 64 are 2 MB at 8 bits,
and the texts of one domain use a fraction of them. A word that is cut from a WordPiece vocabulary
becomes the unknown token, which keeps its row. A token that is cut from a byte-level BPE vocabulary
falls apart into smaller ones, in the end into single bytes, which are all kept: every text can
still be written, in more tokens.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from tokenizers import Tokenizer, pre_tokenizers

from tfdistill.arguments import check_int
from tfdistill.bundles.long_texts import check_long_texts, kept
from tfdistill.students.text_rows import check_texts

__all__ = ["cut_byte_bpe", "cut_vocabulary", "shared_rows"]


def cut_vocabulary(
    tokenizer: Tokenizer, texts: Sequence[str], *, sequence_length: int, long_texts: str = "head"
) -> tuple[Tokenizer, np.ndarray]:
    """Makes a tokenizer that knows only the tokens that the texts use, with id 0 for padding.

    Among the tokens that the student reads every text is split as before, so a model whose
    embedding rows are taken over by `kept_ids` gives the same answers on these texts.

    Args:
        tokenizer: A WordPiece tokenizer with its padding token at id 0. Left untouched.
        texts: The texts to keep whole, usually the training texts.
        sequence_length: Number of tokens of each text that the student sees.
        long_texts: Which tokens of a longer text those are, as in `encode_rows`.

    Returns:
        The smaller tokenizer, and `kept_ids`, int32 `[V]`: the old id of each new id. Special
        tokens are always kept.

    Raises:
        TypeError: If `tokenizer` is not a `tokenizers.Tokenizer`.
        ValueError: If there is no text, or the tokenizer is not a WordPiece one with padding at
            id 0 and a row for unknown words.

    Example:
        >>> from tokenizers.models import WordPiece
        >>> words = {"[PAD]": 0, "[UNK]": 1, "oil": 2, "gas": 3}
        >>> small, kept_ids = cut_vocabulary(
        ...     Tokenizer(WordPiece(words, unk_token="[UNK]")), ["gas"], sequence_length=8)
        >>> small.get_vocab_size(), kept_ids.tolist()
        (3, [0, 1, 3])
    """
    if not isinstance(tokenizer, Tokenizer):
        raise TypeError(
            "`tokenizer` must be a tokenizers.Tokenizer. Received: tokenizer="
            f"{type(tokenizer).__name__}. Tokenizer.from_file('tokenizer.json') makes one."
        )
    check_texts(texts)
    if not len(texts):
        raise ValueError("`texts` must not be empty. Received: texts=[]. Give the training texts.")
    state = json.loads(tokenizer.to_str())
    if state["model"]["type"] != "WordPiece":
        raise ValueError(
            "`tokenizer` must be a WordPiece tokenizer. Received: tokenizer with model "
            f"{state['model']['type']}. Other kinds cannot lose tokens one by one."
        )
    unknown = state["model"]["unk_token"]
    if tokenizer.token_to_id(unknown) is None:
        raise ValueError(
            "`tokenizer` must have a row for unknown words. Received: tokenizer whose unknown "
            f"token {unknown!r} is not in its vocabulary. Words left out would have no id."
        )
    padding = tokenizer.id_to_token(0)
    if padding is None or "pad" not in padding.lower():
        raise ValueError(
            "`tokenizer` must have its padding token at id 0. Received: tokenizer with "
            f"{padding!r} there. Id 0 is what the students take for padding."
        )
    check_long_texts(long_texts)
    used = _kept_pieces(tokenizer, texts, sequence_length=sequence_length, long_texts=long_texts)
    special = {token["id"] for token in state["added_tokens"]}
    special |= {0, tokenizer.token_to_id(unknown)}
    kept_ids = np.array(sorted(special | used), np.int32)
    new_id = {int(old): new for new, old in enumerate(kept_ids)}
    state["model"]["vocab"] = {
        token: new_id[old] for token, old in state["model"]["vocab"].items() if old in new_id
    }
    for token in state["added_tokens"]:
        token["id"] = new_id[token["id"]]
    _renumber_post_processor(state, new_id)
    state["padding"] = state["truncation"] = None
    return Tokenizer.from_str(json.dumps(state)), kept_ids


def shared_rows(
    vectors: np.ndarray, *, counts: np.ndarray, num_rows: int, special_ids: Sequence[int] = (0,)
) -> tuple[np.ndarray, np.ndarray]:
    """Gives the frequent words a row each, and every other word that of the most similar one.

    A table of `num_rows` rows then serves a vocabulary of any size: rare words, of which the
    texts say too little to train a row, cost nothing but an entry in a list of ints.

    Args:
        vectors: What is known of each token, float array `[V, D]`; similarity is their cosine.
            The teacher's table, or `token_features`.
        counts: How often the texts use each token, int array `[V]`. Equally frequent tokens rank
            by their id, the lower one first, as in BERT's vocabulary.
        num_rows: Number of rows R, an int from the number of special ids + 1 to V.
        special_ids: Tokens with a row of their own that no other token takes.

    Returns:
        The row of each token, int32 `[V]`, for `text_encoder(row_of_token=...)`; and the token
        that each row belongs to, int32 `[R]`, in rising order, for `start_embedding`.

    Raises:
        ValueError: If the lengths differ or `num_rows` is out of range.

    Example:
        >>> vectors = np.array([[0, 0], [1, 0], [0, 1], [3, 1]])
        >>> rows, owners = shared_rows(vectors, counts=np.array([0, 5, 5, 1]), num_rows=3)
        >>> rows.tolist(), owners.tolist()
        ([0, 1, 2, 1], [0, 1, 2])
    """
    vectors, counts = np.asarray(vectors, np.float32), np.asarray(counts)
    if vectors.ndim != 2 or counts.shape != vectors.shape[:1]:
        raise ValueError(
            "`counts` must hold one number for each row of `vectors`. Received: counts of shape "
            f"{counts.shape}, vectors of shape {vectors.shape}. np.bincount(ids, minlength=V) "
            "counts."
        )
    special = np.zeros(len(vectors), bool)
    special[list(special_ids)] = True
    least = int(special.sum()) + 1
    hint = "Special tokens keep theirs, and one row must be left for the words."
    check_int(num_rows, argument="num_rows", at_least=least, at_most=len(vectors), hint=hint)
    ranked = np.lexsort((np.arange(len(vectors)), -counts, ~special))
    owners, others = np.sort(ranked[:num_rows]), np.sort(ranked[num_rows:])
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    directions = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
    words = np.flatnonzero(~special[owners])
    row_of_token = np.zeros(len(vectors), np.int32)
    row_of_token[owners] = np.arange(num_rows)
    row_of_token[others] = words[np.argmax(directions[others] @ directions[owners[words]].T, 1)]
    return row_of_token, owners.astype(np.int32)


def _kept_pieces(
    tokenizer: Tokenizer, texts: Sequence[str], *, sequence_length: int, long_texts: str
) -> set[int]:
    """Collects the pieces that are read, and the others of words that are cut in the middle.

    Without the others the smaller vocabulary would turn the whole word into the unknown token.
    """
    own = Tokenizer.from_str(tokenizer.to_str())
    own.no_padding()
    own.no_truncation()
    room = max(sequence_length - own.num_special_tokens_to_add(is_pair=False), 0)
    used: set[int] = set()
    for encoding in own.encode_batch(list(texts), add_special_tokens=False):
        ids, words = encoding.ids, encoding.word_ids
        for part in kept(len(ids), room=room, long_texts=long_texts):
            for start, stop in part:
                while 0 < start < stop and words[start - 1] == words[start]:
                    start -= 1
                while start < stop < len(ids) and words[stop] == words[stop - 1]:
                    stop += 1
                used.update(ids[start:stop])
    return used


def _renumber_post_processor(state: dict, new_id: dict[int, int]) -> None:
    """Gives the template that adds [CLS] and [SEP] their new ids."""
    processor = state.get("post_processor") or {}
    for token in processor.get("special_tokens", {}).values():
        token["ids"] = [new_id[old] for old in token["ids"]]
    for name in ("cls", "sep"):
        if name in processor:
            text, old = processor[name]
            processor[name] = [text, new_id[old]]


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
    hint = "The bytes and special tokens are all kept. 4,000 to 8,000 suit a narrow domain."
    check_int(size, argument="size", at_least=len(always), hint=hint)
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
