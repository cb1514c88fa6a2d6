"""Starts fresh processes, because what this one has imported says nothing."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {"tensorflow", "keras", "tf_keras", "tensorflow_model_optimization", "keras_hub", "ray"}

EVERY_AGENT_MODULE = """
import importlib, pkgutil, tfdistill.agents
for module in pkgutil.walk_packages(tfdistill.agents.__path__, "tfdistill.agents."):
    importlib.import_module(module.name)
"""


def heavy_modules_after(statements: str) -> set[str]:
    """Returns which of the heavy packages a fresh process holds after the statements."""
    code = f"{statements}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    modules = json.loads(done.stdout.splitlines()[-1])
    return {name.partition(".")[0] for name in modules} & HEAVY


@pytest.mark.parametrize(
    "statements",
    [
        "import tfdistill",
        "import tfdistill as td; td.__version__; dir(td)",
        "import tfdistill.agents",
        "import tfdistill as td; td.agents.Agent",
        EVERY_AGENT_MODULE,
        "import tfdistill as td; td.datasets.load_reuters",
        "import tfdistill.runtime.interpreter",
        "import tfdistill.serving",
    ],
)
def test_no_heavy_package_is_loaded(statements: str):
    assert heavy_modules_after(statements) == set()


@pytest.mark.quick_cases("import ray-ray")
@pytest.mark.parametrize(
    ("statements", "expected"),
    [("import ray", "ray"), ("import tfdistill.introspection.backend", "keras")],
)
def test_the_check_above_can_fail(statements: str, expected: str):
    assert expected in heavy_modules_after(statements)


@pytest.mark.slow
def test_importing_tfdistill_leaves_the_keras_switch_alone():
    code = (
        "import os, tfdistill as td; td.prune_low_magnitude;"
        "assert 'TF_USE_LEGACY_KERAS' not in os.environ"
    )
    subprocess.run([sys.executable, "-c", code], timeout=120, check=True, capture_output=True)
