"""What the functions that cut a model's structure refuse, with one test for each message."""

from __future__ import annotations

import functools
from collections.abc import Callable

import keras
import numpy as np
import pytest

import tfdistill as td
from tfdistill.students import text_encoder

IDS = np.array([[1, 2, 3], [2, 3, 0]], np.int32)
COUNTED: dict[Callable, tuple[int, str]] = {
    td.drop_layers: (2, "layers"),
    td.prune_heads: (4, "heads"),
    td.prune_ffn: (6, "feed-forward units"),
}


@pytest.fixture(params=list(COUNTED), ids=lambda prune: prune.__name__)
def prune(request: pytest.FixtureRequest) -> Callable:
    return request.param


@functools.cache  # what is refused changes no model
def student() -> keras.Model:
    return text_encoder(
        vocabulary_size=5,
        sequence_length=3,
        num_layers=2,
        hidden_dim=8,
        num_heads=4,
        intermediate_dim=6,
        num_classes=2,
        seed=0,
    )


@pytest.mark.parametrize("keep", [0, -1])
def test_keeping_none_is_refused(prune: Callable, keep: int):
    present, what = COUNTED[prune]
    expected = rf"`keep` must be an int in \[1, {present}\].*keep={keep}\. .*{present} {what} stay"
    with pytest.raises(ValueError, match=expected):
        prune(student(), keep=keep, calibration=IDS)


def test_keeping_more_than_there_are_is_refused(prune: Callable):
    present, _ = COUNTED[prune]
    with pytest.raises(
        ValueError, match=rf"in \[1, {present}\].*keep={present + 1}.*not how many go"
    ):
        prune(student(), keep=present + 1, calibration=IDS)


@pytest.mark.parametrize("keep", [0.5, "2", True, None])
def test_a_number_to_keep_that_is_no_int_is_refused(prune: Callable, keep):
    with pytest.raises(TypeError, match=rf"`keep` must be an int in \[1, .*keep={keep!r} \("):
        prune(student(), keep=keep, calibration=IDS)


def test_keeping_all_changes_nothing(prune: Callable):
    model = student()
    same, summary = prune(model, keep=COUNTED[prune][0], calibration=IDS)

    np.testing.assert_array_equal(same(IDS), model(IDS))
    assert not any(summary.removed.values())
    assert same is not model


def test_calibration_without_examples_is_refused(prune: Callable):
    with pytest.raises(ValueError, match="`calibration` must have at least one example"):
        prune(student(), keep=1, calibration=IDS[:0])


def test_calibration_of_another_shape_is_refused(prune: Callable):
    with pytest.raises(ValueError, match=r"`calibration` must have shape \(examples, 3\)"):
        prune(student(), keep=1, calibration=IDS[:, :2])


def test_calibration_of_texts_is_refused(prune: Callable):
    with pytest.raises(TypeError, match="`calibration` must hold integers .*token ids first"):
        prune(student(), keep=1, calibration=np.array([["a", "b", "c"]]))


def test_calibration_with_unknown_ids_is_refused(prune: Callable):
    with pytest.raises(ValueError, match=r"`calibration` must hold token ids in \[0, 5\).*0 to 5"):
        prune(student(), keep=1, calibration=np.array([[0, 5, 1]]))


@pytest.mark.parametrize("function", [*COUNTED, td.prune_vocabulary])
def test_an_unknown_architecture_is_refused(function: Callable):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)], name="plain")
    given = {"keep": [0]} if function is td.prune_vocabulary else {"keep": 1, "calibration": IDS}
    expected = (
        r"`model` must be a student of this package \(text_encoder\) or a KerasHub BertBackbone "
        "or LlamaBackbone. Received: model='plain' of class Sequential.*classifier.backbone"
    )
    with pytest.raises(ValueError, match=expected):
        function(model, **given)


def test_a_student_inside_another_model_is_refused():
    inner = student()
    outer = keras.Model(inner.input, inner(inner.input), name="outer")
    with pytest.raises(ValueError, match="model='outer' of class Functional.*model.get_layer"):
        td.prune_heads(outer, keep=1, calibration=IDS)


def test_a_compressed_model_is_refused(prune: Callable):
    with pytest.raises(TypeError, match="`model` must be a plain Keras model.*Cut the structure"):
        prune(td.quantize_aware(student()), keep=1, calibration=IDS)


def test_what_is_no_model_is_refused(prune: Callable):
    with pytest.raises(TypeError, match="`model` must be a Keras 3 model"):
        prune("student", keep=1, calibration=IDS)


def test_part_of_a_group_of_heads_is_refused():
    hub = pytest.importorskip("keras_hub")
    model = hub.models.LlamaBackbone(
        vocabulary_size=5,
        num_layers=1,
        num_query_heads=6,
        num_key_value_heads=2,
        hidden_dim=12,
        intermediate_dim=4,
    )
    with pytest.raises(ValueError, match="`keep` must be a multiple of 3, the query heads .*=2"):
        td.prune_heads(model, keep=2, calibration={"token_ids": IDS, "padding_mask": IDS})


@pytest.mark.parametrize(("keep", "low", "high"), [([0, 5], 0, 5), ([0, -1], -1, 0)])
def test_token_ids_out_of_range_are_refused(keep: list[int], low: int, high: int):
    expected = rf"`keep` must hold token ids in \[0, 5\). Received: ids from {low} to {high}"
    with pytest.raises(ValueError, match=expected):
        td.prune_vocabulary(student(), keep=keep)


def test_repeated_token_ids_are_refused():
    with pytest.raises(ValueError, match="`keep` must hold each token id once.*id 3 2 times"):
        td.prune_vocabulary(student(), keep=[0, 3, 1, 3])


@pytest.mark.parametrize("keep", [[], 3, [[0, 1]]])
def test_no_list_of_token_ids_is_refused(keep):
    with pytest.raises(ValueError, match="`keep` must be a list of the token ids to keep"):
        td.prune_vocabulary(student(), keep=keep)


@pytest.mark.parametrize("keep", [[0.0, 1.0], ["oil"], np.ones(5, bool)])
def test_token_ids_that_are_no_ints_are_refused(keep):
    with pytest.raises(TypeError, match="`keep` must hold ints, the token ids to keep"):
        td.prune_vocabulary(student(), keep=keep)


def test_a_students_vocabulary_without_padding_first_is_refused():
    with pytest.raises(ValueError, match=r"`keep` must begin with 0, the padding.*keep\[0\]=1"):
        td.prune_vocabulary(student(), keep=[1, 0])


def test_a_table_of_another_name_is_refused():
    ids = keras.Input((3,), dtype="int32")
    x = keras.layers.Embedding(5, 8, name="words")(ids)
    x = td.students.EncoderBlock(num_heads=2, intermediate_dim=4)(x, keras.ops.not_equal(ids, 0))
    with pytest.raises(ValueError, match="Embedding layer called 'token_embedding'.*'words'"):
        td.prune_vocabulary(keras.Model(ids, x), keep=[0, 1])


def test_a_table_whose_rows_are_shared_is_refused():
    shared = td.students.text_encoder(
        vocabulary_size=4,
        sequence_length=3,
        hidden_dim=4,
        intermediate_dim=4,
        num_classes=2,
        row_of_token=[0, 1, 2, 1],
    )
    with pytest.raises(ValueError, match="`model` must have a row for each token.*rows of 3"):
        td.prune_vocabulary(shared, keep=[0, 1])
