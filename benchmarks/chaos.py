"""A pool on Ray while its workers are killed, a text kills its worker, and a machine is lost.

    python benchmarks/chaos.py                      # 20,000 texts
    python benchmarks/chaos.py --soak-seconds 300   # as many as fit in five minutes, too

Worker processes are killed from outside with SIGKILL, one every second; one text ends the process
that works on it, whenever it is tried. Then a cluster of two nodes on this machine (separate Ray
nodes, as `ray.cluster_utils.Cluster` makes them) loses the one where half of the workers are. What
is counted: answers that are missing, that come twice, that are wrong or out of order.
"""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pool_sides import make_student, make_texts

from tfdistill.agents import Agent, AgentPool, QuarantinedTextError
from tfdistill.agents.on_ray import actors
from tfdistill.cluster import session

POISON = "w13 poison"
_make_pool_worker = actors.make_pool_worker


def deadly_worker() -> type:
    """A pool worker that the poison kills: a segmentation fault cannot be had on demand."""
    base = _make_pool_worker()

    class DeadlyWorker(base):  # type: ignore[misc, valid-type]
        def answer(self, text: str) -> Any:
            import os
            import signal

            if text == "w13 poison":
                os.kill(os.getpid(), signal.SIGKILL)
            return super().answer(text)

    return DeadlyWorker


class Killer(threading.Thread):
    """Ends a worker process every second."""

    def __init__(self, pool: AgentPool, *, every_s: float) -> None:
        super().__init__(daemon=True)
        self._pool = pool
        self._every_s = every_s
        self.stop = threading.Event()
        self.kills = 0
        self.memory: list[int] = []

    def run(self) -> None:
        """Kills, in turn, workers that are at work, and notes the memory of this process."""
        while not self.stop.wait(self._every_s):
            workers = [each for each in self._pool.stats()["workers"] if each["state"] == "ready"]
            if workers:
                try:
                    os.kill(workers[self.kills % len(workers)]["pid"], signal.SIGKILL)
                    self.kills += 1
                except ProcessLookupError:  # it is dead already
                    pass
            self.memory.append(private_bytes())


def main() -> None:
    """Prints what was lost, which should be nothing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=20_000)
    parser.add_argument("--node-texts", type=int, default=4_000)
    parser.add_argument("--soak-seconds", type=float, default=0.0)
    parser.add_argument("--kill-every", type=float, default=1.0)
    options = parser.parse_args()
    actors.make_pool_worker = deadly_worker
    with tempfile.TemporaryDirectory() as scratch:
        bundle = make_student(Path(scratch), layers=2, width=128)
        texts = make_texts(997)
        wanted = Agent(bundle).predict(texts)
        with AgentPool(bundle, executor="ray", num_agents=2, chunk_size=16) as pool:
            stream = with_poison(texts, options.texts)
            print(trial("killed workers", pool, stream, wanted, every_s=options.kill_every))
            if options.soak_seconds:
                endless = for_seconds(texts, options.soak_seconds)
                print(trial("soak", pool, endless, wanted, every_s=options.kill_every))
        print(lose_a_node(bundle, texts, wanted, count=options.node_texts))


def with_poison(texts: list[str], count: int) -> Iterator[str]:
    """Yields texts over and over, one of them the poison."""
    for index in range(count):
        yield POISON if index == count // 3 else texts[index % len(texts)]


def for_seconds(texts: list[str], seconds: float) -> Iterator[str]:
    """Yields texts over and over until the time is up, the poison after the first thousand."""
    end, index = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        yield POISON if index == 1000 else texts[index % len(texts)]
        index += 1


def count_answers(
    pool: AgentPool, stream: Iterable[str], wanted: list[Any]
) -> tuple[dict[str, int], float]:
    """Answers a stream; returns what was right and wrong with it, and the seconds."""
    counts = {"sent": 0, "answers": 0, "wrong or out of order": 0, "quarantined": 0, "failed": 0}

    def counted() -> Iterator[str]:
        for text in stream:
            counts["sent"] += 1
            yield text

    start = time.monotonic()
    for index, answer in enumerate(pool.map(counted(), return_exceptions=True)):
        counts["answers"] += 1
        if isinstance(answer, QuarantinedTextError):
            counts["quarantined"] += 1
        elif isinstance(answer, Exception):
            counts["failed"] += 1
        elif answer != wanted[index % len(wanted)]:
            counts["wrong or out of order"] += 1
    return counts, time.monotonic() - start


def trial(
    name: str, pool: AgentPool, stream: Iterable[str], wanted: list[Any], *, every_s: float
) -> str:
    """Answers a stream while workers are killed."""
    before = pool.stats()
    killer = Killer(pool, every_s=every_s)
    killer.start()
    counts, seconds = count_answers(pool, stream, wanted)
    killer.stop.set()
    killer.join()
    after = pool.stats()
    half = len(killer.memory) // 2
    early, late = max(killer.memory[:half], default=0), max(killer.memory[half:], default=0)
    return summary(name, counts, before, after) + (
        f"; {killer.kills} kills, {after['restarts'] - before['restarts']} restarts, "
        f"{seconds:.0f} s; largest private memory of the caller {early / 2**20:.1f} MB in the "
        f"first half and {late / 2**20:.1f} MB in the second"
    )


def lose_a_node(bundle: Path, texts: list[str], wanted: list[Any], *, count: int) -> str:
    """Answers texts on a cluster of two nodes and takes one away in the middle."""
    ray = session.import_ray()
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    other = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    try:
        with AgentPool(bundle, executor="ray", num_agents=2, chunk_size=16) as pool:
            before = pool.stats()
            nodes = len({worker["node"] for worker in before["workers"]})

            def stream() -> Iterator[str]:
                for index in range(count):
                    if index == count // 2:
                        cluster.remove_node(other)
                    yield texts[index % len(texts)]

            counts, seconds = count_answers(pool, stream(), wanted)
            after = pool.stats()
        left = len({worker["node"] for worker in after["workers"]})
        return summary("lost node", counts, before, after) + (
            f"; workers on {nodes} nodes before and {left} after, {seconds:.0f} s"
        )
    finally:
        ray.shutdown()
        cluster.shutdown()


def summary(
    name: str, counts: dict[str, int], before: dict[str, Any], after: dict[str, Any]
) -> str:
    """Returns the counts in one line: what came in, and what became of it."""
    settled = after["completed"] - before["completed"]
    return (
        f"{name}: {counts['sent']} texts, {counts['sent'] - counts['answers']} lost, "
        f"{settled - counts['sent']} settled twice, {counts['wrong or out of order']} wrong or out "
        f"of order, {counts['failed']} failed, {counts['quarantined']} quarantined"
    )


def private_bytes() -> int:
    """Returns the private memory of this process."""
    from tfdistill.agents.execution.stats import memory_of

    return memory_of(os.getpid())["private_bytes"] or 0


if __name__ == "__main__":
    main()
