from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import tfdistill as td
from tfdistill.agents import NGrams
from tfdistill.students import (
    SumOfRows,
    any_length,
    bag_of_words,
    bag_of_words_for_size,
)

IDS = np.array([[1, 2, 0, 0], [2, 2, 2, 3], [0, 0, 0, 0]])


def test_rows_are_added_up_and_divided_by_the_root_of_their_number():
    inputs = np.array([[[1.0, 2.0], [3.0, 4.0], [9.0, 9.0]], [[5.0, 6.0]] * 3], "float32")

    got = SumOfRows()(inputs, np.array([[True, True, False], [False] * 3]))

    # (1 + 3) / √2, (2 + 4) / √2; nothing at all is 0 / √1.
    np.testing.assert_allclose(got, [[4 / 2**0.5, 6 / 2**0.5], [0.0, 0.0]], rtol=1e-6)


def test_logits_are_those_of_the_formula():
    student = bag_of_words(
        num_rows=5, sequence_length=4, embedding_dim=3, num_classes=2, hidden_dim=4, seed=0
    )
    table, kernel, bias, last, last_bias = (weight.numpy() for weight in student.weights)
    pooled = np.stack([(table[1] + table[2]) / 2**0.5, (3 * table[2] + table[3]) / 2, table[0] * 0])

    expected = np.maximum(pooled @ kernel + bias, 0) @ last + last_bias

    np.testing.assert_allclose(student(IDS), expected, atol=1e-6)


def test_row_of_padding_says_nothing_and_is_never_trained():
    student = bag_of_words(num_rows=5, sequence_length=4, embedding_dim=3, num_classes=2, seed=0)
    table = student.get_layer("table").embeddings
    before, logits = table.numpy(), student(IDS).numpy()
    table.assign(np.concatenate([before[:1] + 100, before[1:]]))
    np.testing.assert_array_equal(student(IDS), logits)

    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    student.compile(keras.optimizers.Adam(0.1), loss)
    student.fit(IDS, np.array([0, 1, 1]), epochs=2, verbose=0)

    np.testing.assert_array_equal(table.numpy()[0], before[0] + 100)
    assert np.abs(table.numpy()[1:4] - before[1:4]).min() > 0.01


def test_rows_of_any_length_give_the_same_logits():
    student = bag_of_words(num_rows=5, sequence_length=4, embedding_dim=3, num_classes=2, seed=0)

    got = any_length(student)(IDS[:1, :2])

    np.testing.assert_allclose(got, student(IDS[:1]), atol=1e-6)


def test_one_seed_gives_one_student():
    sizes = {"num_rows": 5, "sequence_length": 4, "embedding_dim": 3, "num_classes": 2}
    first, again, other = (bag_of_words(**sizes, seed=seed) for seed in (1, 1, 2))

    np.testing.assert_array_equal(first(IDS), again(IDS))
    assert np.abs(np.asarray(first(IDS)) - other(IDS))[0].max() > 0


def test_copy_and_keras_file_give_the_same_logits(tmp_path: Path):
    student = bag_of_words(
        num_rows=5, sequence_length=4, embedding_dim=3, num_classes=2, dropout=0.5, seed=0
    )
    copy = keras.models.clone_model(student)
    copy.set_weights(student.get_weights())
    student.save(tmp_path / "bag.keras")
    loaded = keras.models.load_model(tmp_path / "bag.keras")

    np.testing.assert_array_equal(copy(IDS), student(IDS))
    np.testing.assert_array_equal(loaded(IDS), student(IDS))


def test_table_has_one_byte_a_number_in_the_file(tmp_path: Path):
    student = bag_of_words(
        num_rows=3000, sequence_length=32, embedding_dim=16, num_classes=4, seed=0
    )

    path = td.to_tflite(student, tmp_path / "bag.tflite", quantize="dynamic")

    assert 3000 * 16 <= path.stat().st_size <= 3000 * 16 + 6000
    ids = np.random.default_rng(0).integers(0, 3000, (20, 32)).astype("int32")
    assert td.compare(student, path, ids).cosine > 0.999


def texts_of_three_topics(count: int, *, seed: int) -> tuple[list[str], np.ndarray]:
    generator = np.random.default_rng(seed)
    topics = [["wheat", "corn", "barley"], ["crude", "barrel", "opec"], ["tariff", "quota", "duty"]]
    fill = "the price of it rose and fell in the year".split()
    labels = generator.integers(0, 3, count)
    texts = []
    for label in labels:
        words = [*generator.choice(fill, 4), generator.choice(topics[label])]
        generator.shuffle(words)
        texts.append(" ".join(words))
    return texts, labels


def test_distiller_trains_it_on_soft_targets_alone(tmp_path: Path):
    texts, labels = texts_of_three_topics(300, seed=0)
    ngrams = NGrams.fit(texts, num_rows=300)
    x = ngrams.encode_batch(texts)
    student = bag_of_words(
        num_rows=ngrams.num_rows,
        sequence_length=ngrams.sequence_length,
        embedding_dim=8,
        num_classes=3,
        seed=0,
    )
    # The teacher reads something else than n-grams: here the topic itself.
    cache = td.TeacherCache.build(
        lambda topics: 6.0 * keras.ops.one_hot(topics, 3),
        labels,
        tmp_path / "cache",
        fingerprint="topics",
    )
    distiller = td.Distiller(student=student, teacher=cache)
    distiller.compile(keras.optimizers.Adam(0.01), alpha=0.0, temperature=2.0)

    distiller.fit(cache.dataset(labels, student_x=x, batch_size=16), epochs=6, verbose=0)

    unseen, expected = texts_of_three_topics(200, seed=1)
    got = np.asarray(student(ngrams.encode_batch(unseen))).argmax(axis=1)
    assert np.mean(got == expected) >= 0.95


@pytest.mark.quick_cases("40-3-None-hashed", "120-150-32-listed")
@pytest.mark.parametrize("kind", ["listed", "hashed"])
@pytest.mark.parametrize(("max_kb", "num_classes", "hidden_dim"), [(40, 3, None), (120, 150, 32)])
def test_bag_stays_under_its_limit_and_comes_near_it(
    kind: str, max_kb: int, num_classes: int, hidden_dim: int | None, tmp_path: Path
):
    size = bag_of_words_for_size(max_kb, num_classes, kind=kind, hidden_dim=hidden_dim)
    if kind == "hashed":
        ngrams = NGrams(num_rows=size.num_rows, sequence_length=16)
    else:
        letters = np.random.default_rng(0).choice(list("abcdefghijklmnop"), (4000, 6))
        words = ["".join(row) for row in letters]
        ngrams = NGrams.fit(
            words, max_bytes=size.max_bytes, bytes_per_row=size.embedding_dim, words=1
        )
    student = bag_of_words(
        num_rows=ngrams.num_rows,
        sequence_length=ngrams.sequence_length,
        embedding_dim=size.embedding_dim,
        num_classes=num_classes,
        hidden_dim=hidden_dim,
        seed=0,
    )

    labels = [str(index) for index in range(num_classes)]
    bundle = td.save_bundle(student, tmp_path / "bag", tokenizer=ngrams, labels=labels)

    size_bytes = bundle.model_path.stat().st_size + bundle.tokenizer_path.stat().st_size
    assert 0.97 * max_kb * 1000 <= size_bytes <= max_kb * 1000


def test_limit_without_room_is_refused():
    with pytest.raises(ValueError, match="`max_kb` must leave room for 128 rows.*max_kb=6"):
        bag_of_words_for_size(6, 10)


def test_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="`kind` must be one of .*kind='sorted'"):
        bag_of_words_for_size(480, 10, kind="sorted")


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("num_rows", 1),
        ("sequence_length", 0),
        ("embedding_dim", 0),
        ("num_classes", 0),
        ("hidden_dim", 0),
        ("dropout", 1.0),
    ],
)
def test_sizes_out_of_range_are_refused(argument: str, value: Any):
    sizes: dict[str, Any] = {"num_rows": 9, "sequence_length": 4, "num_classes": 2}

    with pytest.raises(ValueError, match=f"`{argument}` must be"):
        bag_of_words(**{**sizes, argument: value})


@pytest.mark.parametrize(
    ("max_kb", "num_classes", "hidden_dim", "width"),
    # √60,000 / 13 = 18.8, √240,000 / 13 = 37.7, √480,000 / 13 = 53.3; 2 · 3 and 2 · 10 classes.
    [(60, 150, None, 16), (240, 150, None, 40), (480, 150, None, 56), (480, 3, None, 8),
     (240, 10, None, 24), (480, 3, 16, 56)],
)  # fmt: skip
def test_width_follows_the_limit_and_the_classes(
    max_kb: int, num_classes: int, hidden_dim: int | None, width: int
):
    size = bag_of_words_for_size(max_kb, num_classes, hidden_dim=hidden_dim)

    assert size.embedding_dim == width
