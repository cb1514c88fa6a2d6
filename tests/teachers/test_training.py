"""Teachers trained on labels: what is trained, what is kept, and which one is picked."""

from __future__ import annotations

import re
from pathlib import Path

import keras
import numpy as np
import pytest

from tfdistill.teachers import (
    CutPadding,
    TrainedTeacher,
    best_teacher,
    fine_tune,
    train_head,
)
from tfdistill.teachers.training import loss_of, pick, score_of

WORDS = 30


def load_backbone() -> keras.Model:
    hub = pytest.importorskip("keras_hub")
    keras.utils.set_random_seed(11)
    return hub.models.BertBackbone(
        vocabulary_size=WORDS,
        num_layers=1,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=16,
        dropout=0.0,
        max_sequence_length=10,
    )


def texts(count: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Texts that begin with a word of their class; the rest is noise, the lengths differ."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 3, count).astype("int32")
    ids = generator.integers(8, WORDS, (count, 10))
    ids[:, 1] = 5 + labels
    ids[:, 0] = 2
    lengths = generator.integers(3, 11, count)
    return np.where(np.arange(10) < lengths[:, None], ids, 0).astype("int32"), labels


TRAIN, HELD_OUT = texts(192, seed=0), texts(96, seed=1)


def weights_of(model: keras.Model) -> list[np.ndarray]:
    return [np.array(value) for value in model.get_weights()]


def test_a_frozen_backbone_stays_as_it_was_and_its_head_learns():
    backbone = load_backbone()
    before = weights_of(backbone)

    teacher = train_head(backbone, TRAIN, HELD_OUT, num_outputs=3, hidden_dim=32, epochs=10)

    assert teacher.kind == "frozen"
    for old, new in zip(before, weights_of(backbone), strict=True):
        np.testing.assert_array_equal(old, new)
    assert teacher.score > 0.4  # guessing gives a third


def test_features_that_were_read_before_a_kill_are_not_read_again(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("tfdistill.teachers.training._TOKENS_OF_A_BACKUP", 300)
    said: list[tuple[int, int]] = []

    def killed(done: int, rows: int) -> None:
        said.append((done, rows))
        if len(said) == 3:
            raise KeyboardInterrupt

    settings = {"num_outputs": 3, "hidden_dim": 8, "epochs": 1, "folder": tmp_path}
    with pytest.raises(KeyboardInterrupt):
        train_head(load_backbone(), TRAIN, HELD_OUT, read=killed, **settings)
    kept = sorted((tmp_path / "features").iterdir())
    before = [path.stat().st_mtime_ns for path in kept]
    assert len(kept) == 3

    seen: list[list[int]] = []

    def listen(done: int, rows: int) -> None:
        seen.append([path.stat().st_mtime_ns for path in kept])

    again = train_head(load_backbone(), TRAIN, HELD_OUT, read=listen, **settings)
    assert len(seen) > 3 and all(times == before for times in seen)
    undisturbed = train_head(load_backbone(), TRAIN, HELD_OUT, **{**settings, "folder": None})
    for one, other in zip(weights_of(again.head), weights_of(undisturbed.head), strict=True):
        np.testing.assert_array_equal(one, other)
    assert [path.name for path in tmp_path.iterdir()] == ["trained.weights.h5"]


@pytest.mark.slow
def test_fine_tuning_moves_the_backbone_and_fits_what_a_head_alone_does_not():
    backbone = load_backbone()
    before = weights_of(backbone)

    teacher = fine_tune(
        backbone, TRAIN, HELD_OUT, num_outputs=3, epochs=8, batch_size=16, learning_rate=3e-3
    )

    assert teacher.kind == "fine-tuned"
    moved = [not np.array_equal(a, b) for a, b in zip(before, weights_of(backbone), strict=True)]
    assert np.mean(moved) > 0.8  # the pooler and unused positions do not
    assert teacher.score > 0.9


@pytest.fixture(scope="module")
def teacher() -> TrainedTeacher:
    return train_head(load_backbone(), TRAIN, HELD_OUT, num_outputs=3, epochs=1)


def test_the_teacher_of_one_length_and_of_any_length_agree(teacher: TrainedTeacher):
    any_length, ten = teacher.model(), teacher.model(sequence_length=10)

    logits = any_length.predict(HELD_OUT[0], verbose=0)

    assert ten.output_shape == (None, 3)
    np.testing.assert_allclose(ten.predict(HELD_OUT[0], verbose=0), logits, atol=1e-5)
    assert teacher.score == score_of("softmax", HELD_OUT[1], logits)


def test_ids_of_a_cut_vocabulary_reach_the_same_rows(teacher: TrainedTeacher):
    kept_ids = np.concatenate([[0], np.arange(2, WORDS)]).astype("int32")  # without token 1
    cut = np.searchsorted(kept_ids, HELD_OUT[0]).astype("int32")

    whole = teacher.model().predict(HELD_OUT[0], verbose=0)

    np.testing.assert_allclose(
        teacher.model(kept_ids=kept_ids).predict(cut, verbose=0), whole, atol=1e-6
    )


BOTH = {"num_outputs": 3, "epochs": 1}


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Path, TrainedTeacher, dict[str, float]]:
    folder = tmp_path_factory.mktemp("teachers")
    return folder, *best_teacher(load_backbone, TRAIN, HELD_OUT, folder=folder, **BOTH)


@pytest.mark.slow
def test_the_better_kind_on_held_out_texts_is_picked(trained):
    _, best, scores = trained

    assert set(scores) == {"frozen", "fine-tuned"}
    assert best.score == scores[best.kind] >= max(scores.values()) - 0.1


@pytest.mark.slow
def test_what_was_trained_is_found_again(trained):
    folder, first, scores = trained
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*.weights.h5")}

    again, same = best_teacher(load_backbone, TRAIN, HELD_OUT, folder=folder, **BOTH)

    assert len(times) == 2 and same == scores and again.kind == first.kind
    assert {path: path.stat().st_mtime_ns for path in times} == times
    np.testing.assert_array_equal(
        again.model().predict(HELD_OUT[0], verbose=0), first.model().predict(HELD_OUT[0], verbose=0)
    )


@pytest.mark.parametrize("outputs", ["sigmoid", pytest.param("linear", marks=pytest.mark.slow)])
def test_other_outputs_train_with_their_own_loss(outputs: str):
    labels = [np.eye(3, dtype="float32")[rows[1]] for rows in (TRAIN, HELD_OUT)]
    train, held_out = (TRAIN[0], labels[0]), (HELD_OUT[0], labels[1])

    teacher = train_head(
        load_backbone(), train, held_out, num_outputs=3, outputs=outputs, epochs=10
    )

    # Saying every label has a macro F1 of 1/2; the best constant has an R² of 0.
    assert teacher.score > {"sigmoid": 0.55, "linear": 0.1}[outputs]


def test_labels_are_scored_at_their_best_thresholds_and_numbers_by_what_they_explain():
    # A threshold between -3 and -2 tells the first label, any of the second says too much.
    logits = np.array([[-2.0, 1.0], [-3.0, 1.0], [-2.0, 1.0], [-3.0, 1.0]])
    labels = np.array([[1.0, 1.0], [0.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    assert score_of("sigmoid", labels, logits) == pytest.approx((1.0 + 2 / 5) / 2)
    assert score_of("linear", np.array([1.0, 3.0, 5.0]), np.array([[1.0], [4.0], [6.0]])) == 0.75


def test_padding_that_all_texts_share_is_cut():
    ids = np.array([[5, 0, 7, 0, 0], [5, 0, 0, 0, 0]])

    assert np.array(CutPadding()(ids)).tolist() == [[5, 0, 7], [5, 0, 0]]


def test_unknown_kinds_and_outputs_are_refused():
    expected = "`kinds` must be some of ('frozen', 'fine-tuned'). Received: kinds=('warm',)."
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}$"):
        best_teacher(load_backbone, TRAIN, HELD_OUT, num_outputs=3, kinds=("warm",))
    expected = "`outputs` must be one of ('softmax', 'sigmoid', 'linear'). Received: outputs='x'."
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}$"):
        loss_of("x")


def judged(kind: str, score: float) -> TrainedTeacher:
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    return TrainedTeacher(kind, model, model, score)


def test_within_a_standard_error_the_fine_tuned_teacher_is_picked():
    # Of 100 texts 0.9 has a standard error of 0.03, of 1,000 one of 0.009.
    frozen, tuned = judged("frozen", 0.90), judged("fine-tuned", 0.88)
    assert pick([frozen, tuned], rows=100) is tuned
    assert pick([frozen, tuned], rows=1000) is frozen
    numbers = judged("frozen", -0.3), judged("fine-tuned", -0.31)
    assert pick(numbers, rows=10) is numbers[0]
    # What is no share of texts has no such error.
    assert pick([frozen, tuned], rows=100, is_share=False) is frozen
