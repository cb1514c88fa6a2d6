from __future__ import annotations

import pytest

from tfdistill.agents.execution import quarantine
from tfdistill.agents.execution.work_queue import WorkItem, WorkQueue


@pytest.mark.parametrize(
    ("quick", "failed_attempts", "wanted"),
    [
        ([True] * 4, 4, None),
        ([True] * 5, 5, "quarantined"),
        ([False] * 19, 19, None),
        ([True, True, True, False, True, True], 6, "quarantined"),
        ([False] * 20, 20, "given up"),
    ],
)
def test_outcome_follows_the_rule(quick: list[bool], failed_attempts: int, wanted: str | None):
    item = WorkItem("text")
    for each in quick:
        quarantine.count_attempt(item, quick=each)

    outcome = quarantine.outcome(item)

    assert item.failed_attempts == failed_attempts
    assert (wanted in str(outcome)) if wanted else outcome is None


def test_possible_poison_messages_go_back_in_front_and_come_out_one_by_one():
    queue = WorkQueue(workers=1)
    for text in "abc":
        queue.put(text)
    quarantine.retry_in_isolation(queue.take(2), queue)

    assert [[item.text for item in queue.take(9)] for _ in range(3)] == [["a"], ["b"], ["c"]]


def test_error_shows_the_beginning_of_a_long_text():
    error = quarantine.timeout_of(WorkItem("x" * 1_000_000), 1.5)

    assert "longer than timeout_s=1.5 s" in str(error)
    assert len(str(error)) < 400
