from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tfdistill.agents import Agent, RayAgent, UnusableTextError

pytestmark = pytest.mark.ray

HEAVY = {"tensorflow", "keras", "tf_keras", "tensorflow_model_optimization"}


@pytest.fixture(scope="module")
def agent(ray_session: Any, bundle: Path) -> Any:
    return RayAgent.remote(bundle)


def test_several_agents_answer_at_once_as_one_agent_does(
    ray_session: Any, bundle: Path, texts: list[str]
):
    agents = [RayAgent.remote(path) for path in (bundle, str(bundle))]

    answers = ray_session.get([agent.predict.remote(texts) for agent in agents], timeout=60)

    assert answers == [Agent(bundle).predict(texts)] * 2


def test_worker_process_loads_no_tensorflow(ray_session: Any, agent: Any):
    def look(_: Any) -> tuple[int, list[str]]:
        return os.getpid(), [name for name in sys.modules if "." not in name]

    ray_session.get(agent.predict.remote(["wheat"]), timeout=60)
    pid, loaded = ray_session.get(agent.__ray_call__.remote(look), timeout=60)

    assert pid != os.getpid()
    assert {"tfdistill", "ai_edge_litert", "tokenizers"} <= set(loaded)
    assert HEAVY & set(loaded) == set()


@pytest.mark.slow
def test_more_agents_than_cores_fit(ray_session: Any, bundle: Path):
    count = int(ray_session.cluster_resources()["CPU"]) + 2
    agents = [RayAgent.remote(bundle) for _ in range(count)]

    answers = ray_session.get([each.predict.remote(["brent"]) for each in agents], timeout=60)

    assert [answer[0].label for answer in answers] == ["oil"] * count


def test_errors_arrive_with_their_own_type(ray_session: Any, agent: Any):
    with pytest.raises(UnusableTextError, match=r"`texts\[0\]` must have .*'zebra'"):
        ray_session.get(agent.predict.remote(["zebra"]), timeout=60)
    with pytest.raises(TypeError, match="Put a single text in a list"):
        ray_session.get(agent.predict.remote("wheat"), timeout=60)
    with pytest.raises(ValueError, match="at least one text"):
        ray_session.get(agent.predict.remote([]), timeout=60)


def test_errors_take_the_place_of_their_texts_on_request(ray_session: Any, agent: Any):
    good, bad = ray_session.get(
        agent.predict.remote(["wheat", "zebra"], return_exceptions=True), timeout=60
    )

    assert good.label == "grain"
    assert isinstance(bad, UnusableTextError)


def test_bad_bundle_is_an_error_here_and_at_once(ray_session: Any, tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="existing bundle folder"):
        RayAgent.remote(tmp_path / "gone")


def test_relative_path_is_that_of_the_caller(
    ray_session: Any, bundle: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(bundle.parent)

    agent = RayAgent.remote(bundle.name)

    assert ray_session.get(agent.predict.remote(["wheat"]), timeout=60)[0].label == "grain"


@pytest.fixture
def pool_worker(ray_session: Any, bundle: Path) -> Any:
    from tfdistill.agents.on_ray import actors

    actor_class = ray_session.remote(concurrency_groups={"health": 1})(actors.make_pool_worker())
    folder = actors.ship(ray_session, bundle)
    return actor_class.remote(actors.PACKAGE_ROOT, folder, 1)


def test_work_for_an_earlier_incarnation_is_refused(ray_session: Any, pool_worker: Any):
    pulse = ray_session.get(pool_worker.pulse.remote(), timeout=60)
    incarnation = pulse["incarnation"]

    assert pulse["pid"] != os.getpid()
    assert (pulse["index"], pulse["busy_s"]) == (0, 0.0)
    assert ray_session.get(pool_worker.run.remote("before", ["wheat"]), timeout=60) is None
    (answer,) = ray_session.get(pool_worker.run.remote(incarnation, ["wheat"]), timeout=60)
    assert answer.label == "grain"
    stream = pool_worker.run_alone.options(num_returns="streaming").remote("before", "wheat", 0.1)
    assert [ray_session.get(each) for each in stream] == [("stale", None)]


def test_text_is_not_touched_before_the_pool_holds_the_acknowledgement(
    ray_session: Any, bundle: Path, tmp_path: Path
):
    from tfdistill.agents.on_ray import actors

    class Marking(actors.make_pool_worker()):  # type: ignore[misc]
        def answer(self, text: str) -> Any:
            Path(text).touch()
            return super().answer("wheat")

    worker = ray_session.remote(concurrency_groups={"health": 1})(Marking).remote(
        actors.PACKAGE_ROOT, actors.ship(ray_session, bundle), 1
    )
    incarnation = ray_session.get(worker.pulse.remote(), timeout=60)["incarnation"]
    mark = tmp_path / "touched"
    stream = worker.run_alone.options(
        num_returns="streaming", _generator_backpressure_num_objects=1
    ).remote(incarnation, str(mark), 5.0)

    ray_session.wait([stream], timeout=60)
    time.sleep(0.3)  # ample for a worker that does not wait
    assert not mark.exists()

    assert ray_session.get(next(stream)) == ("started", None)
    kind, answer = ray_session.get(next(stream), timeout=60)
    assert (kind, answer.label, mark.exists()) == ("answer", "grain", True)
