"""Tokens per second of a student's bundle, beside plain Keras and the teacher in llama.cpp.

    python benchmarks/generate.py --gguf path/to/SmolLM2-135M-Instruct.Q4_1.gguf

Speed does not depend on what a model has learned, so the students here are of random weights.
`--gguf` needs `pip install llama-cpp-python`, built from source in some 20 minutes. All contestants
take turns, and the medians of their rounds are compared. The limit of the memory is that of a sum
over an array of 256 MB by NumPy, on one thread, in the same run.
"""

from __future__ import annotations

import argparse
import importlib
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np
from tqdm.auto import tqdm

from tfdistill.export import language_to_tflite
from tfdistill.language import Sampler
from tfdistill.runtime.interpreter import Interpreter
from tfdistill.runtime.kv_cache import TextCache
from tfdistill.students import causal_lm

SIZES = {
    11: {"num_layers": 6, "hidden_dim": 576, "num_heads": 6, "num_key_value_heads": 2,
         "head_dim": 64, "intermediate_dim": 512},
    4: {"num_layers": 6, "hidden_dim": 256, "num_heads": 4, "num_key_value_heads": 2,
        "head_dim": 64, "intermediate_dim": 512},
}  # fmt: skip
CONTEXT, PROMPT, TOKENS, ROUNDS = 256, 64, 48, 7
BITS = {"dynamic": 8, "int4": 4}
TEACHER = "SmolLM2-135M Q4_1 in llama.cpp"
Contestant = Callable[[], tuple[float, float]]


def tflite_round(path: Path, threads: int) -> Contestant:
    """Returns what reads a prompt and writes; it returns tokens per second of both."""
    cache = TextCache(Interpreter(path, threads=threads))
    cache.read([1] * PROMPT)

    def run() -> tuple[float, float]:
        cache.clear()
        start = time.perf_counter()
        cache.read([1] * PROMPT)
        read = time.perf_counter()
        for _ in range(TOKENS):
            cache.read([1])
        return PROMPT / (read - start), TOKENS / (time.perf_counter() - read)

    return run


def keras_round(model: keras.Model) -> Contestant:
    """The same model, cached, in one TensorFlow graph; prompt and tokens in one figure."""
    sampler = Sampler(model, rows=1, prompt_length=1, num_tokens=TOKENS)
    sampler([[1]], temperature=0.0)

    def run() -> tuple[float, float]:
        start = time.perf_counter()
        sampler([[1]], temperature=0.0).numpy()
        return float("nan"), TOKENS / (time.perf_counter() - start)

    return run


def llama_round(path: Path, threads: int) -> Contestant:
    """The teacher in llama.cpp."""
    llama = importlib.import_module("llama_cpp").Llama(
        str(path), n_ctx=CONTEXT, n_threads=threads, n_threads_batch=threads, verbose=False
    )

    def run() -> tuple[float, float]:
        llama.reset()
        start = time.perf_counter()
        llama.eval([1] * PROMPT)
        read = time.perf_counter()
        for _ in range(TOKENS):
            llama.eval([1])
        return PROMPT / (read - start), TOKENS / (time.perf_counter() - read)

    return run


def memory_bandwidth() -> float:
    """Bytes per second that one thread reads."""
    numbers = np.ones(2**25)
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        numbers.sum()
        best = min(best, time.perf_counter() - start)
    return numbers.nbytes / best


def students(folder: Path) -> tuple[dict[tuple[str, int], Contestant], dict[tuple[str, int], int]]:
    """Returns the students' contestants, and the bytes that a token of each file reads."""
    contestants: dict[tuple[str, int], Contestant] = {}
    files: dict[tuple[str, int], int] = {}
    for millions, sizes in SIZES.items():
        model = causal_lm(vocabulary_size=4096, seed=0, **sizes)
        name = f"{model.count_params() / 1e6:.1f} M"
        for quantize in ("dynamic", "int4"):
            path = folder / f"{millions}-{quantize}.tflite"
            language_to_tflite(model, path, context_length=CONTEXT, quantize=quantize)
            for threads in (1, 2):
                row = f"{name}, {BITS[quantize]} bits", threads
                contestants[row] = tflite_round(path, threads)
                files[row] = path.stat().st_size
        contestants[f"{name}, Keras float32", 2] = keras_round(model)
    return contestants, files


def main() -> None:
    """Runs the benchmark and prints its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gguf", type=Path, help="the teacher; without it there are no ratios")
    parser.add_argument("--output", type=Path, default=Path("runs/generate"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        contestants, files = students(Path(folder))
        for threads in (1, 2) if arguments.gguf else ():
            contestants[TEACHER, threads] = llama_round(arguments.gguf, threads)
        found: dict[tuple[str, int], list[tuple[float, float]]] = {row: [] for row in contestants}
        bandwidths = []
        for _ in tqdm(range(ROUNDS), unit="round"):
            for row, run in contestants.items():
                found[row].append(run())
            bandwidths.append(memory_bandwidth())
    bandwidth = float(np.median(bandwidths))
    lines = [
        "| model | threads | prefill tokens/s | decode tokens/s | of llama.cpp | of memory |",
        "| --- | --: | --: | --: | --: | --: |",
    ]
    for (name, threads), results in found.items():
        prefill, decode = np.median(results, axis=0)
        cells = ["" if np.isnan(prefill) else f"{prefill:,.0f}", f"{decode:,.0f}"]
        cells.append(ratio_to(found.get((TEACHER, threads)), results) if name != TEACHER else "")
        size = files.get((name, threads))
        cells.append(f"{decode * size / bandwidth:.0%}" if size and threads == 1 else "")
        lines.append(f"| {name} | {threads} | {' | '.join(cells)} |")
    lines += [
        "",
        f"Medians of {ROUNDS} turns; a prompt of {PROMPT} tokens, {TOKENS} tokens written, context "
        f"{CONTEXT}. One thread reads {bandwidth / 1e9:.1f} GB/s from memory; the last column is "
        "the share of it that reading the file once a token would be.",
    ]
    arguments.output.mkdir(parents=True, exist_ok=True)
    report = "\n".join(lines)
    (arguments.output / "report.md").write_text(f"# Generation\n\n{report}\n", encoding="utf-8")
    print(report)


def ratio_to(
    teacher: Sequence[tuple[float, float]] | None, own: Sequence[tuple[float, float]]
) -> str:
    """Writes the ratio of decode speeds: median, least and largest of the turns."""
    if teacher is None:
        return ""
    ratios = [mine[1] / other[1] for mine, other in zip(own, teacher, strict=True)]
    return f"{np.median(ratios):.1f}x ({min(ratios):.1f}–{max(ratios):.1f})"


if __name__ == "__main__":
    main()
