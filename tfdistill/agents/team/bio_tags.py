"""From a tag per token to spans of the raw text.

A tagger answers each token with a tag: "O", or "B-x" where a span of label x begins and "I-x" where
it goes on. What counts is the tag of a word's first token; a span ends where its last word ends,
in characters of the text as it came, so nothing of the tokenizer's normalization is left in it.

Each tag may be the most probable one of its word and the sequence still impossible: "I-city" after
"B-state". `TagOrder` finds the most probable sequence that is possible.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfdistill.agents.team.messages import Span

__all__ = ["TagOrder", "allowed_tags", "check_tags", "decode_tags"]


def decode_tags(tags: Sequence[str], starts: Sequence[int], ends: Sequence[int]) -> list[Span]:
    """Joins the tags of words into spans.

    An "I-x" that follows no "B-x" or "I-x" begins a span, as the CoNLL evaluation reads it.

    Args:
        tags: One per word.
        starts: First character of each word.
        ends: The character after its last one.

    Returns:
        The spans, in order.

    Example:
        >>> decode_tags(["O", "B-city", "I-city", "I-state"], [0, 3, 7, 12], [2, 6, 11, 14])
        [Span(start=3, end=11, label='city'), Span(start=12, end=14, label='state')]

    References:
        Ramshaw, Marcus. "Text Chunking using Transformation-Based Learning", 1995.
        https://arxiv.org/abs/cmp-lg/9505040
    """
    spans: list[Span] = []
    label: str | None = None
    begin = 0
    for index, tag in enumerate(tags):
        if tag[:2] == "I-" and tag[2:] == label:
            continue
        if label is not None:
            spans.append(Span(begin, ends[index - 1], label))
        label = None if tag == "O" else tag[2:]
        begin = starts[index]
    if label is not None:
        spans.append(Span(begin, ends[len(tags) - 1], label))
    return spans


class TagOrder:
    """Finds the best sequence of tags in which no span goes on that has not begun.

    "I-x" follows "B-x" or "I-x" only. Of all such sequences y of W words the one with the largest
    Σ_w z[w, y_w] is taken, which is the most probable one where the words' softmaxes are
    independent: a word's normalizer is the same for all its tags. A tagger that was trained word
    by word answers "B-a I-b" where it wavers between a and b; the sum lets both words have a say.

    Args:
        tags: "O", "B-x" and "I-x", C of them. Without a "B-x", "I-x" may begin a span.

    Example:
        >>> order = TagOrder(["O", "B-a", "I-a", "B-b", "I-b"])
        >>> logits = np.array([[0.0, 3.0, 0.0, 2.5, 0.0], [0.0, 0.0, 1.0, 0.0, 4.0]])
        >>> logits.argmax(axis=1).tolist(), order.best(logits).tolist()
        ([1, 4], [3, 4])

    References:
        Viterbi. "Error bounds for convolutional codes and an asymptotically optimum decoding
        algorithm", 1967, section IV. https://doi.org/10.1109/TIT.1967.1054010
    """

    def __init__(self, tags: Sequence[str]) -> None:
        number = {tag: index for index, tag in enumerate(tags)}
        going_on = [tag for tag in tags if tag[:2] == "I-" and f"B-{tag[2:]}" in number]
        anywhere = [tag for tag in tags if tag not in going_on]
        # What must stand before a tag that goes on with a span.
        self._needs = {number[tag]: (number[f"B-{tag[2:]}"], number[tag]) for tag in going_on}
        # In this order the tags that may stand anywhere come first.
        self._order = np.array([number[tag] for tag in (*anywhere, *going_on)], np.intp)
        self._opened_by = np.array([anywhere.index(f"B-{tag[2:]}") for tag in going_on], np.intp)

    def is_possible(self, path: Sequence[int]) -> bool:
        """Says whether every span of a sequence of tags' numbers goes on as it has begun."""
        before = -1
        for tag in path:
            if tag != before and before not in self._needs.get(tag, (before,)):
                return False
            before = tag
        return True

    def best(self, logits: np.ndarray) -> np.ndarray:
        """Returns the numbers of the best sequence's tags.

        Args:
            logits: Of each word, `[W, C]`; −inf is a tag that may not occur, "O" may.

        Returns:
            int array of shape `[W]`.
        """
        alone = logits.argmax(axis=1)
        if self.is_possible(alone.tolist()):
            return alone  # no sequence has a larger sum
        return self._order[self._best_path(logits[:, self._order].astype(np.float64))]

    def _best_path(self, logits: np.ndarray) -> list[int]:
        """Finds the path through logits whose columns are in `_order`."""
        words, opened_by = len(logits), self._opened_by
        free = logits.shape[1] - len(opened_by)
        total = np.empty_like(logits)  # of the best path to each tag of each word
        total[0, :free], total[0, free:] = logits[0, :free], -np.inf
        for word in range(1, words):
            before = total[word - 1]
            total[word, :free] = before.max()
            total[word, free:] = np.maximum(before[opened_by], before[free:])
            total[word] += logits[word]
        path = [int(total[-1].argmax())]
        for word in range(words - 2, -1, -1):
            inside = path[-1] - free
            if inside < 0:
                path.append(int(total[word].argmax()))
            elif total[word, opened_by[inside]] > total[word, path[-1]]:
                path.append(int(opened_by[inside]))
            else:
                path.append(path[-1])
        return path[::-1]


def check_tags(tags: Sequence[str]) -> tuple[str, ...]:
    """Returns tags, or refuses what is no list of "O", "B-x" and "I-x".

    Raises:
        ValueError: If a tag has another form, one is doubled, or "O" is missing.
    """
    wrong = [tag for tag in tags if tag != "O" and not (tag[:2] in ("B-", "I-") and tag[2:])]
    if wrong or len(set(tags)) < len(tags) or "O" not in tags:
        raise ValueError(
            "`tags` must be 'O', and 'B-x' and 'I-x' for labels x, each once. Received: tags="
            f"{list(tags)[:12]!r}{f', with {wrong[:3]!r}' if wrong else ''}."
        )
    return tuple(tags)


def allowed_tags(tags: Sequence[str], labels: Sequence[str]) -> np.ndarray:
    """Marks the tags of some labels, and "O".

    Args:
        tags: The tags.
        labels: The labels that may occur.

    Returns:
        bool array of shape `[C]`.

    Example:
        >>> allowed_tags(["O", "B-city", "I-city", "B-year"], ["city"]).tolist()
        [True, True, True, False]
    """
    return np.array([tag == "O" or tag[2:] in set(labels) for tag in tags])
