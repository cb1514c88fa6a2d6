"""Labelled texts and pretrained files to work on: your own, or public ones pinned by SHA-256.

`load_reuters` and `load_20newsgroups` give public texts, `read_labelled_text` with `text_data` or
`hold_out` your own, all as one `TextData`. `read_table` reads any columns of a file or a data
frame, checks each cell and tells what it found out. `MINILM` and `SMOLLM2` are checkpoints:
`extract(MINILM)` returns a Hugging Face folder. Nothing here imports TensorFlow.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
