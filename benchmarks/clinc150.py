"""How close a tiny student comes to its teacher on 150 intents (CLINC150), beside its rivals.

    python benchmarks/clinc150.py --data FOLDER --max-kb 480 1100 --seeds 0 1 2

FOLDER holds `data_full.json` of the data set (Larson et al. 2019). All rows come from
`tfdistill.distill_text`, one call for each size and seed; the first one trains the teacher and
asks it, the others take that over (`previous`). Every step is kept under `--folder`, so the script
can be stopped at any moment and started again. Training and validation texts are the labelled
rows, of which a tenth is held out; the test texts are the data set's own.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

import tfdistill as td
from tfdistill.pipelines import TextRun
from tfdistill.reports import StageRow

STAGES = (
    "teacher",
    "teacher_8bit",
    "control",
    "bag_of_words_labels",
    "bag_of_words_teacher",
    "distilled",
    "file",
)


def main() -> None:
    """Makes the runs that are not finished, and writes the table of all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of data_full.json")
    parser.add_argument("--folder", type=Path, default=Path("runs/clinc150"))
    parser.add_argument("--effort", default="thorough", choices=("quick", "standard", "thorough"))
    parser.add_argument("--max-kb", type=float, nargs="+", default=[480, 1100])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    runs: dict[float, list[TextRun]] = {kb: [] for kb in options.max_kb}
    first: TextRun | None = None
    for seed in options.seeds:
        for kb in options.max_kb:
            run = distilled(
                options.data,
                options.folder / f"{options.effort}_{kb:g}_{seed}",
                effort=options.effort,
                max_kb=kb,
                seed=seed,
                previous=first,
            )
            first = first or run
            runs[kb].append(run)
            print(run.verdict.line(), flush=True)
    report = table(runs)
    (options.folder / "report.md").write_text(f"# CLINC150\n\n{report}\n", encoding="utf-8")
    print(report)


def read_intents(folder: Path) -> tuple[tuple[list[str], list[str]], tuple[list[str], list[str]]]:
    """Reads labelled and test texts of `data_full.json`, those of no intent left out."""
    splits = json.loads((folder / "data_full.json").read_text(encoding="utf-8"))
    known = [*splits["train"], *splits["val"]]
    return tuple(
        ([text for text, _ in rows], [label for _, label in rows])
        for rows in (known, splits["test"])
    )


def distilled(
    data: Path, folder: Path, *, effort: str, max_kb: float, seed: int, previous: TextRun | None
) -> TextRun:
    """Runs the pipeline on the intents, or finds what it made."""
    known, test = read_intents(data)
    folder.parent.mkdir(parents=True, exist_ok=True)
    return td.distill_text(
        known, test=test, effort=effort, max_kb=max_kb, seed=seed, previous=previous, out=folder
    )


def table(runs: dict[float, list[TextRun]]) -> str:
    """Returns mean and spread over the seeds as Markdown."""
    lines = [
        "| limit | stage | accuracy | of the teacher | file | bundle | text to label, ms |",
        "| --: | --- | --: | --: | --: | --: | --: |",
    ]
    for kb, of_size in runs.items():
        stages = [
            {row["stage"]: StageRow(**row) for row in run.report["stages"]} for run in of_size
        ]
        whole = statistics.mean(rows["teacher"].accuracy or 0 for rows in stages)
        for name in STAGES:
            found = [rows[name] for rows in stages if name in rows]
            if not found:
                continue
            values = [row.accuracy or 0 for row in found]
            spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
            mean = statistics.mean(values)
            lines.append(
                f"| {kb:g} KB | {name} | {mean:.4f}{spread} | {100 * mean / whole:.1f} % "
                f"| {_kb(found[0].size_bytes)} | {_kb(found[0].bundle_bytes)} "
                f"| {'–' if found[0].text_ms_p50 is None else f'{found[0].text_ms_p50:.3f}'} |"
            )
    return "\n".join(lines)


def _kb(size: int | None) -> str:
    return "–" if size is None else f"{size / 1024:,.0f} KB"


if __name__ == "__main__":
    main()
