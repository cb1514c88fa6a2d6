"""The bundle of a language model: what `tfdistill.agents.Generator` opens.

Its manifest says `"kind": "language model"` and, under `generation`, how to use the model. There
is no labels.json; the other files are those of every bundle. Opening one imports no TensorFlow.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfdistill.bundles.bundle import LANGUAGE_MODEL, read_manifest, verify
from tfdistill.runtime.interpreter import Signature

__all__ = ["Generation", "LanguageBundle", "open_language_bundle"]

_MOST_TOKENS = 2**16
_OLDER_NAMES = {"begin_id": "bos_id", "end_ids": "eos_ids"}


@dataclass(frozen=True)
class Generation:
    """How a language model is used.

    Attributes:
        context_length: Number of positions, the slots of the cache.
        bos_id: Id put before each prompt (beginning of sequence); None for none.
        eos_ids: Ids that end a text (end of sequence).
        chat_format: A format of `tfdistill.bundles.chat_format`.
        max_new_tokens: Tokens that an agent in a pool writes for one request, at most 65,536: a
            stranger's bundle does not write without end.
        temperature: Temperature of an agent in a pool.
    """

    context_length: int
    bos_id: int | None = None
    eos_ids: tuple[int, ...] = ()
    chat_format: str = "plain"
    max_new_tokens: int = 64
    temperature: float = 0.0

    def __post_init__(self) -> None:
        """Refuses values that no language model has; a manifest may come from a stranger."""
        ints = [self.context_length, self.max_new_tokens, *self.eos_ids]
        ints += [] if self.bos_id is None else [self.bos_id]
        if not all(isinstance(n, int) and not isinstance(n, bool) and 0 <= n < 2**31 for n in ints):
            raise ValueError(f"lengths and ids of generation must be ints. Received: {self!r}.")
        if self.context_length < 2 or not 1 <= self.max_new_tokens <= _MOST_TOKENS:
            raise ValueError(f"generation needs room for tokens. Received: {self!r}.")
        if not isinstance(self.chat_format, str) or not 0.0 <= float(self.temperature) < 1e6:
            raise ValueError(f"chat format or temperature are no such. Received: {self!r}.")


@dataclass(frozen=True)
class LanguageBundle:
    """A language model's bundle whose files have been checked against its manifest.

    Attributes:
        path: The folder, absolute.
        generation: How the model is used.
        signatures: The model's signatures by name, read-only.
        tokenizer_path: `tokenizer.json` in the folder.
        model_path: `model.tflite` in the folder.
        manifest: All of `manifest.json`, read-only at its top level.
    """

    path: Path
    generation: Generation
    signatures: Mapping[str, Signature]
    tokenizer_path: Path
    model_path: Path
    manifest: Mapping[str, Any]


def open_language_bundle(path: str | os.PathLike[str]) -> LanguageBundle:
    """Checks the bundle of a language model and describes it.

    Args:
        path: The folder, as written by `tfdistill.export.save_language_bundle`.

    Returns:
        The bundle. Its files had the size and the hash that the manifest states.

    Raises:
        FileNotFoundError: If there is nothing at `path`.
        ValueError: If the folder is not such a bundle, or is damaged.

    Example:
        >>> open_language_bundle("no/such/folder")
        Traceback (most recent call last):
        ...
        FileNotFoundError: `path` must be an existing bundle folder. Received: path='no/such/fol...
    """
    if not Path(path).is_dir():
        raise FileNotFoundError(
            f"`path` must be an existing bundle folder. Received: path={str(path)!r}. "
            "Write one with `tfdistill.export.save_language_bundle`."
        )
    folder = Path(path).resolve()
    manifest = read_manifest(folder, kind=LANGUAGE_MODEL)
    verify(folder, manifest.files)
    stated: Any = manifest.content.get("generation")
    try:
        named = {_OLDER_NAMES.get(name, name): value for name, value in stated.items()}
        generation = Generation(**{**named, "eos_ids": tuple(named["eos_ids"])})
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"manifest.json in {str(folder)!r} must say how the model is used. Received: "
            f"generation={stated!r} ({error}). Save the bundle again."
        ) from error
    return LanguageBundle(
        path=folder,
        generation=generation,
        signatures=manifest.signatures,
        tokenizer_path=folder / "tokenizer.json",
        model_path=folder / "model.tflite",
        manifest=manifest.content,
    )
