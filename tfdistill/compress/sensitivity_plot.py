"""The sensitivity table as a picture."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tfdistill.compress.one_shot import TECHNIQUES
from tfdistill.export.atomic import check_target, replacing
from tfdistill.export.figures import new_figure

if TYPE_CHECKING:
    from tfdistill.compress.layer_sensitivity import SensitivityRow

__all__ = ["draw_sensitivity"]

_FLOOR = 1e-4  # changes below are all as good as none


def draw_sensitivity(rows: Sequence[SensitivityRow], path: str | os.PathLike[str]) -> None:
    """Draws weights by settings: color for the change on a log scale, numbers for KB saved.

    Args:
        rows: What was measured.
        path: The PNG file to write.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    columns = list(dict.fromkeys((row.technique, row.setting) for row in rows))
    paths = list(dict.fromkeys(row.path for row in rows))
    figure = new_figure(
        width=2.5 + 0.09 * max(map(len, paths)) + 0.8 * len(columns),
        height=1.6 + 0.32 * len(paths),
    )
    from matplotlib.colors import LogNorm

    target = check_target(path)
    changes = np.full((len(paths), len(columns)), _FLOOR)
    saved = np.zeros_like(changes)
    for row in rows:
        place = paths.index(row.path), columns.index((row.technique, row.setting))
        changes[place] = max(row.change, _FLOOR)
        saved[place] = row.bytes_saved / 1024
    axes = figure.subplots()
    norm = LogNorm(_FLOOR, max(float(changes.max()), 10 * _FLOOR))
    image = axes.imshow(changes, cmap="Blues", norm=norm, aspect="auto")
    for (y, x), kilobytes in np.ndenumerate(saved):
        dark = norm(changes[y, x]) > 0.6
        axes.text(
            x, y, f"{kilobytes:.1f}", ha="center", va="center", fontsize=8,
            color="white" if dark else "#343a40",
        )  # fmt: skip
    axes.set_yticks(range(len(paths)), paths, fontsize=8)
    heads = [TECHNIQUES[name].label.format(setting) for name, setting in columns]
    axes.set_xticks(range(len(columns)), heads, fontsize=8, rotation=30, ha="right")
    axes.set_title("KB saved in each weight", fontsize=10, loc="left")
    for side in axes.spines.values():
        side.set_visible(False)
    figure.colorbar(image, ax=axes, label="change of the output")
    with replacing(target) as temporary:
        figure.canvas.print_png(os.fspath(temporary))
