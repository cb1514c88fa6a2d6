"""The 260 K-parameter TinyStories model, read by the benchmark's own reader of llama2.c files."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import tfdistill as td
from tfdistill.language import sample, score_language_model

BEGIN = 1  # the token of a story's beginning
BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def stories() -> Iterator[ModuleType]:
    if not (BENCHMARKS / "stories_student.py").is_file():
        pytest.skip("the tests were copied out of the checkout")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield importlib.import_module("stories_student")


def test_greedy_text_has_the_ids_of_llama2_c(stories, shared_data: Path):
    teacher = stories.load_stories(shared_data / "stories260k" / "stories260K.bin")
    (row,) = sample(teacher, [[BEGIN]], num_tokens=12, temperature=0.0)

    assert teacher.count_params() == 260_032
    assert row.tolist() == [1, 403, 407, 261, 378, 432, 383, 286, 261, 376, 298, 315, 421]


@pytest.mark.slow
def test_a_quarter_of_the_parameters_learns_to_write_as_the_teacher_does(
    stories, shared_data: Path, tmp_path: Path
):
    teacher = stories.load_stories(shared_data / "stories260k" / "stories260K.bin")
    rows, held_out = (stories.sample_rows(teacher, rows=256, seed=seed) for seed in (0, 1))
    cache = td.TeacherCache.build(teacher, rows, tmp_path / "answers", top_k=64, batch_size=16)
    student = stories.build_student(teacher)
    before = score_language_model(student, held_out[:16], teacher=teacher)
    stories.distil(student, cache, rows, minutes=0.5)
    after = score_language_model(student, held_out[:16], teacher=teacher)
    path = td.export.language_to_tflite(student, tmp_path / "student.tflite", quantize="dynamic")
    in_file = score_language_model(path, held_out[:16], teacher=teacher)

    assert student.count_params() <= teacher.count_params() / 4
    # From 9.7 nats; the 478 steps that a busy machine made of half a minute came to 1.35.
    assert after.kl < 2.0 < before.kl
    # 8 bits: the same text but for a rounding.
    assert in_file.perplexity == pytest.approx(after.perplexity, rel=0.02)
