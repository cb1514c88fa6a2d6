"""The README kept true: its code runs as it is written, its tables are those of reports.

    python tools/dev.py readme            # tables: those of runs/*/report.md into the marked blocks
    python tools/dev.py readme NAME ...   # the same, of these runs alone
    python tools/dev.py readme --run      # runs every Python and shell block, in order

Blocks of the language `python` share one process and one namespace; those of `bash` run in between,
with this Python first on the path. All of them start in one empty folder. Blocks of the language
`console` are commands that need a new environment; nobody runs them here.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
LANGUAGES = ("python", "bash", "console", "")
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class ReadmeError(Exception):
    """Says in one line what is wrong with the README or a run."""


@dataclass(frozen=True)
class Block:
    """A block of code.

    Attributes:
        language: One of `LANGUAGES`.
        line: Line of the README that its code begins on, counted from 1.
        code: Its code.
    """

    language: str
    line: int
    code: str


def code_blocks(document: str) -> list[Block]:
    """Lists the blocks of a document, in order."""
    return [
        Block(match[1], document.count("\n", 0, match.start(2)) + 1, match[2])
        for match in _FENCE.finditer(document)
    ]


def run_blocks(readme: Path, folder: Path) -> None:
    """Runs the Python and shell blocks of a README, in order.

    Args:
        readme: The document.
        folder: Where they run, and leave what they make.

    Raises:
        ReadmeError: If a shell block fails. What a Python block raises goes through.
    """
    # Children, such as workers of Ray and the `tfdistill` command, find this checkout too.
    found = [str(CHECKOUT), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(found)
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    sys.path[0] = str(CHECKOUT)
    os.chdir(folder)
    names: dict[str, object] = {"__name__": "__main__"}
    for block in code_blocks(readme.read_text(encoding="utf-8")):
        if block.language not in ("python", "bash"):
            continue
        start = time.monotonic()
        print(f"== README.md, line {block.line}, {block.language}", flush=True)
        if block.language == "python":
            # Empty lines before it make the lines of a traceback those of the README.
            code = compile("\n" * (block.line - 1) + block.code, str(readme), "exec")
            exec(code, names)
        elif subprocess.call(["bash", "-ec", block.code]) != 0:
            raise ReadmeError(f"The shell block on line {block.line} of {readme.name} failed.")
        print(f"== {time.monotonic() - start:.1f} s", flush=True)


def replace_table(document: str, name: str, table: str) -> str:
    """Returns the document with a new table between `<!-- table:NAME -->` and `<!-- /table -->`."""
    block = re.compile(rf"(<!-- table:{re.escape(name)} -->\n).*?(<!-- /table -->)", re.DOTALL)
    if len(block.findall(document)) != 1:
        raise ReadmeError(
            f"README.md must hold one block from `<!-- table:{name} -->` to `<!-- /table -->`. "
            f"Found {len(block.findall(document))}."
        )
    return block.sub(lambda match: match[1] + table.strip() + "\n" + match[2], document)


def report_body(report: str) -> str:
    """Returns a report without its title and picture, its headings as bold lines."""
    body = re.sub(r"^# .*\n\n?", "", report, count=1, flags=re.MULTILINE)
    body = re.sub(r"^!\[.*\n\n?", "", body, flags=re.MULTILINE)
    return re.sub(r"^## (.*)$", r"**\1**", body, flags=re.MULTILINE).strip()


def put_tables(readme: Path, names: Sequence[str], *, runs: Path) -> None:
    """Puts `runs/NAME/report.md` into the README's marked blocks.

    Args:
        readme: The document.
        names: Which blocks; none is every block whose command has been run here.
        runs: Folder of the runs.

    Raises:
        ReadmeError: If a report or a block is not there.
    """
    document = readme.read_text(encoding="utf-8")
    blocks = sorted(set(re.findall(r"<!-- table:([\w-]+) -->", document)))
    made = [name for name in blocks if (runs / name / "report.md").is_file()]
    for name in names or made or blocks:
        report = runs / name / "report.md"
        if not report.is_file():
            raise ReadmeError(
                f"There is no {report.relative_to(runs.parent)}. Run the command that writes it "
                "first; for the demo: `python tools/dev.py demo`."
            )
        document = replace_table(document, name, report_body(report.read_text(encoding="utf-8")))
    fresh = readme.with_suffix(".new")
    fresh.write_text(document, encoding="utf-8")
    os.replace(fresh, readme)


def main(arguments: Sequence[str]) -> int:
    """Does what the command line says and returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="runs whose tables are put in")
    parser.add_argument("--run", action="store_true", help="run the blocks of code")
    options = parser.parse_args(arguments)
    try:
        if options.run:
            with tempfile.TemporaryDirectory() as folder:
                run_blocks(CHECKOUT / "README.md", Path(folder))
                os.chdir(CHECKOUT)
        else:
            put_tables(CHECKOUT / "README.md", options.names, runs=CHECKOUT / "runs")
    except ReadmeError as error:
        print(f"readme.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
