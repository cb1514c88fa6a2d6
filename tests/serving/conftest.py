"""A small real bundle, saved once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from shared_fixtures.browser import browser  # noqa: F401


@pytest.fixture(scope="session")
def served_tokenizer() -> Any:
    """Five words, cut at spaces."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {"[PAD]": 0, "[UNK]": 1, "wheat": 2, "barrel": 3, "<b>bold</b>": 4}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer


@pytest.fixture(scope="session")
def served_team(served_tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A label of the text and a tag of each word, read from one table that is written down."""
    import keras
    import numpy as np

    from tfdistill.agents import Plan, Step
    from tfdistill.agents.team.folder import save_team
    from tfdistill.export import to_tflite

    ids = keras.Input((4,), dtype="int32", name="ids")
    vectors = keras.layers.Embedding(5, 2, name="table")(ids)
    topic = keras.layers.Dense(2, name="topic")(keras.layers.GlobalAveragePooling1D()(vectors))
    things = keras.layers.Dense(3, name="things")(vectors)
    model = keras.Model(ids, {"topic": topic, "things": things})
    table = np.zeros((5, 2), "float32")
    table[2], table[3] = (9.0, 0.0), (0.0, 8.0)
    model.get_layer("table").set_weights([table])
    model.get_layer("topic").set_weights([np.eye(2, dtype="float32"), np.zeros(2, "float32")])
    kernel = np.array([[0, 1, 0], [0, 0, 0]], "float32")  # wheat begins a crop
    model.get_layer("things").set_weights([kernel, np.array([4, 0, 0], "float32")])
    folder = tmp_path_factory.mktemp("team")
    to_tflite({"all": model}, folder / "model.tflite", quantize=None)
    served_tokenizer.save(str(folder / "tokenizer.json"))
    common = {"file": "small", "tier": "small", "signature": "all"}
    team = save_team(
        folder / "crew",
        plan=Plan(
            steps=(Step("topic", kind="label"), Step("things", kind="spans")),
            result=("topic", "things"),
        ),
        files={"small": (folder / "model.tflite", folder / "tokenizer.json")},
        agents={
            "topic": [
                {"agent": "classifier", "name": "topics", "output": "topic"}
                | {"classes": ["grain", "oil"], **common}
            ],
            "things": [
                {"agent": "tagger", "name": "tags", "output": "things"}
                | {"classes": ["O", "B-crop", "I-crop"], **common}
            ],
        },
        sample_text="wheat",
    )
    assert team.path is not None
    return team.path


@pytest.fixture(scope="session")
def served_bundle(served_tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Word vectors → mean → two classes, with weights that are written down rather than trained."""
    import keras
    import numpy as np

    from tfdistill.export import save_bundle

    ids = keras.Input((4,), dtype="int32", name="ids")
    vectors = keras.layers.Embedding(5, 2)(ids)
    logits = keras.layers.Dense(2, use_bias=False)(keras.layers.GlobalAveragePooling1D()(vectors))
    model = keras.Model(ids, logits)
    table = np.zeros((5, 2), dtype="float32")
    table[2], table[3] = (8.0, 0.0), (0.0, 8.0)
    model.set_weights([table, np.eye(2, dtype="float32")])
    path = tmp_path_factory.mktemp("serving") / "topics"
    return save_bundle(
        model, path, tokenizer=served_tokenizer, labels=["grain", "<i>oil</i>"], quantize=None
    ).path
