"""A part of labelled texts, held out for testing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfdistill.datasets.text_files import TextData, text_data

__all__ = ["contradictions", "hold_out"]


def contradictions(texts: Sequence[str], labels: Sequence[str]) -> list[tuple[int, int]]:
    """Lists the rows that give a text another label than the first row with this text does.

    Nothing is wrong with the file then, and much with what a model can learn from it.

    Args:
        texts: N raw strings.
        labels: N class names.

    Returns:
        Pairs of the first row and the later one, counted from 0, in the order of the later ones.

    Example:
        >>> contradictions(["rain", "sun", "rain", "rain"], ["wet", "dry", "wet", "dry"])
        [(0, 3)]
    """
    first: dict[str, int] = {}
    found = []
    for row, (text, label) in enumerate(zip(texts, labels, strict=True)):
        earlier = first.setdefault(text, row)
        if labels[earlier] != label:
            found.append((earlier, row))
    return found


def hold_out(
    texts: Sequence[str], labels: Sequence[str], *, share: float = 0.2, seed: int = 0
) -> TextData:
    """Splits labelled texts into training and test texts, class by class.

    Of a class with n different texts, round(share · n) are held out, and never all of them: a
    class with one text trains and is not tested. Texts that occur several times are kept on one
    side, or the test would ask what training told.

    Args:
        texts: N raw strings.
        labels: N class names.
        share: Fraction of each class's texts that is held out, in (0, 1).
        seed: Seed of the draw.

    Returns:
        The data set.

    Raises:
        ValueError: If `share` is not in (0, 1), there are fewer than two classes, or no class has
            two different texts, so that nothing can be held out.

    Example:
        >>> data = hold_out(["a", "b", "c", "d", "e"], ["x", "x", "y", "y", "z"], share=0.5)
        >>> len(data.train_texts), len(data.test_texts), data.label_names
        (3, 2, ('x', 'y', 'z'))
    """
    if not 0.0 < share < 1.0:
        raise ValueError(f"`share` must be a fraction in (0, 1). Received: share={share!r}.")
    if len(texts) != len(labels):
        raise ValueError(
            f"`texts` must be as many as `labels`. Received: {len(texts)} texts, "
            f"{len(labels)} labels."
        )
    if len(set(labels)) < 2:
        raise ValueError(
            f"`labels` must be of two or more classes. Received: {sorted(set(labels))!r} only."
        )
    generator = np.random.default_rng(seed)
    first_label = dict(zip(reversed(texts), reversed(labels), strict=True))
    held: set[str] = set()
    for name in sorted(set(labels)):
        own = sorted(text for text, label in first_label.items() if label == name)
        count = min(round(share * len(own)), len(own) - 1)
        held.update(own[index] for index in generator.permutation(len(own))[: max(0, count)])
    parts: dict[bool, tuple[list[str], list[str]]] = {True: ([], []), False: ([], [])}
    trained = {label for text, label in zip(texts, labels, strict=True) if text not in held}
    for text, label in zip(texts, labels, strict=True):
        # A class known from contradicting copies of held-out texts alone still has to train.
        side = parts[text in held and label in trained]
        side[0].append(text)
        side[1].append(label)
    if not parts[True][0]:
        raise ValueError(
            "`texts` must hold two different texts of some class, to hold one out. "
            f"Received: {len(texts)} texts of {len(set(labels))} classes, share={share}. "
            "Give test texts of their own, or a larger share."
        )
    return text_data(parts[False], parts[True])
