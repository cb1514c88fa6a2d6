"""Texts of three topics, and a teacher that knows their words and is small enough for a test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from shared_fixtures.word_pieces import SPECIAL, word_pieces

TOPICS = {
    "weather": ["rain", "snow", "fog", "hail", "wind", "storm", "sun", "frost"],
    "food": ["pizza", "soup", "bread", "tea", "cake", "rice", "salad", "stew"],
    "travel": ["train", "plane", "ship", "bus", "hotel", "map", "ticket", "road"],
}
OTHERS = ["the", "a", "and", "with", "my", "is", "we", "now", "more", "some", "today", "here"]


def texts(count: int, *, seed: int) -> tuple[list[str], list[str]]:
    """Returns seeded texts of six words and their topics."""
    generator = np.random.default_rng(seed)
    found, labels = [], []
    for _ in range(count):
        label = str(generator.choice(list(TOPICS)))
        words = [*generator.choice(TOPICS[label], 2), *generator.choice(OTHERS, 4)]
        found.append(" ".join(generator.permutation(words)))
        labels.append(label)
    return found, labels


@pytest.fixture(scope="session")
def tiny_teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of one block that knows the words above, as a KerasHub folder with its tokenizer."""
    import keras
    import keras_hub

    folder = tmp_path_factory.mktemp("teacher") / "tiny_bert"
    special = [*SPECIAL, "[MASK]"]
    words = [*special, *OTHERS, *(word for topic in TOPICS.values() for word in topic)]
    tokenizer = word_pieces(words, special=special)
    keras.utils.set_random_seed(0)
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=len(words), num_layers=1, num_heads=2, hidden_dim=16,
        intermediate_dim=32, max_sequence_length=32,
    )  # fmt: skip
    backbone.save_to_preset(str(folder))
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder
