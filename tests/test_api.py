from __future__ import annotations

import ast
import importlib
import importlib.metadata
import inspect
import pkgutil
import re
import types
from pathlib import Path

import pytest

import tfdistill as td

# They run when they are imported.
PROGRAMS = {"tfdistill.cli.__main__"}
CHECKOUT = Path(__file__).resolve().parents[1]


def public_modules() -> list[str]:
    found = [name for _, name, _ in pkgutil.walk_packages(td.__path__, "tfdistill.")]
    return ["tfdistill", *(name for name in found if "._" not in name and name not in PROGRAMS)]


def is_inner_room(name: str) -> bool:
    """Tells whether a module is a sub-room, whose public names are those of the room around it."""
    module = importlib.import_module(name)
    return hasattr(module, "__path__") and not hasattr(module, "__all__")


@pytest.mark.parametrize("name", public_modules())
def test_all_is_sorted_and_names_what_exists(name: str):
    module = importlib.import_module(name)
    if is_inner_room(name):
        return

    assert list(module.__all__) == sorted(set(module.__all__))
    assert [entry for entry in module.__all__ if not hasattr(module, entry)] == []


@pytest.mark.parametrize("name", public_modules())
def test_every_public_name_is_documented(name: str):
    module = importlib.import_module(name)
    documented = (types.FunctionType, type, types.ModuleType)

    assert module.__doc__
    bare = [
        entry
        for entry in getattr(module, "__all__", [])
        if isinstance(getattr(module, entry), documented) and not own_doc(getattr(module, entry))
    ]
    assert bare == []


def own_doc(value: object) -> str:
    """Returns the docstring that was written for the value, not one that it inherits."""
    doc = vars(value).get("__doc__") if isinstance(value, type) else inspect.getdoc(value)
    generated = isinstance(value, type) and (doc or "").startswith(f"{value.__name__}(")
    return "" if generated else doc or ""


def test_the_check_for_documentation_can_fail():
    class Inherits(dict):
        pass

    assert own_doc(Inherits) == ""
    assert own_doc(Path) != ""


@pytest.mark.parametrize("name", public_modules())
def test_no_function_hides_behind_a_submodule_of_its_name(name: str):
    module = importlib.import_module(name)
    inside = {found for _, found, _ in pkgutil.iter_modules(getattr(module, "__path__", []))}

    clashes = [
        entry
        for entry in inside & set(getattr(module, "__all__", []))
        if not isinstance(getattr(module, entry), types.ModuleType)
    ]
    assert clashes == []


def test_dir_lists_the_public_names_before_they_are_imported():
    assert set(td.__all__) <= set(dir(td))
    assert dir(td) == sorted(dir(td))


def test_each_public_name_is_there_after_every_submodule_was_imported():
    # A submodule that is imported becomes an attribute of its package and would hide a function.
    for name in public_modules():
        importlib.import_module(name)
    for name in public_modules():
        module = importlib.import_module(name)
        if hasattr(module, "__path__"):
            stub = Path(module.__file__).with_suffix(".pyi")
            listed = public_names(stub) if stub.is_file() else {}
            assert sorted(listed) == sorted(module.__all__ if stub.is_file() else [])
            for public, source in listed.items():
                home = importlib.import_module(f"{name}.{source}" if source else name)
                assert getattr(module, public) is getattr(home, public), public


def public_names(stub: Path) -> dict[str, str]:
    """Returns each name that a stub lists with the submodule that it comes from."""
    tree = ast.parse(stub.read_text(encoding="utf-8"))
    return {
        alias.name: node.module or ""
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="No tfdistill attribute nothing"):
        td.nothing  # noqa: B018


def test_map_in_the_docstring_names_everything_public():
    assert [name for name in td.__all__ if f"`{name}`" not in td.__doc__] == []


def test_version_is_the_changelogs_newest():
    path = CHECKOUT / "CHANGELOG.md"
    if not path.is_file():
        pytest.skip("the tests were copied out of the checkout")
    newest = re.search(r"^## .*?(\d+\.\d+\.\d+)", path.read_text(encoding="utf-8"), re.MULTILINE)

    assert newest is not None
    assert newest[1] == td.__version__


def test_version_is_the_installed_packages():
    try:
        installed = importlib.metadata.version("tfdistill")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("tfdistill is not installed here")

    assert installed == td.__version__
