from __future__ import annotations

import pickle

import pytest

from tfdistill.agents import MalformedMessageError, Message, Span

LABEL = Message("intent[0]", "PlayMusic", 0.5, "small", 1.25, "small_intent", 3)


@pytest.mark.parametrize(
    "value", ["PlayMusic", (Span(0, 4, "artist"), Span(5, 9, "träck")), (), ("intent", "slots")]
)
def test_a_message_comes_back_from_json_as_it_was(value: object):
    message = Message("x", value, 1.0, "teacher", 0.0, "t", None)

    assert Message.from_json(message.to_json()) == message
    assert pickle.loads(pickle.dumps(message)) == message


def test_a_messages_json_is_stable_and_plain():
    assert LABEL.to_json() == (
        '{"by": "small_intent", "confidence": 0.5, "cost_ms": 1.25, "field": "intent[0]", '
        '"in_reply_to": 3, "tier": "small", "value": "PlayMusic"}'
    )


@pytest.mark.parametrize(
    ("part", "wrong", "message"),
    [
        ("field", "", "`field` must be a name"),
        ("confidence", float("nan"), r"`confidence` must be in \[0, 1\]"),
        ("confidence", 1.5, r"`confidence` must be in \[0, 1\]"),
        ("confidence", True, r"`confidence` must be in \[0, 1\]"),
        ("cost_ms", -1.0, "`cost_ms` must be at least 0"),
        ("in_reply_to", -1, "`in_reply_to` must be the number of a message"),
        ("value", "", "`value` of a label must be a str that is not empty"),
        ("value", 3, "`value` must be of a kind in"),
        ("value", [[3, 1, "a"]], "spans in order that do not overlap"),
        ("value", [[0, 3, "a"], [2, 5, "b"]], "spans in order that do not overlap"),
        ("value", [[0, True, "a"]], "spans in order that do not overlap"),
        ("value", [[0, 1, "a"], "b"], "spans in order that do not overlap"),
    ],
)
def test_a_malformed_message_is_refused_with_its_senders_name(
    part: str, wrong: object, message: str
):
    with pytest.raises(MalformedMessageError, match=f"{message}.*'small_intent'") as caught:
        Message.from_dict({**LABEL.to_dict(), part: wrong})
    assert caught.value.by == "small_intent"


def test_a_message_without_a_part_is_refused_with_its_senders_name():
    content = LABEL.to_dict()
    del content["tier"]

    with pytest.raises(MalformedMessageError, match="exactly the parts .* from 'small_intent'"):
        Message.from_dict(content)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "[1]", "3"])
def test_what_is_no_message_is_refused(text: str):
    with pytest.raises(MalformedMessageError, match="A message must"):
        Message.from_json(text)


def test_the_error_keeps_the_sender_between_processes():
    error = MalformedMessageError("no", by="tiny")

    assert pickle.loads(pickle.dumps(error)).by == "tiny"
