"""The same student in LiteRT, ONNX Runtime and TensorFlow: time per call, in one run.

    python benchmarks/runtime_vs_peers.py

ONNX Runtime lives in an environment of its own, which the first run makes under `--folder`
(`onnxruntime`, `onnx`, `tf2onnx`); the rest is seen through it. ONNX Runtime gets its best: the
graph from the SavedModel by `tf2onnx`, with and without its own transformer optimizer, in float
and in dynamic int8, all graph optimizations on; the table shows the fastest of its variants, and of
LiteRT's two in 8 bits: activations measured at run time, or on fixed grids around the products.
Every side answers the same batch in turn; a ratio is the median over the turns.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import sysconfig
import time
import venv
from collections.abc import Callable
from pathlib import Path

import numpy as np

PEERS = ("onnx==1.23.2", "onnxruntime==1.32.0", "sympy==1.14.0", "tf2onnx==1.17.0")
LENGTH, CLASSES, OPSET = 24, 150, 18
SIZES = {
    "0.4 M": {
        "vocabulary_size": 4200,
        "embedding_dim": 72,
        "num_layers": 1,
        "hidden_dim": 80,
        "intermediate_dim": 160,
    },
    "1.0 M": {
        "vocabulary_size": 4200,
        "embedding_dim": 96,
        "num_layers": 4,
        "hidden_dim": 128,
        "intermediate_dim": 256,
    },
}
KINDS = {"float": None, "int8 measured": "dynamic", "int8 fixed": "int8_fc"}
TURN_S = 0.02  # how long each side works in its turn


def main() -> None:
    """Measures, and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("runs/runtime_vs_peers"))
    parser.add_argument("--turns", type=int, default=40)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--inside", choices=("export", "time"), help=argparse.SUPPRESS)
    parser.add_argument("--only-report", action="store_true", help="of the times that are there")
    options = parser.parse_args()
    if options.inside == "export":
        return export_all(options)
    if options.inside == "time":
        return time_all(options)
    if not options.only_report:
        measure(options)
    report = table(options)
    (options.folder / "report.md").write_text(f"# Runtimes\n\n{report}\n", encoding="utf-8")
    print(report)


def measure(options: argparse.Namespace) -> None:
    """Exports in one process, and times in one for each number of threads."""
    python = environment(options.folder / "peers")
    command = [python, __file__, "--folder", options.folder, "--turns", str(options.turns)]
    command += ["--batch-sizes", *map(str, options.batch_sizes)]
    subprocess.run([*command, "--inside", "export"], check=True)
    for threads in options.threads:
        settings = {"TF_NUM_INTRAOP_THREADS": str(threads), "TF_NUM_INTEROP_THREADS": "1"}
        subprocess.run(
            [*command, "--inside", "time", "--threads", str(threads)],
            check=True,
            env=os.environ | settings,
        )


def environment(folder: Path) -> Path:
    """Makes an environment with ONNX Runtime that sees the present one behind its own."""
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *PEERS], check=True)
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        site = folder / "lib" / version / "site-packages"
        present = [sysconfig.get_path("purelib"), str(Path(__file__).resolve().parents[1])]
        (site / "present.pth").write_text("\n".join(present) + "\n", encoding="utf-8")
        (folder / "ready").touch()
    return python


def export_all(options: argparse.Namespace) -> None:
    """Writes every student as `.tflite` and `.onnx` files, and as a SavedModel."""
    from onnx_files import onnx_files

    import tfdistill as td
    from tfdistill.students import text_encoder

    for name, size in SIZES.items():
        folder = options.folder / name.replace(" ", "")
        folder.mkdir(parents=True, exist_ok=True)
        model = text_encoder(
            sequence_length=LENGTH,
            num_heads=2,
            num_classes=CLASSES,
            pooling="mean_max",
            dropout=0.0,
            seed=0,
            **size,
        )
        model.save(folder / "student.keras")
        print(f"{name}: {model.count_params():,} parameters", file=sys.stderr)
        for batch in options.batch_sizes:
            for kind, quantize in KINDS.items():
                path = folder / f"{kind.replace(' ', '_')}_{batch}.tflite"
                calibration = examples(200) if quantize == "int8_fc" else None
                td.to_tflite(
                    model, path, quantize=quantize, calibration=calibration, batch_sizes=(batch,)
                )
        onnx_files(model, folder, opset=OPSET)


def examples(count: int, *, seed: int = 0) -> np.ndarray:
    """Draws texts of 12 or, of three in ten, 24 tokens."""
    generator = np.random.default_rng(seed)
    ids = generator.integers(5, 4200, (count, LENGTH)).astype(np.int32)
    ids[:, LENGTH // 2 :] *= generator.random((count, 1)) < 0.3
    return ids


HEADINGS = (
    "LiteRT int8, µs",
    "fixed / measured",
    "LiteRT float",
    "ONNX int8",
    "ONNX float",
    "`predict_on_batch`",
    "`predict`",
    "LiteRT int8 / ONNX int8",
    "LiteRT float / ONNX float",
)


def time_all(options: argparse.Namespace) -> None:
    """Times every student and batch size with one number of threads, and keeps the times."""
    (threads,) = options.threads
    for name in SIZES:
        folder = options.folder / name.replace(" ", "")
        for batch in options.batch_sizes:
            seconds = times(folder, threads=threads, batch=batch, turns=options.turns)
            (folder / f"times_{threads}_{batch}.json").write_text(json.dumps(seconds))


def table(options: argparse.Namespace) -> str:
    """Returns the times as Markdown; those beside the first are ratios to it."""
    lines = ["| student | threads | batch | " + " | ".join(HEADINGS) + " |"]
    lines.append("| --- | --: | --: |" + " --: |" * len(HEADINGS))
    for threads in options.threads:
        for name in SIZES:
            folder = options.folder / name.replace(" ", "")
            for batch in options.batch_sizes:
                seconds = json.loads((folder / f"times_{threads}_{batch}.json").read_text())
                cells = [name, str(threads), str(batch), *cells_of(seconds)]
                lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def cells_of(seconds: dict[str, list[float]]) -> list[str]:
    """Returns the cells of one row."""
    ours = best(seconds, "LiteRT int8")
    int8, real = (best(seconds, f"ONNX {kind}") for kind in ("int8", "float"))
    fixed = ratio(seconds["LiteRT int8 fixed"], seconds["LiteRT int8 measured"])
    cells = [f"{1e6 * statistics.median(ours):.0f}", f"{fixed:.2f}"]
    cells += [f"{ratio(side, ours):.2f}x" for side in (seconds["LiteRT float"], int8, real)]
    cells += [f"{ratio(seconds[side], ours):.0f}x" for side in ("predict_on_batch", "predict")]
    cells.append(f"**{ratio(ours, int8):.2f}**")
    cells.append(f"**{ratio(seconds['LiteRT float'], real):.2f}**")
    return cells


def times(folder: Path, *, threads: int, batch: int, turns: int) -> dict[str, list[float]]:
    """Lets all sides answer the same batch in turn; seconds per call, one value per turn."""
    ids = examples(batch, seed=1)
    calls = sides(folder, ids, threads=threads)
    expected = calls["predict_on_batch"]()
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    repeats = {}
    for name, call in calls.items():
        worst = float(np.max(np.abs(call() - expected)))
        # 8 bits may be off by a few steps of 1/255 of the range; float by summing in another order.
        if worst > np.ptp(expected) * (0.05 if "int8" in name else 1e-3):
            raise RuntimeError(f"{name} differs from Keras by {worst:.3g}")
        start = time.perf_counter()
        call()
        repeats[name] = max(1, round(TURN_S / (time.perf_counter() - start)))
    for turn in range(turns):
        names = list(calls) if turn % 2 else list(calls)[::-1]
        for name in names:
            start = time.perf_counter()
            for _ in range(repeats[name]):
                calls[name]()
            seconds[name].append((time.perf_counter() - start) / repeats[name])
    return seconds


def sides(folder: Path, ids: np.ndarray, *, threads: int) -> dict[str, Callable[[], np.ndarray]]:
    """Opens the student on every side; each call returns logits `[B, C]`."""
    import keras
    import onnxruntime

    import tfdistill.students  # noqa: F401  Keras finds its layers by name
    from tfdistill.runtime.interpreter import Interpreter

    model = keras.saving.load_model(folder / "student.keras")
    calls: dict[str, Callable[[], np.ndarray]] = {}
    for kind in KINDS:
        path = folder / f"{kind.replace(' ', '_')}_{len(ids)}.tflite"
        file = Interpreter(path, threads=threads)
        calls[f"LiteRT {kind}"] = lambda file=file: file.run({"ids": ids})["logits"]
    for path in sorted(folder.glob("*.onnx")):
        settings = onnxruntime.SessionOptions()
        settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        settings.intra_op_num_threads, settings.inter_op_num_threads = threads, 1
        session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
        (name,) = (one.name for one in session.get_inputs())
        calls[f"ONNX {path.stem}"] = lambda session=session, name=name: session.run(
            None, {name: ids}
        )[0]
    calls["predict_on_batch"] = lambda: model.predict_on_batch(ids)
    calls["predict"] = lambda: model.predict(ids, verbose=0)
    return calls


def best(seconds: dict[str, list[float]], start: str) -> list[float]:
    """Returns the times of the fastest variant of a side."""
    found = [values for name, values in seconds.items() if name.startswith(start)]
    return min(found, key=statistics.median)


def ratio(a: list[float], b: list[float]) -> float:
    """Returns the median over the turns of a / b."""
    return statistics.median(x / y for x, y in zip(a, b, strict=True))


if __name__ == "__main__":
    main()
