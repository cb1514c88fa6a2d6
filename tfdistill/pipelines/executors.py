"""A bundle as agents: each way of running them, on the same raw texts."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from tfdistill.agents.agent import Agent
from tfdistill.agents.pool import AgentPool
from tfdistill.agents.predictions import TypedPrediction
from tfdistill.reports.stage_table import PoolRow

__all__ = ["compare_executors"]

_WARM_UP = 32


def compare_executors(
    bundle: str | os.PathLike[str],
    texts: Sequence[str],
    *,
    executors: Sequence[str] = ("inline", "threads", "ray"),
    num_agents: int = 2,
) -> list[PoolRow]:
    """Runs texts through each executor, times it and compares each answer with one agent's.

    A text that cannot be answered has to fail everywhere, with the same error.

    Args:
        bundle: Folder of a bundle.
        texts: Raw texts, at least one.
        executors: Which ones, by the names that `AgentPool` takes.
        num_agents: Agents in the pool.

    Returns:
        A row for each executor, in this order.

    Raises:
        ValueError: If there is no text, or a name is unknown.
    """
    if not texts:
        raise ValueError("`texts` must hold at least one text. Received: texts=[].")
    expected = Agent(bundle).predict(texts, return_exceptions=True)
    rows = []
    for executor in executors:
        with AgentPool(bundle, executor=executor, num_agents=num_agents) as pool:
            pool.predict(texts[:_WARM_UP], return_exceptions=True)
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


def _same(one: TypedPrediction | Exception, other: TypedPrediction | Exception) -> bool:
    if isinstance(one, Exception) or isinstance(other, Exception):
        return type(one) is type(other) and str(one) == str(other)
    return one == other
