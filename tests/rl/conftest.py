from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tfdistill.rl.budget.record import TeamRecord


def generated_record(count: int = 400, *, seed: int = 0, parts: int = 2) -> TeamRecord:
    """Makes answers whose confidence is exactly the probability that they are right."""
    random = np.random.default_rng(seed)
    fields = ["parts", *(f"{s}[{i}]" for s in ("intent", "slots") for i in range(parts))]
    active = np.ones((count, len(fields)), bool)
    single = random.random(count) < 0.4
    for column, field in enumerate(fields):
        if field.endswith(f"[{parts - 1}]") and parts > 1:
            active[single, column] = False
    hard = {"parts": -3.0, "intent": -2.0, "slots": -0.6}
    base = np.array([hard[field.partition("[")[0]] for field in fields])
    difficulty = base + 1.3 * random.normal(size=active.shape)
    ability = np.array([0.0, 0.9, 3.0])
    logit = ability - difficulty[..., None] + 0.2 * random.normal(size=(*active.shape, 3))
    confidence = 1 / (1 + np.exp(-logit))
    right = (random.random(confidence.shape) < confidence) & active[..., None]
    answers = np.where(right, 0, random.integers(1, 4, right.shape)).astype(np.int32)
    shape = confidence.shape
    return TeamRecord(
        tiers=("tiny", "small", "teacher"),
        fields=tuple(fields),
        active=active,
        right=right,
        confidence=confidence.astype(np.float32),
        margin=np.abs(2 * confidence - 1).astype(np.float32),
        cost_ms=np.broadcast_to(np.float32([0.1, 0.3, 8.0]), shape).copy(),
        answers=answers,
        length=random.integers(10, 60, active.shape).astype(np.int32),
        sources=tuple((row, count + row) if not single[row] else (row,) for row in range(count)),
        shares_passes=True,
        team="a team",
    )


@pytest.fixture(scope="session")
def make_record() -> Callable[..., TeamRecord]:
    return generated_record


@pytest.fixture(scope="session")
def record(make_record: Callable[..., TeamRecord]) -> TeamRecord:
    return make_record()
