"""Each notebook is a pair that agrees, holds outputs fit to publish, and still runs."""

from __future__ import annotations

import os
import re
import resource
from collections.abc import Callable
from pathlib import Path

import jupytext
import nbformat
import pytest
from nbmake.nb_run import NotebookRun

import tfdistill
from tfdistill import datasets

CHECKOUT = Path(__file__).resolve().parents[1]
SOURCES = sorted((CHECKOUT / "notebooks").glob("[0-9]*.py"))
if not (CHECKOUT / "notebooks").is_dir():
    pytest.skip("the tests were copied out of the checkout", allow_module_level=True)

MACHINE_PATH = re.compile(r"(?<![\w.])/(?:work|root|home|tmp|var|Users)/|[A-Z]:\\|site-packages")
CELL_S = 120  # wall time of one cell before it counts as hanging
# A minute on two cores is about 80 s of processor time where a part runs on one core alone; a
# quarter more, because cores that others use as well are slower. Wall time would be at their mercy.
PROCESSOR_S = 100
LONGER_S = {"07_language_model": 300}  # three minutes: it asks a teacher of 107 M parameters

# What makes a notebook short without changing its road: each text on the left, which it has once,
# becomes the text on the right. Its last cell, the claims, is left out: they hold for all of it.
REDUCED = {
    "01_distil_to_tflite": {
        "[:1000]": "[:160]",
        "[:300]": "[:40]",
        "epochs=20,": "epochs=3,",
        "EPOCHS, BATCH = 6, 64": "EPOCHS, BATCH = 1, 64",
    },
    "02_distiller": {
        "[:800]": "[:128]",
        "[:300]": "[:40]",
        "np.arange(200)": "np.arange(64)",
        "epochs=20,": "epochs=3,",
        "range(400)": "range(20)",
    },
    "03_compress": {
        "[:1600]": "[:256]",
        "[:400]": "[:64]",
        "epochs=5,": "epochs=1,",
        "ROUNDS = 3": "ROUNDS = 1",
    },
    "04_export_and_prove": {"[:1600]": "[:256]", "[:400]": "[:64]", "epochs=5,": "epochs=1,"},
    "05_agents_on_ray": {"[:600]": "[:100]", "epochs=2,": "epochs=1,"},
    "06_budget_q_learning": {
        "steps=4000": "steps=400",
        "epochs=12,": "epochs=1,",
        "count = 1500": "count = 300",
        "budgets=(0.25, 0.5, 1.0)": "budgets=(0.5,)",
        "steps=6000": "steps=600",
    },
    "07_language_model": {
        "size=2048": "size=512",
        "[:200]": "[:30]",
        "[:120]": "[:16]",
        "[:60]": "[:20]",
        "[:16]": "[:4]",
        "steps = 160": "steps = 10",
    },
}

Notebook = nbformat.NotebookNode
pairs = pytest.mark.parametrize("source", SOURCES, ids=[source.stem for source in SOURCES])


def published(source: Path) -> Notebook:
    return nbformat.read(source.with_suffix(".ipynb"), as_version=4)


def cells(notebook: Notebook) -> list[tuple[str, str]]:
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def code(notebook: Notebook) -> list[Notebook]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def readable(output: Notebook) -> str:
    """What a reader sees as text; the base64 of a picture may look like anything."""
    data = {kind: text for kind, text in output.get("data", {}).items() if "image" not in kind}
    return "\n".join([output.get("text", ""), *map(str, data.values())])


def not_run_in_order(notebook: Notebook) -> list[int | None]:
    counts = [cell.execution_count for cell in code(notebook)]
    return [] if counts == list(range(1, len(counts) + 1)) else counts


def without_outputs(notebook: Notebook) -> list[str]:
    return [] if any(cell.outputs for cell in code(notebook)) else ["no cell shows anything"]


def not_for_readers(notebook: Notebook) -> list[str]:
    found = []
    for output in (output for cell in code(notebook) for output in cell.outputs):
        if output.output_type == "error":
            found.append(f"error: {output.ename}")
        if output.get("name") == "stderr":
            found.append(f"stderr: {output.text[:80]}")
        found += [f"path: {match}" for match in MACHINE_PATH.findall(readable(output))]
    return found


def asserts_nothing(notebook: Notebook) -> list[str]:
    last = code(notebook)[-1].source
    return [] if re.search(r"^assert ", last, re.MULTILINE) else [last]


def header_lacks(notebook: Notebook) -> list[str]:
    lines = [line for line in notebook.cells[0].source.splitlines() if line]
    wanted = ("# ", "* **You will build**", "* **Time**", "* **Needs**", "* **Last run**")
    if len(lines) != len(wanted):
        return [f"{len(lines)} lines for {len(wanted)}"]
    return [start for start, line in zip(wanted, lines, strict=True) if not line.startswith(start)]


RULES = [not_run_in_order, without_outputs, not_for_readers, asserts_nothing, header_lacks]


def test_there_are_notebooks_and_none_lacks_its_source():
    published_names = [path.stem for path in (CHECKOUT / "notebooks").glob("*.ipynb")]

    assert SOURCES
    assert sorted(published_names) == [source.stem for source in SOURCES]


@pairs
def test_the_pair_has_the_same_cells(source: Path):
    assert cells(published(source)) == cells(jupytext.read(source))


@pairs
@pytest.mark.parametrize("rule", RULES)
def test_the_published_notebook_keeps_the_rule(rule: Callable[[Notebook], list], source: Path):
    assert rule(published(source)) == []


@pairs
def test_the_published_notebook_is_valid(source: Path):
    nbformat.validate(published(source))


def offender(*outputs: Notebook, source: str = "pass", count: int | None = 1) -> Notebook:
    v4 = nbformat.v4
    cell = v4.new_code_cell(source, execution_count=count, outputs=list(outputs))
    return v4.new_notebook(cells=[v4.new_markdown_cell("# Title\n\n* **Time**: 1 s"), cell])


def stream(text: str, name: str = "stdout") -> Notebook:
    return nbformat.v4.new_output("stream", name=name, text=text)


@pytest.mark.parametrize(
    ("rule", "notebook", "expected"),
    [
        (not_run_in_order, offender(count=None), [None]),
        (not_run_in_order, offender(count=2), [2]),
        (without_outputs, offender(), ["no cell shows anything"]),
        (not_for_readers, offender(stream("Careful", "stderr")), ["stderr: Careful"]),
        (not_for_readers, offender(stream("see /home/me/x")), ["path: /home/"]),
        (not_for_readers, offender(stream("the ratio a/tmp/b, ../work/x")), []),
        (
            not_for_readers,
            offender(nbformat.v4.new_output("error", ename="NameError", evalue="", traceback=[])),
            ["error: NameError"],
        ),
        (
            not_for_readers,
            offender(nbformat.v4.new_output("display_data", {"text/plain": "/root/x"})),
            ["path: /root/"],
        ),
        (
            not_for_readers,
            offender(nbformat.v4.new_output("display_data", {"image/png": "a+/tmp/b"})),
            [],
        ),
        (asserts_nothing, offender(source="print('assert ')"), ["print('assert ')"]),
        (asserts_nothing, offender(source="x = 1\nassert x"), []),
        (header_lacks, offender(), ["2 lines for 5"]),
    ],
)
def test_the_rule_catches_an_offender(
    rule: Callable[[Notebook], list], notebook: Notebook, expected: list
):
    assert rule(notebook) == expected


def execute(notebook: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str | None, float]:
    """Runs a notebook as `pytest --nbmake` does; returns what went wrong and the seconds used."""
    # The kernel is a process of its own: it has to find the package that is tested here, and
    # the drawing backend of a notebook.
    found = [str(Path(tfdistill.__file__).parents[1]), os.environ.get("PYTHONPATH")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, found)))
    monkeypatch.delenv("MPLBACKEND", raising=False)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = NotebookRun(notebook, CELL_S).execute()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return (result.error.trace if result.error else None), used


def reduced(source: Path) -> Notebook:
    """Returns a notebook that does all but its claims, with less of everything."""
    notebook = jupytext.read(source)
    text = "\n".join(cell.source for cell in code(notebook))
    for long, short in REDUCED[source.stem].items():
        assert text.count(long) == 1, f"{source.stem} has {long!r} {text.count(long)} times"
        for cell in code(notebook):
            cell.source = cell.source.replace(long, short)
    claims = max(i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code")
    del notebook.cells[claims]
    notebook.metadata.pop("jupytext", None)
    return notebook


@pytest.mark.usefixtures("minilm_folder", "r8")
@pairs
def test_the_notebook_runs_on_reduced_data(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    skip_without_its_files(source)
    path = tmp_path / source.with_suffix(".ipynb").name
    nbformat.write(reduced(source), path)

    error, _ = execute(path, monkeypatch)

    assert error is None, error


def skip_without_its_files(source: Path) -> None:
    if source.stem in LONGER_S:
        try:
            datasets.extract(datasets.SMOLLM2)
        except datasets.AssetUnreachableError as unreachable:
            pytest.skip(str(unreachable))


@pytest.mark.slow
@pytest.mark.usefixtures("minilm_folder", "r8")
@pairs
def test_the_notebook_runs_in_its_time_and_its_claims_hold(
    source: Path, monkeypatch: pytest.MonkeyPatch
):
    skip_without_its_files(source)
    error, used_s = execute(source.with_suffix(".ipynb"), monkeypatch)

    assert error is None, error
    assert used_s < LONGER_S.get(source.stem, PROCESSOR_S)


def test_a_claim_that_does_not_hold_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "wrong.ipynb"
    nbformat.write(offender(source="accuracy = 0.5\nassert accuracy > 0.9"), path)

    error, used_s = execute(path, monkeypatch)

    assert "assert accuracy > 0.9" in error and "AssertionError" in error
    assert 0 < used_s < PROCESSOR_S
