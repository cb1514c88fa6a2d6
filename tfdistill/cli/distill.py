"""`distill` and `demo`: from labelled texts to a bundle and a report, in one command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from tfdistill.cli.errors import told, write
from tfdistill.cli.tables import table_options

__all__ = ["demo", "distill"]

_OUT = click.Path(path_type=Path, file_okay=False)
_SEED = click.option(
    "--seed", default=0, type=click.IntRange(min=0), help="Seed of everything that is drawn."
)
_FINE_TUNE = click.option(
    "--fine-tune", is_flag=True, help="Train the whole teacher, not its head alone."
)


@click.command()
@click.option("--labels", default="400", metavar="N|all", help="Texts that keep their label.")
@_FINE_TUNE
@_SEED
@click.option(
    "--data",
    type=click.Choice(["r8", "r52"]),
    default="r8",
    help="Which split of the Reuters news.",
)
@click.option("--out", default="runs/demo", type=_OUT, help="Folder of the report and the bundle.")
def demo(labels: str, fine_tune: bool, seed: int, data: str, out: Path) -> None:
    """Run the whole road on Reuters news: teacher, student, TFLite, Ray.

    Example: tfdistill demo --labels 200 --out runs/few
    """
    if labels != "all" and not labels.isdigit():
        message = f"{labels!r} is neither a number nor 'all'."
        raise click.BadParameter(message, param_hint="--labels")
    from tfdistill.datasets.reuters import load_reuters

    with told():
        texts = load_reuters("r52" if data == "r52" else "r8")
        from tfdistill.pipelines.text_classification import run_demo
        from tfdistill.pipelines.training import Recipe

        folder = run_demo(
            texts,
            folder=out,
            labels=None if labels == "all" else int(labels),
            fine_tune=fine_tune,
            recipe=Recipe(seed=seed),
            say=click.echo,
        )
    click.echo(f"\nWritten: {folder / 'report.json'}, report.md, report.html, pareto.svg, bundle/")


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
@click.option(
    "--effort",
    type=click.Choice(["quick", "standard", "thorough"]),
    default="standard",
    show_default=True,
    help="How long teacher and students train; a guess of the minutes is said before it starts.",
)
@click.option(
    "--long-texts",
    type=click.Choice(["head", "head+tail", "windows"]),
    default="head",
    show_default=True,
    help="What is read of texts that are longer than the effort allows.",
)
@click.option(
    "--max-kb",
    default=500.0,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True),
    help="Largest .tflite file.",
)
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
            from tfdistill.reports.stage_table import StageRow, format_table

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
            stages = [StageRow(**stage) for stage in run.report["stages"]]
            click.echo(run.verdict.line())
            click.echo(f"\n{format_table(stages)}\n")
            click.echo(f"{run.choice.reason}\n")
            click.echo(f"Written to {run.folder}: bundle/, report.html, report.json, report.md")
    kept = run.verdict.relative
    if require is not None and (kept is None or kept.value < require):
        value = "an unknown share" if kept is None else f"{kept.value:.4f}"
        click.echo(
            f"tfdistill: the student keeps {value} of its teacher, {require:g} is required",
            err=True,
        )
        raise click.exceptions.Exit(3)
