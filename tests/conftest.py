"""Fixtures that every test folder shares; the environment is set before TensorFlow is imported."""

from __future__ import annotations

import gc
import os
import random
import sys
from pathlib import Path

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
    """Gives a whole group to one process with `-n` alone too, in the order of collection.

    Fixtures of a file are then made once. xdist would begin with the groups of the most tests.
    """
    if getattr(config.option, "dist", "no") == "load":
        config.option.dist = "loadgroup"
    config.option.loadscopereorder = False


def pytest_collection_finish() -> None:
    """Leaves what was imported out of each later garbage collection."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks tests that may download; says which go to one process: a file's, and all with Ray.

    A test that names its group itself keeps it. In several processes long groups come first.
    """
    for item in items:
        if _DOWNLOADING_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.network)
        file = item.nodeid.split("::")[0]
        if item.get_closest_marker("ray") is not None:
            item.add_marker(pytest.mark.xdist_group("ray"))
        elif item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(file))
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=_place)


def _place(item: pytest.Item) -> int:
    # What is long and begins late leaves the other processes without work.
    if item.get_closest_marker("ray") is not None:
        return 0
    return 1 if item.nodeid.startswith("tests/test_notebooks.py") else 2


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
