"""Runs the command as `python -m tfdistill.cli`."""

from tfdistill.cli.application import main

main()
