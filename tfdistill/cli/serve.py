"""`serve`: a bundle or a team over HTTP."""

from __future__ import annotations

from pathlib import Path

import click

from tfdistill.cli.errors import told

__all__ = ["serve"]


@click.command()
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
        with told():
            from tfdistill.serving.server import Server

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
