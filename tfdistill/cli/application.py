"""The `tfdistill` command: thin calls of the public functions, each in `tfdistill.cli`."""

from __future__ import annotations

import os

import click

import tfdistill
from tfdistill.cli import bundles, distill, models, policies, reports, serve
from tfdistill.cli.chat import chat

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(tfdistill.__version__, package_name="tfdistill")
def main() -> None:
    """Distil a Keras model, compress it, prove the TFLite file, run agents on it."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


for _command in (
    distill.demo,
    distill.distill,
    models.compress,
    models.export,
    models.compare,
    bundles.inspect,
    bundles.measure,
    bundles.predict,
    policies.learn_policy,
    reports.report,
    serve.serve,
    chat,
):
    main.add_command(_command)
