"""What only its maker knows about a bundle, written into its card after the fact.

A bundle is written before it is measured, and neither the data nor a license can be seen in its
weights. `describe_bundle` adds them; the model, tokenizer and labels stay the same bytes.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from tfdistill.export import manifest as manifests
from tfdistill.export.bundle import Bundle, open_bundle
from tfdistill.export.card import card_text
from tfdistill.export.folder import check_free, put_in_place
from tfdistill.export.report import StageRow

__all__ = ["describe_bundle"]


def describe_bundle(
    path: str | os.PathLike[str],
    *,
    about: Mapping[str, str] | None = None,
    rows: Sequence[StageRow] = (),
) -> Bundle:
    """Writes the card of a bundle anew, with what it was made from and what was measured.

    The folder is replaced as a whole, as by `save_bundle`: whoever has it open keeps the old one.

    Args:
        path: The folder of a bundle.
        about: Lines of the card by their names, in this order: data, teacher, recipe, and the
            licenses of data and teacher, say. Each is one line of text.
        rows: Rows of the truth table, of the bundle's file and of what it is compared with.

    Returns:
        The bundle, opened again from disk.

    Raises:
        FileNotFoundError: If there is nothing at `path`.
        TypeError: If `about` holds anything but text.
        ValueError: If `path` is no bundle, or a line of `about` is empty or several lines.

    Example:
        >>> describe_bundle("no/such/folder", about={"Data": "Reuters-21578 R8"})
        Traceback (most recent call last):
        ...
        FileNotFoundError: `path` must be an existing bundle folder. Received: path='no/such/fol...
    """
    bundle = open_bundle(path)
    lines = _checked(about or {})
    target = check_free(bundle.path)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name[:40]}-") as scratch:
        folder = Path(scratch) / "bundle"
        shutil.copytree(bundle.path, folder)
        content = json.loads((folder / manifests.MANIFEST).read_text(encoding="utf-8"))
        card = card_text(
            target.name,
            bundle.labels,
            bundle.sequence_length,
            content["quantize"],
            folder / "model.tflite",
            versions=content["created_with"],
            about=lines,
            rows=rows,
        )
        (folder / "card.md").write_text(card, encoding="utf-8")
        content["files"]["card.md"] = asdict(manifests.record_of(folder / "card.md"))
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        (folder / manifests.MANIFEST).write_text(text, encoding="utf-8")
        open_bundle(folder)
        put_in_place(folder, target, scratch=Path(scratch))
    return open_bundle(target)


def _checked(about: Mapping[str, str]) -> dict[str, str]:
    for name, text in about.items():
        if not isinstance(name, str) or not isinstance(text, str):
            raise TypeError(
                f"`about` must be text by text. Received: about[{name!r}]={text!r} "
                f"({type(text).__name__})."
            )
        if not name.strip() or not text.strip() or len((name + text).splitlines()) > 1:
            raise ValueError(
                f"`about` must be lines of text. Received: about[{name!r}]={text!r}. Give each "
                "fact one line that is not empty."
            )
    return dict(about)
