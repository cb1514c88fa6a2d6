"""What a call costs beside time: processor seconds, joules, memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

__all__ = ["EnergyMeter", "peak_memory_bytes"]

_POWERCAP = Path("/sys/class/powercap")
_PATIENCE_S = 60.0

# VmHWM belongs to the new program alone; ru_maxrss would begin at the peak of its parent.
_CHILD = """
import json, sys
import numpy as np
from tfdistill.interpreter import Interpreter
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
