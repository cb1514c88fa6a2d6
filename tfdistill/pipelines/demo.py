"""`distill_text` where few texts have a label, and what ships run as agents.

    data set ─ draw ─┬─ labelled ───┐
                     └─ unlabelled ─┴─ distill_text ─▶ bundle ─ inline, threads, Ray ─▶ report

Nothing is trained here that `distill_text` does not train.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfdistill.arguments import check_int
from tfdistill.datasets.splits import pick_labelled
from tfdistill.datasets.text_files import TextData
from tfdistill.pipelines.distillation import TextRun, distill_text
from tfdistill.pipelines.executors import compare_executors
from tfdistill.pipelines.silence import only_own_words
from tfdistill.reports.stage_table import add_pool

__all__ = ["run_demo"]


def run_demo(
    texts: TextData,
    *,
    name: str,
    labels: int | None = 100,
    unlabeled: int | None = 1000,
    executors: Sequence[str] = ("inline", "threads", "ray"),
    effort: str = "quick",
    seed: int = 0,
    out: str | os.PathLike[str] = "runs/demo",
    **options: Any,
) -> TextRun:
    """Takes a data set of which few texts have a label to a bundle, and runs it as agents.

    Args:
        texts: The data set, such as `datasets.load_reuters()`.
        name: What the report calls it.
        labels: How many training texts keep their label, at least one of each class; None keeps
            all.
        unlabeled: At most how many of the others the teacher answers; None takes all.
        executors: Ways of running what ships, by the names that `AgentPool` takes.
        effort: As `distill_text`.
        seed: Seed of the draw, too.
        out: Folder of the run.
        **options: Of `distill_text`: `max_kb`, `teacher`, `say` and so on.

    Returns:
        The run; `run.report["pool"]` has a row for each executor.

    Raises:
        AssetError: If the teacher cannot be downloaded.
        ValueError: If `labels` or `unlabeled` does not fit the data, or an option is out of range.
    """
    started = time.monotonic()
    known = pick_labelled(texts.train_labels, labels=labels, seed=seed)
    rest = np.setdiff1d(np.arange(len(texts.train_texts)), known)
    if unlabeled is not None:
        check_int(unlabeled, argument="unlabeled", at_least=0)
        rest = np.sort(np.random.default_rng(seed).permutation(rest)[:unlabeled])
    names = texts.label_names
    run = distill_text(
        (
            [texts.train_texts[row] for row in known],
            [names[texts.train_labels[row]] for row in known],
        ),
        test=(texts.test_texts, [names[label] for label in texts.test_labels]),
        unlabeled=[texts.train_texts[row] for row in rest],
        name=f"{name}, {len(known):,} labels",
        task="class",
        effort=effort,
        seed=seed,
        out=out,
        **options,
    )
    with only_own_words():
        pool = compare_executors(run.bundle.path, texts.test_texts, executors=executors)
    add_pool(run.folder, pool, seconds=time.monotonic() - started)
    return run
