"""Mutation testing: puts small faults into copies of the package and asks whether a test notices.

    python tools/dev.py mutants                  # tries what has no result, then the summary
    python tools/dev.py mutants --only policy    # of the files with that in their path
    python tools/dev.py mutants --survivors      # tries the last survivors again, nothing else
    python tools/dev.py mutants --summary        # tries nothing
    python tools/dev.py mutants --draw           # chooses the faults, once

`tools/mutants.json` fixes the faults; it is drawn before the tests against them are written. Where
no test can notice one, or none should, its `reason` there says why. A result holds for a text and
its tests: after a change of either it is tried again. The checkout is only read: a fault goes into
a copy, and the tests run in a fork of this process, which has imported TensorFlow once and for all.
"""

from __future__ import annotations

import argparse
import compileall
import hashlib
import importlib
import json
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from faults import Mutant, draw

CHECKOUT = Path(__file__).resolve().parents[1]
DRAWN, RESULTS = "tools/mutants.json", "runs/mutants/results.jsonl"
COUNT, LEAST_OF_A_FILE, SEED = 220, 4, 0
# Three times what the slowest tests compute, whatever else runs; and for those that only wait.
CPU_LIMIT_S, LIMIT_S = 60, 300
# Which tests must notice a fault; the examples in the file's own docstrings are tests too.
TABLE = {
    "agents/execution/work_queue.py": ["agents/execution/test_work_queue.py"],
    "agents/generation/sampling.py": ["agents/generation/test_sampling.py"],
    "agents/team/blackboard.py": ["agents/team/test_blackboard.py", "agents/team/test_team.py"],
    "agents/team/policy.py": [
        "agents/team/test_budget.py",
        "agents/team/test_team.py",
        "agents/team/test_blackboard.py",
    ],
    "bundles/bundle.py": ["bundles/test_manifest.py"],
    "compress/guarantees.py": [
        "compress/test_guarantees.py",
        "compress/quantization/test_quantization.py",
        "compress/quantization/test_row_groups.py",
    ],
    "compress/pruning/masks.py": ["compress/pruning/test_masks.py"],
    "compress/quantization/row_groups.py": ["compress/quantization/test_row_groups.py"],
    "compress/quantization/weights.py": [
        "compress/quantization/test_fake_quantization.py",
        "compress/quantization/test_quantization.py",
        "compress/quantization/test_row_groups.py",
    ],
    "distill/losses/divergence.py": ["distill/losses/test_logits.py"],
    "distill/losses/features.py": ["distill/losses/test_feature_losses.py"],
    "distill/losses/logits.py": [
        "distill/losses/test_logits_arguments.py",
        "distill/losses/test_logits.py",
    ],
    "distill/losses/soft.py": [
        "distill/losses/test_reduction.py",
        "distill/losses/test_soft.py",
        "distill/test_distiller_refusals.py",
    ],
    "files/atomic.py": ["files/test_atomic.py"],
    "files/folder.py": ["files/test_folder.py"],
    "files/records.py": ["files/test_records.py"],
    "rl/budget/auction.py": ["rl/budget/test_auction.py", "rl/budget/test_budget_baselines.py"],
    "rl/budget/calibration.py": [
        "rl/budget/test_calibration.py",
        "rl/budget/test_budget_baselines.py",
    ],
    "runtime/kv_cache.py": ["runtime/test_kv_cache.py"],
}
# Imported before the forks. None of them starts TensorFlow's runtime, which no fork survives.
WARM = ("hypothesis", "keras", "keras_hub", "numpy", "pytest", "tensorflow", "tokenizers")
# With CI, hypothesis draws the same examples each time. Loading all of pytest's plugins takes 1 s.
SETTINGS = {"CI": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "TF_CPP_MIN_LOG_LEVEL": "2"}
OPTIONS = ("-x", "-q", "-p", "no:cacheprovider", "-p", "pytest_timeout")
FORK = multiprocessing.get_context("fork")


def tests_of(file: str) -> list[str]:
    """Returns the tests of a file, its docstrings last."""
    return [*(f"tests/{test}" for test in TABLE[file]), f"tfdistill/{file}"]


def key(mutant: Mutant, root: Path) -> str:
    """Returns what a result holds for: the text with the fault in it, and the tests."""
    parts = [(root / test).read_bytes() for test in tests_of(mutant.file)[:-1]]
    return hashlib.sha256(b"\0".join([str(mutant.text(root)).encode(), *parts])).hexdigest()[:16]


def attempt(mutant: Mutant, base: Path) -> dict[str, object]:
    """Runs the tests in a fork, on a copy of `base` with the fault in it.

    Args:
        mutant: The fault.
        base: A folder with the package, its tests and its `setup.cfg`.

    Returns:
        What is written down: the outcome is "killed", "survived" or "timeout".
    """
    folder, started = Path(tempfile.mkdtemp(dir=base.parent)), time.monotonic()
    shutil.copytree(base, folder / "tree")
    file = folder / "tree/tfdistill" / mutant.file
    file.write_text(str(mutant.text(base)), encoding="utf-8")
    for compiled in file.parent.glob(f"__pycache__/{file.stem}.*"):
        compiled.unlink()
    child = FORK.Process(target=_test, args=(mutant.file, folder))
    child.start()
    try:
        child.join(LIMIT_S)
        ends = {None: "timeout", -signal.SIGXCPU: "timeout", 0: "survived"}
        outcome = ends.get(child.exitcode, "killed")
    finally:
        with suppress(ProcessLookupError):  # the tests, or what they have left running
            os.killpg(child.pid or 0, signal.SIGKILL)
        child.join()
    seconds = round(time.monotonic() - started, 2)
    log = (folder / "log").read_text(encoding="utf-8", errors="replace")[-1000:]
    shutil.rmtree(folder, ignore_errors=True)
    result = {"name": mutant.name, "outcome": outcome, "seconds": seconds}
    return {**result, "key": key(mutant, base), "log": log}


def _test(file: str, folder: Path) -> None:
    os.setsid()
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_LIMIT_S, CPU_LIMIT_S + 5))
    log = os.open(folder / "log", os.O_CREAT | os.O_WRONLY)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(folder / "tree")
    sys.path[0] = os.environ["PYTHONPATH"] = os.getcwd()
    tempfile.tempdir = os.environ["TMPDIR"] = str(folder)
    os._exit(importlib.import_module("pytest").main([*OPTIONS, *tests_of(file)]))


def run(mutants: list[Mutant], jobs: int) -> None:
    """Tries faults, so many at a time, after the same tests without any."""
    os.environ.update(SETTINGS)
    for name in WARM:
        importlib.import_module(name)
    (CHECKOUT / RESULTS).parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, ProcessPoolExecutor(jobs, FORK) as pool:
        base = Path(scratch, "base")
        for part in ("tfdistill", "tests"):
            shutil.copytree(CHECKOUT / part, base / part)
        shutil.copy(CHECKOUT / "setup.cfg", base)
        compileall.compile_dir(base / "tfdistill", quiet=2)
        sound = [Mutant(file, file) for file in sorted({mutant.file for mutant in mutants})]
        tries = [pool.submit(attempt, one, base) for one in [*sound, *mutants]]
        try:
            for number, done in enumerate(as_completed(tries), start=1):
                result = done.result()
                print(f"{number}/{len(tries)}", *list(result.values())[:3], flush=True)
                if result["name"] not in TABLE:
                    with (CHECKOUT / RESULTS).open("a", encoding="utf-8") as file:
                        file.write(json.dumps(result) + "\n")
                elif result["outcome"] != "survived":
                    raise SystemExit(f"These tests fail without a fault.\n{result['log']}")
        finally:
            pool.shutdown(cancel_futures=True)


def results(mutants: list[Mutant]) -> dict[str, tuple[str, bool]]:
    """Returns how faults ended last, and whether that still holds."""
    path = CHECKOUT / RESULTS
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    known = {line["name"]: line for line in map(json.loads, lines)}
    pairs = [(one, known[one.name]) for one in mutants if one.name in known]
    return {one.name: (end["outcome"], end["key"] == key(one, CHECKOUT)) for one, end in pairs}


def summary(mutants: list[Mutant]) -> Iterator[str]:
    """Counts by file, then shows each survivor with its change and reason."""
    ended = results(mutants)
    survivors = [one for one in mutants if ended.get(one.name, ("",))[0] == "survived"]
    for file in [*TABLE, ""]:
        tried = sum(one.file.startswith(file) for one in mutants if one.name in ended)
        left = sum(one.file.startswith(file) for one in survivors)
        if tried:
            share = f"killed {tried - left:3} ({1 - left / tried:6.1%})"
            yield f"{file or 'all':40} tried {tried:3}, {share}, survived {left:3}"
    for one in survivors:
        yield f"\n{one.name}, line {one.line}: {one.reason or 'no reason given'}"
        yield from one.change()
    open_ = sum(not ended.get(one.name, ("", False))[1] for one in mutants)
    gone = [one.name for one in mutants if one.text(CHECKOUT) is None]
    explained = sum(one.reason is not None for one in survivors)
    yield f"\n{explained} of {len(survivors)} survivors have a reason. Not tried with the present"
    yield f"text and tests: {open_}. No longer in their files: {', '.join(gone) or 'none'}."


def main(arguments: list[str]) -> None:
    """Draws the faults, or tries some of them and prints the summary."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--draw", action="store_true", help="choose the faults")
    parser.add_argument("--only", default="", help="a part of the paths of the files to try")
    parser.add_argument("--survivors", action="store_true", help="try the last survivors again")
    parser.add_argument("--summary", action="store_true", help="try nothing")
    parser.add_argument("--jobs", type=int, default=1, help="how many at a time")
    chosen = parser.parse_args(arguments)
    if chosen.draw:
        drawn = list(draw(CHECKOUT, TABLE, count=COUNT, least=LEAST_OF_A_FILE, seed=SEED))
        with (CHECKOUT / DRAWN).open("x", encoding="utf-8") as file:  # refuses to do it twice
            json.dump([asdict(one) for one in drawn], file, indent=1, ensure_ascii=False)
        return
    entries = json.loads((CHECKOUT / DRAWN).read_text(encoding="utf-8"))
    every = [Mutant(**entry) for entry in entries if chosen.only in entry["file"]]
    ended = results(every)
    todo = [one for one in every if not ended.get(one.name, ("", False))[1]]
    if chosen.survivors:
        todo = [one for one in every if ended.get(one.name, ("", False))[0] == "survived"]
    todo = [one for one in todo if one.text(CHECKOUT) is not None]
    if todo and not chosen.summary:
        run(todo, chosen.jobs)
    print("\n".join(summary(every)))


if __name__ == "__main__":
    main(sys.argv[1:])
