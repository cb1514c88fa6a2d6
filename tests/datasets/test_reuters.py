from __future__ import annotations

import collections

import pytest

from tfdistill.datasets import AssetUnreachableError, TextData, load_20newsgroups, load_reuters


def load(name: str) -> TextData:
    try:
        return load_20newsgroups() if name == "20newsgroups" else load_reuters(name)
    except AssetUnreachableError as error:
        pytest.skip(str(error))


def test_r8_has_the_published_class_sizes(r8: TextData):
    # Cardoso-Cachopo 2007, table of R8.
    expected = {
        "acq": (1596, 696),
        "crude": (253, 121),
        "earn": (2840, 1083),
        "grain": (41, 10),
        "interest": (190, 81),
        "money-fx": (206, 87),
        "ship": (108, 36),
        "trade": (251, 75),
    }
    train = collections.Counter(r8.train_labels.tolist())
    test = collections.Counter(r8.test_labels.tolist())

    found = {name: (train[index], test[index]) for index, name in enumerate(r8.label_names)}
    assert found == expected


def test_r8_first_text_is_about_a_stock_split(r8: TextData):
    assert r8.label_names[r8.train_labels[0]] == "earn"
    assert r8.train_texts[0].startswith("champion products ch approves stock split")


@pytest.mark.network
@pytest.mark.parametrize(
    ("name", "train", "test", "classes"),
    [("r52", 6532, 2568, 52), ("20newsgroups", 11293, 7528, 20)],
)
def test_other_sets_have_the_published_sizes(name: str, train: int, test: int, classes: int):
    data = load(name)

    assert (len(data.train_texts), len(data.test_texts)) == (train, test)
    assert (len(data.train_labels), len(data.test_labels)) == (train, test)
    assert len(data.label_names) == classes
    assert set(data.train_labels.tolist()) == set(range(classes))
    assert all(text and "\t" not in text for text in data.train_texts + data.test_texts)


def test_unknown_split_is_refused():
    with pytest.raises(ValueError, match="`name` must be 'r8' or 'r52'. Received: name='r90'"):
        load_reuters("r90")
