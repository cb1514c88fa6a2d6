"""Holds the tree to the rules of CONTRIBUTING.md; each rule is shown to catch an offender."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
LINES = 500
FILES_IN_A_FOLDER = 16  # besides `__init__`
ON_TOP = {"__init__.py", "_version.py"}
SAYS_NOTHING = {"base", "common", "config", "constants", "helpers", "misc", "registry", "utils"}
MAY_PRINT: set[str] = set()  # click writes what the commands say
DANGEROUS = {"pickle", "marshal", "shelve", "dill", "cloudpickle"}


def python_files(root: Path, *folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (root / folder).rglob("*.py"))


def too_long(root: Path) -> list[str]:
    files = python_files(root, "tfdistill", "tests", "tools", "benchmarks")
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    return [f"{path.name}: {length}" for path, length in lengths.items() if length > LINES]


def named_for_nothing(root: Path) -> list[str]:
    return [path.name for path in python_files(root, "tfdistill") if path.stem in SAYS_NOTHING]


def too_deep(root: Path) -> list[str]:
    # tfdistill/room/sub_room/file.py is as deep as it goes.
    files = [path.relative_to(root) for path in python_files(root, "tfdistill")]
    return [path.as_posix() for path in files if len(path.parts) > 4]


def loose(root: Path) -> list[str]:
    return [path.name for path in (root / "tfdistill").glob("*.py") if path.name not in ON_TOP]


def crowded(root: Path) -> list[str]:
    folders = {path.parent for path in python_files(root, "tfdistill")}
    counts = {f.name: len([p for p in f.glob("*.py") if p.stem != "__init__"]) for f in folders}
    return [f"{name}: {count}" for name, count in counts.items() if count > FILES_IN_A_FOLDER]


def without_a_room(root: Path) -> list[str]:
    # tests/room/sub_room mirrors tfdistill/room/sub_room.
    folders = {path.parent for path in python_files(root, "tests") if path.match("test_*.py")}
    places = {folder.relative_to(root / "tests").as_posix() for folder in folders} - {".", "tools"}
    return sorted(place for place in places if not (root / "tfdistill" / place).is_dir())


def private_imports(root: Path) -> list[str]:
    """Finds private names that a file of the package imports from another file of it."""
    found = []
    for path in python_files(root, "tfdistill"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tfdistill."):
                private = [alias.name for alias in node.names if re.match("_[^_]", alias.name)]
                found += [f"{path.name}:{name}" for name in private]
    return found


def names_used_twice(root: Path) -> list[str]:
    # Without `__init__.py`, pytest tells test files apart by their names alone.
    names = [path.name for path in python_files(root, "tests") if path.name.startswith("test_")]
    return sorted({name for name in names if names.count(name) > 1})


def forbidden_code(root: Path) -> list[str]:
    found = []
    for path in python_files(root, "tfdistill"):
        name = path.relative_to(root).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            found += [f"{name}:{what}" for what in _faults(node, may_print=name in MAY_PRINT)]
    return found


def _faults(node: ast.AST, *, may_print: bool) -> Iterator[str]:
    if isinstance(node, ast.Assert):
        yield "assert"
    if isinstance(node, ast.ExceptHandler) and node.type is None:
        yield "bare except"
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        if node.func.id in {"eval", "exec"} or (node.func.id == "print" and not may_print):
            yield node.func.id
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name in DANGEROUS)
    if isinstance(node, ast.ImportFrom) and node.module in DANGEROUS:
        yield str(node.module)
    if isinstance(node, ast.Attribute) and node.attr == "keras":
        if isinstance(node.value, ast.Name) and node.value.id in {"tf", "tensorflow"}:
            yield "tf.keras"


@pytest.mark.parametrize(
    "rule",
    [
        too_long,
        named_for_nothing,
        too_deep,
        loose,
        crowded,
        without_a_room,
        private_imports,
        names_used_twice,
        forbidden_code,
    ],
)
def test_the_tree_keeps_the_rule(rule: Callable[[Path], list[str]]):
    assert rule(CHECKOUT) == []


@pytest.mark.parametrize(
    ("rule", "file", "content", "expected"),
    [
        (too_long, "tfdistill/a.py", "\n" * 501, ["a.py: 501"]),
        (named_for_nothing, "tfdistill/rl/utils.py", "", ["utils.py"]),
        (too_deep, "tfdistill/a/b/c/d.py", "", ["tfdistill/a/b/c/d.py"]),
        (loose, "tfdistill/a.py", "", ["a.py"]),
        (without_a_room, "tests/a/test_b.py", "", ["a"]),
        (
            private_imports,
            "tfdistill/a/b.py",
            "from tfdistill.c.d import _e, f\nfrom os import _exit",
            ["b.py:_e"],
        ),
        (forbidden_code, "tfdistill/a.py", "assert x", ["tfdistill/a.py:assert"]),
        (
            forbidden_code,
            "tfdistill/a.py",
            "print(eval(x))",
            ["tfdistill/a.py:print", "tfdistill/a.py:eval"],
        ),
        (
            forbidden_code,
            "tfdistill/a.py",
            "try: f()\nexcept: pass",
            ["tfdistill/a.py:bare except"],
        ),
        (forbidden_code, "tfdistill/a.py", "import pickle", ["tfdistill/a.py:pickle"]),
        (forbidden_code, "tfdistill/a.py", "from pickle import loads", ["tfdistill/a.py:pickle"]),
        (forbidden_code, "tfdistill/a.py", "tf.keras.Model", ["tfdistill/a.py:tf.keras"]),
    ],
)
def test_the_rule_catches_an_offender(
    rule: Callable[[Path], list[str]],
    file: str,
    content: str,
    expected: list[str],
    tmp_path: Path,
):
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(content, encoding="utf-8")

    assert rule(tmp_path) == expected


def test_names_used_twice_are_found(tmp_path: Path):
    for folder in ("tests/a", "tests/b"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "test_x.py").write_text("")

    assert names_used_twice(tmp_path) == ["test_x.py"]


def test_a_crowded_folder_is_found(tmp_path: Path):
    (tmp_path / "tfdistill" / "a").mkdir(parents=True)
    for number in range(17):
        (tmp_path / "tfdistill" / "a" / f"file_{number}.py").write_text("")

    assert crowded(tmp_path) == ["a: 17"]
