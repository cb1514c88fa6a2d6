"""What the demo's table gives over seeds: mean and standard deviation of each stage.

    python benchmarks/demo_seeds.py --seeds 0 1 2

Each seed draws other labelled texts, another start and another order. A seed that is finished is
read from its report, so that the script can be stopped and started again.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

from tfdistill.datasets import load_reuters
from tfdistill.pipelines import run_demo
from tfdistill.pipelines.training import Recipe

STAGES = ("teacher", "tfidf", "control", "distilled", "compressed", "tflite")


def main() -> None:
    """Runs the demo once for each seed and prints one Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--folder", type=Path, default=Path("runs/seeds"))
    options = parser.parse_args()
    reports = []
    for seed in options.seeds:
        folder = options.folder / str(seed)
        if not (folder / "report.json").exists():
            run_demo(load_reuters("r8"), folder=folder, recipe=Recipe(seed=seed), say=print)
        reports.append(json.loads((folder / "report.json").read_text(encoding="utf-8")))
    print(table(reports))


def table(reports: list[dict]) -> str:
    """Returns mean ± standard deviation of the fractions of each stage, as Markdown."""
    lines = ["| stage | accuracy | macro F1 | agreement |", "| --- | --: | --: | --: |"]
    for stage in STAGES:
        rows = [row for report in reports for row in report["stages"] if row["stage"] == stage]
        cells = []
        for column in ("accuracy", "macro_f1", "teacher_agreement"):
            values = [row[column] for row in rows]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            cells.append(f"{statistics.mean(values):.3f} ± {spread:.3f}")
        lines.append(f"| {stage} | {' | '.join(cells)} |")
    gains = [_accuracy(report, "distilled") - _accuracy(report, "control") for report in reports]
    lines += ["", f"distilled − control: {min(gains):+.3f} in the worst seed"]
    return "\n".join(lines)


def _accuracy(report: dict, stage: str) -> float:
    return next(row["accuracy"] for row in report["stages"] if row["stage"] == stage)


if __name__ == "__main__":
    main()
