"""`report`: the tables of several runs as one, and what their budgets bought."""

from __future__ import annotations

import json
from pathlib import Path

import click

from tfdistill.cli.errors import told, write

__all__ = ["report"]


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a page with the table and the plots instead.",
)
def report(runs: tuple[Path, ...], as_json: bool, html: Path | None) -> None:
    """Show the stages of one or more runs in one table, the run's name before the stage's.

    A run of `learn-policy` has a table of its own: what each policy makes of each budget.

    Example: tfdistill report runs/demo runs/few
    """
    with told():
        from tfdistill.reports.stage_table import format_table, read_report

        budgets = [run for run in runs if (run / "budget.json").is_file()]
        for run in budgets:
            name = "budget.json" if as_json else "budget.md"
            text = (run / name).read_text(encoding="utf-8")
            click.echo(json.dumps(json.loads(text)) if as_json else f"{run}\n\n{text}")
        runs = tuple(run for run in runs if run not in budgets or (run / "report.json").is_file())
        if budgets and not runs:
            return
        found = {str(run): read_report(run) for run in runs}
    if as_json:
        write(found, as_json=True, text="")
        return
    from tfdistill.reports.stage_table import StageRow

    rows = [
        StageRow(**{**stage, "stage": f"{Path(run).name}: {stage['stage']}"})
        for run, content in found.items()
        for stage in content["stages"]
    ]
    from tfdistill.reports.verdict import Verdict

    verdicts = {
        name: Verdict.from_dict(content["verdict"])
        for name, content in found.items()
        if "verdict" in content
    }
    if html is None:
        for name, verdict in verdicts.items():
            click.echo(f"{Path(name).name}: {verdict.line()}\n")
        click.echo(format_table(rows))
        return
    only = next(iter(found)) if len(found) == 1 else ""  # a page opens with what is of one run
    if only:
        rows = [StageRow(**stage) for stage in found[only]["stages"]]
    labels = found[only].get("labels", ()) if only else ()
    with told():
        from tfdistill.reports.html_page import write_page
        from tfdistill.reports.label_figures import LabelScore

        write_page(
            html,
            stages=rows,
            verdict=verdicts.get(only),
            facts=found[only].get("facts") if only else None,
            labels=[LabelScore(**each) for each in labels],
        )
    click.echo(f"Written: {html}")
