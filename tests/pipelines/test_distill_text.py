"""From a table to a bundle with its proof, with a teacher small enough for a test."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from shared_fixtures.topics import texts

import tfdistill as td
from tfdistill.agents import Agent
from tfdistill.pipelines import TextRun


@pytest.fixture(scope="module")
def teacher(tiny_teacher: Path) -> Path:
    return tiny_teacher


@pytest.fixture(scope="module")
def run(teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> TextRun:
    return td.distill_text(
        texts(400, seed=0), test=texts(100, seed=1), unlabeled=texts(50, seed=2)[0],
        teacher=teacher, effort="quick", max_kb=120, say=lambda line: None, visible=False,
        out=tmp_path_factory.mktemp("runs") / "topics",
    )  # fmt: skip


@pytest.mark.slow
def test_the_report_has_each_rival_and_the_file_is_within_the_limit(run: TextRun):
    stages = {row["stage"]: row for row in run.report["stages"]}
    assert list(stages) == [
        "teacher",
        "teacher_8bit",
        "control",
        "bag_of_words_labels",
        "bag_of_words_teacher",
        "distilled",
        "file",
    ]
    assert stages["file"]["size_bytes"] <= 120 * 1024 < stages["file"]["bundle_bytes"] * 1.5
    assert stages["bag_of_words_teacher"]["bundle_bytes"] <= 120 * 1024 * 1.1
    assert set(run.verdict.outcomes) == {
        "teacher_8bit",
        "control",
        "bag_of_words_labels",
        ({"file", "bag_of_words_teacher"} - {run.choice.name}).pop(),
    }
    assert all(stages[name]["text_ms_p50"] > 0 for name in ("teacher", "file"))
    report = (run.folder / "report.md").read_text(encoding="utf-8")
    assert report.splitlines()[0] == run.verdict.line()
    assert (run.folder / "report.html").is_file()


@pytest.mark.slow
def test_what_ships_answers_with_confidence_and_the_other_one_lies_beside_it(run: TextRun):
    agent = Agent(run.folder / "bundle")
    (answer,) = agent.predict(["some pizza and soup with bread"])
    assert answer.label == "food" and answer.in_scope is not None
    assert run.bundle.confidence is not None
    assert sorted(agent.labels) == sorted(Agent(run.folder / "other_bundle").labels)
    assert run.student.output_shape == (None, 3)


@pytest.mark.slow
def test_the_same_call_again_finds_every_step_and_gives_the_same_verdict(
    run: TextRun, teacher: Path
):
    before = {path: path.stat().st_mtime_ns for path in run.folder.glob("steps/*/step.json")}
    again = td.distill_text(
        texts(400, seed=0), test=texts(100, seed=1), unlabeled=texts(50, seed=2)[0],
        teacher=teacher, effort="quick", max_kb=120, say=lambda line: None, visible=False,
        out=run.folder,
    )  # fmt: skip
    after = {path: path.stat().st_mtime_ns for path in run.folder.glob("steps/*/step.json")}
    assert before == after
    assert again.verdict == run.verdict


@pytest.mark.slow
def test_another_seed_takes_over_teacher_and_answers(run: TextRun, teacher: Path, tmp_path: Path):
    other = td.distill_text(
        texts(400, seed=0), test=texts(100, seed=1), unlabeled=texts(50, seed=2)[0],
        teacher=teacher, effort="quick", max_kb=120, say=lambda line: None, visible=False,
        seed=1, sparsity=0.5, previous=run, out=tmp_path / "second",
    )  # fmt: skip
    made = {path.name.rsplit("-", 1)[0] for path in (tmp_path / "second" / "steps").iterdir()}
    assert not made & {"teacher", "compiled", "copies", "answers", "words"}
    assert {"student", "compressed", "control", "bag"} <= made
    assert td.survey(other.bundle.path / "model.tflite").parameters > 0
    stages = {row["stage"]: row for row in other.report["stages"]}
    file = stages["file"]
    assert 0.4 < 1 - file["nonzero"] / file["parameters"] < 0.55


PROGRAM = """
import json, os, sys
sys.path[:0] = [sys.argv[3], os.path.dirname(sys.argv[3])]
import tfdistill as td
from test_distill_text import texts
run = td.distill_text(
    texts(400, seed=0), test=texts(100, seed=1), teacher=sys.argv[1], effort="quick", max_kb=120,
    visible=False, out=sys.argv[2],
)
found = run.verdict.to_dict()
for rival in [found, *found["comparisons"]]:
    del rival["size_bytes"]  # a file's size depends on the numbers in the names of layers, a little
print(json.dumps(found))
"""


@pytest.mark.parametrize(
    "kills",
    [pytest.param(2, marks=pytest.mark.slow), pytest.param(20, marks=pytest.mark.soak)],
)
def test_a_run_that_is_killed_again_and_again_ends_with_the_same_verdict(
    kills: int, teacher: Path, tmp_path: Path
):
    def start(folder: Path) -> subprocess.Popen[str]:
        arguments = [str(teacher), str(folder), str(Path(__file__).parent)]
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip

    began = time.monotonic()
    with start(tmp_path / "whole") as process:
        whole, _ = process.communicate(timeout=600)
    seconds = time.monotonic() - began
    generator = np.random.default_rng(0)
    done = 0
    while done < kills:
        with start(tmp_path / f"killed_{done % 4}") as process:  # four runs that all are killed
            try:
                process.communicate(timeout=float(generator.uniform(4, seconds)))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
        done += 1
    for number in range(min(kills, 4)):
        with start(tmp_path / f"killed_{number}") as process:
            killed, _ = process.communicate(timeout=600)
        assert whole.strip() and killed == whole


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"effort": "heroic"}, "`effort` must be one of ('quick', 'standard', 'thorough')"),
        ({"max_kb": 0}, "`max_kb` must be"),
        ({"sparsity": 1.5}, "`sparsity` must be"),
        ({"bits": 2}, "`bits` must be 4 or 8. Received: bits=2."),
    ],
)
def test_arguments_are_checked_before_anything_is_written(
    arguments: dict, message: str, tmp_path: Path
):
    with pytest.raises(ValueError, match=re.escape(message)):
        td.distill_text(texts(20, seed=0), out=tmp_path / "run", **arguments)
    assert not (tmp_path / "run").exists()
