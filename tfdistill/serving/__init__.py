"""Answers over HTTP: a bundle or a team behind Ray Serve.

`Server("bundle/", port=8000)` answers `POST /predict` with JSON, and has a page to try it by hand,
`/health` and `/metrics`. The command is `tfdistill serve bundle/ --port 8000`; it needs the extra
`serve` (`pip install 'tfdistill[serve]'`). Like the agents, nothing here imports TensorFlow.
"""

from __future__ import annotations

from tfdistill.serving.server import Server

__all__ = ["Server"]
