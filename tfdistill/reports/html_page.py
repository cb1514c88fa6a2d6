"""The report as one HTML page: no script, no other file, light and dark, readable on a phone."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from tfdistill.files.atomic import replacing
from tfdistill.reports.confusions import ConfusionChange, LostExample
from tfdistill.reports.pareto_plot import stage_plots
from tfdistill.reports.stage_table import StageRow, results_table
from tfdistill.reports.table import Table
from tfdistill.reports.templating import render

__all__ = ["write_page"]


def write_page(
    path: str | os.PathLike[str],
    *,
    stages: Sequence[StageRow],
    notes: Sequence[str] = (),
    changes: Sequence[ConfusionChange] = (),
    lost: Sequence[LostExample] = (),
    sensitivity: Mapping[str, float] | None = None,
) -> Path:
    """Writes the page. Texts and names are escaped: they may come from strangers.

    Args:
        path: The `.html` file; its folder exists.
        stages: Rows of the results table, at least one.
        notes: Sentences for under the table.
        changes: Mistakes that came or went between teacher and student.
        lost: Texts that the teacher has right and the student wrong.
        sensitivity: Accuracy points that each layer costs when it alone is compressed.

    Returns:
        The file.

    Raises:
        ValueError: If there is no stage.
        OSError: If the file cannot be written.
    """
    points = [[name, f"{value:.2f}"] for name, value in (sensitivity or {}).items()]
    counts = [
        [f"{each.truth} → {each.said}", str(each.teacher), str(each.student)] for each in changes
    ]
    texts = [[each.text[:300], each.truth, each.said] for each in lost]
    page = render(
        "report.html.jinja",
        results=results_table(stages),
        plots=stage_plots(stages),
        notes=notes,
        sensitivity=Table(["layer", "points lost"], points),
        changes=Table(["right → said", "teacher", "student"], counts),
        lost=Table(["text", "right", "student says"], texts),
    )
    target = Path(path)
    with replacing(target) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return target
