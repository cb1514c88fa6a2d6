"""Does a draft make writing faster? The story teller of 260 K parameters with its own student.

    python benchmarks/stories_student.py path/to/stories260K.bin
    python benchmarks/speculative.py path/to/stories260K.bin

Both write the same number of tokens in turns: the teacher alone, and the teacher checking what the
student (`student.keras` of the first script) proposes, four tokens at a time. What comes out has
the same distribution; tests hold it so.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
from stories_text import BEGIN, load_stories

from tfdistill.agents.generation.sampling import draw, next_probabilities
from tfdistill.agents.generation.speculative import SpeculativeText
from tfdistill.export import language_to_tflite
from tfdistill.runtime.interpreter import Interpreter
from tfdistill.runtime.kv_cache import TextCache

CONTEXT, TOKENS, TURNS, PROPOSED = 256, 200, 9, 4


def alone(model: TextCache, *, sampling: dict[str, Any], seed: int) -> float:
    """Writes with one model; returns the seconds that took."""
    uniforms, start = np.random.default_rng(seed), time.perf_counter()
    model.clear()
    logits = model.read([BEGIN])
    for _ in range(TOKENS - 1):
        token = draw(next_probabilities(logits, **sampling), uniforms.random())
        logits = model.read([token])
    return time.perf_counter() - start


class Counted(TextCache):
    """A cache that counts the calls that check proposals."""

    calls = 0

    def verify(self, ids: list[int]) -> np.ndarray:
        """Counts and checks."""
        self.calls += 1
        return super().verify(ids)


def paired(target: Counted, draft: TextCache, *, sampling: dict[str, Any], seed: int) -> float:
    """Writes with both; returns the seconds that took."""
    start = time.perf_counter()
    tokens = SpeculativeText(target, draft).tokens(
        [BEGIN], uniforms=np.random.default_rng(seed), sampling=sampling
    )
    for _ in itertools.islice(tokens, TOKENS):
        pass
    return time.perf_counter() - start


def main() -> None:
    """Prints tokens per call and the ratio of the times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--student", type=Path, default=Path("runs/stories/student.keras"))
    arguments = parser.parse_args()
    models = load_stories(arguments.path), keras.models.load_model(arguments.student)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, f"{name}.tflite") for name in ("target", "draft")]
        for model, path, verify in zip(models, paths, (PROPOSED + 1, None), strict=True):
            language_to_tflite(
                model, path, context_length=CONTEXT, prefill_lengths=[], verify_length=verify
            )
        target, draft = Counted(Interpreter(paths[0])), TextCache(Interpreter(paths[1]))
        print(
            "| temperature | tokens per check | with the draft / alone | draft / teacher, alone |"
        )
        print("| --- | --: | --: | --: |")
        for temperature in (0.0, 0.7, 1.0):
            sampling = {"temperature": temperature, "top_k": None, "top_p": None}
            target.calls = 0
            both, call = [], []
            for seed in range(TURNS):
                usual = alone(target, sampling=sampling, seed=seed)
                both.append(paired(target, draft, sampling=sampling, seed=seed) / usual)
                call.append(alone(draft, sampling=sampling, seed=seed) / usual)
            cells = [f"{np.median(r):.2f} ({min(r):.2f}–{max(r):.2f})" for r in (both, call)]
            print(f"| {temperature} | {TURNS * TOKENS / target.calls:.2f} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
