"""The picture of a trace: well-formed, complete, and harmless whatever the agents say."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from tfdistill.agents import Message
from tfdistill.agents.team.messages import Span
from tfdistill.agents.team.sequence_diagram import sequence_svg
from tfdistill.agents.team.trace import Decision, Failure, Trace

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def trace() -> Trace:
    entries = (
        Message("parts", (Span(0, 9, "part"),), 0.99, "small", 0.2, "splitter", None),
        Decision("parts", "accept", 0),
        Failure("intent[0]", "broken", "small", "ValueError: <b> & \x00", 0.1),
        Message("intent[0]", "PlayMusic", 0.5, "teacher", 9.0, "big", 0),
        Decision("intent[0]", "escalate:huge", 3, granted=False),
    )
    return Trace("play jazz", entries, {"parts": (Span(0, 9, "part"),)}, {})


def texts(svg: str) -> list[str]:
    return ["".join(node.itertext()) for node in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_each_agent_has_a_line_and_each_call_an_arrow_there_and_back(trace: Trace):
    picture = ElementTree.fromstring(trace.svg())
    classes = [node.get("class") for node in picture.iter(f"{SVG}path")]

    assert classes.count("life") == 4  # the team and three agents
    assert classes.count("ask") == 3
    assert classes.count("back") == 2 and classes.count("back bad") == 1
    assert [node.get("class") for node in picture.iter(f"{SVG}rect")].count("note") == 2


def test_the_picture_says_what_was_asked_answered_and_chosen(trace: Trace):
    shown = texts(trace.svg())

    assert "splitter" in shown and "parts: accept" in shown
    assert any(text.startswith("PlayMusic (0.50)") for text in shown)
    assert any("escalate:huge (no budget left)" in text for text in shown)


def test_what_an_agent_says_is_text_and_no_markup(trace: Trace):
    assert any("<b> &  " in text for text in texts(trace.svg()))
    assert "<b>" not in trace.svg() and "\x00" not in trace.svg()


def test_long_texts_are_cut_and_whole_in_the_tooltip():
    svg = sequence_svg([("answer", "a" * 90, "field", "b" * 300)], title="t")
    titles = [node.text for node in ElementTree.fromstring(svg).iter(f"{SVG}title")]

    assert {"a" * 90, "b" * 300} <= set(titles)


def test_a_trace_without_agents_is_a_picture_too():
    assert texts(sequence_svg([], title="nothing")) == ["team"]


def test_a_notebook_shows_the_picture(trace: Trace):
    assert trace._repr_html_() == trace.svg()
