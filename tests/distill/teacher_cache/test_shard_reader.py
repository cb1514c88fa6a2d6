"""Rows are read from the shards where they lie: the right ones, checked, and in little memory."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tfdistill.distill.teacher_cache import shard_reader
from tfdistill.distill.teacher_cache.shard_reader import ShardReader

ROWS, SHARD_ROWS = 23, 5
RNG = np.random.default_rng(0)
ARRAYS = {
    "logits": RNG.normal(size=(ROWS, 3)).astype("float32"),
    "ids": RNG.integers(0, 9, (ROWS, 2, 4)).astype("int32"),
    "mask": RNG.random((ROWS, 2)) < 0.5,
    "tail": RNG.random(ROWS).astype("float16"),
    "nothing": np.zeros((ROWS, 0), "float32"),
}


def write(folder: Path, arrays=ARRAYS, *, save=np.savez) -> list[Path]:
    paths = []
    for start in range(0, ROWS, SHARD_ROWS):
        paths.append(folder / f"shard-{len(paths)}.npz")
        save(paths[-1], **{name: a[start : start + SHARD_ROWS] for name, a in arrays.items()})
    return paths


def read(paths: list[Path], rows: int = ROWS) -> ShardReader:
    return ShardReader(
        paths,
        rows=rows,
        shard_rows=SHARD_ROWS,
        damaged=lambda number: ValueError(f"shard {number}"),
    )


@pytest.fixture(autouse=True)
def _nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_reader, "_KEPT_BYTES", 0)


def test_a_small_cache_is_kept_and_gives_the_same_rows(tmp_path: Path, monkeypatch):
    paths = write(tmp_path)
    monkeypatch.setattr(shard_reader, "_KEPT_BYTES", 2**20)
    kept = read(paths)
    for path in paths:
        path.unlink()
    taken = np.array([7, 0, 22, 7])
    for name, array in kept.take(taken).items():
        np.testing.assert_array_equal(array, ARRAYS[name][taken], strict=True)


@pytest.mark.parametrize("seed", range(5))
def test_any_rows_in_any_order_are_those_of_the_arrays(tmp_path: Path, seed: int):
    rng = np.random.default_rng(seed)
    rows = [rng.permutation(ROWS), np.arange(3, 14), rng.integers(0, ROWS, 40), np.array([], int)]
    reader = read(write(tmp_path))
    for taken in rows:
        found = reader.take(taken)
        assert found.keys() == ARRAYS.keys()
        for name, array in ARRAYS.items():
            np.testing.assert_array_equal(found[name], array[taken], strict=True)
    assert reader.specs["ids"] == ((2, 4), np.dtype("int32"))


def test_more_shards_than_open_files_and_more_rows_than_pieces(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(shard_reader, "_MOST_OPEN", 2)
    monkeypatch.setattr(shard_reader, "_MOST_PIECES", 2)
    reader = read(write(tmp_path))
    for taken in (np.arange(ROWS), RNG.permutation(ROWS)):
        for name, array in ARRAYS.items():
            np.testing.assert_array_equal(reader.take(taken)[name], array[taken])
        assert len(reader._open) == 2


def test_arrays_that_numpy_stored_by_columns_are_read_too(tmp_path: Path):
    arrays = {name: np.asfortranarray(array) for name, array in ARRAYS.items()}

    def save(path: Path, **parts: np.ndarray) -> None:
        np.savez(path, **{name: np.asfortranarray(part) for name, part in parts.items()})

    rows = RNG.permutation(ROWS)
    found = read(write(tmp_path, arrays, save=save)).take(rows)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array[rows], strict=True)


def test_a_flipped_bit_anywhere_is_found_when_the_shards_are_opened(tmp_path: Path):
    paths = write(tmp_path)
    with zipfile.ZipFile(paths[2]) as archive:
        inside = [archive.getinfo(f"{name}.npy").header_offset + 230 for name in ("logits", "ids")]
    whole = paths[2].read_bytes()
    for place in inside:
        content = bytearray(whole)
        content[place] ^= 1
        paths[2].write_bytes(content)
        with pytest.raises(ValueError, match="shard 2"):
            read(paths)
    paths[2].write_bytes(whole)
    read(paths)


def test_shards_of_other_rows_names_or_shapes_are_refused(tmp_path: Path):
    paths = write(tmp_path)
    with pytest.raises(ValueError, match="shard 4"):
        read(paths, rows=ROWS + 1)
    np.savez(paths[1], logits=ARRAYS["logits"][:5])
    with pytest.raises(ValueError, match="shard 1"):
        read(paths)
    np.savez_compressed(paths[1], **{name: array[5:10] for name, array in ARRAYS.items()})
    with pytest.raises(ValueError, match="shard 1"):
        read(paths)
    np.savez(paths[1], **{**ARRAYS, "logits": np.array([{}] * 5)}, allow_pickle=True)
    with pytest.raises(ValueError, match="shard 1"):
        read(paths)


def test_a_shard_that_is_replaced_is_never_read_as_the_old_one(tmp_path: Path, monkeypatch):
    paths = write(tmp_path)
    held = read(paths)
    monkeypatch.setattr(shard_reader, "_MOST_OPEN", 1)
    late = read(paths)
    for path in paths:
        (tmp_path / "other").write_bytes(path.read_bytes())
        os.replace(tmp_path / "other", path)
    rows = np.arange(ROWS)
    np.testing.assert_array_equal(held.take(rows)["logits"], ARRAYS["logits"])  # the old files
    with pytest.raises(ValueError, match="shard 1"):
        late.take(rows)


PEAK = """
import sys
from pathlib import Path
import numpy as np
from tfdistill.distill.teacher_cache.shard_reader import ShardReader
def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) // 1024
paths = sorted(Path(sys.argv[1]).glob("*.npz"))
before = peak()
reader = ShardReader(paths, rows=len(paths) * 256, shard_rows=256, damaged=ValueError)
order = np.random.default_rng(0).permutation(len(paths) * 256)
total = 0.0
for start in range(0, len(order), 32):
    total += float(reader.take(order[start : start + 32])["logits"].sum(dtype="float64"))
print(total, peak() - before)
"""


@pytest.mark.slow
def test_a_cache_of_256_mb_is_read_in_less_than_32_mb_of_memory(tmp_path: Path):
    logits = np.random.default_rng(1).random((256, 4096), dtype="float32")  # 4 MiB
    for number in range(64):
        np.savez(tmp_path / f"shard-{number:02}.npz", logits=logits)
    root = str(Path(shard_reader.__file__).parents[3])
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": root}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    total, peak_mb = done.stdout.split()
    assert float(total) == pytest.approx(64 * logits.sum(dtype="float64"), rel=1e-9)
    assert int(peak_mb) < 32
