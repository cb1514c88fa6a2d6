"""Texts as rows of token ids: cut and padded to one length, as agents do it.

A text that is longer than a row is cut, joined from its beginning and its end, or spread over
several rows (`tfdistill.bundles.long_texts`); what a model says of several rows is averaged.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tokenizers import Tokenizer

from tfdistill.bundles.long_texts import check_long_texts, content_of, kept

__all__ = ["check_texts", "encode", "encode_rows", "mean_by_text"]

_CHUNK = 1024  # texts that are tokenized together


def encode(
    tokenizer: Tokenizer,
    texts: Sequence[str],
    *,
    sequence_length: int,
    long_texts: str = "head",
) -> np.ndarray:
    """Turns texts into rows of token ids, cut and padded with 0 to one length.

    Args:
        tokenizer: Any tokenizer; its own padding and truncation settings are not used.
        texts: The texts.
        sequence_length: Number of ids per text, special tokens included.
        long_texts: What is kept of a text of more ids: its "head", or half of them from its "head"
            and half from its "tail" ("head+tail"). `encode_rows` also reads in "windows".

    Returns:
        int32 `[len(texts), sequence_length]`.

    Raises:
        TypeError: If `texts` is not a list of str.
        ValueError: If `long_texts` is "windows" or unknown.

    Example:
        >>> from tokenizers.models import WordLevel
        >>> tokenizer = Tokenizer(WordLevel({"[PAD]": 0, "[UNK]": 1, "oil": 2}, "[UNK]"))
        >>> encode(tokenizer, ["oil"], sequence_length=3)
        array([[2, 0, 0]], dtype=int32)
    """
    if check_long_texts(long_texts) == "windows":
        raise ValueError(
            "`long_texts` must be 'head' or 'head+tail'. Received: long_texts='windows', which "
            "gives several rows a text. Use `encode_rows`."
        )
    return encode_rows(
        tokenizer, texts, sequence_length=sequence_length, long_texts=long_texts
    )[0]  # fmt: skip


def encode_rows(
    tokenizer: Tokenizer,
    texts: Sequence[str],
    *,
    sequence_length: int,
    long_texts: str = "head",
) -> tuple[np.ndarray, np.ndarray]:
    """Turns texts into rows of token ids, one or several for each text.

    Args:
        tokenizer: Any tokenizer; its own padding and truncation settings are not used.
        texts: N texts.
        sequence_length: Number of ids per row L, special tokens included.
        long_texts: What is kept of a text of more ids: "head", "head+tail", or all of it in
            "windows", at most 8 rows, of which neighbours share a fifth of their tokens or more.

    Returns:
        Ids, int32 `[R, L]`, and the text of each row, int32 `[R]`, rising from 0 to N − 1. R = N
        but for "windows".

    Raises:
        TypeError: If `texts` is not a list of str.
        ValueError: If `long_texts` is unknown.

    Example:
        >>> from tokenizers import pre_tokenizers
        >>> from tokenizers.models import WordLevel
        >>> tokenizer = Tokenizer(WordLevel({"[PAD]": 0, "a": 1, "b": 2, "c": 3}, "[PAD]"))
        >>> tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        >>> ids, text_of_row = encode_rows(
        ...     tokenizer, ["a b c", "b"], sequence_length=2, long_texts="windows")
        >>> ids.tolist(), text_of_row.tolist()
        ([[1, 2], [2, 3], [2, 0]], [0, 0, 1])
    """
    check_texts(texts)
    check_long_texts(long_texts)
    own = Tokenizer.from_str(tokenizer.to_str())
    own.no_padding()
    own.no_truncation()
    if long_texts == "head":
        own.enable_truncation(sequence_length)
    rows: list[list[int]] = []
    sources: list[int] = []
    for start in range(0, len(texts), _CHUNK):
        encodings = own.encode_batch_fast(list(texts[start : start + _CHUNK]))
        for source, encoding in enumerate(encodings, start):
            ids = encoding.ids
            if len(ids) <= sequence_length or long_texts == "head":
                # Cut here too: a length below that of the special tokens is not cut before.
                found = [ids[:sequence_length]]
            else:
                begin, end = content_of(encoding.special_tokens_mask)
                room = max(0, sequence_length - (len(ids) - (end - begin)))
                parts = kept(end - begin, room=room, long_texts=long_texts)
                found = [
                    [
                        *ids[:begin],
                        *(ids[place] for first, stop in part
                          for place in range(begin + first, begin + stop)),
                        *ids[end:],
                    ][:sequence_length]
                    for part in parts
                ]  # fmt: skip
            rows += found
            sources += [source] * len(found)
    filled = np.zeros((len(rows), sequence_length), np.int32)
    for target, ids in zip(filled, rows, strict=True):
        target[: len(ids)] = ids
    return filled, np.array(sources, np.int32)


def mean_by_text(values: np.ndarray, text_of_row: np.ndarray) -> np.ndarray:
    """Averages what a model says of the rows of each text.

    Args:
        values: Such as logits, float array `[R, ...]`.
        text_of_row: The text of each row, int array `[R]`, rising, every text with a row.

    Returns:
        The means, of the dtype of `values`, `[N, ...]`.

    Raises:
        ValueError: If the lengths differ or a text has no row.

    Example:
        >>> mean_by_text(np.array([[1.0], [3.0], [5.0]]), np.array([0, 0, 1])).tolist()
        [[2.0], [5.0]]
    """
    values, text_of_row = np.asarray(values), np.asarray(text_of_row)
    if not len(values):
        return values
    counts = np.bincount(text_of_row)
    if len(values) != len(text_of_row) or not counts.all():
        raise ValueError(
            "`text_of_row` must name the text of each row of `values`, each text at least once. "
            f"Received: {len(text_of_row)} rows of {np.count_nonzero(counts)} texts, "
            f"{len(values)} values."
        )
    if len(counts) == len(values):
        return values
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    sums = np.add.reduceat(values.astype(np.float64), starts, axis=0)
    return (sums / counts.reshape(-1, *[1] * (values.ndim - 1))).astype(values.dtype)


def check_texts(texts: Sequence[str]) -> None:
    """Refuses what is not a list of str.

    Raises:
        TypeError: If `texts` is one str, or holds something else.
    """
    if isinstance(texts, str):
        raise TypeError(
            f"`texts` must be a list of str. Received: texts={texts!r}. Did you mean [{texts!r}]?"
        )
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(
                f"`texts` must be a list of str. Received: texts[{row}]={text!r}. "
                "Drop the row or turn it into text."
            )
