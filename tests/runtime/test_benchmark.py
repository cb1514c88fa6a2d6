from __future__ import annotations

import dataclasses
import gzip
import time
from pathlib import Path

import keras
import numpy as np
import pytest

from tfdistill.export import to_tflite
from tfdistill.runtime import Measurement, measure


@pytest.fixture(scope="module")
def measured(encoder_file: Path) -> tuple[Measurement, float]:
    start = time.perf_counter()
    result = measure(encoder_file)
    return result, time.perf_counter() - start


def test_sizes_are_those_of_the_file(
    measured: tuple[Measurement, float], encoder_file: Path
) -> None:
    content = encoder_file.read_bytes()
    assert measured[0].size_bytes == len(content)
    assert measured[0].gzip_bytes == len(gzip.compress(content, 9, mtime=0))


def test_percentiles_are_ordered_and_from_many_runs(measured: tuple[Measurement, float]) -> None:
    result = measured[0]
    assert 0 < result.latency_ms_p50 <= result.latency_ms_p95 <= result.latency_ms_p99
    assert result.cold_start_ms > result.latency_ms_p50
    assert result.runs >= 50
    assert result.threads == 1


def test_a_small_model_takes_about_a_second_and_a_half(
    measured: tuple[Measurement, float],
) -> None:
    # Six rounds of a quarter of a second; more only on a machine that is busy with other work.
    assert measured[1] < 5.0


def test_the_latency_is_that_of_one_call(
    measured: tuple[Measurement, float], encoder_file: Path
) -> None:
    from tfdistill.runtime.interpreter import Interpreter

    interpreter = Interpreter(encoder_file)
    ids = {"ids": np.ones((1, 8), "int32")}
    times = []
    for _ in range(500):
        before = time.perf_counter()
        interpreter.run(ids)
        times.append(1e3 * (time.perf_counter() - before))
    # Two measurements of one thing, on a machine that may be busy in either of them: a wrong
    # unit or a whole round in place of a call would be off by a factor of 1,000.
    assert 0.2 < measured[0].latency_ms_p50 / np.median(times) < 5.0


@pytest.mark.slow
def test_a_larger_model_is_measured_to_be_slower(
    measured: tuple[Measurement, float], tmp_path: Path
) -> None:
    layers = [keras.layers.Dense(640) for _ in range(3)]
    model = keras.Sequential([keras.Input((640,)), *layers])
    large = measure(to_tflite(model, tmp_path / "large.tflite", quantize=None))
    # 1.2 million multiplications against some 60 thousand.
    assert large.latency_ms_p50 > 2 * measured[0].latency_ms_p50
    assert large.size_bytes > 3 * 4 * 640 * 640


def test_a_folder_with_a_model_is_accepted(
    encoder_file: Path, tmp_path: Path, measured: tuple[Measurement, float]
) -> None:
    (tmp_path / "model.tflite").write_bytes(encoder_file.read_bytes())
    assert measure(tmp_path).size_bytes == measured[0].size_bytes


@pytest.mark.slow
def test_inputs_of_ones_are_valid_for_segments_and_masks(bert: keras.Model, tmp_path: Path) -> None:
    # A segment id of 2 or more would be beyond the end of BERT's segment table.
    path = to_tflite(bert, tmp_path / "bert.tflite")
    assert measure(path, threads=2).threads == 2


def test_the_measurement_prints_its_units() -> None:
    result = Measurement(
        latency_ms_p50=0.036,
        latency_ms_p95=0.041,
        latency_ms_p99=0.05,
        cold_start_ms=1.44,
        size_bytes=408_576,
        gzip_bytes=204_800,
        threads=1,
        runs=12_000,
    )
    assert str(result) == (
        "399.0 KB (200.0 KB gzip), p50 0.036 ms, p95 0.041 ms, p99 0.050 ms with 1 thread "
        "(12,000 runs), cold start 1.4 ms"
    )
    assert "with 2 threads" in str(dataclasses.replace(result, threads=2))


def test_own_inputs_are_checked(encoder_file: Path) -> None:
    with pytest.raises(ValueError, match=r"`inputs\['ids'\]` must have shape \(1, 8\)"):
        measure(encoder_file, inputs={"ids": np.ones((1, 9), "int32")})


def test_ids_beyond_the_table_are_an_error_and_not_a_number(encoder_file: Path) -> None:
    with pytest.raises(RuntimeError, match="failed on these inputs"):
        measure(encoder_file, inputs={"ids": np.full((1, 8), 9_999, "int32")})


def test_an_unknown_signature_is_refused(encoder_file: Path) -> None:
    with pytest.raises(
        ValueError, match=r"`signature` must be one of \['serving_default'\].*signature='encode'"
    ):
        measure(encoder_file, signature="encode")


def test_no_thread_is_refused(encoder_file: Path) -> None:
    with pytest.raises(ValueError, match="`threads` must be at least 1. Received: threads=0"):
        measure(encoder_file, threads=0)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="`path` must be an existing .tflite file"):
        measure(tmp_path)
