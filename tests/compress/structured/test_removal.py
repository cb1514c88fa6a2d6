"""A model with parts taken out answers as the given one does without what those parts add."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

import tfdistill as td
from tfdistill.compress.structured.architecture import find_blocks, parts_of
from tfdistill.students import cut_vocabulary, text_encoder

RNG = np.random.default_rng(7)
IDS = RNG.integers(1, 12, (6, 5)).astype("int32")
IDS[0, 3:] = 0
REAL = (IDS != 0).astype("int32")
# Sums over fewer terms may be rounded in another order: a few units of float32's last place.
CLOSE = {"rtol": 1e-5, "atol": 2e-6}


def student() -> tuple[keras.Model, Any]:
    model = text_encoder(
        vocabulary_size=12,
        sequence_length=5,
        num_layers=2,
        hidden_dim=8,
        num_heads=4,
        intermediate_dim=8,
        num_classes=3,
        seed=0,
    )
    return model, IDS


def bert() -> tuple[keras.Model, Any]:
    hub = pytest.importorskip("keras_hub")
    model = hub.models.BertBackbone(
        vocabulary_size=12,
        num_layers=2,
        num_heads=4,
        hidden_dim=8,
        intermediate_dim=8,
        max_sequence_length=5,
    )
    return model, {"token_ids": IDS, "segment_ids": 0 * IDS, "padding_mask": REAL}


def llama(*, tied: bool = True) -> tuple[keras.Model, Any]:
    hub = pytest.importorskip("keras_hub")
    model = hub.models.LlamaBackbone(
        vocabulary_size=12,
        num_layers=2,
        num_query_heads=4,
        num_key_value_heads=2,
        hidden_dim=16,
        intermediate_dim=8,
        rope_max_wavelength=100,
        tie_word_embeddings=tied,
    )
    return model, {"token_ids": IDS, "padding_mask": REAL}


MAKERS = {"student": student, "bert": bert, "llama": llama}
HUB = ["bert", "llama"]
PRUNERS: dict[str, Callable[..., tuple[keras.Model, Any]]] = {
    "layers": lambda model, x: td.drop_layers(model, keep=1, calibration=x),
    "heads": lambda model, x: td.prune_heads(model, keep=2, calibration=x),
    "ffn": lambda model, x: td.prune_ffn(model, keep=3, calibration=x),
    "vocabulary": lambda model, x: td.prune_vocabulary(model, keep=np.arange(12)),
}


@pytest.fixture(params=list(MAKERS))
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def model_and_x(kind: str) -> tuple[keras.Model, Any]:
    return scrambled(*MAKERS[kind]())


def scrambled(model: keras.Model, x: Any) -> tuple[keras.Model, Any]:
    """Gives every weight, biases and norms too, values that matter."""
    for variable in model.trainable_variables:
        variable.assign(RNG.normal(size=variable.shape) * 0.5)
    return model, x


def answers(model: keras.Model, x: Any) -> np.ndarray:
    outputs = keras.tree.flatten(model(x, training=False))
    return np.concatenate([np.ravel(each) for each in outputs])


def all_parts(model: keras.Model) -> dict[str, Any]:
    return {block.name: parts_of(block) for block in find_blocks(model)}


def erase(kernel: keras.Variable, rows: tuple[int, ...]) -> None:
    value = kernel.numpy().copy()
    value[list(rows)] = 0.0
    kernel.assign(value)


@pytest.mark.quick_cases("student-layers", "student-vocabulary", "bert-heads", "llama-ffn")
@pytest.mark.parametrize("pruner", list(PRUNERS))
def test_the_given_model_stays_as_it_was(pruner: str, model_and_x):
    model, x = model_and_x
    before = [variable.numpy().copy() for variable in model.variables]
    attributes = [set(vars(layer)) for layer in model._flatten_layers()]
    nodes = [len(layer._inbound_nodes) for layer in model.layers]
    PRUNERS[pruner](model, x)

    for old, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(old, variable)
    assert attributes == [set(vars(layer)) for layer in model._flatten_layers()]
    assert nodes == [len(layer._inbound_nodes) for layer in model.layers]


@pytest.mark.quick_cases(
    "student-layers",
    "student-vocabulary",
    "bert-ffn",
    "llama-heads",
)
@pytest.mark.parametrize("pruner", list(PRUNERS))
def test_a_smaller_model_can_be_saved_and_loaded(pruner: str, model_and_x, kind: str, tmp_path):
    if kind == "llama":  # KerasHub 0.32 forgets in a `.keras` file that the embeddings are tied
        model_and_x = scrambled(*llama(tied=False))
    smaller, _ = PRUNERS[pruner](*model_and_x)
    smaller.save(tmp_path / "smaller.keras")
    loaded = keras.saving.load_model(tmp_path / "smaller.keras")

    np.testing.assert_array_equal(answers(loaded, model_and_x[1]), answers(smaller, model_and_x[1]))


def test_without_the_removed_heads_the_given_model_answers_the_same(model_and_x):
    model, x = model_and_x
    smaller, summary = td.prune_heads(model, keep=2, calibration=x)
    for name, parts in all_parts(model).items():
        assert len(summary.removed[name]) == 2
        erase(parts.layers["attention_output"].kernel, summary.removed[name])

    np.testing.assert_allclose(answers(smaller, x), answers(model, x), **CLOSE)
    assert {parts.num_heads for parts in all_parts(smaller).values()} == {2}
    assert summary.parameters_after == smaller.count_params() < model.count_params()


def test_heads_that_reach_nothing_go_first(model_and_x, kind: str):
    model, x = model_and_x
    inert = (0, 1) if kind == "llama" else (0, 2)  # Llama's heads 0 and 1 share keys and values
    for parts in all_parts(model).values():
        erase(parts.layers["attention_output"].kernel, inert)
    smaller, summary = td.prune_heads(model, keep=2, calibration=x)

    assert set(summary.removed.values()) == {inert}
    assert {summary.importance[name][inert[0]] for name in summary.importance} == {0.0}
    np.testing.assert_allclose(answers(smaller, x), answers(model, x), **CLOSE)


def test_without_the_removed_units_the_given_model_answers_the_same(model_and_x):
    model, x = model_and_x
    smaller, summary = td.prune_ffn(model, keep=3, calibration=x)
    for name, parts in all_parts(model).items():
        assert len(summary.removed[name]) == 5
        erase(parts.layers["outer"].kernel, summary.removed[name])

    np.testing.assert_allclose(answers(smaller, x), answers(model, x), **CLOSE)
    assert {parts.num_units for parts in all_parts(smaller).values()} == {3}


def test_units_that_reach_nothing_go_first(model_and_x):
    model, x = model_and_x
    for parts in all_parts(model).values():
        erase(parts.layers["outer"].kernel, (1, 4, 6))
    smaller, summary = td.prune_ffn(model, keep=5, calibration=x)

    for name, scores in summary.importance.items():  # a ReLU may be dead on the data besides
        assert [scores[unit] for unit in (1, 4, 6)] == [0.0, 0.0, 0.0]
        assert [scores[unit] for unit in summary.removed[name]] == [0.0, 0.0, 0.0]
    np.testing.assert_allclose(answers(smaller, x), answers(model, x), **CLOSE)


def make_identity(parts: Any) -> None:
    """Makes a block return what a block of identity norms hands it."""
    for name in ("attention_output", "outer"):
        for variable in parts.layers[name].variables:
            variable.assign(0.0 * variable)


def test_a_layer_that_changes_nothing_goes_first(model_and_x, kind: str):
    model, x = model_and_x
    parts = list(all_parts(model).values())
    make_identity(parts[1])
    if kind != "llama":  # norms after the sum: one of mean 0 and variance 1 leaves another's alone
        for each in (
            parts[0].layers["ffn_norm"],
            *(parts[1].layers[n] for n in ("attention_norm", "ffn_norm")),
        ):
            each.gamma.assign(np.ones(8))
            each.beta.assign(np.zeros(8))
    smaller, summary = td.drop_layers(model, keep=1, calibration=x)

    assert summary.removed == {model.name: (1,)}
    assert summary.kept == {model.name: (0,)}
    assert summary.importance[model.name][1] == pytest.approx(0.0, abs=1e-6)
    # A norm divides by √(1 + ε), ε = 1e-6 in a student, so it moves its input by half of that.
    np.testing.assert_allclose(answers(smaller, x), answers(model, x), rtol=1e-5, atol=1e-5)
    assert len(find_blocks(smaller)) == 1


def test_new_ids_are_answered_as_the_old_ones_were(model_and_x):
    model, x = model_and_x
    keep = np.array([0, 9, 2, 5, 11])
    smaller, summary = td.prune_vocabulary(model, keep=keep)
    new = RNG.integers(1, 5, IDS.shape).astype("int32")
    new[0, 3:] = 0
    given = {**x, "token_ids": keep[new]} if isinstance(x, dict) else keep[new]
    mine = {**x, "token_ids": new} if isinstance(x, dict) else new

    np.testing.assert_array_equal(answers(smaller, mine), answers(model, given))
    assert summary.kept == {"token_embedding": (0, 9, 2, 5, 11)}
    assert summary.removed == {"token_embedding": (1, 3, 4, 6, 7, 8, 10)}
    assert smaller.get_layer("token_embedding").input_dim == 5


@pytest.mark.parametrize("kind", HUB)
@pytest.mark.parametrize("pruner", ["layers", "ffn", "vocabulary"])
def test_a_backbone_keeps_its_class(pruner: str, model_and_x):
    model, x = model_and_x
    smaller, _ = PRUNERS[pruner](model, x)

    assert type(smaller) is type(model)
    assert len(smaller.transformer_layers) == smaller.num_layers


@pytest.mark.parametrize("tied", [True, False])
def test_outputs_over_the_vocabulary_are_those_of_the_kept_rows(tied: bool):
    model, _ = scrambled(*llama(tied=tied))
    keep = [3, 1, 10]
    smaller, _ = td.prune_vocabulary(model, keep=keep)
    states = RNG.normal(size=(2, 4, 16)).astype("float32")
    expected = model.token_embedding(states, reverse=True).numpy()[..., keep]

    np.testing.assert_allclose(smaller.token_embedding(states, reverse=True), expected, **CLOSE)
    assert len(smaller.token_embedding.variables) == (1 if tied else 2)


def test_cuts_follow_each_other(model_and_x):
    model, x = model_and_x
    smaller, _ = td.prune_heads(model, keep=2, calibration=x)
    smaller, _ = td.prune_ffn(smaller, keep=4, calibration=x)
    smaller, _ = td.drop_layers(smaller, keep=1, calibration=x)
    smaller, _ = td.prune_vocabulary(smaller, keep=np.arange(12))
    parts = all_parts(smaller)

    assert len(parts) == 1
    assert {(each.num_heads, each.num_units) for each in parts.values()} == {(2, 4)}
    assert np.isfinite(answers(smaller, x)).all()


@pytest.mark.quick_cases("heads")
@pytest.mark.parametrize("pruner", ["layers", "heads"])
def test_a_smaller_student_is_exported_whole(pruner: str, tmp_path):
    smaller, _ = PRUNERS[pruner](*scrambled(*student()))
    path = td.to_tflite(smaller, tmp_path / "smaller.tflite", quantize=None)

    assert td.compare(smaller, path, IDS).max_error < 1e-4  # float32 kernels of another library


def test_cut_vocabulary_and_prune_vocabulary_fit_together():
    from tokenizers import Tokenizer
    from tokenizers.models import WordPiece

    words = {"[PAD]": 0, "[UNK]": 1, **{f"w{n}": n for n in range(2, 12)}}
    tokenizer = Tokenizer(WordPiece(words, unk_token="[UNK]"))
    _, kept_ids = cut_vocabulary(tokenizer, ["w5"], sequence_length=5)
    smaller, summary = td.prune_vocabulary(student()[0], keep=kept_ids)

    assert summary.kept["token_embedding"] == tuple(kept_ids) == (0, 1, 5)
    assert smaller.get_layer("token_embedding").embeddings.shape == (3, 8)


def test_a_frozen_part_stays_frozen(model_and_x):
    model, x = model_and_x
    model.get_layer("token_embedding").trainable = False
    for pruner in PRUNERS.values():
        smaller, _ = pruner(model, x)
        assert not smaller.get_layer("token_embedding").trainable


def test_the_summary_can_be_read():
    model, x = student()
    _, summary = td.prune_heads(model, keep=2, calibration=x)
    lines = str(summary).splitlines()

    # Each head of width 2 has 3 kernels and biases in, 8·2 + 2 each, and 2·8 out: 70 numbers.
    assert summary.parameters_before - summary.parameters_after == 2 * 2 * 70
    assert lines[0].startswith("4 of 8 heads removed; parameters 1,")
    assert [line.split(":")[0].strip() for line in lines[1:]] == [
        "encoder_0",
        "encoder_1",
    ]
