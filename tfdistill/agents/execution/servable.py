"""What a pool replicates: anything that is opened from a folder and answers one text at a time.

A *servable* is one classifier (`Agent`), a language model or a whole team, and a pool, `serve` and
the Ray workers treat them alike. It is always sent as a folder and opened where it works, because
an interpreter cannot be pickled and a pickle from a stranger could run anything. `manifest.json`
says what it is.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from tfdistill.agents.tokenization.text_encoder import UnusableTextError, check_texts
from tfdistill.bundles.bundle import MANIFEST

__all__ = ["Servable", "answer_of", "open_servable", "predict_each"]

# Kind in the manifest: module and what opens it. A manifest without a kind is a bundle's.
_OPENERS = {
    "bundle": ("tfdistill.agents.agent", "Agent"),
    "language model": ("tfdistill.agents.generation.generator", "Generator"),
    "team": ("tfdistill.agents.team.folder", "open_team"),
}
_LARGEST_MANIFEST = 2**20


class Servable(Protocol):
    """Answers texts, one caller at a time.

    Attributes:
        path: The folder it was opened from, absolute.
    """

    path: Path

    def answer(self, text: str) -> Any:
        """Returns the answer to one text, or the error that stands in its place."""

    def sample_text(self) -> str | None:
        """Returns a text to measure time with, or None if there is none that it answers."""

    def run_blank(self) -> None:
        """Does the work of one text without a text, for a servable that has no sample."""


def open_servable(
    path: str | os.PathLike[str], *, threads: int = 1, shared_weights: bool = False
) -> Servable:
    """Opens what a folder holds, by the kind that its manifest states.

    Args:
        path: A bundle or a team's folder.
        threads: Threads for one call of a model.
        shared_weights: As in `Agent`; a team's agents do not share.

    Returns:
        An `Agent`, or a team.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it is neither, or damaged.

    Example:
        >>> open_servable("no/such/folder")
        Traceback (most recent call last):
        ...
        FileNotFoundError: `path` must be an existing bundle folder. Received: path='no/such/fol...
    """
    kind = _kind(path)
    module, opener = _OPENERS[kind]
    options = {"shared_weights": True} if shared_weights and kind == "bundle" else {}
    return getattr(importlib.import_module(module), opener)(path, threads=threads, **options)


def answer_of(servable: Servable, text: str) -> Any:
    """Returns the answer to one text; whatever goes wrong with it is returned as an error.

    A defect must stay the fault of one text, even one that is no `Exception`, such as a panic in a
    Rust library.
    """
    try:
        return servable.answer(text)
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except Exception as error:
        return error
    except BaseException as error:
        return RuntimeError(f"The agent failed on this text: {error!r}")


def predict_each(
    servable: Servable, texts: Iterable[str], *, return_exceptions: bool = False
) -> list[Any]:
    """Answers texts one after the other, as `Agent.predict` documents it.

    Args:
        servable: What answers.
        texts: Raw texts, at least one.
        return_exceptions: Whether the error of a text takes its place, or is raised.
    """
    answers = []
    for index, text in enumerate(check_texts(texts)):
        answer = servable.answer(text)
        if isinstance(answer, UnusableTextError):
            answer = answer.named(f"texts[{index}]")
        if isinstance(answer, Exception) and not return_exceptions:
            raise answer
        answers.append(answer)
    return answers


def _kind(path: str | os.PathLike[str]) -> str:
    """Reads the kind. What is no folder with a sound manifest is left to `open_bundle`'s errors."""
    try:
        with (Path(path) / MANIFEST).open("rb") as stream:
            content = json.loads(stream.read(_LARGEST_MANIFEST).decode("utf-8"))
        kind = content.get("kind", "bundle")
    except (OSError, TypeError, ValueError, AttributeError, RecursionError):
        return "bundle"
    if kind not in _OPENERS:
        raise ValueError(
            f"`path` must be a folder whose {MANIFEST} has a kind in {sorted(_OPENERS)}. "
            f"Received: path={str(path)!r} with kind={kind!r}. It may be from a newer tfdistill: "
            "upgrade with `pip install --upgrade tfdistill`."
        )
    return kind
