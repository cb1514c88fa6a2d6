"""Damaged and hostile files end a child process, never the caller."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tfdistill.runtime import sandbox
from tfdistill.runtime.interpreter import Interpreter
from tfdistill.runtime.sandbox import Child, remember, vet


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Child:
    """A child of the test's own, and a cache that has seen nothing."""
    monkeypatch.setenv("TFDISTILL_CACHE", str(tmp_path / "cache"))
    child = Child()
    monkeypatch.setattr(sandbox, "_CHILD", child)
    yield child
    child.close()


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """Changes a file as accidents and attackers do; the tables at both ends are hit most."""
    data = bytearray(content)
    kind = rng.integers(6)
    edge = min(len(data) // 2, 4096)
    at = int(rng.integers(8, edge) if rng.random() < 0.5 else len(data) - rng.integers(1, edge))
    if kind == 0:
        return bytes(data[:at])
    if kind == 1:
        data[at : at + 64] = bytes(len(data[at : at + 64]))
    elif kind == 2:
        data[at:at] = rng.bytes(int(rng.integers(1, 9)))
    elif kind == 3:  # an offset or a size of four bytes
        value = int(rng.choice([0, 1, 2**31 - 1, 2**31, 2**32 - 1, int(rng.integers(2**32))]))
        data[at : at + 4] = value.to_bytes(4, "little")[: len(data[at : at + 4])]
    else:
        for _ in range(int(rng.integers(1, 9))):
            place = int(rng.integers(8, edge))
            data[place if kind == 4 else -place] = int(rng.integers(256))
    return bytes(data)


def outcomes(content: bytes, *, files: int, folder: Path, rng: np.random.Generator) -> Counter:
    """Opens and runs so many mutated files; counts how each ended."""
    found: Counter = Counter()
    path = folder / "mutated.tflite"
    for _ in range(files):
        spare = folder / "next.tflite"  # a file in use is never rewritten, it is replaced
        spare.write_bytes(mutated(content, rng))
        os.replace(spare, path)
        try:
            file = Interpreter(path)
        except ValueError as error:
            found["crash" if "the signal SIG" in str(error) else "refused"] += 1
            continue
        for name, signature in file.signatures.items():
            inputs = {
                each.name: np.zeros([max(n, 1) for n in each.shape], each.dtype)
                for each in signature.inputs.values()
            }
            try:
                file.run(inputs, signature=name)
            except RuntimeError:
                found["failed to run"] += 1
        found["opened"] += 1
    return found


@pytest.mark.parametrize("files", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_no_mutated_file_ends_the_caller(
    files: int, child: Child, encoder_file: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    found = outcomes(encoder_file.read_bytes(), files=files, folder=tmp_path, rng=rng)
    print(f"{files} mutated files: {dict(found)}, {child.started} child processes")
    assert found["opened"] + found["refused"] + found["crash"] == files
    assert found["refused"] > files // 4  # the mutations do reach the tables
    # One process serves all files but those that it dies of.
    assert child.started <= 1 + found["crash"]


def test_the_child_that_a_file_ends_is_replaced_by_another(
    child: Child, encoder_file: Path, tmp_path: Path
) -> None:
    assert child.try_file(encoder_file) is None
    os.kill(child._process.pid, signal.SIGSEGV)
    trouble = child.try_file(encoder_file)
    assert trouble == "LiteRT ended its process with the signal SIGSEGV"
    assert child.try_file(encoder_file) is None
    assert child.started == 2


def test_a_child_that_takes_too_long_is_killed(child: Child, encoder_file: Path) -> None:
    assert child.try_file(encoder_file) is None
    os.kill(child._process.pid, signal.SIGSTOP)
    process = child._process
    trouble = child.try_file(encoder_file, patience_s=0.2)
    assert trouble == "LiteRT was not done with it after 0.2 s"
    assert process.returncode == -signal.SIGKILL
    assert child.try_file(encoder_file) is None


def test_a_file_that_passed_or_was_made_here_needs_no_child(
    child: Child, encoder_file: Path, tmp_path: Path
) -> None:
    vet(encoder_file)
    assert child.started == 1
    child.close()
    vet(encoder_file)
    content = encoder_file.read_bytes()
    own = tmp_path / "own.tflite"
    own.write_bytes(content + bytes(4))  # another hash, still a file that opens
    remember(own)
    vet(own)
    assert child.started == 1
    own.write_bytes(content + bytes(8))
    vet(own)
    assert child.started == 2


def test_a_cache_that_cannot_be_written_costs_time_and_nothing_else(
    child: Child, encoder_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TFDISTILL_CACHE", str(tmp_path / "file" / "cache"))
    vet(encoder_file)
    vet(encoder_file)
    assert child.started == 1


def test_the_child_imports_no_tensorflow_and_ends_with_its_parent(encoder_file: Path) -> None:
    code = (
        "import sys; from tfdistill.runtime import sandbox; from pathlib import Path; "
        f"assert sandbox._CHILD.try_file(Path({str(encoder_file)!r})) is None; "
        "maps = open(f'/proc/{sandbox._CHILD._process.pid}/maps').read(); "
        "print('libtensorflow' in maps, 'tensorflow' in sys.modules, sandbox._CHILD._process.pid)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    in_child, in_parent, pid = done.stdout.split()
    assert (in_child, in_parent) == ("False", "False")
    assert not Path(f"/proc/{pid}").exists()
