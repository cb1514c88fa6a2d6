"""Tokens per second of a student's bundle, beside plain Keras and the teacher in llama.cpp.

    python benchmarks/generate.py --parameters 11
    python benchmarks/generate.py --gguf path/to/SmolLM2-135M-Instruct.Q4_1.gguf

Speed does not depend on what a model has learned, so the student here is one of random weights.
`--gguf` needs `pip install llama-cpp-python`, built from source in some 20 minutes. All contestants
take turns, and the medians of their rounds are compared. The limit of the memory is that of a sum
over an array of 256 MB by NumPy, on one thread, in the same run.
"""

from __future__ import annotations

import argparse
import importlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from tfdistill.agents.text_cache import TextCache
from tfdistill.export import language_to_tflite
from tfdistill.interpreter import Interpreter
from tfdistill.language import Writer
from tfdistill.students import causal_lm

SIZES = {
    11: {"num_layers": 6, "hidden_dim": 576, "num_heads": 6, "num_key_value_heads": 2,
         "head_dim": 64, "intermediate_dim": 512},
    4: {"num_layers": 6, "hidden_dim": 256, "num_heads": 4, "num_key_value_heads": 2,
        "head_dim": 64, "intermediate_dim": 512},
}  # fmt: skip
CONTEXT, PROMPT, TOKENS, ROUNDS = 256, 64, 48, 5


def tflite_round(path: Path, threads: int) -> Callable[[], tuple[float, float]]:
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


def keras_round(model: keras.Model) -> Callable[[], tuple[float, float]]:
    """The same model, cached, in one TensorFlow graph; prompt and tokens in one figure."""
    writer = Writer(model, rows=1, prompt_length=1, num_tokens=TOKENS)
    writer([[1]], temperature=0.0)

    def run() -> tuple[float, float]:
        start = time.perf_counter()
        writer([[1]], temperature=0.0).numpy()
        return float("nan"), TOKENS / (time.perf_counter() - start)

    return run


def llama_round(path: Path, threads: int) -> Callable[[], tuple[float, float]]:
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


def main() -> None:
    """Runs the benchmark and prints its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parameters", type=int, choices=sorted(SIZES), default=11)
    parser.add_argument("--gguf", type=Path)
    arguments = parser.parse_args()
    model = causal_lm(vocabulary_size=4096, seed=0, **SIZES[arguments.parameters])
    rounds: dict[str, Callable[[], tuple[float, float]]] = {}
    files = {}
    with tempfile.TemporaryDirectory() as folder:
        for quantize in ("dynamic", "int4"):
            path = Path(folder, f"{quantize}.tflite")
            language_to_tflite(model, path, context_length=CONTEXT, quantize=quantize)
            for threads in (1, 2):
                name = f"LiteRT {quantize}, {threads} threads"
                rounds[name] = tflite_round(path, threads)
                files[name] = path.stat().st_size
        rounds["Keras float32"] = keras_round(model)
        if arguments.gguf:
            for threads in (1, 2):
                name = f"teacher in llama.cpp, {threads} threads"
                rounds[name] = llama_round(arguments.gguf, threads)
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in rounds}
        for _ in range(ROUNDS):
            for name, run in rounds.items():
                found[name].append(run())
    bandwidth = memory_bandwidth()
    print(f"{model.count_params():,} parameters; memory {bandwidth / 1e9:.1f} GB/s on one thread")
    print("| | prefill tokens/s | decode tokens/s | of the memory's limit |")
    print("| --- | --: | --: | --: |")
    for name, results in found.items():
        prefill, decode = np.median(results, axis=0)
        share = f"{decode * files[name] / bandwidth:.0%}" if name in files else ""
        print(f"| {name} | {prefill:,.0f} | {decode:,.0f} | {share} |")


if __name__ == "__main__":
    main()
