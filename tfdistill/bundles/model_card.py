"""The card in a bundle: what the model is and what to check before relying on it.

A bundle is written before it is measured, and neither the data nor a license can be seen in its
weights. `describe_bundle` adds them; the model, tokenizer and labels stay the same bytes.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import tfdistill
from tfdistill.bundles.bundle import BUNDLES, MANIFEST, Bundle, open_bundle
from tfdistill.bundles.export_modes import MODES
from tfdistill.files.folder import replacing_folder
from tfdistill.files.records import record_of
from tfdistill.reports.stage_table import StageRow, markdown_table

__all__ = ["card_text", "describe_bundle"]


def card_text(
    name: str,
    labels: tuple[str, ...],
    sequence_length: int,
    quantize: str | None,
    model: Path,
    *,
    versions: Mapping[str, str],
    about: Mapping[str, str] | None = None,
    rows: Sequence[StageRow] = (),
) -> str:
    """Writes the card in Markdown.

    Args:
        name: The bundle's name.
        labels: Class names in the order of the outputs.
        sequence_length: Token ids per text.
        quantize: As given to `save_bundle`.
        model: The exported file, for its size.
        versions: What the file was made with.
        about: Further facts by their names: data, teacher, licenses.
        rows: What was measured.

    Returns:
        The text. Without `rows` it claims no accuracy, and says so.
    """
    # A folder may come from a version that knew another mode.
    kind = MODES[quantize].text if quantize in MODES else quantize
    shown = ", ".join(labels[:20]) + (", …" if len(labels) > 20 else "")
    facts = {
        f"Classes ({len(labels)})": shown,
        "Input": f"text, cut to the first {sequence_length} tokens or n-grams.",
        "Weights": f"{kind}, {model.stat().st_size:,} bytes.",
        **(about or {}),
        "Versions": ", ".join(f"{library} {version}" for library, version in versions.items()),
    }
    lines = "\n".join(f"* {fact}: {text}" for fact, text in facts.items())
    measured = f"## Measured\n\n{markdown_table(rows)}\n\n" if rows else ""
    advice = "Accuracy was not measured when this folder was written: measure it on your own texts."
    if rows:
        advice = "The figures hold for their test set: measure on your own texts as well."
    return f"""# {name}

A text classifier in one LiteRT file, made with tfdistill {tfdistill.__version__}.

{lines}

{measured}## Use

```python
from tfdistill.agents import Agent

Agent("{name}").predict(["some text"])
```

## Before you rely on it

{advice} The model
always answers with one of the classes above, also for texts that belong to none of them, and
its confidence is a softmax output, not a calibrated probability. A text without any word that the
tokenizer knows is refused.
"""


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
        rows: Rows of the results table, of the bundle's file and of what it is compared with.

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
    target = bundle.path
    with replacing_folder(target, replaces=BUNDLES, what="bundle", reopen=open_bundle) as folder:
        shutil.copytree(target, folder, dirs_exist_ok=True)
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
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
        content["files"]["card.md"] = asdict(record_of(folder / "card.md"))
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        (folder / MANIFEST).write_text(text, encoding="utf-8")
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
