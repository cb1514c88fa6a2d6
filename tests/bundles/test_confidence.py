"""What a bundle states about its confidence: written, read strictly, shown on its card."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import keras
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from tfdistill.bundles import Confidence, OutOfScope, describe_bundle, open_bundle, state_confidence
from tfdistill.export import save_bundle

RULE = OutOfScope("energy", threshold=2.5, in_scope_kept=0.95)
STATED = Confidence(temperature=1.25, usual_unknown_share=0.2, out_of_scope=RULE)


def model(classes: int) -> keras.Model:
    ids = keras.Input((4,), dtype="int32", name="ids")
    vectors = keras.layers.Embedding(3, 4)(ids)
    logits = keras.layers.Dense(classes, name="logits")(keras.layers.Flatten()(vectors))
    return keras.Model(ids, logits)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1, "owl": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


@pytest.fixture(scope="module")
def original(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stated") / "birds"
    labels = ["day", "night"]
    bundle = save_bundle(model(2), path, tokenizer=tokenizer, labels=labels, confidence=STATED)
    return bundle.path


@pytest.fixture
def copy(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "birds"))


def edit(bundle: Path, stated: Any) -> None:
    path = bundle / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "confidence": stated}))


def test_what_is_saved_is_read_back(original: Path):
    assert open_bundle(original).confidence == STATED
    assert json.loads((original / "manifest.json").read_text())["confidence"] == {
        "temperature": 1.25,
        "usual_unknown_share": 0.2,
        "out_of_scope": {"score": "energy", "threshold": 2.5, "in_scope_kept": 0.95},
    }


def test_a_bundle_that_states_nothing_has_no_such_part(copy: Path):
    bundle = state_confidence(copy, None)

    assert bundle.confidence is None
    assert "confidence" not in json.loads((copy / "manifest.json").read_text())


def test_stating_changes_the_manifest_and_one_sentence_of_the_card(copy: Path, original: Path):
    plain = state_confidence(copy, None)
    card = (copy / "card.md").read_text()
    assert "its confidence is a softmax output, not a calibrated probability" in card

    again = state_confidence(plain.path, STATED)
    assert (copy / "card.md").read_text() == (original / "card.md").read_text()
    assert again.confidence == STATED
    for name in ("model.tflite", "tokenizer.json", "labels.json"):
        assert (copy / name).read_bytes() == (original / name).read_bytes()
    assert list(copy.parent.iterdir()) == [copy]


def test_the_card_says_what_the_confidence_is_worth(copy: Path):
    card = (copy / "card.md").read_text()
    assert "fitted to held-out texts (temperature 1.250)" in card
    assert "A text whose energy score is below 2.500 has `in_scope=False`" in card
    assert "95.0% of the held-out texts of the classes are above." in card

    state_confidence(copy, Confidence(temperature=2.0))
    card = (copy / "card.md").read_text()
    assert "also for texts that belong to none of them; its confidence was" in card
    assert "(temperature 2.000)" in card and "in_scope" not in card


def test_describing_a_bundle_keeps_what_it_states(copy: Path):
    bundle = describe_bundle(copy, about={"Data": "3 texts about birds"})

    assert bundle.confidence == STATED
    card = (copy / "card.md").read_text()
    assert "3 texts about birds" in card and "(temperature 1.250)" in card
    # And stating keeps what was described.
    state_confidence(copy, None)
    assert "3 texts about birds" in (copy / "card.md").read_text()


GOOD = STATED.to_dict()
GOOD_RULE = GOOD["out_of_scope"]


def rule(**changes: Any) -> dict[str, Any]:
    return {**GOOD, "out_of_scope": {**GOOD_RULE, **changes}}


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        (None, r"`confidence` must be an object with \['temperature', 'usual_unknown_share'"),
        ([], r"`confidence` must be an object .*Received: confidence=\[\] \(list\)"),
        ({}, r"`confidence` must have exactly the parts .*Received: \[\]"),
        ({**GOOD, "more": 1}, "exactly the parts .*'more'"),
        ({**GOOD, "temperature": "1"}, r"`temperature` must be a number in .*='1' \(str\)"),
        ({**GOOD, "temperature": True}, r"`temperature` must be a number .*=True \(bool\)"),
        ({**GOOD, "temperature": 0.0}, r"a number in \[0.01, 100\]. Received: temperature=0.0"),
        ({**GOOD, "temperature": 101}, r"a number in \[0.01, 100\]. Received: temperature=101"),
        ({**GOOD, "temperature": float("nan")}, "`temperature` must .*Received: temperature=nan"),
        ({**GOOD, "temperature": 10**400}, "too large to convert"),
        ({**GOOD, "usual_unknown_share": -0.1}, "`usual_unknown_share` must be a number in"),
        ({**GOOD, "usual_unknown_share": 1.1}, "`usual_unknown_share` must be a number in"),
        ({**GOOD, "out_of_scope": []}, "`out_of_scope` must be an object with"),
        ({**GOOD, "out_of_scope": {}}, "`out_of_scope` must have exactly the parts"),
        (rule(more=0), "`out_of_scope` must have exactly the parts"),
        (rule(score="surprise"), "`score` must be one of .*Received: score='surprise'"),
        (rule(score=[]), r"`score` must be one of .*Received: score=\[\]"),
        (rule(threshold=float("inf")), "`threshold` must be a number in .*=inf"),
        (rule(threshold=None), "`threshold` must be a number in .*=None"),
        (rule(threshold=1e7), r"`threshold` must be a number in \[-1e6, 1e6\]"),
        (rule(in_scope_kept=1.5), r"`in_scope_kept` must be a number in \[0, 1\]"),
        (rule(in_scope_kept="all"), "`in_scope_kept` must be a number in"),
    ],
)
def test_a_manifest_that_states_nonsense_is_refused(copy: Path, stated: Any, message: str):
    edit(copy, stated)

    with pytest.raises(ValueError, match=message) as caught:
        open_bundle(copy)
    assert "must state a confidence that is one, or none" in str(caught.value)
    assert str(caught.value).endswith("Save the bundle again.")


def test_deep_and_long_nonsense_is_refused_briefly(copy: Path):
    deep: Any = 0
    for _ in range(400):
        deep = [deep]
    for stated in (deep, {**GOOD, "temperature": "9" * 200_000}):
        edit(copy, stated)
        with pytest.raises(ValueError, match="must state a confidence") as caught:
            open_bundle(copy)
        assert len(str(caught.value)) < 1000


def test_a_part_that_is_no_rule_is_refused():
    with pytest.raises(TypeError, match=r"`out_of_scope` must be an OutOfScope or None.*\(str\)"):
        Confidence(out_of_scope="energy")  # type: ignore[arg-type]


def test_one_class_has_no_confidence(copy: Path, tokenizer: Tokenizer, tmp_path: Path):
    with pytest.raises(ValueError, match="it needs two classes"):
        save_bundle(
            model(1), tmp_path / "one", tokenizer=tokenizer, labels=["day"], confidence=STATED
        )
    assert not (tmp_path / "one").exists()


def test_something_else_than_a_confidence_is_refused(copy: Path, tokenizer: Tokenizer):
    message = r"`confidence` must be a Confidence or None. Received: confidence=1.3 \(float\)"
    with pytest.raises(TypeError, match=message):
        state_confidence(copy, 1.3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=message):
        save_bundle(
            model(2),
            copy,
            tokenizer=tokenizer,
            labels=["day", "night"],
            confidence=1.3,  # type: ignore[arg-type]
        )
    with pytest.raises(FileNotFoundError, match="must be an existing bundle folder"):
        state_confidence(copy.parent / "none", STATED)
