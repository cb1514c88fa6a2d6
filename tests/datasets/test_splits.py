"""What is held out was not trained on, and every class trains."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from tfdistill.datasets import (
    Column,
    Table,
    contradictions,
    hold_out,
    keep_known_labels,
    pick_labelled,
    read_table,
)

ROWS = st.lists(
    st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("xyz")), min_size=6, max_size=40
)


def test_the_share_is_that_of_each_class():
    texts = [f"{label}{index}" for label, count in (("x", 10), ("y", 20)) for index in range(count)]
    data = hold_out(texts, [text[0] for text in texts], share=0.2, seed=3)

    held = [text[0] for text in data.test_texts]
    assert (held.count("x"), held.count("y"), len(data.train_texts)) == (2, 4, 24)


@settings(max_examples=50, deadline=None)
@given(ROWS, st.integers(0, 3), st.floats(0.1, 0.9))
def test_no_text_is_on_both_sides_with_one_label_and_none_is_lost(rows, seed, share):
    texts, labels = zip(*rows, strict=True)
    try:
        data = hold_out(texts, labels, share=share, seed=seed)
    except ValueError as error:
        assert "two" in str(error)  # one class, or nothing to hold out
        return
    names = data.label_names
    train = {(t, names[i]) for t, i in zip(data.train_texts, data.train_labels, strict=True)}
    test = {(t, names[i]) for t, i in zip(data.test_texts, data.test_labels, strict=True)}
    assert not train & test
    assert train | test == set(rows) and len(data.train_texts) + len(data.test_texts) == len(rows)
    assert {label for _, label in train} == set(labels)


def test_a_class_of_one_text_trains_and_200_classes_are_fine():
    texts = [f"text {index}" for index in range(400)] + ["alone"]
    labels = [f"class {index // 2}" for index in range(400)] + ["single"]
    data = hold_out(texts, labels, share=0.5)

    assert len(data.label_names) == 201 and "alone" in data.train_texts
    assert len(data.test_texts) == 200


def test_the_same_seed_splits_alike():
    texts = [f"text {index}" for index in range(40)]
    labels = ["x", "y"] * 20
    one, same, other = (hold_out(texts, labels, seed=seed) for seed in (1, 1, 2))

    assert one.test_texts == same.test_texts != other.test_texts


@pytest.mark.parametrize("share", [0.0, 1.0, 20])
def test_a_share_that_is_none_is_refused(share: float):
    with pytest.raises(ValueError, match=r"`share` must be a fraction in \(0, 1\)"):
        hold_out(["a", "b"], ["x", "y"], share=share)


def test_texts_without_labels_are_refused():
    with pytest.raises(ValueError, match="`texts` must be as many as `labels`"):
        hold_out(["a", "b"], ["x"])


def test_each_row_that_contradicts_the_first_with_its_text_is_named():
    texts, labels = ["a", "b", "a", "b", "a"], ["x", "y", "z", "y", "w"]
    assert contradictions(texts, labels) == [(0, 2), (0, 4)]


@given(ROWS)
def test_without_contradictions_each_text_has_one_label(rows):
    texts, labels = zip(*rows, strict=True)
    assert (not contradictions(texts, labels)) == (len(set(rows)) == len(set(texts)))


def labelled(texts: list[str], labels: list[str]) -> Table:
    return read_table((texts, labels), columns=(Column("text"), Column("label", "label")))


def test_a_label_that_only_the_test_rows_have_is_refused_with_line_and_flag(tmp_path: Path):
    path = tmp_path / "test.csv"
    path.write_text('text,label\n"a\nb",x\nc,z\nd,z\n')
    test = read_table(path, columns=(Column("text"), Column("label", "label")))

    with pytest.raises(
        ValueError,
        match=r"test\.csv, line 4: .*Received: 'z' \(and 1 more rows.*'x', 'y'.*--skip-bad-rows",
    ):
        keep_known_labels(test, ["y", "x"])
    fewer = keep_known_labels(test, ["y", "x"], skip_bad_rows=True)
    assert fewer.columns == {"text": ["a\nb"], "label": ["x"]}
    assert [row.place for row in fewer.skipped] == ["line 4", "line 5"]
    assert "2 bad rows skipped: lines 4, 5" in fewer.summary()


def test_test_rows_with_known_labels_alone_stay_as_they_are():
    test = labelled(["a"], ["x"])
    assert keep_known_labels(test, ["x", "y"]) is test


def test_test_rows_without_any_known_label_are_refused():
    with pytest.raises(ValueError, match=r"must hold a row whose 'label' .* Received: \['z'\]"):
        keep_known_labels(labelled(["a"], ["z"]), ["x"], skip_bad_rows=True)


def test_one_class_is_refused_with_the_flag():
    with pytest.raises(ValueError, match=r"two or more classes.*Is `label` \(--label\) the right"):
        hold_out(["a", "b"], ["x", "x"])


UNEQUAL = np.array([0] * 90 + [1] * 9 + [2])


def test_every_class_keeps_at_least_one_label():
    for seed in range(20):
        rows = pick_labelled(UNEQUAL, labels=5, seed=seed)
        assert len(set(rows.tolist())) == 5
        assert set(UNEQUAL[rows]) == {0, 1, 2}


def test_the_draw_is_a_function_of_the_seed():
    draws = [tuple(pick_labelled(UNEQUAL, labels=20, seed=seed)) for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]


def test_none_keeps_all():
    np.testing.assert_array_equal(pick_labelled(UNEQUAL, labels=None, seed=0), np.arange(100))


@pytest.mark.parametrize(
    ("labels", "error"), [(2, ValueError), (101, ValueError), (True, TypeError)]
)
def test_a_number_of_labels_out_of_range_is_refused(labels, error):
    with pytest.raises(error, match=r"`labels` must be an int in \[3, 100\]"):
        pick_labelled(UNEQUAL, labels=labels, seed=0)


def test_texts_of_a_single_class_are_refused():
    with pytest.raises(ValueError, match="two or more classes.*class \\[1\\] only"):
        pick_labelled(np.ones(9, np.int32), labels=4, seed=0)
