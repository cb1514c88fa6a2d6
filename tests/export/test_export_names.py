from __future__ import annotations

import importlib.util
import pkgutil
import subprocess
import sys

import pytest

from tfdistill import export


def test_every_public_name_can_be_imported_and_they_are_sorted() -> None:
    assert export.__all__ == sorted(export.__all__)
    for name in export.__all__:
        assert getattr(export, name).__name__ == name


def test_no_public_name_is_also_the_name_of_a_module() -> None:
    # Importing the module would hide the function of the same name.
    modules = {module.name for module in pkgutil.iter_modules(export.__path__)}
    assert "tflite" in modules
    assert not modules & set(export.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(
        AttributeError, match="module 'tfdistill.export' has no attribute 'quantise'"
    ):
        export.quantise  # noqa: B018


def test_listing_the_names_imports_no_tensorflow() -> None:
    assert importlib.util.find_spec("tensorflow") is not None
    code = (
        "import sys, tfdistill.export as export\n"
        "assert 'to_tflite' in dir(export)\n"
        "export.measure, export.write_report, export.open_bundle\n"
        "heavy = {'tensorflow', 'keras', 'tf_keras', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "export.to_tflite\n"
        "assert 'tensorflow' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
