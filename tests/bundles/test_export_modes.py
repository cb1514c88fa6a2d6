"""One table has the export modes; everybody else looks them up."""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import click.testing
import pytest

import tfdistill
from tfdistill.bundles.export_modes import (
    CALIBRATED,
    IN_BUNDLES,
    IN_LANGUAGE_MODELS,
    MODES,
)
from tfdistill.cli.application import main

PACKAGE = Path(tfdistill.__file__).parent
# The other names are those of dtypes as well, which are written everywhere.
OWN_NAMES = {"dynamic", "int8_16", "int8_fc", "int4"}
MENTION = re.compile(r"(?<![\w.])[\"'](float16|dynamic|int8|int8_16|int8_fc|int4)[\"']")


def lists_of_names(tree: ast.AST) -> Iterator[set[str]]:
    """Yields the modes that a tuple, list, set, dict or comparison of the code holds."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Tuple | ast.List | ast.Set | ast.Dict):
            parts = node.keys if isinstance(node, ast.Dict) else node.elts
            found = {part.value for part in parts if isinstance(part, ast.Constant)}
            yield {value for value in found if isinstance(value, str)} & OWN_NAMES


def faults_of(source: str) -> list[str]:
    """Says how a file lists the modes by itself."""
    tree = ast.parse(source)
    faults = [f"holds {sorted(found)}" for found in lists_of_names(tree) if found]
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            names = {each.value for each in sides if isinstance(each, ast.Constant)}
            # "dynamic" may also be a batch size that is left open.
            if names & (OWN_NAMES - {"dynamic"}):
                faults.append(f"compares with {sorted(names, key=str)}")
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            mentioned = set(MENTION.findall(node.value))
            if len(mentioned) > 2:
                faults.append(f"a text lists {sorted(mentioned)}")
    return faults


def test_no_other_file_lists_the_modes() -> None:
    files = [path for path in PACKAGE.rglob("*.py") if path.name != "export_modes.py"]
    faults = {str(path): found for path in files if (found := faults_of(path.read_text("utf-8")))}
    assert len(files) > 150
    assert faults == {}


@pytest.mark.parametrize(
    "source",
    [
        'MODES = (None, "int4")',
        'BITS = {"dynamic": 8}',
        'if quantize == "int8_fc": pass',
        'if quantize in ("int8_16",): pass',
        '"""Takes "float16", "dynamic" or \'int8\'."""',
    ],
)
def test_the_check_above_can_fail(source: str) -> None:
    assert len(faults_of(source)) == 1


def test_a_row_that_the_table_has_is_what_the_rest_sees() -> None:
    assert list(MODES) == [None, "float16", "dynamic", "int8", "int8_16", "int8_fc", "int4"]
    assert CALIBRATED == ("int8", "int8_16", "int8_fc")
    assert IN_BUNDLES == (None, "float16", "dynamic", "int8_fc", "int4")
    assert IN_LANGUAGE_MODELS == (None, "dynamic", "int4")
    assert [mode.bits for mode in MODES.values()] == [32, 16, 8, 8, 8, 8, 4]
    assert [quantize for quantize, mode in MODES.items() if mode.needs_quantizer] == [
        "int8_fc",
        "int4",
    ]
    with pytest.raises(dataclasses.FrozenInstanceError):
        MODES[None].bits = 8  # type: ignore[misc]
    with pytest.raises(TypeError):
        MODES["int2"] = MODES[None]  # type: ignore[index]


def test_the_command_line_offers_and_explains_every_mode() -> None:
    shown = click.testing.CliRunner().invoke(main, ["export", "--help"]).output
    assert f"[none|{'|'.join(filter(None, MODES))}]" in shown
    for mode in MODES.values():
        assert mode.text in shown and mode.when in shown
    assert shown.count("; needs --calibration") == len(CALIBRATED)
