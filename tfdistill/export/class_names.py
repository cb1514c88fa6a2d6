"""The names of the classes, as a bundle takes them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

__all__ = ["check_labels"]


def check_labels(labels: Any) -> tuple[str, ...]:
    """Returns the names if they are different, not empty, and str; or says which is wrong."""
    if isinstance(labels, str) or not isinstance(labels, Sequence):
        raise TypeError(
            f"`labels` must be a list of class names. Received: labels={labels!r} "
            f"({type(labels).__name__})."
        )
    for index, label in enumerate(labels):
        if not isinstance(label, str):
            raise TypeError(
                f"`labels` must be a list of str. Received: labels[{index}]={label!r} "
                f"({type(label).__name__})."
            )
        if not label:
            raise ValueError(f"`labels` must have no empty name. Received: labels[{index}]=''.")
    if not labels:
        raise ValueError("`labels` must name at least one class. Received: labels=[].")
    repeated = sorted(label for label, count in Counter(labels).items() if count > 1)
    if repeated:
        raise ValueError(
            f"`labels` must be different from each other. Received: {repeated} more than once."
        )
    return tuple(labels)
