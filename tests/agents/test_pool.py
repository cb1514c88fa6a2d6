from __future__ import annotations

import gc
import itertools
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from tfdistill.agents import Agent, AgentPool, Prediction, UnusableTextError

LOCAL = ["inline", "threads"]


@pytest.fixture(scope="module")
def wanted(bundle: Path, texts: list[str]) -> list[Prediction]:
    return Agent(bundle).predict(texts)


@pytest.fixture(scope="module", params=LOCAL)
def pool(request: pytest.FixtureRequest, bundle: Path) -> Any:
    with AgentPool(bundle, executor=request.param, num_agents=2, chunk_size=4) as pool:
        yield pool


def test_predict_equals_one_agent(pool: AgentPool, texts: list[str], wanted: list[Prediction]):
    assert pool.predict(texts) == wanted


def test_submit_gives_the_same_element(pool: AgentPool, texts: list[str], wanted: list[Prediction]):
    futures = [pool.submit(text) for text in texts]

    assert all(isinstance(future, Future) for future in futures)
    assert [future.result(timeout=30) for future in futures] == wanted


def test_map_is_ordered(pool: AgentPool, texts: list[str], wanted: list[Prediction]):
    assert list(pool.map(iter(texts))) == wanted


def test_as_completed_gives_every_text_once(
    pool: AgentPool, texts: list[str], wanted: list[Prediction]
):
    pairs = list(pool.as_completed(texts))

    assert sorted(index for index, _ in pairs) == list(range(len(texts)))
    assert all(future.done() for _, future in pairs)
    assert all(future.result() == wanted[index] for index, future in pairs)


def test_map_of_nothing_is_nothing(pool: AgentPool):
    assert list(pool.map([])) == []
    assert list(pool.as_completed([])) == []


def test_unusable_text_is_an_error_of_its_own_future_only(pool: AgentPool):
    good, bad, last = (pool.submit(text) for text in ("wheat", "zebra", "brent"))

    assert (good.result(30).label, last.result(30).label) == ("grain", "oil")
    with pytest.raises(UnusableTextError, match="`text` must have .*text='zebra'"):
        bad.result(30)


def test_predict_names_the_position_of_an_unusable_text(pool: AgentPool):
    with pytest.raises(UnusableTextError, match=r"`texts\[2\]` must have .*texts\[2\]='zebra'"):
        pool.predict(["wheat", "brent", "zebra", "wheat"])


def test_errors_take_the_place_of_their_texts_on_request(pool: AgentPool):
    first, second, third = pool.predict(["wheat", "zebra", "brent"], return_exceptions=True)

    assert isinstance(first, Prediction)
    assert isinstance(second, UnusableTextError) and second.argument == "texts[1]"
    assert isinstance(third, Prediction)


@pytest.mark.parametrize(
    ("texts", "kind", "message"),
    [
        ([], ValueError, "at least one text"),
        ("wheat", TypeError, "Put a single text in a list"),
        (["wheat", None], TypeError, r"`texts\[1\]` must be a str"),
    ],
)
def test_wrong_input_is_refused_before_anything_runs(
    pool: AgentPool, texts: Any, kind: type[Exception], message: str
):
    before = pool.stats()["submitted"]

    with pytest.raises(kind, match=message):
        pool.predict(texts)

    assert pool.stats()["submitted"] == before


def test_submit_refuses_what_is_not_text(pool: AgentPool):
    with pytest.raises(TypeError, match=r"`text` must be a str. Received: text=\['wheat'\]"):
        pool.submit(["wheat"])  # type: ignore[arg-type]


def test_stream_with_something_else_in_it_names_the_position(pool: AgentPool):
    answers = pool.map(["wheat", 5, "brent"])  # type: ignore[list-item]

    with pytest.raises(TypeError, match=r"`texts\[1\]` must be a str. Received: texts\[1\]=5"):
        list(answers)


def test_stats_count_texts_and_name_workers(bundle: Path):
    with AgentPool(bundle, executor="threads", num_agents=2) as pool:
        pool.predict(["wheat", "zebra"], return_exceptions=True)
        stats = pool.stats()

    assert (stats["submitted"], stats["completed"], stats["failed"]) == (2, 2, 1)
    assert stats["in_flight"] == stats["restarts"] == 0
    names = {"pid", "state", "restarts", "private_bytes", "shared_bytes"}
    assert [set(worker) for worker in stats["workers"]] == [names] * 2
    # Both agents live in this process, which is counted once.
    assert stats["private_bytes"] == stats["workers"][0]["private_bytes"]
    assert 0 < stats["latency_ms"]["p50"] <= stats["latency_ms"]["p95"] <= 60_000
    assert 0 < stats["throughput_per_s"] <= 2000
    assert stats["queued"] == 0


@pytest.mark.parametrize("executor", LOCAL)
def test_endless_stream_is_read_only_as_far_as_allowed(bundle: Path, executor: str):
    read = 0

    def endless() -> Any:
        nonlocal read
        for _ in itertools.count():
            read += 1
            yield "wheat"

    with AgentPool(bundle, executor=executor, max_in_flight=10) as pool:
        for consumed, _ in enumerate(pool.map(endless()), start=1):
            assert read <= consumed + 10
            if consumed == 100:
                break


def test_max_in_flight_is_four_chunks_for_each_agent_and_256_at_least(bundle: Path):
    for chunk_size, wanted in ((64, 512), (1, 256)):
        with AgentPool(bundle, executor="threads", num_agents=2, chunk_size=chunk_size) as pool:
            assert pool.max_in_flight == wanted


def test_submit_waits_when_too_much_is_under_way(bundle: Path):
    with AgentPool(bundle, executor="threads", num_agents=1, max_in_flight=5) as pool:
        most = 0
        for _ in range(200):
            pool.submit("wheat")
            most = max(most, pool.stats()["in_flight"])

    assert most <= 5


def test_callback_may_submit_to_a_full_pool(bundle: Path):
    seen: list[str] = []
    done = threading.Event()

    def twice(future: Future[Prediction]) -> None:
        seen.append(future.result().label)
        if len(seen) == 15:
            done.set()
        elif len(seen) <= 7:
            for _ in range(2):  # the second finds the only place taken
                pool.submit("brent").add_done_callback(twice)

    with AgentPool(bundle, executor="threads", num_agents=1, max_in_flight=1) as pool:
        pool.submit("wheat").add_done_callback(twice)
        assert done.wait(30)

    assert seen == ["grain"] + ["oil"] * 14


def test_slow_source_does_not_hold_answers_back(bundle: Path, monkeypatch: pytest.MonkeyPatch):
    with AgentPool(bundle, executor="threads", num_agents=1) as pool:
        release = threading.Event()
        futures: list[Future[Any]] = []
        submit = pool.submit

        def recorded(text: str) -> Future[Any]:
            futures.append(submit(text))
            return futures[-1]

        monkeypatch.setattr(pool, "submit", recorded)

        def source() -> Any:
            yield "wheat"
            futures[0].result(20)
            yield "brent"
            # Only the consumer of the first answer lets the source go on.
            assert release.wait(10)
            yield "tariff"

        labels = []
        for answer in pool.map(source()):
            labels.append(answer.label)
            release.set()

    assert labels == ["grain", "oil", "trade"]


@pytest.mark.parametrize("executor", LOCAL)
def test_closed_pool_says_what_to_do(bundle: Path, executor: str):
    pool = AgentPool(bundle, executor=executor)
    pool.close()
    pool.close()

    message = r"This AgentPool is closed\. Create a new one, or keep it open with `with"
    for call in (pool.predict, pool.map, pool.as_completed):
        with pytest.raises(RuntimeError, match=message):
            call(["wheat"])
    with pytest.raises(RuntimeError, match=message):
        pool.submit("wheat")


def test_close_answers_what_was_submitted(bundle: Path):
    pool = AgentPool(bundle, executor="threads", num_agents=2)
    futures = [pool.submit("wheat") for _ in range(100)]
    pool.close()

    assert {future.result(timeout=0).label for future in futures} == {"grain"}


def test_error_inside_the_block_cancels_what_waits(bundle: Path):
    with (
        pytest.raises(KeyboardInterrupt),
        AgentPool(bundle, executor="threads", num_agents=1, chunk_size=1) as pool,
    ):
        busy, closing = threading.Event(), threading.Event()

        def hold(_: Any) -> None:  # keeps the only agent's thread until the pool closes
            busy.set()
            closing.wait(20)

        pool.submit("wheat").add_done_callback(hold)
        assert busy.wait(20)
        futures = [pool.submit("wheat") for _ in range(200)]
        futures[-1].add_done_callback(lambda _: closing.set())
        raise KeyboardInterrupt

    assert all(future.cancelled() for future in futures)


def test_forgotten_pool_ends_its_threads(bundle: Path):
    pool = AgentPool(bundle, executor="threads", num_agents=2)
    name = "tfdistill-pool"
    before = [thread for thread in threading.enumerate() if thread.name.startswith(name)]
    assert len(before) >= 2

    del pool
    gc.collect()

    after = [thread for thread in threading.enumerate() if thread.name.startswith(name)]
    assert len(after) <= len(before) - 2


def test_auto_says_why(bundle: Path):
    with AgentPool(bundle, num_agents=2) as pool:
        assert pool.executor in {"inline", "threads"}
        assert "texts/s" in pool.reason or "one core" in pool.reason
        assert pool.predict(["wheat"])[0].label == "grain"


def test_repr_says_how_it_runs(bundle: Path):
    with AgentPool(bundle, executor="threads", num_agents=3, chunk_size=5) as pool:
        assert repr(pool) == (
            f"AgentPool({str(bundle)!r}, executor='threads', num_agents=3, chunk_size=5)"
        )


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"executor": "gpu"}, ValueError, "must be one of .*Received: executor='gpu'"),
        (
            {"num_agents": 0},
            ValueError,
            "`num_agents` must be an int of at least 1.*num_agents=0",
        ),
        ({"num_agents": 2.0}, TypeError, "`num_agents` must be an int .*Received: num_agents=2.0"),
        (
            {"chunk_size": 0},
            ValueError,
            "`chunk_size` must be an int of .*Or give 'auto'",
        ),
        ({"chunk_size": "big"}, TypeError, "`chunk_size` must be an int.*'big'.*Or give 'auto'"),
        (
            {"max_in_flight": 0},
            ValueError,
            "`max_in_flight` must be an int of .*Or give None",
        ),
        ({"threads_per_agent": 0}, ValueError, "`threads_per_agent` must be an int of at least 1"),
        ({"timeout_s": 0}, ValueError, r"`timeout_s` must be a number in \(0, inf\)"),
        ({"timeout_s": "1"}, TypeError, "Received: timeout_s='1'"),
        (
            {"timeout_s": 1.0, "executor": "inline"},
            ValueError,
            "must be None for executor='inline'.*use 'threads' or 'ray'",
        ),
    ],
)
def test_arguments_are_checked(
    bundle: Path, arguments: dict[str, Any], kind: type[Exception], message: str
):
    with pytest.raises(kind, match=message):
        AgentPool(bundle, **arguments)


def test_missing_bundle_is_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="existing bundle folder"):
        AgentPool(tmp_path / "gone")


@pytest.mark.parametrize("executor", LOCAL)
def test_panic_of_the_tokenizer_is_an_error_of_its_own_text_only(
    panicking_bundle: Path, executor: str
):
    with AgentPool(panicking_bundle, executor=executor, num_agents=1) as pool:
        for _ in range(2):  # the worker, or the tokenizer, must not be broken afterwards
            future = pool.submit("!" * 50 + " oil")
            with pytest.raises(
                UnusableTextError, match=r"text that the tokenizer takes \(tokenizers panicked"
            ):
                future.result(timeout=30)
            assert pool.submit("wheat").result(timeout=30).label == "grain"
