from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_listing_the_names_imports_no_tensorflow() -> None:
    assert importlib.util.find_spec("tensorflow") is not None
    code = (
        "import sys, tfdistill.export as export, tfdistill as td\n"
        "assert 'to_tflite' in dir(export)\n"
        "td.measure, td.reports.write_report, td.bundles.open_bundle\n"
        "heavy = {'tensorflow', 'keras', 'tf_keras', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "export.to_tflite\n"
        "assert 'tensorflow' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
