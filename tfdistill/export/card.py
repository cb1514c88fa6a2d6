"""The card in a bundle: what the model is and what to check before relying on it."""

from __future__ import annotations

from pathlib import Path

import tfdistill

__all__ = ["card_text"]


def card_text(
    name: str, labels: tuple[str, ...], sequence_length: int, quantize: str | None, model: Path
) -> str:
    """Writes the card in Markdown.

    Args:
        name: The bundle's name.
        labels: Class names in the order of the outputs.
        sequence_length: Token ids per text.
        quantize: As given to `save_bundle`.
        model: The exported file, for its size.

    Returns:
        The text. It claims no accuracy: nothing was measured when the bundle was written.
    """
    kind = {None: "float32", "dynamic": "dynamic-range int8", "int4": "4-bit integers"}.get(
        quantize, quantize
    )
    shown = ", ".join(labels[:20]) + (", …" if len(labels) > 20 else "")
    return f"""# {name}

A text classifier in one LiteRT file, made with tfdistill {tfdistill.__version__}.

* Classes ({len(labels)}): {shown}
* Input: text, cut to the first {sequence_length} tokens.
* Weights: {kind}, {model.stat().st_size:,} bytes.

## Use

```python
from tfdistill.agents import Agent

Agent("{name}").predict(["some text"])
```

## Before you rely on it

Accuracy was not measured when this folder was written: measure it on your own texts. The model
always answers with one of the classes above, also for texts that belong to none of them, and
its confidence is a softmax output, not a calibrated probability. A text without any word that the
tokenizer knows is refused.
"""
