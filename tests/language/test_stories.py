"""The 260 K-parameter TinyStories model, read by the benchmark's own reader of llama2.c files."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from tfdistill.language import write

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def stories_text() -> ModuleType:
    path = BENCHMARKS / "stories_text.py"
    if not path.is_file():
        pytest.skip("the tests were copied out of the checkout")
    spec = importlib.util.spec_from_file_location("stories_text", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_greedy_text_has_the_ids_of_llama2_c(stories_text, shared_data: Path):
    teacher = stories_text.load_stories(shared_data / "stories260k" / "stories260K.bin")
    (row,) = write(teacher, [[stories_text.BEGIN]], num_tokens=12, temperature=0.0)

    assert teacher.count_params() == 260_032
    assert row.tolist() == [1, 403, 407, 261, 378, 432, 383, 286, 261, 376, 298, 315, 421]
