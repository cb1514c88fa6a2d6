"""The `tfdistill` command: thin calls of the public functions."""

from __future__ import annotations

import os
from pathlib import Path

import click

import tfdistill
from tfdistill.agents.chat_command import chat

__all__ = ["main"]


class _Failure(click.ClickException):
    """One clear line on standard error and exit code 1."""

    def show(self, file: object = None) -> None:
        click.echo(f"tfdistill: {self.message}", err=True)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(tfdistill.__version__, package_name="tfdistill")
def main() -> None:
    """Distil a Keras model, compress it, prove the TFLite file, run a crew of agents."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


@main.command()
@click.option("--labels", default="400", metavar="N|all", help="Texts that keep their label.")
@click.option("--fine-tune", is_flag=True, help="Train the whole teacher, not its head alone.")
@click.option(
    "--seed", default=0, type=click.IntRange(min=0), help="Seed of everything that is drawn."
)
@click.option(
    "--data",
    type=click.Choice(["r8", "r52"]),
    default="r8",
    help="Which split of the Reuters news.",
)
@click.option(
    "--out",
    default="runs/demo",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the report and the bundle.",
)
def demo(labels: str, fine_tune: bool, seed: int, data: str, out: Path) -> None:
    """Run the whole road on Reuters news: teacher, student, TFLite, Ray.

    Example: tfdistill demo --labels 200 --out runs/few
    """
    if labels != "all" and not labels.isdigit():
        message = f"{labels!r} is neither a number nor 'all'."
        raise click.BadParameter(message, param_hint="--labels")
    from tfdistill.datasets import AssetError, load_reuters

    try:
        texts = load_reuters("r52" if data == "r52" else "r8")
        from tfdistill.demo import run_demo
        from tfdistill.demo.training import Recipe

        folder = run_demo(
            texts,
            folder=out,
            labels=None if labels == "all" else int(labels),
            fine_tune=fine_tune,
            recipe=Recipe(seed=seed),
            say=click.echo,
        )
    except (AssetError, ImportError, OSError, RuntimeError, ValueError) as error:
        raise _Failure(str(error)) from error
    click.echo(f"\nWritten: {folder / 'report.json'}, report.md, pareto.png, bundle/")


@main.command()
@click.argument("path", metavar="BUNDLE_OR_TEAM", type=click.Path(path_type=Path))
@click.option("--port", default=8000, type=click.IntRange(1, 65535), show_default=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--replicas", default=1, type=click.IntRange(min=1), show_default=True, help="Processes."
)
@click.option("--max-request-bytes", default=2**20, type=click.IntRange(min=1), show_default=True)
@click.option("--timeout", default=30.0, show_default=True, help="Seconds for one request.")
def serve(
    path: Path, port: int, host: str, replicas: int, max_request_bytes: int, timeout: float
) -> None:
    """Answer over HTTP: a page at /, POST /predict, /health, /metrics.

    Example: tfdistill serve runs/demo/bundle --port 8000
    """
    import threading

    try:
        from tfdistill.serving import Server

        with Server(
            path,
            port=port,
            host=host,
            num_replicas=replicas,
            max_request_bytes=max_request_bytes,
            timeout_s=timeout,
        ) as server:
            click.echo(f"{server.url}/ answers. Ctrl-C ends it.")
            threading.Event().wait()
    except KeyboardInterrupt:
        click.echo("Ended.")
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        raise _Failure(str(error)) from error


main.add_command(chat)


if __name__ == "__main__":
    main()
