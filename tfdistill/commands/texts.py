"""`distill` and `demo`: from labelled texts to a bundle and a report, in one command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tfdistill.commands.failing import told

if TYPE_CHECKING:
    from tfdistill.datasets import TextData

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
    from tfdistill.datasets import load_reuters

    with told():
        texts = load_reuters("r52" if data == "r52" else "r8")
        kept = None if labels == "all" else int(labels)
        _run(texts, out, labels=kept, fine_tune=fine_tune, seed=seed, sequence_length=64)


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--text", default="text", show_default=True, help="Column, or key, of the text.")
@click.option("--label", default="label", show_default=True, help="Column, or key, of the class.")
@click.option(
    "--test", type=click.Path(path_type=Path), help="File of test texts; else a fifth is held out."
)
@click.option(
    "--sequence-length", default=64, type=click.IntRange(min=4), show_default=True, help="Tokens."
)
@_FINE_TUNE
@_SEED
@click.option("--out", default="runs/distill", type=_OUT, show_default=True)
def distill(
    data: Path,
    text: str,
    label: str,
    test: Path | None,
    sequence_length: int,
    fine_tune: bool,
    seed: int,
    out: Path,
) -> None:
    """Make a tiny classifier of your own texts: a .csv, .tsv or .jsonl file to a bundle.

    Example: tfdistill distill reviews.csv --text review --label stars --out runs/reviews
    """
    with told():
        from tfdistill.datasets import hold_out, read_labelled_text, text_data

        rows = read_labelled_text(data, text=text, label=label)
        if test is None:
            texts = hold_out(*rows, share=0.2, seed=seed)
        else:
            texts = text_data(rows, read_labelled_text(test, text=text, label=label))
        _run(
            texts, out, labels=None, fine_tune=fine_tune, seed=seed, sequence_length=sequence_length
        )


def _run(
    texts: TextData,
    out: Path,
    *,
    labels: int | None,
    fine_tune: bool,
    seed: int,
    sequence_length: int,
) -> None:
    from tfdistill.demo import run_demo
    from tfdistill.demo.training import Recipe

    folder = run_demo(
        texts,
        folder=out,
        labels=labels,
        fine_tune=fine_tune,
        sequence_length=sequence_length,
        recipe=Recipe(seed=seed),
        say=click.echo,
    )
    click.echo(f"\nWritten: {folder / 'report.json'}, report.md, pareto.png, bundle/")
