"""What a device installs to run a bundle: megabytes, start-up time, and the same answers.

    python benchmarks/device_environment.py BUNDLE [TEXT …]

Makes a fresh environment with LiteRT, tokenizers and NumPy alone (no TensorFlow, Keras or Ray)
and this checkout's wheel without its dependencies, answers the texts there and here, and ends
with exit code 1 if any probability differs. About a minute, most of it downloads.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
NEEDED = ("ai-edge-litert", "tokenizers", "numpy")
TEXTS = ["the company said its profit rose", "oil prices fell again"]
ANSWER = """
import json, sys, time
start = time.perf_counter()
from tfdistill.agents.agent import Agent
agent = Agent(sys.argv[1])
opened = time.perf_counter() - start
answers = [list(each.probabilities) for each in agent.predict(json.loads(sys.argv[2]))]
heavy = sorted({"tensorflow", "keras", "ray"} & set(sys.modules))
print(json.dumps({"opened_s": opened, "answers": answers, "heavy": heavy}))
"""


def answer(python: Path, bundle: Path, texts: list[str], *, cwd: Path) -> tuple[dict, float]:
    """Returns what a process of that environment says, and its seconds from start to end."""
    start = time.perf_counter()
    done = subprocess.run(
        [python, "-c", ANSWER, bundle, json.dumps(texts)],
        capture_output=True,
        text=True,
        check=True,
        cwd=cwd,
    )
    return json.loads(done.stdout.splitlines()[-1]), time.perf_counter() - start


def install(folder: Path) -> Path:
    """Makes the device's environment; returns its Python."""
    venv.create(folder / "env", with_pip=True)
    python = folder / "env" / "bin" / "python"
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    wheels = folder / "wheels"
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    subprocess.run([*build, "--wheel-dir", wheels, CHECKOUT], check=True)
    constraints = ["-c", CHECKOUT / "constraints.txt"]
    subprocess.run([*pip, *constraints, *NEEDED], check=True)
    subprocess.run([*pip, "--no-deps", *wheels.glob("tfdistill-*.whl")], check=True)
    # pip itself is not what a device runs.
    subprocess.run([python, "-m", "pip", "uninstall", "--quiet", "--yes", "pip"], check=True)
    return python


def main() -> int:
    """Prints what was measured; returns the exit code."""
    if len(sys.argv) < 2:
        print(__doc__)
        return 2
    bundle, texts = Path(sys.argv[1]).resolve(), sys.argv[2:] or TEXTS
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        python = install(folder)
        packages = next((folder / "env" / "lib").glob("python*/site-packages"))
        size = sum(each.stat().st_size for each in packages.rglob("*") if each.is_file())
        runs = [answer(python, bundle, texts, cwd=folder) for _ in range(3)]
        here, _ = answer(Path(sys.executable), bundle, texts, cwd=CHECKOUT)
    there = runs[0][0]
    median_s = sorted(seconds for _, seconds in runs)[1]
    opened_s = sorted(said["opened_s"] for said, _ in runs)[1]
    same = there["answers"] == here["answers"]
    print(f"installed: {size / 1e6:.1f} MB; heavy packages imported: {there['heavy'] or 'none'}")
    print(f"median of 3 starts: {median_s:.2f} s whole process, {opened_s:.2f} s import and open")
    print(f"same probabilities as in this environment: {'yes' if same else 'NO'}")
    return 0 if same and not there["heavy"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
