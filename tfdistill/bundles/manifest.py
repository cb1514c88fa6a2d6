"""The checks behind a bundle: what its manifest says, and whether the folder agrees.

A bundle may come from a stranger. So only the fixed names below are ever opened (never a name
that the manifest gives), links may not leave the folder, every size is bounded before anything is
read, and the content is JSON or a flatbuffer whose hash was checked. This file imports no
TensorFlow.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from tfdistill.files.folder import FolderKind
from tfdistill.files.records import FileRecord, check_file, safe_file
from tfdistill.runtime.interpreter import Signature, TensorSpec

__all__ = [
    "BUNDLES",
    "CLASSIFIER",
    "FILES",
    "FORMAT",
    "LANGUAGE_MODEL",
    "MANIFEST",
    "Manifest",
    "describe_signatures",
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
