"""The card in a bundle: what the model is and what to check before relying on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import tfdistill
from tfdistill.export.report import StageRow, markdown_table

__all__ = ["card_text"]


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
    kinds = {None: "float32", "dynamic": "dynamic-range int8", "int4": "4-bit integers"}
    kinds["int8_fc"] = "8-bit integers, and activations of matrix products on fixed 8-bit grids"
    kind = kinds.get(quantize, quantize)
    shown = ", ".join(labels[:20]) + (", …" if len(labels) > 20 else "")
    facts = {
        f"Classes ({len(labels)})": shown,
        "Input": f"text, cut to the first {sequence_length} tokens.",
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
