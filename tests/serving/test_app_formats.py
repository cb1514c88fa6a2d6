from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest

from tfdistill.agents import Prediction, UnusableTextError
from tfdistill.serving.app import RefusedError, parse_request, response_of, to_plain


def parse(body: Any, *, content_type: str = "application/json", most_texts: int = 3) -> Any:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return parse_request(raw, content_type=content_type, most_texts=most_texts)


def test_single_text_and_several():
    assert parse({"text": "oil"}) == (["oil"], True)
    assert parse({"texts": ["oil", ""]}) == (["oil", ""], False)
    assert parse({"text": "öl"}, content_type="Application/JSON; charset=utf-8") == (["öl"], True)


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"", 400, "must be JSON in UTF-8. Received: 0 bytes"),
        (b"\xff", 400, "must be JSON in UTF-8"),
        (b"[" * 100_000, 400, "must be JSON in UTF-8"),
        ([], 400, 'object with "text" or "texts"'),
        ({}, 400, 'object with "text" or "texts"'),
        ({"text": "a", "texts": ["b"]}, 400, 'object with "text" or "texts"'),
        ({"text": 5}, 400, '"text" must be a string. Received: int'),
        ({"texts": "oil"}, 400, '"texts" must be a list of at least one'),
        ({"texts": []}, 400, '"texts" must be a list of at least one'),
        ({"texts": ["a", None]}, 400, r'"texts"\[1\] must be a string. Received: NoneType'),
        ({"texts": ["a"] * 4}, 413, "at most 3 texts. Received: 4. Send several requests"),
    ],
)
def test_request_that_cannot_be_read_is_refused(body: Any, status: int, message: str):
    with pytest.raises(RefusedError, match=message) as caught:
        parse(body)

    assert caught.value.status == status


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded"])
def test_only_json_is_taken(kind: str):
    # A page of another site may send these without asking, but not application/json.
    with pytest.raises(RefusedError, match="must be application/json") as caught:
        parse({"text": "oil"}, content_type=kind)

    assert caught.value.status == 415


def test_answer_becomes_plain():
    prediction = Prediction(label="oil", confidence=0.75, probabilities=(0.25, 0.75))

    assert to_plain(prediction) == {
        "label": "oil",
        "confidence": 0.75,
        "probabilities": [0.25, 0.75],
        "in_scope": None,
        "score": None,
    }


def test_a_text_of_no_class_says_so():
    prediction = Prediction("oil", 0.75, (0.25, 0.75), in_scope=False, score=1.5)
    plain = to_plain(prediction)

    assert (plain["in_scope"], plain["score"]) == (False, 1.5)


def test_error_stands_in_the_place_of_its_text():
    error = to_plain(UnusableTextError("\ud800", "be text"))

    assert error["error"]["type"] == "UnusableTextError"
    assert response_of([error, {"label": "oil"}], single=False) == (
        200,
        {"answers": [error, {"label": "oil"}]},
    )
    assert response_of([error], single=True) == (422, error)


@dataclasses.dataclass(frozen=True)
class Traced:
    def to_json(self) -> dict[str, Any]:
        return {"answer": (1, {"x": math.nan}), "trace": [{"by": "splitter"}]}


def test_own_json_of_a_result_is_used_and_numbers_that_json_lacks_are_null():
    assert to_plain(Traced()) == {"answer": [1, {"x": None}], "trace": [{"by": "splitter"}]}


def test_what_is_no_answer_is_refused():
    nested: list[Any] = []
    for _ in range(100):
        nested = [nested]

    with pytest.raises(TypeError, match="must be a dataclass or have `to_json"):
        to_plain(object())
    with pytest.raises(TypeError, match="nested deeper than 64"):
        to_plain(Prediction(label=nested, confidence=0.0, probabilities=()))  # type: ignore[arg-type]
