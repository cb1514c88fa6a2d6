"""Each way of running agents says the same, also where a text cannot be answered."""

from __future__ import annotations

from pathlib import Path

import pytest

from tfdistill.agents import Agent
from tfdistill.pipelines import compare_executors

IN_PROCESS = ("inline", "threads")


def test_each_executor_has_a_row_in_the_order_asked_for(bundle: Path, texts: list[str]):
    rows = compare_executors(bundle, texts, executors=IN_PROCESS)
    assert [(row.executor, row.identical) for row in rows] == [("inline", True), ("threads", True)]
    assert all(row.items_per_s > 0 for row in rows)


def test_a_text_without_an_answer_fails_everywhere_with_one_error(panicking_bundle: Path):
    texts = ["oil prices", "!" * 50 + " oil"]
    answers = Agent(panicking_bundle).predict(texts, return_exceptions=True)
    assert [isinstance(answer, Exception) for answer in answers] == [False, True]
    rows = compare_executors(panicking_bundle, texts, executors=IN_PROCESS)
    assert all(row.identical for row in rows)


def test_other_answers_than_one_agents_are_told(bundle: Path, texts: list[str], monkeypatch):
    monkeypatch.setattr(Agent, "predict", lambda self, texts, **options: [None] * len(texts))
    (row,) = compare_executors(bundle, texts, executors=["threads"])
    assert not row.identical


def test_no_text_is_refused(bundle: Path):
    with pytest.raises(ValueError, match=r"`texts` must hold at least one text. Received: texts="):
        compare_executors(bundle, [])
