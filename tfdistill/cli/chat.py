"""The command `tfdistill chat`: a conversation in the terminal, streaming."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from tfdistill.agents.generation.chat import Conversation
from tfdistill.agents.generation.generator import Generator

__all__ = ["chat"]


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--system", default=None, help="What the model is told before all turns.")
@click.option("--temperature", default=0.7, type=click.FloatRange(min=0), show_default=True)
@click.option("--top-p", default=0.95, type=click.FloatRange(0, 1, min_open=True))
@click.option("--max-new-tokens", default=128, type=click.IntRange(min=1), show_default=True)
@click.option("--seed", default=0, type=click.IntRange(min=0), show_default=True)
@click.option("--threads", default=1, type=click.IntRange(min=1), show_default=True)
def chat(
    bundle: Path,
    system: str | None,
    temperature: float,
    top_p: float,
    max_new_tokens: int,
    seed: int,
    threads: int,
) -> None:
    """Talk to the language model in BUNDLE; an empty line or Ctrl-D ends it.

    Example: tfdistill chat runs/stories/bundle --temperature 0
    """
    try:
        conversation = Conversation(Generator(bundle, threads=threads), system=system)
        while True:
            click.echo("> ", nl=False)
            turn = sys.stdin.readline().rstrip("\n")
            if not turn:
                break
            for piece in conversation.reply(
                turn,
                temperature=temperature,
                top_p=top_p,
                max_new_tokens=max_new_tokens,
                seed=seed,
            ):
                click.echo(piece, nl=False)
            click.echo()
    except (OSError, RuntimeError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    click.echo()
