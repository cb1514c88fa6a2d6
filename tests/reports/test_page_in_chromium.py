"""The page as a browser sees it: nothing to complain about, everything there, in every width."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shared_fixtures.browser import Browser
from shared_fixtures.contrast import contrast

from tfdistill.reports.confusions import LostExample
from tfdistill.reports.html_page import write_page
from tfdistill.reports.stage_table import StageRow
from tfdistill.reports.verdict import compare_with_rivals

ROWS = [
    StageRow("teacher", 0.95, 0.9, 9_000, 9_000, 90_000, 80_000, 8.0, 9.0, 1.0),
    StageRow("bag_of_words_teacher", 0.91, 0.8, 500, 450, 6_000, 4_000, 0.03, 0.04, 0.9),
    StageRow("file", 0.92, 0.8, 300, 150, 4_000, 2_000, 0.04, 0.05, 0.9),
]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    labels = np.arange(200) % 4
    verdict = compare_with_rivals(
        labels,
        student=np.where(np.arange(200) < 20, 0, labels),
        teacher=labels,
        rivals={
            "control": np.where(np.arange(200) < 100, 0, labels),
            "bag_of_words_teacher": np.where(np.arange(200) < 18, 0, labels),
        },
        sizes={"student": 4_000},
        resamples=100,
    )
    return write_page(
        tmp_path_factory.mktemp("page") / "report.html",
        stages=ROWS,
        lost=[LostExample("<img src=x onerror=console.error(1)> 雨", "a", "b")],
        verdict=verdict,
        facts={"Data set": "a" * 200, "Command": "tfdistill distill texts.csv"},
    ).as_uri()


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1100, 390])
def test_the_page_opens_without_a_console_error_and_fits(
    browser: Browser,
    page: str,
    width: int,
    dark: bool,
):
    browser.open(page, width=width, dark=dark)
    count = "document.querySelectorAll('{}').length"

    assert browser.console == []
    assert browser.value(count.format("table")) == 2
    assert browser.value(count.format("svg.plot")) == 2
    assert browser.value(count.format(".pareto circle")) == 6
    assert browser.value("document.body.innerText.includes('雨')")
    assert browser.value(count.format("img")) == 0
    # Nothing but the tables scrolls to the side.
    assert browser.value("document.documentElement.scrollWidth") <= width
    paper = browser.value("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(13, 17, 23)" if dark else "rgb(255, 255, 255)")


TEXTS = """Array.from(document.querySelectorAll(
  "h1, h2, h3, p, b, span, small, dt, dd, th, td, li")).filter((e) => e.innerText)
  .map((e) => [e.tagName, getComputedStyle(e).color])"""


@pytest.mark.parametrize("dark", [False, True])
def test_text_has_the_contrast_that_wcag_asks_for(
    browser: Browser,
    page: str,
    dark: bool,
):
    browser.open(page, dark=dark)
    papers = ["rgb(13, 17, 23)", "rgb(22, 27, 34)"] if dark else ["rgb(255, 255, 255)"]
    texts: list[Any] = browser.value(TEXTS)

    assert len(texts) > 50
    for tag, color in {tuple(text) for text in texts}:
        assert min(contrast(color, paper) for paper in papers) >= 4.5, tag


def test_a_table_on_a_phone_scrolls_by_keyboard_and_keeps_its_names(
    browser: Browser,
    page: str,
):
    browser.open(page, width=390)
    browser.value("document.querySelector('.wide').focus()")
    assert browser.value("document.activeElement.className").strip() == "wide"
    browser.value("document.activeElement.scrollLeft = 200")
    assert browser.value("document.activeElement.scrollLeft") > 0
    name = "document.querySelector('.wide tbody td').getBoundingClientRect().left"
    assert browser.value(name) == browser.value(
        "document.querySelector('.wide').getBoundingClientRect().left"
    )


def test_the_check_for_console_errors_can_fail(browser: Browser, tmp_path: Path):
    page = tmp_path / "page.html"
    page.write_text("<script>console.error('wrong')</script>")
    browser.open(page.as_uri())
    browser.wait_for("true")
    assert "wrong" in browser.console[0]
