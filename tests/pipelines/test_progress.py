"""One bar over all parts, and nothing else on the terminal."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from tfdistill.pipelines.progress import EpochBar, Progress


def test_parts_move_the_bar_by_the_seconds_that_they_are_expected_to_take():
    with Progress({"teacher": 30.0, "student": 10.0}, stream=io.StringIO()) as progress:
        bar = progress._bar
        with progress.part("teacher"):
            progress.reach(0.5)
            assert bar.n == pytest.approx(15)
            progress.reach(0.4)  # never back
            assert bar.n == pytest.approx(15)
        assert bar.n == pytest.approx(30)
        with progress.part("unknown"):
            pass
        assert bar.n == pytest.approx(30)


def test_a_part_that_was_found_finished_leaves_the_total():
    with Progress({"teacher": 30.0, "student": 10.0}, stream=io.StringIO()) as progress:
        bar = progress._bar
        with progress.part("teacher"):
            pass
        assert (bar.n, bar.total) == (0, 10)
        with progress.part("student"):
            progress.reach(0.5)
        assert (bar.n, bar.total) == (10, 10)


def test_a_training_moves_its_part_by_the_share_of_its_epochs():
    reached: list[float] = []

    class Listener(Progress):
        def reach(self, share: float) -> None:
            reached.append(share)

    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    x = np.ones((40, 1))
    model.fit(x, x, batch_size=1, epochs=2, verbose=0, callbacks=[EpochBar(Listener({}))])
    assert reached == [0.0, 0.125, 0.25, 0.375, 0.5, 0.5, 0.625, 0.75, 0.875, 1.0]
    reached.clear()
    late = EpochBar(Listener({}), begin=0.6)
    model.fit(x, x, batch_size=40, epochs=2, verbose=0, callbacks=[late])
    assert reached == pytest.approx([0.6, 0.8, 0.8, 1.0])


PROGRAM = """
import os, sys
from tfdistill.pipelines.silence import only_own_words
with only_own_words() as stream:
    print("python chatter")
    os.write(1, b"native chatter")
    os.write(2, b"native trouble")
    stream.write("own words\\n")
print("behind")
if len(sys.argv) > 1:
    with only_own_words():
        os.write(2, b"the cause")
        raise ValueError("failed")
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM, *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, env=dict(os.environ), check=False
    )


def test_only_own_words_are_heard_and_all_is_as_before_afterwards():
    done = run()
    assert (done.stdout, done.stderr) == ("behind\n", "own words\n")


def test_an_error_takes_along_what_was_printed():
    done = run("fail")
    assert done.returncode == 1 and "Printed on the way:\nthe cause" in done.stderr
