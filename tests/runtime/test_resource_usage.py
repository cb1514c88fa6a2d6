"""What a call costs beside time, against numbers known in advance."""

from __future__ import annotations

import time
from pathlib import Path

import keras
import numpy as np
import pytest

from tfdistill.export import to_tflite
from tfdistill.runtime import benchmark, measure
from tfdistill.runtime.flatbuffer import executed_operations


def test_processor_seconds_are_those_between_the_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "_POWERCAP", Path("/none"))
    meter = benchmark.EnergyMeter()
    for _ in range(2):
        meter.start()
        begin = time.process_time()
        while time.process_time() - begin < 0.05:
            pass
        meter.stop()
        while time.process_time() - begin < 0.1:  # between the marks of nobody
            pass
    # Twice 0.05 s; the clock's own step and the calls around it are far below 0.04 s.
    assert 0.1 <= meter.cpu_s < 0.14
    assert meter.joules is None


def test_joules_are_read_from_whole_packages_and_survive_a_wrap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(energy: dict[str, int]) -> None:
        for name, value in energy.items():
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / "energy_uj").write_text(f"{value}\n")
            (tmp_path / name / "max_energy_range_uj").write_text("10000000\n")

    monkeypatch.setattr(benchmark, "_POWERCAP", tmp_path)
    meter = benchmark.EnergyMeter()
    write({"intel-rapl:0": 1_000_000, "intel-rapl:1": 9_000_000, "intel-rapl:0:0": 0})
    meter.start()
    write({"intel-rapl:0": 3_000_000, "intel-rapl:1": 500_000, "intel-rapl:0:0": 9_000_000})
    meter.stop()
    # 2 J of the first package, 1.5 J of the second, past its limit of 10 J; a part counts once.
    assert meter.joules == pytest.approx(3.5)


def test_a_delegate_wins_over_what_it_replaced() -> None:
    def node(name: str, inputs: list[int], outputs: list[int]) -> dict[str, object]:
        return {"op_name": name, "inputs": inputs, "outputs": outputs}

    nodes = [
        node("GATHER", [0], [1]),
        node("ADD", [1], [2]),
        node("MUL", [2], [3]),
        node("CAST", [3], [4]),
        node("DELEGATE", [1], [3]),
    ]
    executed = [each["op_name"] for each in executed_operations(nodes, [4])]
    assert executed == ["GATHER", "CAST", "DELEGATE"]


@pytest.mark.slow
def test_a_dense_network_is_one_partition_and_a_table_is_counted_in_memory(tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(1024), keras.layers.Dense(1024)]
    model = keras.Sequential([keras.Input((1024,)), *layers])
    result = measure(to_tflite(model, tmp_path / "dense.tflite", quantize=None))
    assert (result.partitions, result.outside) == (1, ())
    assert result.peak_memory_bytes is not None
    # 8 MB of weights: mapped, and packed once more by XNNPACK at most; a few MB of its own.
    assert 8e6 < result.peak_memory_bytes < 40e6
    assert result.cpu_s_per_1000 is not None
    # One thread cannot use more processor time than the clock shows, nor much less than the
    # median call where nothing waits.
    assert 0.3 * result.latency_ms_p50 < result.cpu_s_per_1000
    assert np.isfinite(result.cpu_s_per_1000)


def test_operations_that_xnnpack_does_not_have_are_named(encoder_file: Path) -> None:
    result = measure(encoder_file)
    assert result.partitions is not None and result.partitions >= 1
    assert result.outside is not None and "GATHER" in result.outside
    assert f"XNNPACK partitions {result.partitions}" in str(result)
