"""`distill` and `demo`: from labelled texts to a bundle and a report, in one command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tfdistill.cli.errors import told, write
from tfdistill.cli.tables import table_options

if TYPE_CHECKING:
    from tfdistill.pipelines.distillation import TextRun

__all__ = ["demo", "distill"]

_OUT = click.Path(path_type=Path, file_okay=False)
_SEED = click.option(
    "--seed", default=0, type=click.IntRange(min=0), help="Seed of everything that is drawn."
)
_EFFORT: dict[str, Any] = {
    "type": click.Choice(["quick", "standard", "thorough"]),
    "show_default": True,
    "help": "How long teacher and students train; a guess of the minutes is said before it starts.",
}
_MAX_KB = click.option(
    "--max-kb",
    default=500.0,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True),
    help="Largest .tflite file.",
)


class _Count(click.ParamType):
    """A number of texts, or "all", which is None."""

    name = "count"

    def convert(self, value: Any, param: Any, ctx: Any) -> int | None:
        if value in ("all", None):
            return None
        if isinstance(value, int) or value.isdigit():
            return int(value)
        self.fail(f"{value!r} is neither a number nor 'all'.", param, ctx)


@click.command()
@click.option(
    "--data",
    type=click.Choice(["r8", "r52"]),
    default="r8",
    show_default=True,
    help="Which split of the Reuters news.",
)
@click.option(
    "--labels",
    default="100",
    show_default=True,
    type=_Count(),
    metavar="N|all",
    help="Training texts that keep their label.",
)
@click.option(
    "--unlabeled",
    default="1000",
    show_default=True,
    type=_Count(),
    metavar="N|all",
    help="At most so many of the others, for the teacher to answer.",
)
@click.option("--effort", default="quick", **_EFFORT)
@_MAX_KB
@_SEED
@click.option("--out", default="runs/demo", type=_OUT, show_default=True)
def demo(data: str, **options: Any) -> None:
    """Distil news of which few have a label, and run what ships as agents, on Ray too.

    The same as `distill`, on texts that come with the package's downloads.

    Example: tfdistill demo --labels 200 --out runs/few
    """
    with told():
        from tfdistill.datasets.reuters import load_reuters
        from tfdistill.pipelines.silence import only_own_words

        texts = load_reuters("r52" if data == "r52" else "r8")
        with only_own_words():  # TensorFlow writes lines while it is imported
            from tfdistill.pipelines.demo import run_demo

        run = run_demo(texts, name=f"Reuters {data.upper()}", arguments=sys.argv[1:], **options)
        _show(run)
    for row in run.report["pool"]:
        same = "identical answers" if row["identical"] else "DIFFERENT ANSWERS"
        click.echo(f"{row['executor']:8} {row['items_per_s']:7,.0f} texts/s   {same}")


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@table_options
@click.option(
    "--task",
    type=click.Choice(["auto", "class", "labels", "number"]),
    default="auto",
    show_default=True,
    help="One class a text, several labels (a list, or names between ',', ';' or '|'), a number.",
)
@click.option(
    "--test", type=click.Path(path_type=Path), help="File of test texts; else a fifth is held out."
)
@click.option(
    "--unlabeled", type=click.Path(path_type=Path), help="File of more texts, without labels."
)
@click.option(
    "--teacher",
    default="auto",
    show_default="MiniLM",
    metavar="FOLDER",
    help="A BERT-like model of KerasHub or Hugging Face with its tokenizer.json.",
)
@click.option("--effort", default="standard", **_EFFORT)
@click.option(
    "--long-texts",
    type=click.Choice(["head", "head+tail", "windows"]),
    default="head",
    show_default=True,
    help="What is read of texts that are longer than the effort allows.",
)
@_MAX_KB
@click.option(
    "--sparsity",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Share of zeros in the student's weights.",
)
@click.option(
    "--bits", type=click.Choice(["4", "8"]), default="8", help="Of the student's weights."
)
@click.option(
    "--previous",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of an earlier run on these texts, whose teacher serves again.",
)
@click.option(
    "--require",
    type=click.FloatRange(min=0),
    metavar="SHARE",
    help="Exit with code 3 if the student keeps less of its teacher, such as 0.98.",
)
@_SEED
@click.option("--out", default="runs/distill", type=_OUT, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="The report as one line of JSON, no more.")
def distill(
    data: Path,
    text: str,
    label: str,
    test: Path | None,
    unlabeled: Path | None,
    bits: str,
    require: float | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Make a tiny model of your own texts: a table to a bundle, and whether it won.

    DATA is a .csv, .tsv, .jsonl or .json file, each also with .gz, or a .parquet file. A run that
    was stopped goes on where it was if it is called again.

    What decides is accuracy, for several labels macro F1, for a number R²; --require is a share of
    what the teacher has of it.

    Example: tfdistill distill reviews.csv --text review --label stars --out runs/reviews
    """
    with told():
        from tfdistill.pipelines.silence import only_own_words

        with only_own_words():  # TensorFlow writes lines while it is imported
            from tfdistill.pipelines.distillation import distill_text

        run = distill_text(
            data,
            text=text,
            label=label,
            test=test,
            unlabeled=unlabeled,
            bits=int(bits),
            arguments=sys.argv[1:],
            **options,
        )
        if as_json:
            write({"folder": str(run.folder), **run.report}, as_json=True, text="")
        else:
            _show(run)
    kept = run.verdict.relative
    if require is not None and (kept is None or kept.value < require):
        value = "an unknown share" if kept is None else f"{kept.value:.4f}"
        click.echo(
            f"tfdistill: the student keeps {value} of its teacher, {require:g} is required",
            err=True,
        )
        raise click.exceptions.Exit(3)


def _show(run: TextRun) -> None:
    from tfdistill.reports.stage_table import StageRow, format_table

    stages = [StageRow(**stage) for stage in run.report["stages"]]
    click.echo(run.verdict.line())
    click.echo(f"\n{format_table(stages)}\n")
    click.echo(f"{run.choice.reason}\n")
    click.echo(f"Written to {run.folder}: bundle/, report.html, report.json, report.md")
