"""A real small bundle with meaningful labels, and one Ray session for all tests that need it."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from shared_fixtures.word_pieces import SPECIAL, word_pieces

from tfdistill.files.records import record_of

LENGTH = 12
TOPICS = {
    "grain": "wheat corn harvest crop barley soybean tonnes bushel farm acreage".split(),
    "oil": "crude barrel opec refinery petroleum well drilling tanker fuel brent".split(),
    "trade": "tariff deficit import export surplus quota dispute talks customs treaty".split(),
}
COMMON = "the of rose fell prices market said year new week to and".split()
WORDS = [*SPECIAL, *COMMON, *(word for words in TOPICS.values() for word in words), "##s", "##ing"]


def make_texts(count: int, *, seed: int) -> tuple[list[str], list[str]]:
    """Returns seeded texts of 3 to 16 words with their labels."""
    generator = random.Random(seed)
    texts, labels = [], []
    for _ in range(count):
        label = generator.choice(sorted(TOPICS))
        words = generator.choices(TOPICS[label], k=generator.randint(1, 4))
        words += generator.choices(COMMON, k=generator.randint(2, 12))
        generator.shuffle(words)
        texts.append(" ".join(words))
        labels.append(label)
    return texts, labels


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    tokenizer = word_pieces(WORDS)
    # Settings of another model, as a downloaded tokenizer.json has them: agents must not mind.
    tokenizer.enable_truncation(max_length=512)
    tokenizer.enable_padding(pad_id=1, pad_token="[UNK]", length=128)
    return tokenizer


@pytest.fixture(scope="session")
def keras_model(tokenizer: Any) -> Any:
    """Word vectors → mean → logits, trained until it knows the three topics."""
    import keras
    import numpy as np

    from tfdistill.students.text_rows import encode

    texts, labels = make_texts(256, seed=1)
    x = encode(tokenizer, texts, sequence_length=LENGTH)
    y = np.array([sorted(TOPICS).index(label) for label in labels])
    keras.utils.set_random_seed(31)
    ids = keras.Input((LENGTH,), dtype="int32", name="ids")
    vectors = keras.layers.Embedding(len(WORDS), 8)(ids)
    mean = keras.layers.GlobalAveragePooling1D()(vectors)
    model = keras.Model(ids, keras.layers.Dense(len(TOPICS), name="logits")(mean))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.05), loss)
    model.fit(x, y, batch_size=64, epochs=15, verbose=0)
    return model


@pytest.fixture(scope="session")
def bundle(keras_model: Any, tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the trained student, quantised."""
    from tfdistill.export import save_bundle

    path = tmp_path_factory.mktemp("agents") / "topics"
    return save_bundle(keras_model, path, tokenizer=tokenizer, labels=sorted(TOPICS)).path


@pytest.fixture(scope="session")
def panicking_bundle(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with a regular expression that gives up on `PANIC`, by a panic in Rust."""
    path = Path(shutil.copytree(bundle, tmp_path_factory.mktemp("panicking") / "topics"))
    tokenizer = json.loads((path / "tokenizer.json").read_text())
    tokenizer["pre_tokenizer"] = {
        "type": "Sequence",
        "pretokenizers": [
            {
                "type": "Split",
                "pattern": {"Regex": r"(!+)+$|(!|!!)+\s*z"},
                "behavior": "Isolated",
                "invert": False,
            },
            {"type": "Whitespace"},
        ],
    }
    (path / "tokenizer.json").write_text(json.dumps(tokenizer))
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["files"]["tokenizer.json"] = asdict(record_of(path / "tokenizer.json"))
    (path / "manifest.json").write_text(json.dumps(manifest))
    return path


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """Texts that were not trained on."""
    return make_texts(60, seed=2)[0]


@pytest.fixture(scope="session")
def ray_session() -> Iterator[Any]:
    """Ray, started once for all tests as a user would have started it before making a pool."""
    from tfdistill.cluster import session

    ray = session.import_ray()
    session.start(ray)
    yield ray
    ray.shutdown()
