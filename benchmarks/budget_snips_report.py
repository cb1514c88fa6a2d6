"""One row for each budget and setting of `budget_snips.py`: who recovers how much, and who leads.

    python benchmarks/budget_snips_report.py --record FOLDER

Reads `runs/budget/budget.jsonl` (`--output`) and writes, to `runs/budget_snips`, `all.md` and the
short `report.md`. A cell is the share of what the teacher has over the cheapest tier that a policy
recovers, in percent.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from budget_snips import FROM_SCRATCH, LEARNERS

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


def shares_of(rows: list[dict[str, Any]], test: Any) -> str:
    """Writes who recovers how much, a line for each setting."""
    lines = ["| setting | " + " | ".join(SHOWN) + " |", "| --- |" + " --: |" * len(SHOWN)]
    for setting in dict.fromkeys(row["setting"] for row in rows):
        mean = means_of([row for row in rows if row["setting"] == setting])
        reward = "mean" if ", mean" in setting else "all-right"
        floor, top = (test.alone(tier, reward=reward).mean() for tier in (0, -1))
        cells = []
        for name in SHOWN:
            gained = (np.nanmean(mean[name]) - floor) / (top - floor) if name in mean else None
            cells.append("" if gained is None else f"{100 * gained:.0f}")
        lines.append(f"| {setting} | " + " | ".join(cells) + " |")
    passed = sum(row["violations"] for row in rows)
    alone = [100 * test.alone(tier, reward="all-right").mean() for tier in range(len(test.tiers))]
    own = ", ".join(f"{tier} {share:.1f}" for tier, share in zip(test.tiers, alone, strict=True))
    lines += [
        "",
        f"Percent of the gap between the first tier and the last that is recovered; alone, of 100 "
        f"requests right as a whole: {own}. Budgets were passed {passed} times in {len(rows)} "
        "evaluations.",
    ]
    return "\n".join(lines)


def leads_of(rows: list[dict[str, Any]], test: Any) -> str:
    """Writes what each learner has over the rules, with intervals."""
    lines = ["| setting | learner | seeds | " + " | ".join(f"minus {n}" for n in AGAINST) + " |"]
    lines.append("| --- | --- | --: |" + " --: |" * len(AGAINST))
    for setting in dict.fromkeys(row["setting"] for row in rows):
        own = [row for row in rows if row["setting"] == setting]
        mean = means_of(own)
        for name in LEARNERS:
            if name not in mean or name.endswith(FROM_SCRATCH):
                continue
            seeds = len({row["seed"] for row in own if row["policy"] == name})
            found = [rl.cluster_interval(mean[name] - mean[n], test.sources) for n in AGAINST]
            parts = [
                "{:+.1f} [{:+.1f}, {:+.1f}]".format(*(100 * x for x in each)) for each in found
            ]
            lines.append(f"| {setting} | {name} | {seeds} | " + " | ".join(parts) + " |")
    lines += [
        "",
        "Points of requests right (or of sub-tasks, where the reward is the mean), with 95 % "
        "intervals of a bootstrap over source utterances.",
    ]
    return "\n".join(lines)


def main() -> None:
    """Writes the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=Path("runs/budget"), help="of budget_snips")
    given = parser.parse_args()
    lines = (given.output / "budget.jsonl").read_text(encoding="utf-8").splitlines()
    test = rl.TeamRecord.load(given.record / "record_test.jsonl")
    rows = [json.loads(line) for line in lines]
    usual = [row for row in rows if row["setting"].endswith(", calibrated, all-right")]
    short = [{**row, "setting": row["setting"].split(",")[0]} for row in usual]
    folder = Path("runs/budget_snips")
    folder.mkdir(parents=True, exist_ok=True)
    everything = f"{shares_of(rows, test)}\n\n{leads_of(rows, test)}\n"
    (folder / "all.md").write_text(f"# Budgets\n\n{everything}", encoding="utf-8")
    (folder / "report.md").write_text(f"# Budgets\n\n{shares_of(short, test)}\n", encoding="utf-8")
    print(everything)


if __name__ == "__main__":
    main()
