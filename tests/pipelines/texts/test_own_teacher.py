"""A teacher that the user brings: what fits, what is refused, and what it knows of words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

import tfdistill as td
from tfdistill.bundles.answer_kinds import NumberScale
from tfdistill.pipelines.texts.own_teacher import own_teacher
from tfdistill.pipelines.texts.rows import read_rows
from tfdistill.pipelines.texts.tasks import TextTask
from tfdistill.pipelines.texts.words import read_words

TASK = TextTask("class", ("fuel", "grain"))
WORDS = ["[PAD]", "[UNK]", "oil", "gas", "wheat", "corn", "rose"]


@pytest.fixture
def tokenizer() -> Tokenizer:
    model = models.WordLevel({word: row for row, word in enumerate(WORDS)}, unk_token="[UNK]")
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


def data() -> tuple[list[str], list[str]]:
    """60 different texts of two classes."""
    texts = [f"{word} rose {number}" for word in ("oil", "wheat") for number in range(30)]
    return texts, ["fuel"] * 30 + ["grain"] * 30


def network(length: int | None = 4, *, rows: int = len(WORDS), **settings: Any) -> keras.Model:
    ids = keras.Input((length,), dtype="int32")
    x = keras.layers.GlobalMaxPooling1D()(keras.layers.Embedding(rows, 3)(ids))
    return keras.Model(ids, keras.layers.Dense(2, **settings)(x), name="mine")


def test_a_model_of_one_length_reads_shorter_rows_with_padding(tokenizer: Tokenizer):
    mine = network(4)
    teacher = own_teacher(mine, tokenizer, task=TASK)
    short = teacher.model(sequence_length=2).predict(np.array([[2, 6]]), verbose=0)
    np.testing.assert_allclose(short, mine.predict(np.array([[2, 6, 0, 0]]), verbose=0), atol=1e-6)


def test_ids_of_a_cut_vocabulary_become_those_of_the_model(tokenizer: Tokenizer):
    mine = network(None)
    teacher = own_teacher(mine, tokenizer, task=TASK)
    cut = teacher.model(sequence_length=2, kept_ids=np.array([0, 1, 4, 6]))
    np.testing.assert_allclose(
        cut.predict(np.array([[2, 3]]), verbose=0),
        mine.predict(np.array([[4, 6]]), verbose=0),
        atol=1e-6,
    )


def test_a_word_is_its_row_of_the_table_and_the_logits_for_it_alone(tokenizer: Tokenizer):
    mine = network(None)
    words = read_words(read_rows(data()), own=("mine", tokenizer), sequence_length=3)
    vectors = own_teacher(mine, tokenizer, task=TASK).word_vectors(words)
    logits = mine.predict(np.arange(7)[:, None], verbose=0)
    logits[0] = 0  # padding
    logits -= logits.mean(axis=0)
    assert vectors.shape == (7, 3 + 2)
    np.testing.assert_allclose(
        vectors[:, 3:], logits / np.linalg.norm(logits, axis=1, keepdims=True), atol=1e-4
    )


def test_a_tokenizer_that_is_no_word_piece_keeps_all_of_its_tokens(tokenizer: Tokenizer):
    words = read_words(read_rows(data()), own=("mine", tokenizer), sequence_length=3)
    assert words.kept_ids.tolist() == list(range(7))
    assert (words.teacher, words.checkpoint, words.around) == ("mine", None, ((), ()))


def test_special_tokens_around_a_text_are_found(tokenizer: Tokenizer):
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[PAD] $A [UNK]", special_tokens=[("[PAD]", 0), ("[UNK]", 1)]
    )
    tokenizer.enable_padding(length=128)
    words = read_words(read_rows(data()), own=("mine", tokenizer), sequence_length=5)
    assert (words.around, words.room) == (((0,), (1,)), 3)


def test_another_weight_gives_another_fingerprint(tokenizer: Tokenizer):
    mine = network()
    before = own_teacher(mine, tokenizer, task=TASK).fingerprint
    assert own_teacher(mine, tokenizer, task=TASK).fingerprint == before
    mine.layers[-1].bias.assign([1.0, 0.0])
    assert own_teacher(mine, tokenizer, task=TASK).fingerprint != before


def pair(length: int = 4) -> keras.Model:
    first, second = keras.Input((length,)), keras.Input((length,))
    return keras.Model([first, second], keras.layers.Dense(2)(first + second))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: network(activation="softmax"), "`teacher` must return logits, not probabilities."),
        (
            pair,
            "`teacher` must be a model with one input of token ids (batch, length) and one outpu",
        ),
        (
            lambda: network(rows=5),
            "`teacher` must take the ids of its tokenizer, up to 6. Received",
        ),
        (
            lambda: network(bias_initializer=keras.initializers.Constant(np.nan)),
            "`teacher` must answer with finite logits. Received: [nan, nan] for a row of ids 6.",
        ),
    ],
)
def test_a_model_that_does_not_fit_is_refused(model: Any, message: str, tokenizer: Tokenizer):
    with pytest.raises(ValueError, match=re.escape(message)):
        own_teacher(model(), tokenizer, task=TASK)


def test_another_number_of_outputs_than_classes_is_refused(tokenizer: Tokenizer):
    message = "`teacher` must have a logit for each of the 3 classes of the texts, in the order of"
    with pytest.raises(ValueError, match=re.escape(message)):
        own_teacher(network(), tokenizer, task=TextTask("class", ("a", "b", "c")))


def test_a_tokenizer_without_padding_at_0_is_refused():
    tokenizer = Tokenizer(models.WordLevel({"oil": 0, "[UNK]": 1}, unk_token="[UNK]"))
    message = (
        "`tokenizer` must have its padding token at id 0. Received: tokenizer with 'oil' there."
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        own_teacher(network(), tokenizer, task=TASK)


def test_a_tokenizer_can_be_a_file(tokenizer: Tokenizer, tmp_path: Path):
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    teacher = own_teacher(network(), tmp_path / "tokenizer.json", task=TASK)
    assert teacher.tokenizer.get_vocab() == tokenizer.get_vocab()


def test_a_tokenizer_that_is_no_file_is_refused(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"`tokenizer` must be an existing tokenizer\.json"):
        own_teacher(network(), tmp_path / "none.json", task=TASK)
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(
        ValueError, match=r"`tokenizer` must be a tokenizer\.json that the installe"
    ):
        own_teacher(network(), tmp_path / "other.json", task=TASK)


def test_a_model_without_a_tokenizer_is_refused_before_anything_is_written(tmp_path: Path):
    with pytest.raises(TypeError, match=r"`tokenizer` must be a tokenizers\.Tokenizer or its file"):
        td.distill_text(data(), teacher=network(), out=tmp_path / "run", say=lambda line: None)
    assert not (tmp_path / "run").exists()


def test_a_tokenizer_beside_a_folder_is_refused(tokenizer: Tokenizer, tmp_path: Path):
    message = (
        "`tokenizer` must be left out where `teacher` is no keras.Model. Received: teacher='auto'"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        td.distill_text((["a"], ["b"]), tokenizer=tokenizer, out=tmp_path / "run")


def test_a_number_is_learned_standardized(tokenizer: Tokenizer):
    ids = keras.Input((4,), dtype="int32")
    x = keras.layers.GlobalMaxPooling1D()(keras.layers.Embedding(7, 3)(ids))
    mine = keras.Model(ids, keras.layers.Dense(1)(x))
    task = TextTask("number", ("stars",), NumberScale(3.0, 2.0))
    row = np.array([[2, 3, 0, 0]])
    standardized = own_teacher(mine, tokenizer, task=task).model(sequence_length=4)
    np.testing.assert_allclose(
        standardized.predict(row, verbose=0), (mine.predict(row, verbose=0) - 3) / 2, atol=1e-6
    )
