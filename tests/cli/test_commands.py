"""Each command does what its function does, says so in JSON too, and fails in one clear line."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from click.testing import CliRunner

from tfdistill import save_bundle, survey
from tfdistill.agents import Agent
from tfdistill.bundles import Confidence, OutOfScope, state_confidence
from tfdistill.cli.application import main
from tfdistill.students import text_encoder

X = np.random.default_rng(0).integers(1, 20, (40, 6)).astype("int32")
LABELS = ("good", "bad")


def run(*arguments: object, **keywords):
    return CliRunner().invoke(main, [str(argument) for argument in arguments], **keywords)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """A folder with student.keras, student.tflite, x.npy and a bundle."""
    import tokenizers

    folder = tmp_path_factory.mktemp("files")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "rain", "sun", *map(chr, range(97, 115))]
    model = tokenizers.models.WordPiece(
        {word: i for i, word in enumerate(words)}, unk_token="[UNK]"
    )
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    student = text_encoder(
        vocabulary_size=len(words),
        sequence_length=6,
        num_layers=1,
        hidden_dim=8,
        num_heads=2,
        intermediate_dim=8,
        num_classes=2,
        seed=0,
    )
    student.save(folder / "student.keras")
    np.save(folder / "x.npy", X)
    np.save(folder / "y.npy", student.predict(X, verbose=0).argmax(-1))
    save_bundle(student, folder / "bundle", tokenizer=tokenizer, labels=LABELS)
    assert run("export", folder / "student.keras", folder / "student.tflite").exit_code == 0
    return folder


def test_the_exported_file_agrees_and_says_so(files: Path):
    arguments = ("--x", files / "x.npy", "--y", files / "y.npy", "--json")
    result = run("compare", files / "student.keras", files / "student.tflite", *arguments)

    assert result.exit_code == 0, result.output
    found = json.loads(result.output.splitlines()[-1])
    assert found["close"] and found["agreement"] >= 0.975 and found["model_accuracy"] == 1.0


def test_labels_of_which_a_row_has_several_are_compared_one_by_one(files: Path, tmp_path: Path):
    np.save(tmp_path / "y.npy", np.ones((len(X), 2), "int32"))
    arguments = ("--x", files / "x.npy", "--y", tmp_path / "y.npy")
    command = ("compare", files / "student.keras", files / "student.tflite", *arguments)
    found = json.loads(run(*command, "--json").output.splitlines()[-1])

    assert found["model_accuracy"] is None and len(found["label_f1"]) == 2
    column = [pair[1] for pair in found["label_f1"]]
    assert found["file_macro_f1"] == pytest.approx(np.mean(column))
    assert f"macro F1         {found['model_macro_f1']:.4f} model" in run(*command).output


def test_a_file_of_another_model_ends_with_code_3(files: Path, tmp_path: Path):
    other = keras.saving.load_model(files / "student.keras")
    for weight in other.weights:
        weight.assign(-3 * weight)
    other.save(tmp_path / "other.keras")
    result = run(
        "compare", tmp_path / "other.keras", files / "student.tflite", "--x", files / "x.npy"
    )

    assert result.exit_code == 3
    assert "tfdistill: The file differs from the model by up to" in result.output


def test_inspect_shows_what_was_verified(files: Path):
    found = json.loads(run("inspect", files / "bundle", "--json").output)

    assert found["labels"] == list(LABELS) and found["hashes"] == "verified"
    assert found["size_bytes"]["model.tflite"] == (files / "bundle/model.tflite").stat().st_size


def test_a_changed_bundle_is_refused_with_code_1(files: Path, tmp_path: Path):
    shutil.copytree(files / "bundle", tmp_path / "bundle")
    with open(tmp_path / "bundle" / "labels.json", "a") as stream:
        stream.write(" ")
    result = run("inspect", tmp_path / "bundle")

    assert result.exit_code == 1
    assert result.output.startswith("tfdistill: ") and "labels.json" in result.output


def test_predict_says_what_the_agent_says_of_arguments_and_of_lines(files: Path):
    (expected,) = Agent(files / "bundle").predict(["rain a b"])
    row = {"text": "rain a b", "label": expected.label, "confidence": expected.confidence}
    row |= {"in_scope": None, "score": None}  # the bundle states nothing of it

    assert json.loads(run("predict", files / "bundle", "rain a b", "--json").output) == row
    piped = run("predict", files / "bundle", "--json", input="rain a b\n\nsun c\n")
    assert [json.loads(line)["text"] for line in piped.output.splitlines()] == ["rain a b", "sun c"]
    assert json.loads(piped.output.splitlines()[0]) == row


def test_predict_and_inspect_show_several_labels_and_a_number(
    moods_bundle: Path, stars_bundle: Path
):
    assert run("predict", moods_bundle, "fun", "plain").output == (
        "joy\t0.750\tfun\nno label\t\tplain\n"
    )
    found = json.loads(run("predict", moods_bundle, "loud", "--json").output)
    assert found["text"] == "loud" and found["labels"] == ["joy", "anger"]
    assert list(found["probabilities"]) == ["joy", "fear", "anger"]
    assert run("predict", stars_bundle, "good").output == "4\tgood\n"
    row = json.loads(run("predict", stars_bundle, "bad", "--json").output)
    assert row == {"text": "bad", "value": 0.0}

    shown = run("inspect", moods_bundle).output
    assert "labels (3): joy, fear, anger" in shown and "thresholds: 0.500, 0.800, 0.700" in shown
    assert "value: 3 + 2 * output" in run("inspect", stars_bundle).output
    found = json.loads(run("inspect", stars_bundle, "--json").output)
    assert found["task"] == "number" and found["thresholds"] is None
    assert found["scale"] == {"mean": 3.0, "standard_deviation": 2.0}


def test_predict_and_inspect_show_a_text_of_no_class(files: Path, tmp_path: Path):
    bundle = shutil.copytree(files / "bundle", tmp_path / "bundle")
    assert "confidence: softmax of the logits, not calibrated" in run("inspect", bundle).output
    rule = OutOfScope("probability", threshold=1.0, in_scope_kept=0.0)
    state_confidence(bundle, Confidence(temperature=2.0, out_of_scope=rule))
    (expected,) = Agent(bundle).predict(["rain a b"])

    found = json.loads(run("predict", bundle, "rain a b", "--json").output)
    assert (found["in_scope"], found["score"]) == (False, expected.score)
    line = f"none of these ({expected.label})\t{expected.confidence:.3f}\train a b\n"
    assert run("predict", bundle, "rain a b").output == line
    text = "confidence: calibrated, temperature 2.000; none of the classes below probability 1.000"
    assert text in run("inspect", bundle).output
    assert json.loads(run("inspect", bundle, "--json").output)["confidence"]["temperature"] == 2.0


def test_predict_without_a_text_says_what_to_do(files: Path):
    result = run("predict", files / "bundle", input="\n")

    assert result.exit_code == 1 and "Give one, or pipe lines." in result.output


def test_measure_prints_the_size_of_the_file(files: Path):
    found = json.loads(run("measure", files / "student.tflite", "--json").output)

    assert found["size_bytes"] == (files / "student.tflite").stat().st_size
    assert 0 < found["latency_ms_p50"] <= found["latency_ms_p99"]


def test_compress_keeps_its_promises(files: Path, tmp_path: Path):
    small = tmp_path / "small.keras"
    result = run(
        "compress",
        files / "student.keras",
        small,
        "--x",
        files / "x.npy",
        "--sparsity",
        0.5,
        "--bits",
        8,
        "--epochs",
        2,
        "--batch-size",
        10,
    )

    assert result.exit_code == 0, result.output
    found = survey(keras.saving.load_model(small))
    assert found.nonzero < 0.62 * found.parameters  # kernels and tables are half zeros


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("compress", "student.keras", "s.keras", "--x", "x.npy"), "Give one of --sparsity"),
        (
            ("compress", "student.keras", "s.h5", "--x", "x.npy", "--bits", "8"),
            r"`PATH` must end in .keras. Received: 's.h5'",
        ),
        (("export", "absent.keras", "a.tflite"), "`MODEL` must be an existing file"),
        (("export", "x.npy", "a.tflite"), "`MODEL` must be a .keras file"),
        (("compare", "student.keras", "absent.tflite", "--x", "x.npy"), "absent.tflite"),
        (("measure", "absent.tflite"), "`path` must be an existing .tflite file"),
        (("report", "."), "`folder` must hold a report.json"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_code_1(files: Path, arguments, message, monkeypatch):
    monkeypatch.chdir(files)
    result = run(*arguments)

    assert result.exit_code == 1
    assert message in result.output and result.output.count("\n") == 1


def test_an_array_that_would_be_unpickled_is_refused(files: Path, tmp_path: Path):
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    result = run(
        "compare", files / "student.keras", files / "student.tflite", "--x", tmp_path / "x.npy"
    )

    assert result.exit_code == 1 and "allow_pickle" in result.output


def test_reports_of_several_runs_are_one_table(tmp_path: Path):
    from tfdistill.reports.stage_table import StageRow, write_report

    row = StageRow("tflite", 0.5, 0.4, 10, 9, 100, 80, 0.1, 0.2, 0.6)
    for name in ("one", "two"):
        write_report(tmp_path / name, stages=[row], pool=[], seconds=1.0)
    result = run("report", tmp_path / "one", tmp_path / "two")

    assert "one: tflite" in result.output and "two: tflite" in result.output
    found = json.loads(run("report", tmp_path / "one", "--json").output)
    assert found[str(tmp_path / "one")]["stages"][0]["accuracy"] == 0.5
    page = tmp_path / "both.html"
    assert run("report", tmp_path / "one", tmp_path / "two", "--html", page).exit_code == 0
    assert "one: tflite" in page.read_text() and "two: tflite" in page.read_text()


def test_a_report_says_the_verdict_first_and_the_page_opens_with_it(tmp_path: Path):
    from tfdistill.reports import StageRow, compare_with_rivals, write_report

    row = StageRow("file", 0.5, 0.4, 10, 9, 100, 80, 0.1, 0.2, 0.6)
    verdict = compare_with_rivals([0, 1], student=[0, 1], rivals={"control": [0, 0]}, resamples=50)
    write_report(
        tmp_path / "one", stages=[row], pool=[], seconds=1.0, verdict=verdict, facts={"Date": "now"}
    )
    page = tmp_path / "one.html"
    first = run("report", tmp_path / "one").output.splitlines()[0]

    assert first == f"one: {verdict.line()}"
    assert run("report", tmp_path / "one", "--html", page).exit_code == 0
    assert f"<h1>{verdict.headline()}</h1>" in page.read_text()
    assert "<dt>Date</dt><dd>now</dd>" in page.read_text()


def test_a_broken_report_is_refused(tmp_path: Path):
    (tmp_path / "report.json").write_text('{"stages": [{"stage": 1}]}')

    assert "`folder` must hold a report that tfdistill wrote" in run("report", tmp_path).output


def test_help_and_bundles_load_no_tensorflow(files: Path):
    code = (
        "import sys; from click.testing import CliRunner\n"
        "from tfdistill.cli.application import main\n"
        f"for line in (['--help'], ['inspect', r'{files / 'bundle'}'],\n"
        f"             ['predict', r'{files / 'bundle'}', 'rain a'],\n"
        f"             ['measure', r'{files / 'student.tflite'}']):\n"
        "    assert CliRunner().invoke(main, line).exit_code == 0, line\n"
        "print({'tensorflow', 'keras'} & {name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)

    assert done.stdout.strip() == "set()", done.stderr[-500:]


@pytest.mark.slow
@pytest.mark.network
def test_a_table_of_ones_own_becomes_a_bundle(minilm_folder, tmp_path: Path):
    del minilm_folder
    generator = np.random.default_rng(0)
    words = {
        "Wetter ☔": ["rain", "snow", "fog", "hail"],
        "Essen 🍕": ["pizza", "soup", "bread", "tea"],
    }
    lines = ["kind\tsentence"]
    for _ in range(60):
        kind = list(words)[generator.integers(2)]
        lines.append(kind + "\t" + " ".join(generator.choice(words[kind], 4)))
    lines += ["Einzeln\tonly one of this kind", lines[1], lines[1]]
    sentence = lines[2].split("\t")[1]
    lines += ["Einzeln\t" + sentence, "", *(f"class {n}\tword{n} of its own" for n in range(200))]
    (tmp_path / "own.tsv").write_text("\n".join(lines), encoding="utf-8")
    arguments = ["distill", tmp_path / "own.tsv", "--text", "sentence", "--label", "kind"]
    arguments += ["--out", tmp_path / "run", "--effort", "quick", "--max-kb", 100, "--json"]
    result = run(*arguments)

    assert result.exit_code == 0, result.output
    told = [line for line in result.stderr.splitlines() if "has the label" in line]
    assert told == [
        "tfdistill: line 65 has the label 'Einzeln' for the text of line 3, which has "
        f"{lines[2].split(chr(9))[0]!r}: {sentence!r}"
    ]
    report = json.loads(result.stdout)
    stages = {stage["stage"]: stage for stage in report["stages"]}
    assert {"teacher", "control", "bag_of_words_teacher", "file"} <= set(stages)
    assert stages["file"]["size_bytes"] <= 100 * 1024
    (answer,) = Agent(tmp_path / "run" / "bundle").predict(["pizza and soup with bread"])
    assert answer.label == "Essen 🍕"

    again = run(*arguments[:-1], "--require", "2")  # all steps are there; twice as good is too much
    assert again.exit_code == 3, again.output
    assert "the student keeps" in again.stderr and "2 is required" in again.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text,label\nrain,wet\n,wet\n", "line 3"),
        ("text,label\nrain,wet\nsnow,wet\n", "`label` must be a column of two or more different"),
        ("text,label\nrain,wet\nsun,dry\n", "`data` must have enough different texts for training"),
        ("sentence,label\nrain,wet\n", "'text'"),
    ],
)
def test_distill_says_what_is_wrong_with_the_table(content: str, message: str, tmp_path: Path):
    (tmp_path / "own.csv").write_text(content)
    result = run("distill", tmp_path / "own.csv", "--out", tmp_path / "run")

    assert result.exit_code == 1 and message in result.output
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_distill_prints_no_line_that_is_not_its_own(tmp_path: Path):
    table = tmp_path / "empty.csv"
    table.write_text("text,label\n", encoding="utf-8")
    command = [sys.executable, "-m", "tfdistill.cli", "distill", str(table)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert done.stdout == ""
    assert [line[:11] for line in done.stderr.splitlines()] == ["tfdistill: "]


def test_distill_knows_three_ways_to_read_long_texts(tmp_path: Path):
    (tmp_path / "own.csv").write_text("text,label\nrain,wet\n")
    result = run("distill", tmp_path / "own.csv", "--long-texts", "tail")

    assert result.exit_code == 2
    assert "'tail' is not one of 'head', 'head+tail', 'windows'" in result.output
