"""What `distill` says about a table, up to where the training would begin."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tfdistill.cli.application import main
from tfdistill.pipelines import distillation
from tfdistill.pipelines.texts.rows import TextRows

LINES = ["Text;Label", *(f"schöner Text {n};{'abc'[n % 3]}" for n in range(30)), ";a", "x;y;z"]


@pytest.fixture
def handed_over(monkeypatch: pytest.MonkeyPatch) -> list[TextRows]:
    """The rows that a run would begin with; it ends there."""
    found: list[TextRows] = []

    def stop(rows: TextRows, *_: object, **__: object) -> None:
        found.append(rows)
        raise ValueError("as far as this")

    monkeypatch.setattr(distillation, "_plan", stop)
    return found


def distill(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["distill", *map(str, arguments)])


def test_distill_tells_what_it_found_out_about_the_table(
    tmp_path: Path, handed_over: list[TextRows]
):
    path = tmp_path / "a.csv"
    path.write_bytes("\n".join(LINES).encode("cp1252"))
    result = distill(path, "--skip-bad-rows", "--out", tmp_path / "run")

    assert result.stderr.splitlines()[:-1] == [
        f"tfdistill: read 30 rows of {path}: delimiter ';', encoding cp1252; "
        "2 bad rows skipped: lines 32, 33",
        "tfdistill: skipped line 32: expected a 'text' that is not empty. Received: ''.",
        "tfdistill: skipped line 33: expected 2 fields. Received: ['x', 'y', 'z'].",
        "tfdistill: encoding cp1252 guessed from the text",
        "tfdistill: column 'Text' taken for 'text'",
        "tfdistill: column 'Label' taken for 'label'",
        "tfdistill: task: one of 3 classes (a, b, c)",
    ]
    assert result.stdout == ""
    rows = handed_over[0]
    assert (len(rows.train), len(rows.held_out), len(rows.test)) == (21, 3, 6)


def test_distill_refuses_with_the_flag_that_mends(tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_bytes("\n".join(LINES).encode("cp1252"))

    assert "line 32" in distill(path).stderr and "(--skip-bad-rows)" in distill(path).stderr
    assert "(--encoding)" in distill(path, "--encoding", "ascii").stderr
    assert "(--delimiter)" in distill(path, "--delimiter", ",").stderr
    assert "Did you mean 'Text'? Set `text` (--text)" in distill(path, "--text", "texts").stderr


def test_test_rows_with_labels_of_their_own_are_refused_or_left_out(
    tmp_path: Path, handed_over: list[TextRows]
):
    train, test = tmp_path / "train.csv", tmp_path / "test.csv"
    train.write_text("text,label\n" + "".join(f"a{n},x\nb{n},y\n" for n in range(9)))
    test.write_text("text,label\nc,x\nd,z\n")

    refused = distill(train, "--test", test)
    assert "test.csv, line 3: expected a 'label' that a training row has" in refused.stderr
    assert "Received: 'z'" in refused.stderr and not handed_over
    result = distill(train, "--test", test, "--skip-bad-rows")
    assert "1 bad row skipped: line 3" in result.stderr
    assert handed_over[0].test.texts == ["c"]
