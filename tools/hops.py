"""Counts the files of `tfdistill` that one call goes through.

    python tools/hops.py            # or with --files, to see which

A file counts when a function of it is called, in whatever thread; being imported does not count.
Each call has been made once before, so that nothing is imported while it is watched. Fewer files
mean less to read before one can follow what happens.
"""

from __future__ import annotations

import argparse
import inspect
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tokenizers  # noqa: E402

import tfdistill as td  # noqa: E402

PREFIX = f"{Path(td.__file__).parent}{os.sep}"
LENGTH = 8
LABELS = ["grain", "oil"]
WORDS = ["[PAD]", "[UNK]", "wheat", "crude", "fell", "rose"]
SETTLING_S = 0.3  # a pool's threads go on for a moment after it has opened or answered


@contextmanager
def watched() -> Iterator[set[str]]:
    """Collects the files entered by this thread and by those that are started meanwhile."""
    found: set[str] = set()

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        # The bodies of modules and classes are called, too, but are not optimized.
        if event == "call" and code.co_flags & inspect.CO_OPTIMIZED:
            if code.co_filename.startswith(PREFIX):
                found.add(code.co_filename.removeprefix(PREFIX))

    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        yield found
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


def train_step(scratch: Path) -> set[str]:
    """One eager `train_step` of a `Distiller`, student and teacher plain Keras models."""
    student, teacher = (
        keras.Sequential([keras.Input((5,)), keras.layers.Dense(len(LABELS))]) for _ in range(2)
    )
    distiller = td.Distiller(student=student, teacher=teacher)
    distiller.compile("sgd")
    batch = np.ones((4, 5), "float32"), np.zeros(4, "int32")
    distiller.fit(*batch, verbose=0)  # builds the optimizer and the metrics
    tensors = tuple(map(keras.ops.convert_to_tensor, batch))
    distiller.train_step(tensors)
    with watched() as found:
        distiller.train_step(tensors)
    return found


def pool_answer(scratch: Path) -> set[str]:
    """One text through an open `AgentPool` of one thread."""
    with watched() as found:
        with td.agents.AgentPool(scratch / "bundle", executor="threads", num_agents=1) as pool:
            pool.predict(["crude fell"])
            time.sleep(SETTLING_S)
            found.clear()
            pool.predict(["wheat rose"])
            time.sleep(SETTLING_S)
            return set(found)


def save_bundle(scratch: Path) -> set[str]:
    """One `save_bundle` of a text encoder."""
    words = tokenizers.models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]")
    tokenizer = tokenizers.Tokenizer(words)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    student = td.students.text_encoder(
        vocabulary_size=len(WORDS), sequence_length=LENGTH, num_layers=1, hidden_dim=8,
        intermediate_dim=8, num_classes=len(LABELS),
    )  # fmt: skip
    td.save_bundle(student, scratch / "bundle", tokenizer=tokenizer, labels=LABELS)
    with watched() as found:
        td.save_bundle(student, scratch / "again", tokenizer=tokenizer, labels=LABELS)
    return found


def main() -> None:
    """Prints one figure for each of the three calls."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--files", action="store_true", help="name the files, too")
    with_names = parser.parse_args().files
    with tempfile.TemporaryDirectory() as scratch:
        # The pool opens the bundle that was saved.
        found = {call: call(Path(scratch)) for call in (save_bundle, pool_answer, train_step)}
    for call in (train_step, pool_answer, save_bundle):
        print(f"{len(found[call]):3d}  {call.__doc__}")
        for name in sorted(found[call]) if with_names else ():
            print(f"     {name}")


if __name__ == "__main__":
    main()
