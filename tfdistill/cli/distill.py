"""`distill` and `demo`: from labelled texts to a bundle and a report, in one command."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any

import click

from tfdistill.cli.errors import told, write
from tfdistill.cli.tables import read_labelled_table, table_options

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
    "--test", type=click.Path(path_type=Path), help="File of test texts; else a fifth is held out."
)
@click.option(
    "--sequence-length", default=64, type=click.IntRange(min=4), show_default=True, help="Tokens."
)
@click.option(
    "--epochs",
    default=6,
    type=click.IntRange(min=1),
    show_default=True,
    help="Passes over the texts while distilling.",
)
@_FINE_TUNE
@_SEED
@click.option("--out", default="runs/distill", type=_OUT, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="The report as one line of JSON, no more.")
def distill(
    data: Path,
    text: str,
    label: str,
    delimiter: str | None,
    encoding: str | None,
    skip_bad_rows: bool,
    test: Path | None,
    sequence_length: int,
    epochs: int,
    fine_tune: bool,
    seed: int,
    out: Path,
    as_json: bool,
) -> None:
    """Make a tiny classifier of your own texts: a table to a bundle.

    DATA is a .csv, .tsv, .jsonl or .json file, each also with .gz, or a .parquet file.

    Example: tfdistill distill reviews.csv --text review --label stars --out runs/reviews
    """
    with told():
        from tfdistill.datasets.splits import hold_out, keep_known_labels
        from tfdistill.datasets.text_files import text_data

        options: dict[str, Any] = {
            "text": text,
            "label": label,
            "delimiter": delimiter,
            "encoding": encoding,
            "skip_bad_rows": skip_bad_rows,
        }
        table = read_labelled_table(data, **options)
        rows = table.columns[text], table.columns[label]
        _warn_of_contradictions(*rows)
        if test is None:
            texts = hold_out(*rows, share=0.2, seed=seed)
        else:
            own = read_labelled_table(test, **options)
            known = keep_known_labels(own, rows[1], label=label, skip_bad_rows=skip_bad_rows)
            if known is not own:
                click.echo(f"tfdistill: with labels of {data} alone: {known.summary()}", err=True)
            texts = text_data(rows, (known.columns[text], known.columns[label]))
        from tfdistill.pipelines.text_classification import run_demo
        from tfdistill.pipelines.training import Recipe
        from tfdistill.reports.stage_table import read_report

        # Keras draws its bars on standard output, where a program expects nothing but the report.
        with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
            folder = run_demo(
                texts,
                folder=out,
                labels=None,
                fine_tune=fine_tune,
                sequence_length=sequence_length,
                recipe=Recipe(seed=seed, epochs=epochs),
                rivals=False,
                say=click.echo,
            )
    if as_json:
        write({"folder": str(folder), **read_report(folder)}, as_json=True, text="")
    else:
        click.echo(f"\nWritten: {folder / 'report.html'}, report.json, report.md, bundle/")


def _warn_of_contradictions(texts: list[str], labels: list[str]) -> None:
    from tfdistill.datasets.splits import contradictions

    found = contradictions(texts, labels)
    for first, row in found[:5]:
        click.echo(
            f"tfdistill: row {row + 1} has the label {labels[row]!r} for the text of row "
            f"{first + 1}, which has {labels[first]!r}: {texts[row][:60]!r}",
            err=True,
        )
    if len(found) > 5:
        click.echo(f"tfdistill: and {len(found) - 5} more rows like these.", err=True)
