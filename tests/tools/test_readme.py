"""Every block of the README runs, and its tables are those of reports."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
SOURCE = CHECKOUT / "tools" / "readme.py"
if not SOURCE.is_file():
    pytest.skip("the tests were copied out of the checkout", allow_module_level=True)

spec = importlib.util.spec_from_file_location("readme_tool", SOURCE)
readme = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = readme  # dataclasses look their module up
spec.loader.exec_module(readme)

BLOCKS = readme.code_blocks((CHECKOUT / "README.md").read_text(encoding="utf-8"))


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.network
@pytest.mark.timeout(2400)
def test_every_python_and_shell_block_runs_in_order_as_written(minilm_folder, r8):
    done = subprocess.run(
        [sys.executable, str(SOURCE), "--run"],
        cwd=CHECKOUT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    ran = [line for line in done.stdout.splitlines() if line.startswith("== README.md")]
    assert len(ran) == sum(block.language in ("python", "bash") for block in BLOCKS)


def test_blocks_are_of_known_languages_and_only_those_that_install_are_not_run():
    assert {block.language for block in BLOCKS} <= set(readme.LANGUAGES)
    not_run = [block.code for block in BLOCKS if block.language == "console"]
    assert len(not_run) == 2 and all("make " in code or "pip " in code for code in not_run)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"line {block.line}")
def test_python_and_shell_can_be_read(block):
    if block.language == "python":
        ast.parse(block.code)
    elif block.language == "bash":
        subprocess.run(["bash", "-n", "-c", block.code], check=True)


DOCUMENT = """\
text
```python
x = 1
```
```bash
test -d . && echo hello > said
```
```console
exit 1
```
```python
y = x + 1
assert open("said").read() == "hello\\n"
LAST
```
"""


def run(folder: Path, last: str) -> subprocess.CompletedProcess[str]:
    path = folder / "README.md"
    path.write_text(DOCUMENT.replace("LAST", last))
    (folder / "empty").mkdir()
    program = (
        f"import sys; sys.path.insert(0, {str(SOURCE.parent)!r}); import readme, pathlib\n"
        f"readme.run_blocks(pathlib.Path({str(path)!r}), pathlib.Path({str(folder / 'empty')!r}))"
    )
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )


def test_python_blocks_share_their_names_and_shell_blocks_run_between_them(tmp_path: Path):
    done = run(tmp_path, "assert y == 2")
    assert done.returncode == 0, done.stderr
    assert "== README.md, line 3, python" in done.stdout


def test_an_error_names_the_line_of_the_readme(tmp_path: Path):
    done = run(tmp_path, "y / 0")
    assert done.returncode == 1
    assert 'README.md", line 14, in <module>' in done.stderr and "ZeroDivisionError" in done.stderr


def test_a_shell_block_that_fails_is_named(tmp_path: Path):
    path = tmp_path / "README.md"
    path.write_text("```bash\nfalse\necho after\n```\n")
    program = (
        f"import sys; sys.path.insert(0, {str(SOURCE.parent)!r}); import readme, pathlib\n"
        f"readme.run_blocks(pathlib.Path({str(path)!r}), pathlib.Path({str(tmp_path)!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert "The shell block on line 2 of README.md failed" in done.stderr
    assert "after" not in done.stdout


README = "a\n<!-- table:demo -->\nold\n<!-- /table -->\nb\n<!-- table:x -->\nx\n<!-- /table -->\n"


def test_one_table_is_replaced_and_no_other():
    changed = readme.replace_table(README, "demo", r"| new \1 |")

    assert changed == README.replace("old", r"| new \1 |")
    assert readme.replace_table(changed, "demo", r"| new \1 |") == changed


@pytest.mark.parametrize(("document", "number"), [("nothing", 0), (README + README, 2)])
def test_a_document_without_exactly_one_place_is_refused(document: str, number: int):
    with pytest.raises(readme.ReadmeError, match=f"one block from .*table:demo.* Found {number}"):
        readme.replace_table(document, "demo", "new")


def test_a_reports_body_has_its_verdict_and_no_title_or_picture():
    report = "won\n\n# Title\n\n| a |\n\n![plot](p.png)\n\n## Part\n# no title\n"
    assert readme.report_body(report) == "won\n\n| a |\n\n**Part**\n# no title"


def test_reports_are_put_into_the_document(tmp_path: Path):
    path, runs = tmp_path / "README.md", tmp_path / "runs"
    path.write_text(README)
    (runs / "demo").mkdir(parents=True)
    (runs / "demo" / "report.md").write_text("# Report\n| new |\n")

    for names in (["demo"], []):  # without names, the block without a report stays
        readme.put_tables(path, names, runs=runs)
        assert path.read_text() == README.replace("old", "| new |")
    with pytest.raises(readme.ReadmeError, match=r"There is no runs.x.report.md"):
        readme.put_tables(path, ["x"], runs=runs)
