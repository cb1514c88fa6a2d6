from __future__ import annotations

import random
import threading
from concurrent.futures import CancelledError

import pytest

from tfdistill.agents.execution.work_queue import WorkItem, WorkQueue


def texts_of(items: list[WorkItem]) -> list[str]:
    return [item.text for item in items]


def filled(count: int, *, workers: int = 1) -> WorkQueue:
    queue = WorkQueue(workers=workers)
    for index in range(count):
        queue.put(str(index))
    return queue


def test_items_come_out_in_the_order_they_went_in():
    queue = filled(5)

    assert texts_of(queue.take(3)) + texts_of(queue.take(3)) == ["0", "1", "2", "3", "4"]


def test_worker_takes_no_more_than_its_share():
    # 8 waiting texts and 3 workers: ceil(8 / 3) = 3, then ceil(5 / 3) = 2, ...
    queue = filled(8, workers=3)

    assert [len(queue.take(100)) for _ in range(5)] == [3, 2, 1, 1, 1]


def test_returned_items_are_first_in_the_old_order():
    queue = filled(4)
    queue.put_back(queue.take(2))

    assert texts_of(queue.take(4)) == ["0", "1", "2", "3"]


def test_possible_poison_message_is_always_handed_out_alone():
    queue = filled(5)
    batch = queue.take(3)
    batch[1].possible_poison = True
    queue.put_back(batch)

    assert [texts_of(queue.take(5)) for _ in range(3)] == [["0"], ["1"], ["2", "3", "4"]]


def test_answer_settles_the_future_of_its_text():
    queue = WorkQueue(workers=1)
    futures = {text: queue.put(text) for text in ("a", "b")}
    for item in queue.take(1) + queue.take(1):
        queue.finish(item, item.text.upper() if item.text == "a" else ValueError("b"))

    assert futures["a"].result(timeout=1) == "A"
    with pytest.raises(ValueError, match="^b$"):
        futures["b"].result(timeout=1)
    assert (queue.submitted, queue.completed, queue.failed, queue.unfinished) == (2, 2, 1, 0)


def test_cancelled_text_is_never_handed_out():
    queue = WorkQueue(workers=1)
    first, second = queue.put("a"), queue.put("b")
    assert first.cancel()

    assert texts_of(queue.take(2)) == ["b"]
    assert not second.cancel()
    assert queue.unfinished == 1


def test_closed_queue_takes_nothing_and_gives_what_it_has():
    queue = filled(1)
    queue.close(cancel=False)

    with pytest.raises(RuntimeError, match="This AgentPool is closed. Create a new one"):
        queue.put("late")
    (item,) = queue.take(1)
    queue.finish(item, "done")
    assert queue.take(1) == []


def test_worker_waits_for_texts_that_another_may_give_back():
    queue = filled(1)
    queue.close(cancel=False)
    (item,) = queue.take(1)
    seen: list[list[str]] = []
    other = threading.Thread(target=lambda: seen.append(texts_of(queue.take(1))))
    other.start()

    other.join(0.05)
    assert other.is_alive()  # the text is not answered, so the work is not over
    queue.put_back([item])
    other.join(5)

    assert seen == [["0"]]


def test_last_answer_ends_a_worker_that_waits():
    queue = filled(1)
    (item,) = queue.take(1)
    queue.close(cancel=False)
    seen: list[list[WorkItem]] = []
    other = threading.Thread(target=lambda: seen.append(queue.take(1)), daemon=True)
    other.start()
    other.join(0.05)
    assert other.is_alive()
    queue.finish(item, "done")  # by a worker that takes nothing after it
    other.join(5)

    assert seen == [[]]


def test_text_begins_without_failures():
    item = WorkItem("a")

    assert (item.failed_attempts, item.isolated_attempts, item.silences) == (0, 0, 0)
    assert not item.possible_poison


def test_closing_with_cancel_wakes_everybody():
    queue = WorkQueue(workers=1)
    futures = [queue.put(str(index)) for index in range(3)]
    (running,) = queue.take(1)
    queue.close(cancel=True)

    assert [future.cancelled() for future in futures] == [False, True, True]
    with pytest.raises(CancelledError):
        futures[1].result(timeout=1)
    queue.finish(running, "done")
    assert queue.take(1) == []


def test_text_that_was_begun_is_not_tried_again_after_closing_with_cancel():
    queue = filled(2)
    first, second = queue.take(1) + queue.take(1)
    queue.put_back([first])
    queue.close(cancel=True)
    queue.put_back([second])

    for item in (first, second):
        with pytest.raises(RuntimeError, match="closed before this text was answered"):
            item.future.result(timeout=1)
    assert queue.take(1) == []


def test_broken_queue_fails_what_waits_and_what_comes_later():
    queue = filled(1)
    (held,) = queue.take(1)
    waiting = queue.put("waiting")
    queue.break_off(RuntimeError("all workers are gone"))
    queue.put_back([held])

    for future in (waiting, held.future):
        with pytest.raises(RuntimeError, match="all workers are gone"):
            future.result(timeout=1)
    with pytest.raises(RuntimeError, match="all workers are gone"):
        queue.put("late")
    assert queue.unfinished == 0


def test_giving_up_settles_only_what_the_worker_still_holds():
    queue = filled(3)
    batch = queue.take(3)
    queue.finish(batch[0], "done")
    queue.put_back([batch[2]])

    queue.give_up(batch, ValueError("a defect"))

    assert batch[0].future.result() == "done"
    with pytest.raises(RuntimeError, match="a defect"):
        batch[1].future.result(timeout=1)
    assert not batch[2].future.done()


@pytest.mark.parametrize("seed", range(5))
def test_nothing_is_lost_or_doubled_when_workers_give_texts_back(seed: int):
    generator = random.Random(seed)
    fails = [generator.randrange(3) for _ in range(400)]
    queue = WorkQueue(workers=4)
    answers: list[int] = []

    def work() -> None:
        while batch := queue.take(7):
            returned = []
            for item in batch:
                index = int(item.text)
                if fails[index] > 0:
                    fails[index] -= 1
                    item.possible_poison = True
                    returned.append(item)
                else:
                    answers.append(index)
                    queue.finish(item, index)
            queue.put_back(returned)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    futures = [queue.put(str(index)) for index in range(400)]
    queue.close(cancel=False)
    for thread in threads:
        thread.join(20)

    assert sorted(answers) == list(range(400)), f"seed {seed}"
    assert [future.result(timeout=1) for future in futures] == list(range(400))
