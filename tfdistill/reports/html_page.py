"""The report as one HTML page: no script, no other file, light and dark, readable on a phone."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tfdistill.files.atomic import replacing
from tfdistill.reports.comparisons import Comparison, score_text
from tfdistill.reports.confusions import ConfusionChange, LostExample
from tfdistill.reports.label_figures import LabelScore, label_table
from tfdistill.reports.pareto_plot import stage_plots
from tfdistill.reports.quantities import bytes_text
from tfdistill.reports.stage_names import explained_stages, stage_title
from tfdistill.reports.stage_table import StageRow, results_table
from tfdistill.reports.table import Table
from tfdistill.reports.templating import render
from tfdistill.reports.verdict import Verdict

__all__ = ["write_page"]


def write_page(
    path: str | os.PathLike[str],
    *,
    stages: Sequence[StageRow],
    notes: Sequence[str] = (),
    changes: Sequence[ConfusionChange] = (),
    lost: Sequence[LostExample] = (),
    sensitivity: Mapping[str, float] | None = None,
    verdict: Verdict | None = None,
    facts: Mapping[str, str] | None = None,
    labels: Sequence[LabelScore] = (),
) -> Path:
    """Writes the page. Texts and names are escaped: they may come from strangers.

    Args:
        path: The `.html` file; its folder exists.
        stages: Rows of the results table, at least one.
        notes: Sentences for under the table.
        changes: Mistakes that came or went between teacher and student.
        lost: Texts that the teacher has right and the student wrong.
        sensitivity: Accuracy points that each layer costs when it alone is compressed.
        verdict: Whether the student won; the page opens with it.
        facts: What the run was, by name: data set, date, command, versions (see `run_facts`).
        labels: Figures of each label, where a text may have several.

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
    plots = stage_plots(stages)
    page = render(
        "report.html.jinja",
        verdict=verdict,
        tiles=[] if verdict is None else _tiles(verdict, stages),
        rivals=[] if verdict is None else _rivals(verdict),
        facts=facts or {},
        results=results_table(stages),
        explained=explained_stages(row.stage for row in stages),
        plots=plots,
        hollow=any('<path class="smaller"' in picture for _, picture in plots),
        notes=notes,
        sensitivity=Table(["layer", "points lost"], points),
        labels=label_table(labels),
        changes=Table(["right → said", "teacher", "student"], counts),
        lost=Table(["text", "right", "student says"], texts),
    )
    target = Path(path)
    with replacing(target) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return target


def _tiles(verdict: Verdict, stages: Sequence[StageRow]) -> list[tuple[str, str]]:
    """Returns the few numbers that stand out: what is kept, the score, the size and the time."""
    tiles = []
    if verdict.relative is not None:
        kept = verdict.relative
        ends = f"{100 * kept.low:.1f} to {100 * kept.high:.1f}"
        tiles.append((f"{100 * kept.value:.1f} %", f"of its teacher ({ends})"))
    tiles.append((score_text(verdict.score), f"{verdict.metric_title}, {verdict.rows:,} test rows"))
    if verdict.size_bytes is not None:
        tiles.append((bytes_text(verdict.size_bytes), "what ships, tokenizer included"))
    file = next((row for row in stages if row.stage == verdict.stage), None)
    if file is not None and file.text_ms_p50 is not None:
        tiles.append((f"{file.text_ms_p50:.3g} ms", "from a text to its label, median"))
    elif file is not None and file.latency_ms_p50 is not None:
        tiles.append((f"{file.latency_ms_p50:.3g} ms", "for one encoded text, median"))
    return tiles


def _rivals(verdict: Verdict) -> list[dict[str, Any]]:
    """Returns each rival with its interval in percent of the width of a common scale."""
    ends = [
        abs(end)
        for each in verdict.comparisons
        for end in (each.difference.low, each.difference.high)
    ]
    widest = max(ends, default=0.0) or 1.0

    def place(value: float) -> float:
        return round(50 + 48 * value / widest, 2)

    def shown(each: Comparison) -> dict[str, Any]:
        difference = each.difference
        low, high = place(difference.low), place(difference.high)
        about = [score_text(each.score)]
        if each.size_bytes is not None:
            about.append(bytes_text(each.size_bytes))
        return {
            "name": stage_title(each.rival),
            "about": ", ".join(about),
            "outcome": each.outcome,
            "difference": verdict.difference_text(difference),
            "low": low,
            "width": round(high - low, 2),
            "value": place(difference.value),
        }

    return [shown(each) for each in verdict.comparisons]
