from __future__ import annotations

from collections import Counter

import pytest

from tfdistill.agents.tokenization.ngram_features import character_ngrams, words_in


@pytest.mark.parametrize(
    ("piece", "words"),
    [
        ("Oil", ("oil",)),
        ("CAFÉ", ("cafe",)),
        ("what's", ("what", "'", "s")),
        ("$5.00!", ("$", "5", ".", "00", "!")),
        ("日本語", ("日本語",)),
        ("a\x00b\u200bc", ("abc",)),
        ("\x07", ()),
    ],
)
def test_words_are_lower_case_without_accents_and_cut_at_marks(piece: str, words: tuple):
    assert words_in(piece) == words


def test_half_of_a_surrogate_pair_is_refused():
    with pytest.raises(UnicodeError):
        words_in("oil\ud800")


def test_character_ngrams_are_those_of_scikit_learn_without_the_whole_word():
    text = pytest.importorskip("sklearn.feature_extraction.text")
    analyze = text.CountVectorizer(analyzer="char_wb", ngram_range=(2, 5)).build_analyzer()
    words = "transfer my money to the café is ok banana".split()

    ours = Counter(
        ngram for word in words for ngram in character_ngrams(word, shortest=2, longest=5)
    )

    theirs = Counter(analyze(" ".join(words)))
    assert ours == theirs - Counter(f" {word} " for word in words if len(word) <= 3)


def test_word_of_one_character_has_no_ngrams_of_its_own():
    assert list(character_ngrams("i", shortest=2, longest=5)) == []


def test_character_ngram_that_repeats_is_listed_as_often():
    assert list(character_ngrams("aaa", shortest=2, longest=2)) == [" a", "aa", "aa", "a "]
