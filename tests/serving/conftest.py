"""A small real bundle, saved once."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def served_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Word vectors → mean → two classes, with weights that are written down rather than trained."""
    import keras
    import numpy as np
    from tokenizers import Tokenizer, models, pre_tokenizers

    from tfdistill.export import save_bundle

    words = {"[PAD]": 0, "[UNK]": 1, "wheat": 2, "barrel": 3, "<b>bold</b>": 4}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    ids = keras.Input((4,), dtype="int32", name="ids")
    vectors = keras.layers.Embedding(len(words), 2)(ids)
    logits = keras.layers.Dense(2, use_bias=False)(keras.layers.GlobalAveragePooling1D()(vectors))
    model = keras.Model(ids, logits)
    table = np.zeros((len(words), 2), dtype="float32")
    table[2], table[3] = (8.0, 0.0), (0.0, 8.0)
    model.set_weights([table, np.eye(2, dtype="float32")])
    path = tmp_path_factory.mktemp("serving") / "topics"
    return save_bundle(
        model, path, tokenizer=tokenizer, labels=["grain", "<i>oil</i>"], quantize=None
    ).path
