"""From a table to a bundle with its proof, with a teacher small enough for a test."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from shared_fixtures.topics import OTHERS, TOPICS, texts
from tokenizers import Tokenizer, models, pre_tokenizers

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


def own_model() -> tuple[keras.Model, Tokenizer]:
    """A model of 12 ids that knows the topics from texts of its own."""
    words = ["[PAD]", "[UNK]", *OTHERS, *(word for topic in TOPICS.values() for word in topic)]
    model = models.WordLevel({word: row for row, word in enumerate(words)}, unk_token="[UNK]")
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    known, labels = texts(400, seed=7)
    keras.utils.set_random_seed(1)
    ids = keras.Input((12,), dtype="int32")
    x = keras.layers.GlobalMaxPooling1D()(keras.layers.Embedding(len(words), 16)(ids))
    network = keras.Model(ids, keras.layers.Dense(3)(x), name="mine")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(keras.optimizers.Adam(0.02), loss)
    rows = td.students.encode(tokenizer, known, sequence_length=12)
    classes = np.array([sorted(TOPICS).index(label) for label in labels])
    network.fit(rows, classes, epochs=10, verbose=0)
    return network, tokenizer


def long_texts(count: int, *, seed: int) -> tuple[list[str], list[str]]:
    """Texts of 6 to 46 words, of which the first ones or the last ones tell the topic."""
    found, labels = texts(count, seed=seed)
    generator = np.random.default_rng(seed + 100)
    for row, text in enumerate(found):
        more = " ".join(generator.choice(OTHERS, generator.integers(40)))
        found[row] = f"{text} {more}" if generator.integers(2) else f"{more} {text}"
    return found, labels


@pytest.mark.slow
def test_a_model_of_ones_own_teaches_long_texts_in_windows_up_to_the_bundle(tmp_path: Path):
    network, tokenizer = own_model()
    said: list[str] = []

    def distil() -> TextRun:
        return td.distill_text(
            long_texts(300, seed=0), test=long_texts(100, seed=1), teacher=network,
            tokenizer=tokenizer, long_texts="windows", effort="quick", max_kb=60,
            say=said.append, visible=False, out=tmp_path / "run",
        )  # fmt: skip

    weights = network.get_weights()
    run = distil()
    for before, after in zip(weights, network.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    assert run.teacher_kind == "given"
    stages = {row["stage"]: row for row in run.report["stages"]}
    assert stages["teacher"]["accuracy"] >= 0.9 and stages["file"]["accuracy"] >= 0.8
    assert {"teacher_8bit", "control", "bag_of_words_labels", "file"} <= set(stages)
    for folder in ("bundle", "other_bundle"):
        assert Agent(run.folder / folder).bundle.long_texts == "windows"
    (note,) = [line for line in said if "are read whole, in windows" in line]
    report = (run.folder / "report.md").read_text(encoding="utf-8")
    assert note in report and "The teacher is mine, given" in report

    steps = {path.parent.name for path in run.folder.glob("steps/*/step.json")}
    distil()
    assert {path.parent.name for path in run.folder.glob("steps/*/step.json")} == steps


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
