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

import keras
import numpy as np
from stories_text import BEGIN, load_stories

from tfdistill.agents.sampling import draw, next_probabilities
from tfdistill.agents.speculative import SpeculativeText
from tfdistill.agents.text_cache import TextCache
from tfdistill.export import language_to_tflite
from tfdistill.interpreter import Interpreter

CONTEXT, TOKENS, TURNS, PROPOSED = 256, 200, 9, 4


def alone(target: TextCache, *, temperature: float, seed: int) -> int:
    """Writes with one model; returns its calls."""
    uniforms = np.random.default_rng(seed)
    target.clear()
    logits = target.read([BEGIN])
    sampling = {"temperature": temperature, "top_k": None, "top_p": None}
    for _ in range(TOKENS - 1):
        token = draw(next_probabilities(logits, **sampling), uniforms.random())
        logits = target.read([token])
    return TOKENS


class Counted(TextCache):
    """A cache that counts the calls that check proposals."""

    calls = 0

    def verify(self, ids: list[int]) -> np.ndarray:
        """Counts and checks."""
        self.calls += 1
        return super().verify(ids)


def paired(target: Counted, draft: TextCache, *, temperature: float, seed: int) -> int:
    """Writes with both; returns the calls of the larger one."""
    target.calls = 0
    sampling = {"temperature": temperature, "top_k": None, "top_p": None}
    tokens = SpeculativeText(target, draft).tokens(
        [BEGIN], uniforms=np.random.default_rng(seed), sampling=sampling
    )
    for _ in itertools.islice(tokens, TOKENS):
        pass
    return target.calls


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
        print("| temperature | tokens per check | time with the draft / alone |")
        print("| --- | --: | --: |")
        for temperature in (0.0, 0.7, 1.0):
            ratios, calls = [], 0
            for seed in range(TURNS):
                start = time.perf_counter()
                alone(target, temperature=temperature, seed=seed)
                between = time.perf_counter()
                calls += paired(target, draft, temperature=temperature, seed=seed)
                ratios.append((time.perf_counter() - between) / (between - start))
            print(
                f"| {temperature} | {TURNS * TOKENS / calls:.2f} | {np.median(ratios):.2f} "
                f"({min(ratios):.2f}–{max(ratios):.2f}) |"
            )


if __name__ == "__main__":
    main()
