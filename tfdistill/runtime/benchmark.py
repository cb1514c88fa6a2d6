"""Benchmarks a `.tflite` file: size, latency and resource usage, measured and never derived.

Latency is that of one call for one example, arrays in and arrays out, as a program on the device
sees it. The percentiles are taken in each of several rounds and the median of the rounds is
reported, so that one busy moment of the machine does not decide the number. Resource usage is what
a call takes beside time: processor seconds, joules and memory.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfdistill.files.atomic import gzip_bytes
from tfdistill.runtime.flatbuffer import partitions_of
from tfdistill.runtime.interpreter import Interpreter, TensorSpec

__all__ = ["EnergyMeter", "Measurement", "measure", "peak_memory_bytes"]

_ROUNDS = 5
_ROUND_S = 0.25
_ROUND_RUNS = (10, 2000)  # fewest and most calls in one round
_LIMIT_S = 5.0  # after this a round ends early, and none is begun
_PERCENTILES = (50, 95, 99)
_POWERCAP = Path("/sys/class/powercap")
_PATIENCE_S = 60.0

# VmHWM belongs to the new program alone; ru_maxrss would begin at the peak of its parent, and
# psutil tells no peak on Linux.
_CHILD = """
import json, sys
import numpy as np
from tfdistill.runtime.interpreter import Interpreter
import ai_edge_litert.interpreter
def peak():
    with open("/proc/self/status") as stream:
        return next(int(line.split()[1]) for line in stream if line.startswith("VmHWM")) * 1024
path, signature, threads, specs = json.loads(sys.stdin.read())
before = peak()
inputs = {name: np.ones(shape, dtype) for name, shape, dtype in specs}
interpreter = Interpreter(path, threads=threads)
for _ in range(3):
    interpreter.run(inputs, signature=signature)
print(peak() - before)
"""


@dataclass(frozen=True)
class Measurement:
    """The benchmark of one `.tflite` file on this machine.

    Attributes:
        latency_ms_p50: Median time of one call, in milliseconds.
        latency_ms_p95: Time that 95 % of the calls stay below.
        latency_ms_p99: Time that 99 % of the calls stay below.
        cold_start_ms: From the closed file to the first answer, LiteRT itself being loaded.
        size_bytes: Size of the file.
        gzip_bytes: Size of the file after gzip level 9: the download.
        threads: Threads of one call.
        runs: Calls that were timed, warm-up excluded.
        cpu_s_per_1000: Processor seconds of this process, all threads, for 1,000 calls.
        joules_per_1000: Energy of the processor packages for 1,000 calls, whatever else they did;
            None where the counters (RAPL) cannot be read.
        peak_memory_bytes: What opening and running the file adds to the peak memory of a fresh
            process that has LiteRT and NumPy loaded; None where that cannot be measured.
        partitions: Blocks of the graph that XNNPACK runs; None where the library does not tell.
        outside: Operations outside them, in the file's order; None as well.
    """

    latency_ms_p50: float
    latency_ms_p95: float
    latency_ms_p99: float
    cold_start_ms: float
    size_bytes: int
    gzip_bytes: int
    threads: int
    runs: int
    cpu_s_per_1000: float | None = None
    joules_per_1000: float | None = None
    peak_memory_bytes: int | None = None
    partitions: int | None = None
    outside: tuple[str, ...] | None = None

    def __str__(self) -> str:
        return (
            f"{self.size_bytes / 1024:,.1f} KB ({self.gzip_bytes / 1024:,.1f} KB gzip), "
            f"p50 {self.latency_ms_p50:.3f} ms, p95 {self.latency_ms_p95:.3f} ms, "
            f"p99 {self.latency_ms_p99:.3f} ms with {self.threads} thread"
            f"{'s' if self.threads > 1 else ''} ({self.runs:,} runs), "
            f"cold start {self.cold_start_ms:.1f} ms{self._resource_usage()}"
        )

    def _resource_usage(self) -> str:
        parts = []
        if self.cpu_s_per_1000 is not None:
            parts.append(f"{self.cpu_s_per_1000:.3f} processor s / 1,000")
        if self.joules_per_1000 is not None:
            parts.append(f"{self.joules_per_1000:.2f} J / 1,000")
        if self.peak_memory_bytes is not None:
            parts.append(f"peak memory {self.peak_memory_bytes / 1024:,.0f} KB")
        if self.partitions is not None and self.outside is not None:
            names = f" ({', '.join(self.outside)})" if self.outside else ""
            parts.append(
                f"XNNPACK partitions {self.partitions}, outside {len(self.outside)}{names}"
            )
        return "".join(f", {part}" for part in parts)


def measure(
    path: str | os.PathLike[str],
    *,
    threads: int = 1,
    inputs: Mapping[str, np.ndarray] | None = None,
    signature: str | None = None,
) -> Measurement:
    """Benchmarks a `.tflite` file on this machine: size, latency and resource usage.

    Takes one to two seconds, for a large model up to about ten (of which gzip is a good part).

    Args:
        path: The file, or a folder that holds a `model.tflite` (a bundle).
        threads: Threads of one call, at least 1.
        inputs: What to call it with, by name. By default ones for integer inputs (a valid token,
            segment and mask) and seeded normal numbers for float ones; an axis of any size is 1.
        signature: Which signature; may be left out when the file has only one.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not a complete `.tflite` file, or `inputs` or `signature` do
            not fit it.
        TypeError: If `threads` or `inputs` have another type.
        RuntimeError: If the model cannot be run on these inputs.

    Example:
        >>> measure("absent.tflite")
        Traceback (most recent call last):
        ...
        FileNotFoundError: `path` must be an existing .tflite file. Received: ...
    """
    file = Path(path) if isinstance(path, str | os.PathLike) else path
    if isinstance(file, Path) and file.is_dir():
        file = file / "model.tflite"
    interpreter = Interpreter(file, threads=threads)  # also loads LiteRT before the clock starts
    chosen = _choose(interpreter, signature)
    if inputs is None:
        inputs = _example_inputs(interpreter.signatures[chosen].inputs)
    start = time.perf_counter()
    Interpreter(file, threads=threads).run(inputs, signature=chosen)
    cold_start_ms = 1e3 * (time.perf_counter() - start)

    meter = EnergyMeter()
    rounds = list(_timed_rounds(interpreter, inputs, chosen, meter))
    runs = sum(map(len, rounds))
    layout = partitions_of(file, signature=chosen)
    peak = peak_memory_bytes(file, signature=chosen, threads=threads, inputs=inputs)
    p50, p95, p99 = np.median([np.percentile(each, _PERCENTILES) for each in rounds], axis=0)
    with open(file, "rb") as stream:
        compressed = gzip_bytes(iter(lambda: stream.read(1 << 20), b""))
    return Measurement(
        latency_ms_p50=float(p50),
        latency_ms_p95=float(p95),
        latency_ms_p99=float(p99),
        cold_start_ms=cold_start_ms,
        size_bytes=os.path.getsize(file),
        gzip_bytes=compressed,
        threads=threads,
        runs=runs,
        cpu_s_per_1000=1e3 * meter.cpu_s / runs,
        joules_per_1000=None if meter.joules is None else 1e3 * meter.joules / runs,
        peak_memory_bytes=peak,
        partitions=None if layout is None else layout[0],
        outside=None if layout is None else layout[1],
    )


@dataclass
class EnergyMeter:
    """Adds up processor seconds and, where the machine tells them, joules between two marks.

    Joules are those of all processor packages, whatever else they were doing, read from Intel's
    RAPL counters (`/sys/class/powercap`), which often only root may read.

    Attributes:
        cpu_s: Processor seconds of this process so far, all threads.
        joules: Energy so far; None where there is no readable counter.
    """

    cpu_s: float = 0.0
    joules: float | None = 0.0

    def start(self) -> None:
        """Begins a stretch that counts."""
        self._energy = _read_counters()
        self._cpu_s = time.process_time()

    def stop(self) -> None:
        """Ends it."""
        self.cpu_s += time.process_time() - self._cpu_s
        now = _read_counters()
        if not now or now.keys() != self._energy.keys() or self.joules is None:
            self.joules = None
            return
        for name, (value, limit) in now.items():
            spent = value - self._energy[name][0]
            self.joules += (spent if spent >= 0 else spent + limit) / 1e6  # it wraps around


def peak_memory_bytes(
    path: str | os.PathLike[str],
    *,
    signature: str,
    threads: int,
    inputs: Mapping[str, np.ndarray],
) -> int | None:
    """Measures what opening and running a file adds to the peak memory of a fresh process.

    LiteRT and NumPy are loaded before the first look, so their own memory is not counted.

    Args:
        path: The `.tflite` file.
        signature: Which signature.
        threads: Threads of one call.
        inputs: For their names, shapes and dtypes.

    Returns:
        Bytes; None on a system without `/proc`, or if the process failed.
    """
    specs = [(name, value.shape, value.dtype.name) for name, value in inputs.items()]
    try:
        done = subprocess.run(
            [sys.executable, "-c", _CHILD],
            input=json.dumps([os.path.abspath(path), signature, threads, specs]),
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=True,
        )
        return int(done.stdout.splitlines()[-1])
    except (IndexError, OSError, subprocess.SubprocessError, ValueError):
        return None


def _timed_rounds(
    interpreter: Interpreter,
    inputs: Mapping[str, np.ndarray],
    signature: str,
    meter: EnergyMeter,
) -> Iterator[list[float]]:
    """Yields the milliseconds of each call, round by round; the first round only warms up."""
    start = time.perf_counter()
    fewest, most = _ROUND_RUNS
    for index in range(_ROUNDS + 1):
        begin = now = time.perf_counter()
        if index > 1 and now - start > _LIMIT_S:
            return
        times: list[float] = []
        if index:
            meter.start()
        # A slow model gets fewer calls, but always one of warm-up and one that counts.
        while not times or (
            now - start < _LIMIT_S
            and (len(times) < fewest * (index > 0) or now - begin < _ROUND_S)
            and len(times) < most
        ):
            before = time.perf_counter()
            interpreter.run(inputs, signature=signature)
            now = time.perf_counter()
            times.append(1e3 * (now - before))
        if index:
            meter.stop()
            yield times


def _choose(interpreter: Interpreter, signature: str | None) -> str:
    names = sorted(interpreter.signatures)
    if signature is None and len(names) == 1:
        return names[0]
    if signature is None or signature not in names:
        raise ValueError(f"`signature` must be one of {names}. Received: signature={signature!r}.")
    return signature


def _example_inputs(specs: Mapping[str, TensorSpec]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    inputs = {}
    for name, spec in specs.items():
        shape = tuple(1 if size == -1 else size for size in spec.shape)
        if spec.dtype.kind == "f":
            inputs[name] = rng.standard_normal(shape).astype(spec.dtype)
        elif spec.dtype.kind in "iub":
            inputs[name] = np.ones(shape, spec.dtype)
        else:
            raise ValueError(
                f"`inputs` must be given for a model with an input of type {spec.dtype}. "
                f"Received: inputs=None, and the file's input {name!r} is of that type."
            )
    return inputs


def _read_counters() -> dict[str, tuple[int, int]]:
    """Returns microjoules and the largest value of each package's counter."""
    counters = {}
    for folder in _POWERCAP.glob("intel-rapl:[0-9]*"):
        if folder.name.count(":") == 1:  # a part of a package has two
            try:
                counters[folder.name] = (
                    int((folder / "energy_uj").read_text()),
                    int((folder / "max_energy_range_uj").read_text()),
                )
            except (OSError, ValueError):
                return {}
    return counters
