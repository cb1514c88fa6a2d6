"""A bundle: the folder that holds everything an agent needs, and nothing that can run.

=================  ================================================================================
`model.tflite`     the student
`tokenizer.json`   the tokenizer, in the format of Hugging Face `tokenizers`
`labels.json`      the names of the classes, in the order of the model's outputs
`card.md`          what this is, for people
`manifest.json`    format version, signatures, sequence length, and the SHA-256 of each file above
=================  ================================================================================

`save_bundle` writes one in a single step: the folder is complete, or it is not there.
`open_bundle` checks one before anything in it is used. Importing this file imports no TensorFlow,
so an agent can do it; `save_bundle` imports it when called, to export the model.

The names of the classes, as a bundle takes them.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfdistill.bundles import manifest as manifests
from tfdistill.runtime.interpreter import Signature

if TYPE_CHECKING:
    pass

__all__ = ["Bundle", "check_labels", "open_bundle"]


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files have been checked against its manifest.

    Attributes:
        path: The folder, absolute.
        labels: Class names, in the order of the model's outputs.
        sequence_length: Token ids per text.
        signatures: The model's signatures by name, read-only.
        tokenizer_path: `tokenizer.json` in the folder.
        model_path: `model.tflite` in the folder.
        manifest: All of `manifest.json`, read-only at its top level.
    """

    path: Path
    labels: tuple[str, ...]
    sequence_length: int
    signatures: Mapping[str, Signature]
    tokenizer_path: Path
    model_path: Path
    manifest: Mapping[str, Any]


def open_bundle(path: str | os.PathLike[str]) -> Bundle:
    """Checks a bundle folder and describes it.

    Args:
        path: The folder, as written by `save_bundle`.

    Returns:
        The `Bundle`. Its files had the size and the hash that the manifest states.

    Raises:
        FileNotFoundError: If there is nothing at `path`.
        ValueError: If the folder is not a bundle, was written by a newer version, or a file is
            missing, changed, too large, or a link that leaves the folder.

    Example:
        >>> open_bundle("no/such/folder")
        Traceback (most recent call last):
        ...
        FileNotFoundError: `path` must be an existing bundle folder. Received: path='no/such/fol...
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(
            "`path` must be a bundle folder (str or os.PathLike). "
            f"Received: path={path!r} ({type(path).__name__})."
        )
    if not Path(path).exists():
        raise FileNotFoundError(
            f"`path` must be an existing bundle folder. Received: path={str(path)!r}. "
            "Write one with `tfdistill.save_bundle`."
        )
    if not Path(path).is_dir():
        raise ValueError(
            f"`path` must be a bundle folder. Received: path={str(path)!r}, which is a file. "
            f"Give the folder that holds {manifests.MANIFEST}."
        )
    folder = Path(path).resolve()
    manifest = manifests.read_manifest(folder)
    manifests.verify(folder, manifest.files)
    return Bundle(
        path=folder,
        labels=_read_labels(folder),
        sequence_length=manifest.sequence_length,
        signatures=manifest.signatures,
        tokenizer_path=folder / "tokenizer.json",
        model_path=folder / "model.tflite",
        manifest=manifest.content,
    )


def _read_labels(folder: Path) -> tuple[str, ...]:
    content = manifests.read_json(folder, "labels.json")
    try:
        return check_labels(content)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"labels.json in the bundle {str(folder)!r} must be a list of different class names. "
            f"Received one that is not ({error}). Save the bundle again."
        ) from error


def check_labels(labels: Any) -> tuple[str, ...]:
    """Returns the names if they are different, not empty, and str; or says which is wrong."""
    if isinstance(labels, str) or not isinstance(labels, Sequence):
        raise TypeError(
            f"`labels` must be a list of class names. Received: labels={labels!r} "
            f"({type(labels).__name__})."
        )
    for index, label in enumerate(labels):
        if not isinstance(label, str):
            raise TypeError(
                f"`labels` must be a list of str. Received: labels[{index}]={label!r} "
                f"({type(label).__name__})."
            )
        if not label:
            raise ValueError(f"`labels` must have no empty name. Received: labels[{index}]=''.")
    if not labels:
        raise ValueError("`labels` must name at least one class. Received: labels=[].")
    repeated = sorted(label for label, count in Counter(labels).items() if count > 1)
    if repeated:
        raise ValueError(
            f"`labels` must be different from each other. Received: {repeated} more than once."
        )
    return tuple(labels)
