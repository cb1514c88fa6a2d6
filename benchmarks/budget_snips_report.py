"""One row for each budget and setting of `budget_snips.py`: who recovers how much, and who leads.

    python benchmarks/budget_snips_report.py --record FOLDER

Reads `runs/budget/budget.jsonl` (`--output`) and writes `runs/budget_snips/report.md`. A cell is
the share of what the teacher has over the cheapest tier that a policy recovers, in percent.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from budget_snips import ALONE, LEARNERS

from tfdistill import rl

RULES = ("random", "thresholds", "knn", "agreement", "auction", "planner")
SHOWN = (*RULES, *LEARNERS, "oracle")
AGAINST = ("thresholds", "knn", "auction")


def means_of(rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Returns the score of each request, a mean over the seeds, by policy."""
    by: dict[str, list[np.ndarray]] = {}
    for row in rows:
        scores = np.array(row["scores"])
        by.setdefault(row["policy"], []).append(np.where(scores < -1, np.nan, scores))
    return {name: np.mean(found, axis=0) for name, found in by.items()}


def report_of(rows: list[dict[str, Any]], test: Any) -> str:
    """Writes both tables as Markdown."""
    settings = dict.fromkeys(row["setting"] for row in rows)
    shares = ["| setting | " + " | ".join(SHOWN) + " |", "| --- |" + " --: |" * len(SHOWN)]
    leads = ["| setting | learner | seeds | " + " | ".join(f"minus {n}" for n in AGAINST) + " |"]
    leads.append("| --- | --- | --: |" + " --: |" * len(AGAINST))
    for setting in settings:
        own = [row for row in rows if row["setting"] == setting]
        mean = means_of(own)
        reward = "mean" if ", mean" in setting else "all-right"
        floor, top = (test.alone(tier, reward=reward).mean() for tier in (0, -1))
        cells = []
        for name in SHOWN:
            gained = (np.nanmean(mean[name]) - floor) / (top - floor) if name in mean else None
            cells.append("" if gained is None else f"{100 * gained:.0f}")
        shares.append(f"| {setting} | " + " | ".join(cells) + " |")
        for name in LEARNERS:
            if name not in mean or name.endswith(ALONE):
                continue
            seeds = len({row["seed"] for row in own if row["policy"] == name})
            found = [rl.cluster_interval(mean[name] - mean[n], test.sources) for n in AGAINST]
            parts = [
                "{:+.1f} [{:+.1f}, {:+.1f}]".format(*(100 * x for x in each)) for each in found
            ]
            leads.append(f"| {setting} | {name} | {seeds} | " + " | ".join(parts) + " |")
    passed = sum(row["violations"] for row in rows)
    alone = [100 * test.alone(tier, reward="all-right").mean() for tier in range(len(test.tiers))]
    own = ", ".join(f"{tier} {share:.1f}" for tier, share in zip(test.tiers, alone, strict=True))
    return "\n".join(
        [
            *shares,
            "",
            f"Percent of the gap between the first tier and the last that is recovered; alone, of "
            f"100 requests right as a whole: {own}. Budgets were passed {passed} times in "
            f"{len(rows)} evaluations.",
            "",
            *leads,
            "",
            "Points of requests right (or of sub-tasks, where the reward is the mean), with 95 % "
            "intervals of a bootstrap over source utterances.",
        ]
    )


def main() -> None:
    """Writes the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=Path("runs/budget"), help="of budget_snips")
    given = parser.parse_args()
    lines = (given.output / "budget.jsonl").read_text(encoding="utf-8").splitlines()
    test = rl.TeamRecord.load(given.record / "record_test.jsonl")
    report = report_of([json.loads(line) for line in lines], test)
    path = Path("runs/budget_snips/report.md")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"# Budgets\n\n{report}\n", encoding="utf-8")
    print(report)


if __name__ == "__main__":
    main()
