"""Packs texts into rows of token ids, with the next token of each position as its label.

Texts are concatenated with a separator before each and cut into rows of one length, so that no
position is padding. Where a conversation is distilled, the prompt is not to be learned: its labels
are `IGNORED`, and `Distiller.compile(ignore_class=IGNORED)` leaves it out of the task loss and of
the distillation loss.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from tokenizers import Tokenizer

from tfdistill.arguments import check_int

__all__ = ["IGNORED", "next_tokens", "pack_texts", "prompted_rows"]

IGNORED = -1


def pack_texts(
    tokenizer: Tokenizer, texts: Iterable[str], *, length: int, separator: int
) -> np.ndarray:
    """Encodes texts into rows without padding.

    Args:
        tokenizer: What makes the ids.
        texts: The texts, in the order in which they will stand.
        length: Ids per row, L; a rest at the end that does not fill a row is left out.
        separator: Id put before each text, such as that of an end-of-text token.

    Returns:
        int32 `[rows, L]`.

    Raises:
        TypeError: If `texts` is one str or `length` no int.
        ValueError: If `length` is below 2 or the texts do not fill one row.

    Example:
        >>> from tokenizers.models import WordLevel
        >>> tokenizer = Tokenizer(WordLevel({"<end>": 0, "oil": 1, "gas": 2}))
        >>> pack_texts(tokenizer, ["oil", "gas"], length=2, separator=0).tolist()
        [[0, 1], [0, 2]]
    """
    if isinstance(texts, str):
        raise TypeError(f"`texts` must be a list of str. Received: texts={texts!r}.")
    check_int(length, argument="length", at_least=2)
    ids: list[int] = []
    for encoding in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False):
        ids.append(separator)
        ids.extend(encoding.ids)
    rows = len(ids) // length
    if not rows:
        raise ValueError(
            f"`texts` must fill at least one row of {length} ids. Received: texts of {len(ids)} "
            "ids. Give more text or a smaller length."
        )
    return np.array(ids[: rows * length], np.int32).reshape(rows, length)


def next_tokens(rows: np.ndarray, *, prompt_lengths: Sequence[int] | None = None) -> np.ndarray:
    """Makes the labels of rows of ids: at each position the id that comes next.

    The last position has none, and neither have those whose next token is still the prompt's.

    Args:
        rows: Token ids, int `[B, L]`.
        prompt_lengths: Number of ids of each row that were given and are not to be learned; None
            if all of the text is.

    Returns:
        int32 `[B, L]`; `IGNORED` where there is nothing to predict.

    Raises:
        ValueError: If there is not one prompt length in [0, L] for each row.

    Example:
        >>> next_tokens(np.array([[5, 6, 7, 8]]), prompt_lengths=[2]).tolist()
        [[-1, 7, 8, -1]]
    """
    rows = np.asarray(rows, np.int32)
    labels = np.full_like(rows, IGNORED)
    labels[:, :-1] = rows[:, 1:]
    if prompt_lengths is None:
        return labels
    lengths = np.asarray(prompt_lengths)
    if lengths.shape != (len(rows),) or lengths.min() < 0 or lengths.max() > rows.shape[1]:
        raise ValueError(
            f"`prompt_lengths` must hold one int in [0, {rows.shape[1]}] for each of {len(rows)} "
            f"rows. Received: prompt_lengths={prompt_lengths!r}."
        )
    given = np.arange(1, rows.shape[1] + 1)[None] < lengths[:, None]
    labels[given] = IGNORED
    return labels


def prompted_rows(
    prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]], *, length: int, end: int
) -> tuple[np.ndarray, np.ndarray]:
    """Puts prompts and answers into rows whose labels are the answers alone.

    Args:
        prompts: Ids of each prompt.
        answers: Ids of each answer, as many as prompts.
        length: Ids per row, L; a longer pair loses its end.
        end: Id that ends an answer, and fills the row; it is learned once.

    Returns:
        Rows and labels, int32 `[B, L]` each.

    Raises:
        ValueError: If there are not as many answers as prompts.

    Example:
        >>> rows, labels = prompted_rows([[5, 6]], [[7]], length=5, end=0)
        >>> rows.tolist(), labels.tolist()
        ([[5, 6, 7, 0, 0]], [[-1, 7, 0, -1, -1]])
    """
    if len(prompts) != len(answers) or not prompts:
        raise ValueError(
            "`answers` must have one entry for each prompt, at least one. "
            f"Received: {len(answers)} answers, {len(prompts)} prompts."
        )
    rows = np.full((len(prompts), length), end, np.int32)
    labels = np.full_like(rows, IGNORED)
    for row, label, prompt, answer in zip(rows, labels, prompts, answers, strict=True):
        ids = [*prompt, *answer, end][:length]
        row[: len(ids)] = ids
        first = max(len(prompt) - 1, 0)
        label[first : len(ids) - 1] = ids[first + 1 :]
    return rows, labels
