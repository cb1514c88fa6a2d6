"""Fixtures that every test folder shares; the environment is set before TensorFlow is imported."""

from __future__ import annotations

import functools
import gc
import os
import random
import sys
from pathlib import Path
from typing import Any

# Two threads at most, one beside other test processes, so that timings and the machine's other
# users are not disturbed; levels 0 and 1 of TensorFlow's log are start-up notes.
_THREADS = "1" if "PYTEST_XDIST_WORKER" in os.environ else "2"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", _THREADS)
os.environ.setdefault("TF_NUM_INTEROP_THREADS", _THREADS)
os.environ.setdefault("MPLBACKEND", "Agg")

import numpy as np  # noqa: E402
import pytest  # noqa: E402

from tfdistill import datasets  # noqa: E402

SEED = 20240501
CHECKOUT = Path(__file__).resolve().parents[1]
_DOWNLOADING_FIXTURES = {"minilm_folder", "r8"}


def pytest_configure(config: pytest.Config) -> None:
    """Lets xdist hand out groups in the order of collection, not the ones of most tests first."""
    config.option.loadscopereorder = False


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Gives a group of tests to one process, so that its fixtures are made once.

    xdist 3.8 cannot: it puts the group of a mark into an attribute that pytest 9 does not read.
    """
    if config.getvalue("dist") not in ("load", "loadgroup"):
        return None
    from xdist.scheduler import LoadFileScheduling

    class ByGroup(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _group(nodeid)

    return ByGroup(config, log)


def _group(nodeid: str) -> str:
    """Returns the test's file, "ray" for all files that start Ray, and a notebook by itself."""
    file = nodeid.split("::")[0]
    return nodeid if "test_the_notebook_runs" in nodeid else _group_of_file(file)


@functools.cache
def _group_of_file(file: str) -> str:
    path = CHECKOUT / file
    starts_ray = path.is_file() and "pytest.mark.ray" in path.read_text(encoding="utf-8")
    return "ray" if starts_ray else file


def pytest_collection_finish() -> None:
    """Makes garbage collections, an eighth of the processor time, rarer and smaller."""
    gc.collect()
    gc.freeze()  # what was imported stays
    gc.set_threshold(10_000, 10, 60)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks tests that may download and slow cases; in several processes long groups come first."""
    for item in items:
        quick = item.get_closest_marker("quick_cases")
        if quick is not None and item.callspec.id not in quick.args:
            item.add_marker(pytest.mark.slow)
        if _DOWNLOADING_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.network)
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: _place(_group(item.nodeid)))


def _place(group: str) -> int:
    # What is long and begins late leaves the other processes without work.
    return 0 if group == "ray" else 1 if "test_the_notebook_runs" in group else 2


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Starts each test from the same random state, whatever ran before it."""
    random.seed(SEED)
    np.random.seed(SEED)
    if "keras" in sys.modules:
        sys.modules["keras"].utils.set_random_seed(SEED)


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator of its own for each test, always started from `SEED`."""
    return np.random.default_rng(SEED)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the benchmark data that is not part of the project; skips where it is absent."""
    folder = Path(os.environ.get("TFDISTILL_SHARED", CHECKOUT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no benchmark data at {folder} (set TFDISTILL_SHARED to its folder)")
    return folder


@pytest.fixture(scope="session")
def minilm_folder() -> Path:
    """Folder with the pinned MiniLM checkpoint, downloaded once into the user's cache."""
    try:
        return datasets.extract(datasets.MINILM)
    except datasets.AssetUnreachableError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def r8() -> datasets.TextData:
    """The Reuters R8 texts, downloaded once into the user's cache."""
    try:
        return datasets.load_reuters("r8")
    except datasets.AssetUnreachableError as error:
        pytest.skip(str(error))
