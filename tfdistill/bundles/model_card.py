"""The card in a bundle: what the model is and what to check before relying on it.

A bundle is written before it is measured, and neither the data nor a license can be seen in its
weights. `describe_bundle` adds them, and `state_confidence` or `state_thresholds` what was fitted
to held-out texts; the model, tokenizer and labels stay the same bytes.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import tfdistill
from tfdistill.bundles.answer_kinds import AnswerKind, answer_kind
from tfdistill.bundles.bundle import BUNDLES, MANIFEST, Bundle, open_bundle
from tfdistill.bundles.confidence import Confidence, check_confidence, check_confident
from tfdistill.bundles.export_modes import MODES
from tfdistill.files.folder import replacing_folder
from tfdistill.files.records import record_of
from tfdistill.reports.stage_table import StageRow, markdown_table

__all__ = ["card_text", "describe_bundle", "state_confidence", "state_thresholds"]

_INPUT = {
    "head": "cut to the first {} tokens or n-grams",
    "head+tail": "a longer one cut to the first and last {} tokens or n-grams, half of each",
    "windows": "a longer one read in up to 8 windows of {} tokens or n-grams, averaged",
}


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
    confidence: Confidence | None = None,
    kind: AnswerKind | None = None,
    long_texts: str = "head",
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
        confidence: What the bundle states of its confidence.
        kind: What it answers; None is one class.
        long_texts: What is read of longer texts.

    Returns:
        The text. Without `rows` it claims no accuracy, and says so.
    """
    # A folder may come from a version that knew another mode.
    mode = MODES[quantize].text if quantize in MODES else quantize
    kind = kind or AnswerKind()
    shown = ", ".join(labels[:20]) + (", …" if len(labels) > 20 else "")
    facts = {
        f"{_NAMED[kind.task]} ({len(labels)})": shown,
        "Input": f"text, {_INPUT[long_texts].format(sequence_length)}.",
        "Weights": f"{mode}, {model.stat().st_size:,} bytes.",
        **(about or {}),
        "Versions": ", ".join(f"{library} {version}" for library, version in versions.items()),
    }
    lines = "\n".join(f"* {fact}: {text}" for fact, text in facts.items())
    measured = f"## Measured\n\n{markdown_table(rows)}\n\n" if rows else ""
    advice = "Accuracy was not measured when this folder was written: measure it on your own texts."
    if rows:
        advice = "The figures hold for their test set: measure on your own texts as well."
    return f"""# {name}

{_ABOUT[kind.task]} in one LiteRT file, made with tfdistill {tfdistill.__version__}.

{lines}

{measured}## Use

```python
from tfdistill.agents import Agent

Agent("{name}").predict(["some text"])
```

## Before you rely on it

{advice} {_warning(confidence, kind)} A text without any word that the
tokenizer knows is refused.
"""


_NAMED = {"class": "Classes", "labels": "Labels", "number": "Number"}
_ABOUT = {
    "class": "A text classifier",
    "labels": "A model of several labels a text",
    "number": "A model of a number for a text",
}


def _warning(confidence: Confidence | None, kind: AnswerKind) -> str:
    """Says what an answer is worth, and what happens to texts of no class."""
    if kind.scale is not None:
        return (
            "The model answers\nevery text with a number, also one that is like no training text: "
            f"{kind.scale.mean:.6g} + {kind.scale.standard_deviation:.6g} times its output."
        )
    if kind.thresholds is not None:
        low, high = min(kind.thresholds), max(kind.thresholds)
        asked = f"{low:.3f}" if low == high else f"{low:.3f} to {high:.3f}, each label its own"
        return (
            "Each label is a\nyes or no of its own; a text may have none. A label is given from a "
            f"probability of\n{asked}. Probabilities are sigmoid outputs, not calibrated."
        )
    always = "The model\nalways answers with one of the classes above"
    if confidence is None:
        return (
            f"{always}, also for texts that belong to none of them, and\n"
            "its confidence is a softmax output, not a calibrated probability."
        )
    fitted = (
        f"its confidence was\nfitted to held-out texts (temperature {confidence.temperature:.3f}) "
        "and is less for words that the tokenizer does not know."
    )
    rule = confidence.out_of_scope
    if rule is None:
        return f"{always}, also for texts that belong to none of them; {fitted}"
    return (
        f"{always}; {fitted}\nA text whose {rule.score} score is below {rule.threshold:.3f} has "
        f"`in_scope=False`: it belongs to none of them.\n{rule.in_scope_kept:.1%} of the held-out "
        "texts of the classes are above."
    )


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
            confidence=bundle.confidence,
            kind=_kind_of(bundle),
            long_texts=bundle.long_texts,
        )
        _write_card(folder, card, content)
    return open_bundle(target)


def state_confidence(path: str | os.PathLike[str], confidence: Confidence | None) -> Bundle:
    """Writes into a bundle how its logits become probabilities, or takes that out of it.

    The folder is replaced as a whole, as by `save_bundle`: whoever has it open keeps the old one.
    The model stays the same bytes, and the card is the same but for what it says of confidences.

    Args:
        path: The folder of a bundle.
        confidence: What `tfdistill.agents.fit_confidence` found; None states nothing, so that an
            agent answers with the softmax of the logits.

    Returns:
        The bundle, opened again from disk.

    Raises:
        FileNotFoundError: If there is nothing at `path`.
        TypeError: If `confidence` is something else.
        ValueError: If `path` is no bundle, or it answers something else than one class.

    Example:
        >>> state_confidence("no/such/folder", Confidence(temperature=1.3))
        Traceback (most recent call last):
        ...
        FileNotFoundError: `path` must be an existing bundle folder. Received: path='no/such/fol...
    """
    check_confidence(confidence)
    bundle = open_bundle(path)
    if confidence is not None:
        check_confident(bundle.task)
    kind = _kind_of(bundle)
    return _restate(
        bundle,
        {"confidence": None if confidence is None else confidence.to_dict()},
        warnings=(_warning(bundle.confidence, kind), _warning(confidence, kind)),
    )


def state_thresholds(path: str | os.PathLike[str], thresholds: Sequence[float] | None) -> Bundle:
    """Writes into a bundle of several labels from which probability each of them is given.

    The folder is replaced as a whole, as by `save_bundle`: whoever has it open keeps the old one.

    Args:
        path: The folder of a bundle with `task="labels"`.
        thresholds: One for each label, in (0, 1), as `tfdistill.agents.best_thresholds` finds
            them; None takes 0.5 for all.

    Returns:
        The bundle, opened again from disk.

    Raises:
        FileNotFoundError: If there is nothing at `path`.
        TypeError: If a threshold is not a number.
        ValueError: If `path` is no bundle of several labels, or a threshold is out of range.

    Example:
        >>> state_thresholds("no/such/folder", [0.5, 0.2])
        Traceback (most recent call last):
        ...
        FileNotFoundError: `path` must be an existing bundle folder. Received: path='no/such/fol...
    """
    bundle = open_bundle(path)
    if bundle.task != "labels":
        raise ValueError(
            "`path` must be a bundle of several labels. Received: "
            f"path={str(path)!r}, whose task is {bundle.task!r}. Save it with task='labels'."
        )
    kind = answer_kind("labels", bundle.labels, thresholds=thresholds)
    return _restate(
        bundle,
        {"thresholds": list(kind.thresholds or ())},
        warnings=(_warning(None, _kind_of(bundle)), _warning(None, kind)),
    )


def _restate(bundle: Bundle, parts: Mapping[str, Any], *, warnings: tuple[str, str]) -> Bundle:
    """Writes parts of the manifest anew, takes out those that are None, and mends the card."""
    target = bundle.path
    with replacing_folder(target, replaces=BUNDLES, what="bundle", reopen=open_bundle) as folder:
        shutil.copytree(target, folder, dirs_exist_ok=True)
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        for name, part in parts.items():
            content.pop(name, None)
            if part is not None:
                content[name] = part
        card = (folder / "card.md").read_text(encoding="utf-8").replace(*warnings)
        _write_card(folder, card, content)
    return open_bundle(target)


def _kind_of(bundle: Bundle) -> AnswerKind:
    return AnswerKind(bundle.task, bundle.thresholds, bundle.scale)


def _write_card(folder: Path, card: str, content: dict[str, Any]) -> None:
    """Writes the card, and the manifest with the card's new hash."""
    (folder / "card.md").write_text(card, encoding="utf-8")
    content["files"]["card.md"] = asdict(record_of(folder / "card.md"))
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")


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
