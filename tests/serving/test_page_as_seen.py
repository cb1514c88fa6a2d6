"""The page to try a server by hand, as a browser lays it out; no Ray, the routes themselves."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from shared_fixtures.browser import Browser
from shared_fixtures.contrast import contrast

from tfdistill.agents import LabelsPrediction, NumberPrediction, Prediction
from tfdistill.serving.app import Routes, to_plain

uvicorn = pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")

LABELS = ["earn", "grain", "<i>oil</i>"]
ANSWERS = {
    "sure": Prediction("earn", 0.988, (0.988, 0.010, 0.002)),
    "unsure": Prediction("<i>oil</i>", 0.4, (0.35, 0.25, 0.4)),
    "both": LabelsPrediction(("earn", "<i>oil</i>"), (0.6, 0.1, 0.9)),
    "neither": LabelsPrediction((), (0.1, 0.2, 0.3)),
    "stars": NumberPrediction(3.1415926),
}


async def answer(text: str) -> tuple[dict[str, Any], int]:
    if text == "outside":
        return {**to_plain(ANSWERS["unsure"]), "in_scope": False}, 1
    if text == "many":
        return {"label": "a", "confidence": 0.08, "probabilities": [0.08] * 11 + [0.12]}, 1
    return to_plain(ANSWERS[text]), 1


async def describe() -> dict[str, Any]:
    return {"name": "topics", "labels": LABELS}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    from starlette.requests import Request

    routes = Routes(
        answer=answer, describe=describe, max_request_bytes=999, most_texts=3, timeout_s=9.0
    )

    async def app(scope: Any, receive: Any, send: Any) -> None:
        response = await routes.respond(Request(scope, receive))
        await response(scope, receive, send)

    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, lifespan="off", log_level="error")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([place],), daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{place.getsockname()[1]}"
        server.should_exit = True
        thread.join(20)


def ask(browser: Browser, url: str, text: str, **settings: Any) -> None:
    browser.open(f"{url}/?text={text}", **settings)
    browser.wait_for("document.body.dataset.done")


WIDTHS = """Array.from(document.querySelectorAll(".track")).map((track) =>
  track.firstChild.getBoundingClientRect().width / track.getBoundingClientRect().width)"""


@pytest.mark.parametrize("width", [1100, 390])
def test_bars_are_as_long_as_the_probabilities(
    browser: Browser,
    url: str,
    width: int,
):
    ask(browser, url, "sure", width=width)
    found = browser.value(WIDTHS)
    main = browser.value("document.querySelector('main').clientWidth")
    track = browser.value("document.querySelector('.track').clientWidth")

    assert found[0] == pytest.approx(0.988, abs=0.005) and found[0] >= 0.95
    assert found[1:] == [pytest.approx(0.010, abs=0.005), pytest.approx(0.002, abs=0.005)]
    assert track == main - 32  # all but the margins of 1rem
    assert browser.value("document.documentElement.scrollWidth") <= width
    assert browser.console == []


def test_classes_stand_with_their_percent_and_the_likeliest_first(
    browser: Browser,
    url: str,
):
    ask(browser, url, "unsure")
    texts = "Array.from(document.querySelectorAll('.classes li')).map((item) => item.innerText)"
    assert [text.split("\n") for text in browser.value(texts)] == [
        ["<i>oil</i>", "40.0 %"],
        ["earn", "35.0 %"],
        ["grain", "25.0 %"],
    ]


def test_classes_beyond_ten_are_summed_up(browser: Browser, url: str):
    ask(browser, url, "many")
    assert browser.value("document.querySelectorAll('.classes li').length") == 10
    assert "2 more classes: 16.0 %" in browser.value("document.body.innerText")


def test_a_text_out_of_scope_is_told_as_such(browser: Browser, url: str):
    ask(browser, url, "unsure")
    assert browser.value("document.querySelector('.unsure')") is None
    ask(browser, url, "outside")
    assert "perhaps none of these" in browser.value("document.querySelector('.unsure').innerText")


def test_several_labels_stand_above_and_are_marked_among_the_bars(browser: Browser, url: str):
    ask(browser, url, "both")
    assert browser.value("document.querySelector('h2').innerText") == "earn, <i>oil</i>"
    texts = "Array.from(document.querySelectorAll('.classes li')).map((item) => item.innerText)"
    assert [text.split("\n") for text in browser.value(texts)] == [
        ["<i>oil</i>", "90.0 %"],
        ["earn", "60.0 %"],
        ["grain", "10.0 %"],
    ]
    given = "Array.from(document.querySelectorAll('.classes li')).map((item) => item.className)"
    assert browser.value(given) == ["given", "given", ""]
    ask(browser, url, "neither")
    assert browser.value("document.querySelector('h2').innerText") == "no label"
    assert browser.value("document.querySelector('.given')") is None


def test_a_number_stands_alone(browser: Browser, url: str):
    ask(browser, url, "stars")
    assert browser.value("document.querySelector('#answer').innerText") == "3.14159"


COLORS = """Array.from(document.querySelectorAll(
  "h1, h1 small, label, textarea, #keys, #state, h2, .name, .percent")).map((item) =>
  [item.className || item.id || item.tagName, getComputedStyle(item).color])"""


@pytest.mark.parametrize(
    ("dark", "paper", "panel"),
    [
        (False, "rgb(255, 255, 255)", "rgb(246, 248, 250)"),
        (True, "rgb(13, 17, 23)", "rgb(22, 27, 34)"),
    ],
)
def test_the_page_follows_the_theme_and_is_readable_in_it(
    browser: Browser,
    url: str,
    dark: bool,
    paper: str,
    panel: str,
):
    ask(browser, url, "sure", dark=dark)
    style = "getComputedStyle(document.querySelector('{}')).{}"

    assert browser.value(style.format("body", "backgroundColor")) == paper
    assert browser.value(style.format("textarea", "backgroundColor")) == panel
    for name, color in browser.value(COLORS):
        assert min(contrast(color, paper), contrast(color, panel)) >= 4.5, name
    button = [browser.value(style.format("button", part)) for part in ("color", "backgroundColor")]
    assert contrast(*button) >= 4.5
    # A bar is told from its track (3 : 1, as WCAG asks of graphics).
    bar = browser.value(style.format(".bar", "backgroundColor"))
    assert contrast(bar, browser.value(style.format(".track", "backgroundColor"))) >= 3


def test_the_keyboard_alone_asks(browser: Browser, url: str):
    browser.open(url)
    browser.wait_for("document.activeElement.id === 'text'")  # the focus is there from the start
    browser.value("document.activeElement.value = 'sure'")
    browser.press("Enter", code=13, control=True)
    browser.wait_for("document.querySelector('.classes')")
    browser.press("Tab", code=9)
    assert browser.value("document.activeElement.tagName") == "BUTTON"
    assert browser.value("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    browser.value("document.getElementById('text').value = 'unsure'")
    browser.press("Enter", code=13, text="\r")
    browser.wait_for("document.querySelector('h2')?.innerText === '<i>oil</i> (40.0 %)'")


def test_on_a_phone_the_button_is_large_enough_for_a_thumb(
    browser: Browser,
    url: str,
):
    ask(browser, url, "sure", width=390)
    size = browser.value("document.querySelector('button').getBoundingClientRect().toJSON()")
    assert size["height"] >= 44 and size["width"] == 390 - 32
