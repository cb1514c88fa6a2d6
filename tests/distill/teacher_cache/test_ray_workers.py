"""A cache that several processes build together is the one that a single one builds."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from unittest import mock

import keras
import numpy as np
import pytest

from tfdistill import TeacherCache
from tfdistill.cluster import session
from tfdistill.distill.teacher_cache import cache, ray_workers, shards
from tfdistill.distill.teacher_cache.ray_workers import answer_rows, open_teacher

X = np.random.default_rng(1).normal(size=(300, 5)).astype("float32")


class Doubling(keras.layers.Layer):
    """A layer that another process does not know."""

    def call(self, x):
        return 2.0 * x


def net(seed: int = 1, *layers: keras.layers.Layer) -> keras.Model:
    keras.utils.set_random_seed(seed)
    hidden = keras.layers.Dense(16, "relu", name="hidden")
    return keras.Sequential([keras.Input((5,)), hidden, *layers, keras.layers.Dense(3)])


def workers_alive() -> list[int]:
    """Process ids of the workers of this very process' Ray session."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if b"CacheWorker" in (folder / "cmdline").read_bytes() and is_mine(folder.name):
                found.append(int(folder.name))
        except OSError:  # it ended meanwhile
            continue
    return found


def is_mine(pid: str) -> bool:
    while pid not in ("0", "1"):
        if int(pid) == os.getpid():
            return True
        pid = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
    return False


@pytest.mark.ray
@pytest.mark.slow
def test_workers_write_the_same_cache_and_one_that_is_killed_comes_back(tmp_path: Path):
    teacher = net()
    killed = []

    def kill_the_workers(*arguments):
        if not killed:
            for pid in workers_alive():
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
        return write_shard(*arguments)

    write_shard = shards.write_shard
    ray = session.import_ray()
    ours = not ray.is_initialized()  # else the one that all tests of Ray share
    if ours:
        session.start(ray)
    try:
        with mock.patch.object(cache, "_BATCHES_PER_SHARD", 2):
            settings = {"batch_size": 5, "layers": ("hidden",)}
            alone = TeacherCache.build(teacher, X, tmp_path / "alone", **settings)
            with mock.patch.object(shards, "write_shard", kill_the_workers):
                shared = TeacherCache.build(teacher, X, tmp_path / "shared", workers=2, **settings)
            assert ray.is_initialized()  # a session that ran before is left running
            with pytest.raises(ValueError, match="open in a fresh process, for workers above 1"):
                TeacherCache.build(net(1, Doubling()), X, tmp_path / "unknown", workers=2)
            killed.clear()
            with (
                mock.patch.object(shards, "write_shard", kill_the_workers),
                mock.patch.object(ray_workers, "_TRIES", 1),
                pytest.raises(RuntimeError, match="Workers must survive their rows. Received: 1"),
            ):
                TeacherCache.build(teacher, X, tmp_path / "deadly", workers=2)
            with (
                mock.patch.object(ray_workers, "_READY_S", 0.0),
                pytest.raises(RuntimeError, match="Workers must be ready within 0 s. Received: w"),
            ):
                TeacherCache.build(teacher, X, tmp_path / "late", workers=2)
    finally:
        if ours:
            ray.shutdown()
    assert killed
    assert shards.num_shards(shared._manifest) == 30
    assert shared._manifest == alone._manifest
    rows = np.arange(len(X))
    for name, expected in alone._shards.take(rows).items():
        # Other processes may sum in another order.
        np.testing.assert_allclose(shared._shards.take(rows)[name], expected, atol=1e-6)


def test_a_teacher_survives_the_way_to_a_worker(tmp_path: Path):
    teacher = net()
    teacher.save(tmp_path / "t.keras")
    ask = open_teacher((tmp_path / "t.keras").read_bytes(), [])
    np.testing.assert_array_equal(ask(X)["logits"], teacher.predict_on_batch(X))


def test_rows_of_a_shard_are_asked_in_batches_and_counted():
    sizes, counted = [], []

    def ask(batch):
        sizes.append(len(batch["a"]))
        return {"logits": batch["a"], "more": batch["b"]}

    x = {"a": X[:11, :3], "b": np.arange(11)}
    found = answer_rows(ask, x, batch_size=4, top_k=None, first_row=100, advance=counted.append)
    assert sizes == counted == [4, 4, 3]
    np.testing.assert_array_equal(found["logits"], x["a"])
    np.testing.assert_array_equal(found["more"], x["b"])


@pytest.mark.parametrize("workers", [0, 1.0, True])
def test_a_number_of_workers_out_of_range_is_refused(tmp_path: Path, workers):
    with pytest.raises(
        (TypeError, ValueError), match="`workers` must be an int of at least 1. Received: work"
    ):
        TeacherCache.build(net(), X, tmp_path, workers=workers)


def test_a_callable_is_not_sent_to_workers(tmp_path: Path):
    with pytest.raises(ValueError, match="`workers` must be 1 for a teacher that is a callable"):
        TeacherCache.build(lambda x: x, X, tmp_path, workers=2, fingerprint="f")
