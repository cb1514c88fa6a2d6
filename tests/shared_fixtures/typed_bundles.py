"""Small bundles of several labels and of a number, whose weights are set by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

MOODS = ("joy", "fear", "anger")
# What each word adds to the three outputs; a probability of 0.75 has the logit log 3.
WORD_LOGITS = {
    "fun": (np.log(3.0), 0.0, 0.0),
    "dark": (0.0, np.log(3.0), 0.0),
    "loud": (0.0, np.log(3.0), np.log(3.0)),
    "plain": (-np.log(3.0), -np.log(3.0), -np.log(3.0)),
}
WORD_NUMBERS = {"good": 0.5, "bad": -1.5, "plain": 0.0}


def summing_model(words: dict[str, Any], length: int = 6) -> tuple[Any, Any]:
    """Returns a Keras model that adds up numbers of words, and its tokenizer."""
    import keras
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = {"[PAD]": 0, "[UNK]": 1, **{word: row + 2 for row, word in enumerate(words)}}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    rows = np.array([np.atleast_1d(row) for row in words.values()], "float32")
    table = np.concatenate([np.zeros((2, rows.shape[1]), "float32"), rows])
    ids = keras.Input((length,), dtype="int32", name="ids")
    vectors = keras.layers.Embedding(*table.shape, name="table")(ids)
    model = keras.Model(ids, keras.ops.sum(vectors, axis=1))
    model.get_layer("table").set_weights([table])
    return model, tokenizer


@pytest.fixture(scope="session")
def moods_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Any of three labels a text, from the thresholds 0.5, 0.8 and 0.7 on."""
    from tfdistill.export import save_bundle

    model, tokenizer = summing_model(WORD_LOGITS)
    return save_bundle(
        model, tmp_path_factory.mktemp("typed") / "moods", tokenizer=tokenizer, labels=MOODS,
        quantize=None, task="labels", thresholds=(0.5, 0.8, 0.7),
    ).path  # fmt: skip


@pytest.fixture(scope="session")
def stars_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A number a text: 3 + 2 times what the words add up to."""
    from tfdistill.bundles import NumberScale
    from tfdistill.export import save_bundle

    model, tokenizer = summing_model(WORD_NUMBERS)
    scale = NumberScale(mean=3.0, standard_deviation=2.0)
    return save_bundle(
        model, tmp_path_factory.mktemp("typed") / "stars", tokenizer=tokenizer, labels=["stars"],
        quantize=None, task="number", scale=scale,
    ).path  # fmt: skip
