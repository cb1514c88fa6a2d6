"""Answers over HTTP: a bundle or a team behind Ray Serve.

`Server("bundle/", port=8000)` answers `POST /predict` with JSON, and has a page to try it by hand,
`/health` and `/metrics`. The command is `tfdistill serve bundle/ --port 8000`; it needs the extra
`serve` (`pip install 'tfdistill[serve]'`). Like the agents, nothing here imports TensorFlow.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
