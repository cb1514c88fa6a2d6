from __future__ import annotations

import numpy as np
import pytest

from tfdistill.agents.tokenization.ngram_selection import choose_ngrams, class_scores
from tfdistill.agents.tokenization.ngrams import NGrams

TEXTS = ["oil rose", "oil fell", "oil rose", "corn fell", "corn rose now"]
CLASSES = ["energy", "energy", "energy", "grain", "grain"]


def only_words(piece: str) -> tuple[str, str, list[str]]:
    return piece, piece, [f"={piece}"]


def test_most_frequent_ngrams_come_first_then_the_shorter_ones():
    chosen = choose_ngrams(TEXTS, only_words, most=5)

    # 3 texts: oil, rose; 2: corn, fell, and "oil rose"; the order among equals is length, then a–z.
    assert chosen == ["=oil", "=rose", "=corn", "=fell", "=oil rose"]


def test_ngram_counts_once_for_a_text_that_repeats_it():
    assert choose_ngrams(["a a a", "b", "b"], only_words, most=1) == ["=b"]


def test_labels_choose_the_ngrams_that_tell_classes_apart():
    # =corn is in both texts of a class of 2/5: (2² / 0.4) / 2 − 2 = 3.
    # =oil is in all three of the other: (3² / 0.6) / 3 − 3 = 2.
    assert choose_ngrams(TEXTS, only_words, most=2, labels=CLASSES) == ["=corn", "=oil"]


def test_class_scores_are_chi_square_of_scikit_learn():
    selection = pytest.importorskip("sklearn.feature_selection")
    rng = np.random.default_rng(5)
    has = rng.integers(0, 2, (40, 6))
    labels = rng.integers(0, 3, 40)
    inside = np.stack([has[labels == label].sum(axis=0) for label in range(3)])
    shares = np.bincount(labels) / 40

    ours = class_scores(has.sum(axis=0), (inside**2 / shares[:, None]).sum(axis=0))

    np.testing.assert_allclose(ours, selection.chi2(has, labels)[0], rtol=1e-12)


def test_of_ngrams_in_the_same_texts_only_the_word_is_listed():
    ngrams = NGrams(num_rows=2, sequence_length=1)

    chosen = choose_ngrams(["oil", "oil", "gas"], ngrams.ngrams_of, most=50)

    assert chosen == ["=oil", "=gas"]


def test_ngrams_across_pieces_are_left_out_on_request():
    assert "=oil rose" not in choose_ngrams(TEXTS, only_words, most=50, pairs=False)


def test_ngrams_that_may_not_be_listed_are_left_out():
    assert "=oil" not in choose_ngrams(TEXTS, only_words, most=50, never="=oil".__eq__)


def test_labels_of_another_length_are_refused():
    with pytest.raises(ValueError, match="`labels` must have one entry for each of the 5 texts"):
        choose_ngrams(TEXTS, only_words, most=5, labels=[0])


def test_blocks_of_texts_do_not_change_the_choice(monkeypatch: pytest.MonkeyPatch):
    whole = choose_ngrams(TEXTS, only_words, most=50, labels=CLASSES)
    monkeypatch.setattr("tfdistill.agents.tokenization.ngram_selection._BLOCK", 2)

    assert choose_ngrams(TEXTS, only_words, most=50, labels=CLASSES) == whole
