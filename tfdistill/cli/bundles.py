"""`inspect`, `measure`, `predict`: what a device with no TensorFlow can do with a bundle."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tfdistill.cli.errors import Failure, told, write

if TYPE_CHECKING:
    from tfdistill.agents.predictions import TypedPrediction
    from tfdistill.bundles.bundle import Bundle
    from tfdistill.bundles.confidence import Confidence

__all__ = ["inspect", "measure", "predict"]

_AS_JSON = click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
_BUNDLE = click.argument("bundle", type=click.Path(path_type=Path))


@click.command()
@_BUNDLE
@_AS_JSON
def inspect(bundle: Path, as_json: bool) -> None:
    """Check a bundle's files against its hashes and show what it is.

    Example: tfdistill inspect runs/demo/bundle
    """
    with told():
        from tfdistill.bundles.bundle import open_bundle

        opened = open_bundle(bundle)
    sizes = {path.name: path.stat().st_size for path in sorted(opened.path.iterdir())}
    signatures = {
        name: {
            way: {key: f"{spec.dtype} {list(spec.shape)}" for key, spec in specs.items()}
            for way, specs in (("inputs", signature.inputs), ("outputs", signature.outputs))
        }
        for name, signature in opened.signatures.items()
    }
    found = {
        "path": str(opened.path),
        "task": opened.task,
        "labels": list(opened.labels),
        "thresholds": None if opened.thresholds is None else list(opened.thresholds),
        "scale": None if opened.scale is None else dataclasses.asdict(opened.scale),
        "sequence_length": opened.sequence_length,
        "long_texts": opened.long_texts,
        "signatures": signatures,
        "size_bytes": sizes,
        "hashes": "verified",
        "confidence": None if opened.confidence is None else opened.confidence.to_dict(),
    }
    shown = ", ".join(opened.labels[:12]) + (" …" if len(opened.labels) > 12 else "")
    lines = [
        f"{opened.path}: every file has the size and the SHA-256 of the manifest",
        f"{'classes' if opened.task == 'class' else opened.task} ({len(opened.labels)}): {shown}",
        f"tokens per text: {opened.sequence_length}, of longer ones: {opened.long_texts}",
        _meaning(opened),
        *(f"signature {name}: {described}" for name, described in signatures.items()),
        *(f"{size:>12,} bytes  {name}" for name, size in sizes.items()),
    ]
    write(found, as_json=as_json, text="\n".join(lines))


def _meaning(bundle: Bundle) -> str:
    if bundle.scale is not None:
        scale = bundle.scale
        return f"value: {scale.mean:.6g} + {scale.standard_deviation:.6g} * output"
    if bundle.thresholds is not None:
        shown = ", ".join(f"{least:.3f}" for least in bundle.thresholds[:12])
        return f"thresholds: {shown}" + (" …" if len(bundle.thresholds) > 12 else "")
    return f"confidence: {_fitted(bundle.confidence)}"


def _fitted(confidence: Confidence | None) -> str:
    if confidence is None:
        return "softmax of the logits, not calibrated"
    text = f"calibrated, temperature {confidence.temperature:.3f}"
    rule = confidence.out_of_scope
    if rule is None:
        return text
    return f"{text}; none of the classes below {rule.score} {rule.threshold:.3f}"


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--threads", default=1, type=click.IntRange(min=1), help="Threads of one call.")
@click.option("--signature", help="Which signature, where the file has several.")
@_AS_JSON
def measure(path: Path, threads: int, signature: str | None, as_json: bool) -> None:
    """Measure size and latency of a .tflite file, or of a bundle's, on this machine.

    Example: tfdistill measure student.tflite --threads 2
    """
    with told():
        from tfdistill.runtime.benchmark import measure as measured

        result = measured(path, threads=threads, signature=signature)
    write(dataclasses.asdict(result), as_json=as_json, text=str(result))


@click.command()
@_BUNDLE
@click.argument("texts", nargs=-1)
@_AS_JSON
def predict(bundle: Path, texts: tuple[str, ...], as_json: bool) -> None:
    """Answer texts, given here or one a line on standard input.

    Example: tfdistill predict runs/demo/bundle "oil prices rose"
    """
    lines = list(texts) or sys.stdin.read().splitlines()
    wanted = [line for line in lines if line.strip()]
    if not wanted:
        raise Failure("`TEXTS` must be at least one text. Received: none. Give one, or pipe lines.")
    with told():
        from tfdistill.agents.agent import Agent

        agent = Agent(bundle)
        for text in wanted:
            (answer,) = agent.predict([text])
            row, line = _shown(answer, agent.labels)
            write({"text": text, **row}, as_json=as_json, text=f"{line}\t{text}")


def _shown(answer: TypedPrediction, names: Sequence[str]) -> tuple[dict[str, Any], str]:
    """Returns an answer as JSON has it, and as a line with a tab for each column."""
    from tfdistill.agents.predictions import LabelsPrediction, NumberPrediction

    if isinstance(answer, NumberPrediction):
        return {"value": answer.value}, f"{answer.value:.6g}"
    if isinstance(answer, LabelsPrediction):
        probabilities = dict(zip(names, answer.probabilities, strict=True))
        given = ", ".join(answer.labels) or "no label"
        sure = ", ".join(f"{probabilities[label]:.3f}" for label in answer.labels)
        return {"labels": list(answer.labels), "probabilities": probabilities}, f"{given}\t{sure}"
    # The first column says it where the text is of no class.
    label = f"none of these ({answer.label})" if answer.in_scope is False else answer.label
    row = {"label": answer.label, "confidence": answer.confidence}
    row |= {"in_scope": answer.in_scope, "score": answer.score}
    return row, f"{label}\t{answer.confidence:.3f}"
