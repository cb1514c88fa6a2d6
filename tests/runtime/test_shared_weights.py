from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tfdistill
from tfdistill.agents import Agent, agent as agents
from tfdistill.runtime import shared_weights
from tfdistill.runtime.interpreter import Interpreter, Signature
from tfdistill.runtime.shared_weights import SharedInterpreter, cache_file

PROCESS = """
import json, os, sys, time
sys.path.insert(0, sys.argv[1])
from tfdistill.agents import Agent, agent
from tfdistill.agents.execution.stats import memory_of
import ai_edge_litert.compiled_model
agent._WORTH_SHARING_BYTES = 0
before = memory_of(os.getpid())["private_bytes"]
unit = Agent(sys.argv[2], shared_weights=sys.argv[3] == "shared")
answer = unit.predict([sys.argv[4]])[0]
print(json.dumps({"kind": type(unit._interpreter).__name__, "answer": answer.probabilities}),
      flush=True)
sys.stdin.readline()  # until all of them have their model
print(json.dumps(memory_of(os.getpid())["private_bytes"] - before), flush=True)
sys.stdin.readline()  # nobody leaves before all have been measured
"""


@pytest.fixture
def signature(bundle: Path) -> Signature:
    (signature,) = Interpreter(bundle / "model.tflite").signatures.values()
    return signature


def run_beside(
    bundle: Path, text: str, cache: Path, *, kind: str, count: int = 3
) -> tuple[list[dict[str, Any]], list[int]]:
    """Opens a bundle in several processes at once; returns answers and private memory."""
    root = str(Path(tfdistill.__file__).parents[1])
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, root, str(bundle), kind, text],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env={"TMPDIR": str(cache), "PATH": ""},
        )
        for _ in range(count)
    ]  # fmt: skip
    try:
        read = [json.loads(each.stdout.readline()) for each in processes]  # type: ignore[union-attr]
        for each in processes:
            each.stdin.write("\n")  # type: ignore[union-attr]
            each.stdin.flush()  # type: ignore[union-attr]
        memory = [json.loads(each.stdout.readline()) for each in processes]  # type: ignore[union-attr]
    finally:
        for each in processes:
            each.communicate("\n", timeout=60)
    return read, memory


def test_answers_are_equal_to_the_bit(
    bundle: Path, texts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(agents, "_WORTH_SHARING_BYTES", 0)
    monkeypatch.setattr(agents, "own_cache", lambda: tmp_path)

    sharing = [Agent(bundle, shared_weights=True) for _ in range(2)]

    assert [type(each._interpreter) for each in sharing] == [SharedInterpreter] * 2
    assert len(list(tmp_path.glob("*.xnnpack"))) == 1
    wanted = Agent(bundle).predict(texts)
    assert [each.predict(texts) for each in sharing] == [wanted, wanted]


def test_first_processes_at_once_write_one_cache_and_agree(bundle: Path, tmp_path: Path):
    read, _ = run_beside(bundle, "wheat", tmp_path, kind="shared")
    (folder,) = tmp_path.iterdir()

    assert [each["kind"] for each in read] == ["SharedInterpreter"] * 3
    assert read[0]["answer"] == read[1]["answer"] == read[2]["answer"]
    assert read[0]["answer"] == list(Agent(bundle).predict(["wheat"])[0].probabilities)
    assert sorted(path.suffix for path in folder.iterdir()) == [".lock", ".xnnpack"]


def test_small_model_does_not_share(bundle: Path):
    assert isinstance(Agent(bundle, shared_weights=True)._interpreter, Interpreter)


def test_sharing_that_fails_costs_only_memory(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(agents, "_WORTH_SHARING_BYTES", 0)
    monkeypatch.setattr(agents, "own_cache", lambda: tmp_path / "gone")

    unit = Agent(bundle, shared_weights=True)

    assert isinstance(unit._interpreter, Interpreter)
    assert unit.predict(["wheat"])[0].label == "grain"


def test_cache_is_for_one_model_and_one_version(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    other = tmp_path / "other.tflite"
    other.write_bytes((bundle / "model.tflite").read_bytes() + b"\0")
    names = {cache_file(path, cache=tmp_path) for path in (bundle / "model.tflite", other)}
    monkeypatch.setattr(shared_weights.metadata, "version", lambda name: "9.9")
    names.add(cache_file(other, cache=tmp_path))

    assert len(names) == 3


def test_open_shape_is_refused(bundle: Path, tmp_path: Path, signature: Signature):
    import dataclasses

    specs = {
        name: dataclasses.replace(spec, shape=(-1, *spec.shape[1:]))
        for name, spec in signature.inputs.items()
    }
    with pytest.raises(ValueError, match="must have fixed shapes to share its weights"):
        SharedInterpreter(
            bundle / "model.tflite",
            signature=dataclasses.replace(signature, inputs=specs),
            cache=tmp_path,
        )


def test_inputs_are_checked(bundle: Path, tmp_path: Path, signature: Signature):
    interpreter = SharedInterpreter(bundle / "model.tflite", signature=signature, cache=tmp_path)
    (name,) = signature.inputs

    for wrong in ({}, {name: np.zeros((1, 2), "int32")}, {name: np.zeros((1, 12), "float32")}):
        with pytest.raises(ValueError, match="`inputs` must be"):
            interpreter.run(wrong)


@pytest.mark.slow
def test_processes_with_a_large_model_have_little_for_themselves(tokenizer: Any, tmp_path: Path):
    from tfdistill.export import save_bundle
    from tfdistill.students import text_encoder

    model = text_encoder(
        vocabulary_size=64, sequence_length=16, num_layers=4, hidden_dim=256, num_heads=4,
        intermediate_dim=1024, num_classes=2, seed=0,
    )  # fmt: skip
    large = tmp_path / "large"
    save_bundle(model, large, tokenizer=tokenizer, labels=["a", "b"], quantize=None)
    (tmp_path / "cache").mkdir()
    run_beside(large, "wheat", tmp_path / "cache", kind="shared", count=1)  # writes the cache

    shared = run_beside(large, "wheat", tmp_path / "cache", kind="shared")[1]
    alone = run_beside(large, "wheat", tmp_path / "cache", kind="alone")[1]

    # 12.6 MB of weights are packed; measured on a model of 20.8 MB: 16.7 against 5.1 MB.
    assert max(shared) < min(alone) - 6 * 2**20
