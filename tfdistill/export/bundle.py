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
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tokenizers

import tfdistill
from tfdistill.export import manifest as manifests
from tfdistill.export.card import card_text
from tfdistill.export.class_names import check_labels
from tfdistill.export.folder import check_free, put_in_place
from tfdistill.interpreter import Interpreter, Signature

if TYPE_CHECKING:
    import keras

__all__ = ["Bundle", "open_bundle", "save_bundle"]

_LIBRARIES = ("ai-edge-litert", "keras", "tensorflow", "tokenizers")


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


def save_bundle(
    model: keras.Model,
    path: str | os.PathLike[str],
    *,
    tokenizer: tokenizers.Tokenizer,
    labels: Sequence[str],
    quantize: str | None = "dynamic",
    calibration: Any = None,
    check_survival: bool = True,
) -> Bundle:
    """Exports a classifier with its tokenizer and labels, as a folder that an agent opens alone.

    The folder is written under a temporary name beside `path` and renamed when it is complete and
    has been tried. A bundle that is already at `path` is replaced; agents that have it open keep
    the old files. Anything else at `path` is left alone and refused.

    Args:
        model: A built Keras 3 classifier: one input of token ids `[B, L]` with fixed L, and
            logits `[B, C]`. A `Compressed` model is stripped on the way.
        path: The folder to write. Its parent exists.
        tokenizer: What made the ids. Its own truncation and padding do not matter: an agent cuts
            and pads with id 0 to L. Every id it can produce must be below the vocabulary size of
            the model.
        labels: C different class names, in the order of the logits.
        quantize: As in `to_tflite`: None, "float16", "dynamic", "int8_fc" or "int4".
        calibration: For "int8_fc": token ids of typical texts, int32 `[N, L]`.
        check_survival: As in `to_tflite`: False gives up what the file cannot keep.

    Returns:
        The bundle, opened again from disk.

    Raises:
        TypeError: If `tokenizer` is not a `tokenizers.Tokenizer` or `labels` not a list of str.
        ValueError: If the number of labels differs from the model's classes, labels repeat, the
            model has other inputs or outputs, returns probabilities or something that is not a
            number, or the tokenizer has more ids than the model.
        FileExistsError: If something other than a bundle is at `path`.
        RuntimeError: If the converter fails, or the file lost what `check_survival` asks for.
    """
    if not isinstance(tokenizer, tokenizers.Tokenizer):
        raise TypeError(
            "`tokenizer` must be a tokenizers.Tokenizer. Received: "
            f"tokenizer={tokenizer!r} ({type(tokenizer).__name__}). A `transformers` tokenizer "
            "has one in its `backend_tokenizer`."
        )
    if quantize in ("int8", "int8_16"):
        raise ValueError(
            "`quantize` must be None, 'float16', 'dynamic', 'int8_fc' or 'int4' for a bundle. "
            f"Received: quantize={quantize!r}, whose fixed grids cost a text model accuracy and "
            "speed. 'int8_fc' has them around matrix products only."
        )
    names = check_labels(labels)
    target = check_free(path)
    from tfdistill.export.tflite import plain_model, to_tflite
    from tfdistill.label_loss import refuse_probabilities

    # An agent applies the softmax: twice would give labels that are right, and wrong confidences.
    refuse_probabilities(plain_model(model), argument="model")
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name[:40]}-") as scratch:
        # Inside the scratch folder, so that what could not be renamed is cleaned up with it.
        folder = Path(scratch) / "bundle"
        folder.mkdir()
        file = folder / "model.tflite"
        to_tflite(
            model,
            file,
            quantize=quantize,
            calibration=calibration,
            check_survival=check_survival,
        )
        signatures, sequence_length = _try(file, names, tokenizer)
        (folder / "tokenizer.json").write_text(_serialized(tokenizer), encoding="utf-8")
        _write_json(folder / "labels.json", list(names))
        versions = {"tfdistill": tfdistill.__version__}
        versions |= {name: metadata.version(name) for name in _LIBRARIES}
        card = card_text(target.name, names, sequence_length, quantize, file, versions=versions)
        (folder / "card.md").write_text(card, encoding="utf-8")
        _write_json(
            folder / manifests.MANIFEST,
            {
                "format": manifests.FORMAT,
                "created_with": versions,
                "sequence_length": sequence_length,
                "quantize": quantize,
                "signatures": manifests.describe_signatures(signatures),
                "files": {
                    name: asdict(manifests.record_of(folder / name)) for name in manifests.FILES
                },
            },
        )
        open_bundle(folder)
        put_in_place(folder, target, scratch=Path(scratch))
    return open_bundle(target)


def _read_labels(folder: Path) -> tuple[str, ...]:
    content = manifests.read_json(folder, "labels.json")
    try:
        return check_labels(content)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"labels.json in the bundle {str(folder)!r} must be a list of different class names. "
            f"Received one that is not ({error}). Save the bundle again."
        ) from error


def _try(
    model_path: Path, labels: tuple[str, ...], tokenizer: tokenizers.Tokenizer
) -> tuple[Mapping[str, Signature], int]:
    """Runs the exported file once; returns its signatures and the number of ids per text."""
    interpreter = Interpreter(model_path)
    signatures = interpreter.signatures
    signature = next(iter(signatures.values()))
    inputs, outputs = list(signature.inputs.values()), list(signature.outputs.values())
    fits = (
        len(signatures) == len(inputs) == len(outputs) == 1
        and (inputs[0].dtype.kind, outputs[0].dtype.kind) == ("i", "f")
        and len(inputs[0].shape) == len(outputs[0].shape) == 2
        and inputs[0].shape[1] >= 1
    )
    if not fits:
        raise ValueError(
            "`model` must be a classifier with one input of integer token ids (batch, length), "
            "the length fixed, and one output of logits (batch, classes). Received: "
            f"{manifests.describe_signatures(signatures)}."
        )
    classes = outputs[0].shape[1]
    if classes != len(labels):
        raise ValueError(
            "`labels` must name each class of the model once. "
            f"Received: {len(labels)} labels, model → {classes} classes."
        )
    sequence_length = inputs[0].shape[1]
    largest_id = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=0)
    ids = np.full((1, sequence_length), largest_id, dtype=inputs[0].dtype)
    try:
        (logits,) = interpreter.run({inputs[0].name: ids}).values()
    except RuntimeError as error:
        raise ValueError(
            "`tokenizer` must have no id beyond the model's vocabulary. Received: a tokenizer with "
            f"ids up to {largest_id}, on which the model fails ({error}). Build the model with "
            f"vocabulary_size={largest_id + 1} or give the tokenizer it was trained with."
        ) from error
    if not np.isfinite(logits).all():
        raise ValueError(
            "`model` must answer with finite logits. Received: "
            f"{logits[0].tolist()} for a row of ids {largest_id}. Its weights may be NaN from a "
            "training that diverged: lower the learning rate and train again."
        )
    return signatures, sequence_length


def _serialized(tokenizer: tokenizers.Tokenizer) -> str:
    try:
        return tokenizer.to_str(pretty=False)
    except Exception as error:  # the library raises plain Exception
        raise ValueError(
            "`tokenizer` must be one that can be saved. Received: one that cannot "
            f"({error}). Use the parts of the `tokenizers` package, not your own in Python."
        ) from error


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
