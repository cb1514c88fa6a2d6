"""Several signatures in one file: their names, their shared weights, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfdistill as td
from tfdistill.export import Endpoint, to_tflite
from tfdistill.runtime.flatbuffer import read_tflite_weights
from tfdistill.runtime.interpreter import Interpreter
from tfdistill.students import text_encoder

LENGTH, VOCABULARY, WIDTH = 8, 40, 32


@pytest.fixture(scope="module")
def team() -> dict[str, keras.Model]:
    """An encoder, two heads that read from it, and all of it in one."""
    keras.utils.set_random_seed(5)
    student = text_encoder(
        vocabulary_size=VOCABULARY,
        sequence_length=LENGTH,
        num_layers=1,
        hidden_dim=WIDTH,
        intermediate_dim=32,
        num_classes=3,
        seed=0,
    )
    encode = keras.Model(student.input, student.get_layer("pooling").output, name="encode")
    heads = {
        name: keras.Sequential(
            [keras.Input((WIDTH,), name="hidden"), keras.layers.Dense(classes, name="logits")],
            name=name,
        )
        for name, classes in (("intent", 5), ("topic", 3))
    }
    hidden = encode(student.input)
    both = keras.Model(student.input, {name: head(hidden) for name, head in heads.items()})
    return {"encode": encode, **heads, "all": both}


@pytest.fixture
def rows(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(1, VOCABULARY, (40, LENGTH)).astype("int32")


def numbers_in(path: Path) -> int:
    """How many weights a file stores, each buffer counted once."""
    return sum(each.matrix.size for each in read_tflite_weights(path) if each.matrix.size > 1)


@pytest.mark.parametrize("quantize", [pytest.param(None, marks=pytest.mark.slow), "dynamic"])
def test_an_encoder_its_heads_and_the_whole_are_one_file_with_every_weight_once(
    quantize: str | None, team: dict[str, keras.Model], rows: np.ndarray, tmp_path: Path
) -> None:
    path = to_tflite(team, tmp_path / "team.tflite", quantize=quantize)
    whole = to_tflite(team["all"], tmp_path / "whole.tflite", quantize=quantize)
    file = Interpreter(path)

    assert sorted(file.signatures) == ["all", "encode", "intent", "topic"]
    assert numbers_in(path) == numbers_in(whole)
    ids = rows[:1]
    hidden = file.run({"ids": ids}, signature="encode")["pooling"]
    together = file.run({"ids": ids}, signature="all")
    # The same kernels on the same numbers, whether in one call or in two.
    for name in ("intent", "topic"):
        apart = file.run({"hidden": hidden}, signature=name)["logits"]
        np.testing.assert_allclose(apart, together[name], rtol=0, atol=1e-6)


@pytest.mark.slow
def test_batch_sizes_are_signatures_that_share_every_weight(
    team: dict[str, keras.Model], rows: np.ndarray, tmp_path: Path
) -> None:
    model = team["all"]
    path = to_tflite(model, tmp_path / "sizes.tflite", quantize="dynamic", batch_sizes=(1, 8))
    one = to_tflite(model, tmp_path / "one.tflite", quantize="dynamic")
    file = Interpreter(path)

    sizes = {"serving_default": 1, "serving_default_8": 8}
    shapes = {name: each.inputs["ids"].shape for name, each in file.signatures.items()}
    assert shapes == {name: (size, LENGTH) for name, size in sizes.items()}
    assert numbers_in(path) == numbers_in(one)
    answers = [
        np.concatenate(
            [
                file.run({"ids": rows[at : at + size]}, signature=name)["intent"]
                for at in range(0, 16, size)
            ]
        )
        for name, size in sizes.items()
    ]
    # Every row of an activation has its own 8-bit grid, so the company does not matter.
    np.testing.assert_allclose(answers[1], answers[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("batch_sizes", [None, "dynamic"])
def test_an_open_batch_takes_any_number_of_examples(
    batch_sizes: Any, team: dict[str, keras.Model], tmp_path: Path
) -> None:
    path = to_tflite(team["intent"], tmp_path / "a.tflite", batch_sizes=batch_sizes, quantize=None)
    file = Interpreter(path)
    assert file.signatures["serving_default"].inputs["hidden"].shape == (-1, WIDTH)
    for examples in (1, 7):
        answer = file.run({"hidden": np.ones((examples, WIDTH), "float32")})
        assert answer["logits"].shape == (examples, 5)


def test_a_function_of_several_tensors_is_a_signature_beside_a_model(
    team: dict[str, keras.Model], tmp_path: Path
) -> None:
    head = team["intent"]

    def step(hidden: tf.Tensor, state: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"logits": head(hidden + state), "state": state + 1.0}

    specs = {"hidden": tf.TensorSpec((2, WIDTH)), "state": tf.TensorSpec((2, 1))}
    path = to_tflite(
        {"plain": head, "step": Endpoint(step, specs, head)}, tmp_path / "a.tflite", quantize=None
    )
    file = Interpreter(path)
    zeros = {"hidden": np.zeros((2, WIDTH), "float32"), "state": np.ones((2, 1), "float32")}
    answer = file.run(zeros, signature="step")

    assert answer["state"].tolist() == [[2.0], [2.0]]
    np.testing.assert_allclose(answer["logits"], head(np.ones((2, WIDTH))), rtol=0, atol=1e-6)
    assert numbers_in(path) == WIDTH * 5  # the bias is zero and left out


def test_int8_measures_each_signature_on_data_of_its_own(
    team: dict[str, keras.Model], rng: np.random.Generator, tmp_path: Path
) -> None:
    hidden = rng.standard_normal((40, WIDTH)).astype("float32")
    heads = {name: team[name] for name in ("intent", "topic")}
    path = to_tflite(
        heads,
        tmp_path / "heads.tflite",
        quantize="int8",
        calibration={name: hidden for name in heads},
        batch_sizes=(1, 4),
    )
    file = Interpreter(path)
    assert sorted(file.signatures) == ["intent", "intent_4", "topic", "topic_4"]
    one, four = (
        file.run({"hidden": hidden[:size]}, signature=name)["logits"]
        for name, size in (("topic", 1), ("topic_4", 4))
    )
    np.testing.assert_array_equal(one[0], four[0])  # the same grids: all integers


# What is refused


@pytest.mark.parametrize(
    ("batch_sizes", "error", "message"),
    [
        ((), ValueError, r"`batch_sizes` must be different ints of at least 1\. Received"),
        ((1, 1), ValueError, r"must be different ints of at least 1\. .*=\(1, 1\)"),
        ((0,), ValueError, r"must be different ints of at least 1\. .*=\(0,\)"),
        (8, TypeError, r"`batch_sizes` must be a tuple of ints, or None\. .*batch_sizes=8"),
        ("open", TypeError, r"must be a tuple of ints, or None\. .*'open'"),
    ],
)
def test_batch_sizes_that_are_none(
    batch_sizes: Any, error: type[Exception], message: str, team: Any, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        to_tflite(team["intent"], tmp_path / "a.tflite", batch_sizes=batch_sizes)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda team: {}, ValueError, r"at least one signature\. Received: model=\{\}"),
        (
            lambda team: {"my head": team["intent"]},
            ValueError,
            "names of letters, digits and underscores.*'my head'",
        ),
        (
            lambda team: {"a": td.prune_low_magnitude(team["intent"], sparsity=0.5, steps=1)},
            ValueError,
            r"`model\['a'\]` must be a plain Keras model\. Received: a Compressed one",
        ),
        (lambda team: {"a": "b"}, TypeError, r"`model\['a'\]` must be a Keras 3 model or an"),
        (
            lambda team: {"a": team["intent"], "a_8": team["topic"]},
            ValueError,
            "differ in their names. Received: 'a_8' twice",
        ),
    ],
)
def test_signatures_that_cannot_be(
    change: Any, error: type[Exception], message: str, team: Any, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        to_tflite(change(team), tmp_path / "a.tflite", batch_sizes=(1, 8))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("calibration", "error", "message"),
    [
        (np.ones((3, 4)), TypeError, r"must be a dict of data by the name of the signature"),
        ({"plain": np.ones((3, WIDTH))}, ValueError, "each signature.*none for 'step'"),
        (
            {"plain": np.ones((3, WIDTH)), "step": np.ones((3, WIDTH))},
            ValueError,
            r"`calibration\['step'\]` must be a dict of arrays by the names \['hidden'\]",
        ),
        (
            {"plain": np.ones((3, WIDTH)), "step": {"hidden": np.ones((3, WIDTH))}},
            ValueError,
            r"`calibration\['step'\]\['hidden'\]` must have shape \(calls, 2, 32\)",
        ),
        (
            {"plain": np.ones((3, WIDTH + 1)), "step": {}},
            ValueError,
            r"`calibration\['plain'\]` must have shape \(examples, 32\)",
        ),
    ],
)
def test_calibration_that_does_not_fit_the_signatures(
    calibration: Any, error: type[Exception], message: str, team: Any, tmp_path: Path
) -> None:
    head = team["intent"]
    step = Endpoint(
        lambda hidden: {"logits": head(hidden)}, {"hidden": tf.TensorSpec((2, WIDTH))}, head
    )
    with pytest.raises(error, match=message):
        to_tflite(
            {"plain": head, "step": step},
            tmp_path / "a.tflite",
            quantize="int8",
            calibration=calibration,
        )
