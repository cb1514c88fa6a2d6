"""The bundle as agents: each way of running them on the same raw texts."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

import numpy as np

from tfdistill.agents.agent import Agent
from tfdistill.agents.pool import AgentPool
from tfdistill.agents.predictions import Prediction
from tfdistill.reports.stage_table import PoolRow

__all__ = ["answer_all", "as_classes", "compare_executors"]


def answer_all(bundle: str | os.PathLike[str], texts: Sequence[str]) -> list:
    """Answers raw texts with one agent in this process.

    Args:
        bundle: Folder of a bundle.
        texts: Raw texts.

    Returns:
        A `Prediction` for each text, or the error of a text that cannot be answered.
    """
    return Agent(bundle).predict(texts, return_exceptions=True)


def as_classes(
    answers: Sequence[Prediction | Exception], *, label_names: Sequence[str], truth: np.ndarray
) -> np.ndarray:
    """Turns answers into classes; a text without an answer counts as wrong.

    Args:
        answers: From `answer_all`.
        label_names: Name of each class.
        truth: Right classes, int `[M]`, to choose a wrong one.

    Returns:
        int64 `[M]`.
    """
    number = {name: index for index, name in enumerate(label_names)}
    return np.array(
        [
            number[answer.label]
            if isinstance(answer, Prediction)
            else (int(right) + 1) % len(label_names)
            for answer, right in zip(answers, truth, strict=True)
        ]
    )


def compare_executors(
    bundle: str | os.PathLike[str],
    texts: Sequence[str],
    *,
    expected: Sequence[Prediction | Exception],
    executors: Sequence[str] = ("inline", "threads", "ray"),
    num_agents: int = 2,
) -> list[PoolRow]:
    """Runs the whole test set through each executor and compares each answer.

    Args:
        bundle: Folder of a bundle.
        texts: Raw texts.
        expected: What one agent in this process answered.
        executors: Which ones.
        num_agents: Agents in the pool.

    Returns:
        A row for each executor.
    """
    rows = []
    for executor in executors:
        with AgentPool(bundle, executor=executor, num_agents=num_agents) as pool:
            pool.predict(texts[:32], return_exceptions=True)
            start = time.perf_counter()
            answers = pool.predict(texts, return_exceptions=True)
            seconds = time.perf_counter() - start
        rows.append(
            PoolRow(
                executor=executor,
                items_per_s=len(texts) / seconds,
                identical=all(map(_same, answers, expected)),
            )
        )
    return rows


def _same(one: Prediction | Exception, other: Prediction | Exception) -> bool:
    if isinstance(one, Exception) or isinstance(other, Exception):
        return type(one) is type(other) and str(one) == str(other)
    return one == other
