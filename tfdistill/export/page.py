"""The report as one HTML page: no script, no other file, light and dark, readable on a phone."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from tfdistill.export.atomic import replacing
from tfdistill.export.mistakes import ConfusionChange, LostExample
from tfdistill.export.report import StageRow, table_cells
from tfdistill.export.scatter import scatter_svg

__all__ = ["write_page"]

_STYLE = """
:root{color-scheme:light dark;--ink:#1f2328;--soft:#59636e;--line:#d1d9e0;--paper:#fff;
--best:#0b6e4f;--beaten:#8c6d1f}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9198a1;--line:#3d444d;
--paper:#0d1117;--best:#4cc38a;--beaten:#d8b45a}}
body{margin:0 auto;max-width:62rem;padding:1rem;background:var(--paper);color:var(--ink);
font:16px/1.5 system-ui,sans-serif}
h1{font-size:1.6rem}h2{font-size:1.2rem;margin-top:2rem}
.wide{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:.35rem .5rem;border-bottom:1px solid var(--line);text-align:right;
white-space:nowrap}
th:first-child,td:first-child{text-align:left}
.prose td{text-align:left;white-space:normal;vertical-align:top;overflow-wrap:anywhere}
.prose th{text-align:left}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,24rem),1fr));gap:1rem}
svg{width:100%;height:auto}.grid{stroke:var(--line);fill:none}.tick{fill:var(--soft);
font-size:11px}.name{fill:var(--ink);font-size:12px}.front{fill:none;stroke:var(--best);
stroke-dasharray:4 3}.best{fill:var(--best)}.beaten{fill:var(--beaten)}
p,li{color:var(--soft)}
"""


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
        stages: Rows of the truth table, at least one.
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
    head, *body = table_cells(stages)
    parts = ["<h1>The truth table</h1>", _table(head, body), _plots(stages)]
    if notes:
        parts.append("<ul>" + "".join(f"<li>{_prose(note)}</li>" for note in notes) + "</ul>")
    if sensitivity:
        rows = [[name, f"{value:.2f}"] for name, value in sensitivity.items()]
        parts += ["<h2>Sensitivity of each layer</h2>", _table(["layer", "points lost"], rows)]
    if changes:
        rows = [
            [f"{each.truth} → {each.said}", str(each.teacher), str(each.student)]
            for each in changes
        ]
        parts += [
            "<h2>Mistakes that came or went</h2>",
            _table(["right → said", "teacher", "student"], rows),
        ]
    if lost:
        rows = [[each.text[:300], each.truth, each.said] for each in lost]
        parts += [
            "<h2>What the student lost</h2><p>Texts that the teacher has right.</p>",
            _table(["text", "right", "student says"], rows, kind="wide prose"),
        ]
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<link rel="icon" href="data:,"><title>tfdistill: the truth table</title>'
        f"<style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )
    target = Path(path)
    with replacing(target) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return target


def _prose(text: str) -> str:
    """Escapes a text; names in backticks become code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _plots(stages: Sequence[StageRow]) -> str:
    plots = []
    for column, unit, title, x_label in (
        ("size_bytes", 1024.0, "Accuracy against size", "KB"),
        ("latency_ms_p50", 1.0, "Accuracy against latency", "ms, median of one example"),
    ):
        points = [
            (row.stage, getattr(row, column) / unit, row.accuracy)
            for row in stages
            if row.accuracy is not None and getattr(row, column)
        ]
        if points:
            picture = scatter_svg(points, title=title, x_label=x_label)
            plots.append(f"<div><h2>{title}</h2>{picture}</div>")
    return f'<div class="plots">{"".join(plots)}</div>'


def _table(head: Sequence[str], body: Sequence[Sequence[str]], *, kind: str = "wide") -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    rows = "".join(line(cells, "td") for cells in body)
    return f'<div class="{kind}"><table>{line(head, "th")}{rows}</table></div>'
