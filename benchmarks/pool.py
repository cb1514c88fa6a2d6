"""A pool of agents beside a plain loop, Ray's own pool, and Ray actors that call Keras.

    python benchmarks/pool.py

One int8 student (random weights: only time is measured) and the same texts for all. The sides take
turns; a figure is the median over the turns of the side's texts/s divided by the plain loop's in
the same turn. Slow sides answer fewer texts per turn. Then each pool gets a steady stream at 70 %
of what it can do, texts arriving at random moments, and the waiting times are counted.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from pool_sides import make_student, make_texts, open_sides

from tfdistill.agents import AgentPool
from tfdistill.agents.execution.stats import percentile

# How many texts a turn has, where not all of them.
FEWER = {"Keras actors in turns, 1 text": 16, "Keras actors in turns, 32 texts": 128}


def main() -> None:
    """Prints the tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--texts", type=int, default=400, help="texts of a turn")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--load-seconds", type=float, default=15.0)
    parser.add_argument("--no-document", action="store_true", help="without the Keras actors")
    options = parser.parse_args()
    texts = make_texts(options.texts)
    with tempfile.TemporaryDirectory() as scratch:
        bundle = make_student(Path(scratch), layers=options.layers, width=options.width)
        sides, pools = open_sides(bundle, document=not options.no_document)
        try:
            for side in sides.values():
                side(texts[:16])  # the first calls allocate and trace
            rates = take_turns(sides, texts, turns=options.turns)
            size = (bundle / "model.tflite").stat().st_size
            print(f"\n{options.layers} layers of {options.width}, {size / 1e6:.1f} MB int8")
            print(table(rates))
            for pool in pools:
                name = {"threads": "AgentPool, threads", "ray": "AgentPool, Ray"}[pool.executor]
                rate = 0.7 * statistics.median(rates[name])
                print(under_load(pool, texts, rate=rate, seconds=options.load_seconds))
        finally:
            for pool in pools:
                pool.close()


def take_turns(sides: dict[str, Any], texts: list[str], *, turns: int) -> dict[str, list[float]]:
    """Returns the texts per second of each side in each turn."""
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(turns):
        for name, side in sides.items():
            some = texts[: FEWER.get(name, len(texts))]
            start = time.perf_counter()
            side(some)
            rates[name].append(len(some) / (time.perf_counter() - start))
    return rates


def table(rates: dict[str, list[float]]) -> str:
    """Returns texts/s and the ratios to the loop, and those to the document's pattern."""
    loop = rates["plain loop"]
    lines = ["| | texts/s (median) | of the loop (turns) |", "|---|--:|--:|"]
    for name, values in rates.items():
        lines.append(f"| {name} | {statistics.median(values):,.1f} | {ratio(values, loop)} |")
    if "Keras actors in turns, 1 text" in rates:
        one = rates["Keras actors in turns, 1 text"]
        many = rates["Keras actors in turns, 32 texts"]
        single, pooled = rates["RayAgent in turns, 1 text"], rates["AgentPool, Ray"]
        lines += [
            "",
            f"RayAgent / Keras actor, one text per call: {ratio(single, one)}",
            f"AgentPool on Ray / Keras actor, one text per call: {ratio(pooled, one)}",
            f"AgentPool on Ray / Keras actor with batches of 32: {ratio(pooled, many)}",
        ]
    return "\n".join(lines)


def ratio(ours: list[float], theirs: list[float]) -> str:
    """Returns the median of the paired ratios, with the least and the largest."""
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    return f"{statistics.median(ratios):.2f}x ({min(ratios):.2f} to {max(ratios):.2f})"


def under_load(pool: AgentPool, texts: list[str], *, rate: float, seconds: float) -> str:
    """Sends texts at random moments (a Poisson stream) and returns the percentiles of waiting."""
    generator = random.Random(1)
    waited: list[float] = []
    lock = threading.Lock()

    def note(sent_at: float, future: Future[Any]) -> None:
        future.result()
        with lock:
            waited.append(time.perf_counter() - sent_at)

    start = due = time.perf_counter()
    sent, late = 0, 0.0
    while due < start + seconds:
        due += generator.expovariate(rate)
        time.sleep(max(0.0, due - time.perf_counter()))
        late = max(late, time.perf_counter() - due)
        # From the moment it was due: a sender that is held up must not flatter the pool.
        moment = due
        future = pool.submit(texts[sent % len(texts)])
        future.add_done_callback(lambda done, moment=moment: note(moment, done))
        sent += 1
    while len(waited) < sent:
        time.sleep(0.01)
    marks = ", ".join(
        f"p{round(100 * share)} {1e3 * percentile(waited, share):.1f} ms"
        for share in (0.5, 0.95, 0.99)
    )
    return (
        f"{pool.executor} at 70 % of its capacity ({rate:,.0f} texts/s, {sent} texts): {marks}; "
        f"the sender was late by at most {1e3 * late:.0f} ms"
    )


if __name__ == "__main__":
    main()
