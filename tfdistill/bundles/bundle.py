"""A bundle: the folder that holds everything an agent needs, and nothing that can run.

=================  ================================================================================
`model.tflite`     the student
`tokenizer.json`   the tokenizer, in the format of Hugging Face `tokenizers`, or the n-grams of a
                   bag of words (`"tfdistill": "ngrams"`)
`labels.json`      the names of the classes, in the order of the model's outputs
`card.md`          what this is, for people
`manifest.json`    format version, signatures, sequence length, the SHA-256 of each file above, and
                   what its outputs mean (`task`), what is read of longer texts (`long_texts`), and
                   perhaps how sure its answers are
                   (`confidence`)
=================  ================================================================================

`tfdistill.export.save_bundle` writes one in a single step: the folder is complete, or it is not
there. `open_bundle` checks one before anything in it is used. The bundle of a language model has no
labels, and is opened by `tfdistill.bundles.language` with the same checks.

A bundle may come from a stranger. So only the fixed names above are ever opened (never a name
that the manifest gives), links may not leave the folder, every size is bounded before anything is
read, and the content is JSON or a flatbuffer whose hash was checked. This file imports no
TensorFlow.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from tfdistill.bundles.answer_kinds import AnswerKind, NumberScale, read_answer_kind
from tfdistill.bundles.confidence import Confidence, check_confident
from tfdistill.bundles.long_texts import check_long_texts
from tfdistill.files.folder import FolderKind
from tfdistill.files.records import FileRecord, check_file, safe_file
from tfdistill.runtime.interpreter import Signature, TensorSpec

__all__ = [
    "BUNDLES",
    "Bundle",
    "CLASSIFIER",
    "FILES",
    "FORMAT",
    "LANGUAGE_MODEL",
    "MANIFEST",
    "Manifest",
    "check_labels",
    "describe_signatures",
    "open_bundle",
    "read_json",
    "read_manifest",
    "verify",
]

FORMAT = 1
MANIFEST = "manifest.json"
# The files of a bundle and the largest size in bytes that is read: generous for real ones, small
# enough for any machine. A flatbuffer cannot pass 2 GiB.
FILES = {
    "model.tflite": 2**31,
    "tokenizer.json": 64 * 2**20,
    "labels.json": 16 * 2**20,
    "card.md": 2**20,
}
_LIMITS = {**FILES, MANIFEST: 2**20}
# Which files a bundle has depends on its kind; a manifest that states none is a classifier's.
CLASSIFIER, LANGUAGE_MODEL = "bundle", "language model"
_FILES_OF = {CLASSIFIER: set(FILES), LANGUAGE_MODEL: set(FILES) - {"labels.json"}}
_KEYS = frozenset({"format", "sequence_length", "signatures", "files"})


def _listed(content: Mapping[str, Any]) -> list[str]:
    return [name for name in content["files"] if name in FILES]


# The folders that a bundle may take the place of. A language model's has always stated its kind.
BUNDLES = (
    FolderKind(CLASSIFIER, _listed, _KEYS, MANIFEST).own_files,
    FolderKind(LANGUAGE_MODEL, _listed, _KEYS | {"kind"}, MANIFEST).own_files,
)


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
        confidence: How sure its answers are, as it was fitted; None where the bundle states
            nothing.
        task: What it answers: one "class", several "labels", or a "number".
        thresholds: Of several labels, the least probability of each; else None.
        scale: Of a number, what turns the model's output into units; else None.
        long_texts: What is read of a text of more than `sequence_length` tokens: "head",
            "head+tail" or "windows". A bundle that states nothing reads the head.
    """

    path: Path
    labels: tuple[str, ...]
    sequence_length: int
    signatures: Mapping[str, Signature]
    tokenizer_path: Path
    model_path: Path
    manifest: Mapping[str, Any]
    confidence: Confidence | None = None
    task: str = "class"
    thresholds: tuple[float, ...] | None = None
    scale: NumberScale | None = None
    long_texts: str = "head"


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
            f"Give the folder that holds {MANIFEST}."
        )
    folder = Path(path).resolve()
    manifest = read_manifest(folder)
    verify(folder, manifest.files)
    labels = _read_labels(folder)
    kind = _read_kind(folder, manifest.content, labels=labels)
    return Bundle(
        path=folder,
        labels=labels,
        sequence_length=manifest.sequence_length,
        signatures=manifest.signatures,
        tokenizer_path=folder / "tokenizer.json",
        model_path=folder / "model.tflite",
        manifest=manifest.content,
        confidence=_read_confidence(
            folder, manifest.content, task=kind.task, num_classes=len(labels)
        ),
        task=kind.task,
        thresholds=kind.thresholds,
        scale=kind.scale,
        long_texts=_read_long_texts(folder, manifest.content),
    )


@dataclass(frozen=True)
class Manifest:
    """A manifest that has been read, before the files are compared with it."""

    sequence_length: int
    signatures: Mapping[str, Signature]
    files: Mapping[str, FileRecord]
    content: Mapping[str, Any]


def read_manifest(folder: Path, *, kind: str = CLASSIFIER) -> Manifest:
    """Reads `manifest.json` and refuses what this version does not understand.

    Args:
        folder: An existing folder.
        kind: What it has to be, `CLASSIFIER` or `LANGUAGE_MODEL`.

    Raises:
        ValueError: If there is no manifest, it is damaged, of another kind, or of a newer format.
    """
    if not (folder / MANIFEST).exists():
        raise ValueError(
            f"`path` must be a bundle folder. Received: path={str(folder)!r}, which has no "
            f"{MANIFEST}. Write one with `tfdistill.save_bundle`."
        )
    content = read_json(folder, MANIFEST)
    version = content.get("format") if isinstance(content, dict) else None
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise ValueError(
            f"{MANIFEST} in {str(folder)!r} must hold the number of its format. "
            f"Received: format={version!r}. It was not written by `tfdistill.save_bundle`."
        )
    if version > FORMAT:
        raise ValueError(
            f"The bundle {str(folder)!r} has format {version}, and this tfdistill reads up to "
            f"format {FORMAT}. Upgrade with `pip install --upgrade tfdistill`."
        )
    if content.get("kind", CLASSIFIER) != kind:
        raise ValueError(
            f"`path` must be a bundle of kind {kind!r}. Received: path={str(folder)!r}, of kind "
            f"{content.get('kind', CLASSIFIER)!r}. `tfdistill.agents` has `Agent` for "
            "classifiers and `Generator` for language models."
        )
    try:
        manifest = Manifest(
            sequence_length=_positive(content["sequence_length"]),
            signatures=_signatures(content["signatures"]),
            files=MappingProxyType(
                {
                    name: FileRecord(str(entry["sha256"]), int(entry["size_bytes"]))
                    for name, entry in content["files"].items()
                }
            ),
            content=MappingProxyType(content),
        )
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise ValueError(
            f"{MANIFEST} in {str(folder)!r} must be a manifest of format {version}. Received one "
            f"that is not ({type(error).__name__}: {error}). Save the bundle again."
        ) from error
    if set(manifest.files) != _FILES_OF[kind]:
        raise ValueError(
            f"{MANIFEST} in {str(folder)!r} must list exactly the files {sorted(_FILES_OF[kind])}. "
            f"Received: {sorted(manifest.files)}. Save the bundle again."
        )
    return manifest


def verify(folder: Path, files: Mapping[str, FileRecord]) -> None:
    """Compares each file of a bundle with its record.

    Raises:
        ValueError: If a file is missing, changed, too large, or leaves the folder by a link.
    """
    for name, stated in files.items():
        check_file(folder, name, stated, largest=_LIMITS[name], what="bundle", inner_links=True)


def read_json(folder: Path, name: str) -> Any:
    """Reads one JSON file of a bundle, at most as many bytes as its limit."""
    path = safe_file(folder, name, largest=_LIMITS[name], what="bundle", inner_links=True)
    with path.open("rb") as stream:
        content = stream.read(_LIMITS[name])
    try:
        return json.loads(content.decode("utf-8"))
    # RecursionError: a few kilobytes of brackets are enough to reach Python's limit.
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{name} in the bundle {str(folder)!r} must be JSON in UTF-8. "
            f"Received: {len(content)} bytes that are not ({type(error).__name__}: {error})."
        ) from error


def _read_labels(folder: Path) -> tuple[str, ...]:
    content = read_json(folder, "labels.json")
    try:
        return check_labels(content)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"labels.json in the bundle {str(folder)!r} must be a list of different class names. "
            f"Received one that is not ({error}). Save the bundle again."
        ) from error


def _read_kind(folder: Path, content: Mapping[str, Any], *, labels: Sequence[str]) -> AnswerKind:
    try:
        return read_answer_kind(content, labels)
    # RecursionError: what is nested deeply can be read, and not shown in a message.
    except (TypeError, ValueError, ArithmeticError, RecursionError) as error:
        raise ValueError(
            f"{MANIFEST} in the bundle {str(folder)!r} must state a task that is one, or none. "
            f"Received one that is not ({str(error)[:500]}). Save the bundle again."
        ) from error


def _read_confidence(
    folder: Path, content: Mapping[str, Any], *, task: str, num_classes: int
) -> Confidence | None:
    if "confidence" not in content:
        return None
    try:
        confidence = Confidence.from_dict(content["confidence"])
        check_confident(task)
        if num_classes < 2:
            raise ValueError("it needs two classes")
        return confidence
    # RecursionError: what is nested deeply can be read, and not shown in a message.
    except (TypeError, ValueError, ArithmeticError, RecursionError) as error:
        raise ValueError(
            f"{MANIFEST} in the bundle {str(folder)!r} must state a confidence that is one, or "
            f"none. Received one that is not ({str(error)[:500]}). Save the bundle again."
        ) from error


def _read_long_texts(folder: Path, content: Mapping[str, Any]) -> str:
    stated = content.get("long_texts", "head")
    try:
        return check_long_texts(stated)
    except ValueError as error:
        raise ValueError(
            f"{MANIFEST} in the bundle {str(folder)!r} must state a known way to read long texts, "
            f"or none. Received: long_texts={str(stated)[:80]!r}. Upgrade with `pip install "
            "--upgrade tfdistill`, or save the bundle again."
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


def describe_signatures(signatures: Mapping[str, Signature]) -> dict[str, Any]:
    """Turns signatures into what the manifest stores; `read_manifest` turns it back."""

    def describe(specs: Mapping[str, TensorSpec]) -> dict[str, Any]:
        return {
            name: {
                "shape": list(spec.shape),
                "dtype": spec.dtype.name,
                "scale": spec.scale,
                "zero_point": spec.zero_point,
            }
            for name, spec in specs.items()
        }

    return {
        name: {"inputs": describe(signature.inputs), "outputs": describe(signature.outputs)}
        for name, signature in signatures.items()
    }


def _signatures(described: Mapping[str, Any]) -> Mapping[str, Signature]:
    def specs(entries: Mapping[str, Any]) -> Mapping[str, TensorSpec]:
        return MappingProxyType(
            {
                name: TensorSpec(
                    name=name,
                    shape=tuple(int(size) for size in entry["shape"]),
                    dtype=np.dtype(str(entry["dtype"])),
                    scale=None if entry["scale"] is None else float(entry["scale"]),
                    zero_point=None if entry["zero_point"] is None else int(entry["zero_point"]),
                )
                for name, entry in entries.items()
            }
        )

    return MappingProxyType(
        {
            name: Signature(name, specs(entry["inputs"]), specs(entry["outputs"]))
            for name, entry in described.items()
        }
    )


def _positive(value: Any) -> int:
    # The largest size of an axis in a flatbuffer; a greater one overflows in the tokenizer.
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 2**31:
        raise ValueError(f"sequence_length is {value!r}, not an int in [1, 2**31)")
    return value
