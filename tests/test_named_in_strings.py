"""Modules that are named in strings, for child processes, lazy maps and Ray, exist."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
IMPORT = re.compile(
    r"\bfrom (tfdistill[\w.]*) import ([\w*]+(?:, *[\w*]+)*)|\bimport (tfdistill[\w.]*)"
)
DOTTED = re.compile(r"tfdistill(?:\.\w+)+")
FOLDERS = ("tfdistill", "benchmarks", "tests")


def strings_of(path: Path) -> Iterator[str]:
    """Lists the strings of a file, those in pieces put together, docstrings included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def named(text: str) -> set[tuple[str, str]]:
    """Returns pairs of a module and a name in it ("" for the module alone) that a string names."""
    found = set()
    for module, names, alone in IMPORT.findall(text):
        found |= {(module, name.strip()) for name in names.split(",") if names} or {(alone, "")}
    if DOTTED.fullmatch(text):
        found.add((text, ""))
    found.discard(("tfdistill.cli.__main__", ""))  # it runs when it is imported
    return found


def is_there(module: str, name: str) -> bool:
    """Tells whether a module, an attribute on its way, or a name in it can be imported."""
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        try:
            value = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in [*parts[length:], *([name] if name else [])]:
            if not hasattr(value, part):
                try:
                    value = importlib.import_module(f"{value.__name__}.{part}")
                except (AttributeError, ModuleNotFoundError):
                    return False
            else:
                value = getattr(value, part)
        return True
    return False


def cases() -> list[tuple[str, str]]:
    here = Path(__file__)
    files = [path for folder in FOLDERS for path in sorted((CHECKOUT / folder).rglob("*.py"))]
    # `tests/test_layout.py` names modules that do not exist, to show that its rules find them.
    files = [path for path in files if path not in (here, here.with_name("test_layout.py"))]
    return sorted({pair for path in files for text in strings_of(path) for pair in named(text)})


@pytest.mark.parametrize(("module", "name"), cases())
def test_what_a_string_names_is_there(module: str, name: str):
    assert is_there(module, name)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import sys; from tfdistill.a import b, c", {("tfdistill.a", "b"), ("tfdistill.a", "c")}),
        ("x\nimport tfdistill.a.b\n", {("tfdistill.a.b", "")}),
        ("tfdistill.agents.agent", {("tfdistill.agents.agent", "")}),
        ("see `tfdistill.agents`", set()),
    ],
)
def test_names_are_found_in_code_and_in_maps(text: str, expected: set):
    assert named(text) == expected


def test_what_is_not_there_is_told():
    assert not is_there("tfdistill.nothing", "")
    assert not is_there("tfdistill.agents", "Nobody")
    assert is_there("tfdistill.runtime.interpreter.Interpreter.run", "")
