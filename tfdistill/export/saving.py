"""Saves a model with its tokenizer as a bundle, the folder that an agent opens alone.

A classifier goes with its labels, a language model with how it is used.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tokenizers

import tfdistill
from tfdistill.agents.tokenization.ngrams import NGrams
from tfdistill.bundles.answer_kinds import NumberScale, answer_kind
from tfdistill.bundles.bundle import (
    BUNDLES,
    CLASSIFIER,
    FILES,
    FORMAT,
    LANGUAGE_MODEL,
    MANIFEST,
    Bundle,
    check_labels,
    describe_signatures,
    open_bundle,
)
from tfdistill.bundles.chat_format import CHAT_FORMATS
from tfdistill.bundles.confidence import Confidence, check_confidence, check_confident
from tfdistill.bundles.export_modes import IN_BUNDLES, MODES
from tfdistill.bundles.language import Generation, LanguageBundle, open_language_bundle
from tfdistill.bundles.long_texts import check_long_texts
from tfdistill.bundles.model_card import card_text
from tfdistill.compress.compressed_model import Compressed, plain_model
from tfdistill.export.convert.causal_lm import language_to_tflite
from tfdistill.export.tflite import to_tflite
from tfdistill.files.folder import check_place, replacing_folder
from tfdistill.files.records import record_of
from tfdistill.introspection.backend import check_model, refuse_probabilities
from tfdistill.runtime.interpreter import Interpreter, Signature
from tfdistill.runtime.kv_cache import KVCache, find_lengths

__all__ = ["SignatureParity", "compare_language_model", "save_bundle", "save_language_bundle"]

_LIBRARIES = ("ai-edge-litert", "keras", "tensorflow", "tokenizers")


@dataclass(frozen=True)
class SignatureParity:
    """How far one signature of a file is from the Keras model.

    Attributes:
        signature: Its name.
        max_error: Largest absolute difference of a logit.
        agreement: Share of positions, in [0, 1], whose most probable token is the same.
    """

    signature: str
    max_error: float
    agreement: float


def compare_language_model(
    model: keras.Model, path: str | os.PathLike[str], ids: Sequence[int]
) -> list[SignatureParity]:
    """Runs each signature of a file over a text and compares it with one pass of the Keras model.

    Args:
        model: The language model that the file was exported from.
        path: The `.tflite` file.
        ids: Token ids of a text, at least 2 and at most the file's context.

    Returns:
        One row per signature, "decode" first.

    Raises:
        ValueError: If the file is not a language model's, or the text does not fit.
    """
    interpreter = Interpreter(path)
    lengths = find_lengths(interpreter.signatures)
    cache = KVCache(interpreter)
    ids = [int(token) for token in ids]
    if not 2 <= len(ids) <= cache.context_length:
        raise ValueError(
            f"`ids` must be 2 to {cache.context_length} tokens, the file's context. "
            f"Received: {len(ids)} tokens."
        )
    expected = np.asarray(keras.ops.convert_to_numpy(model(np.array([ids]), training=False)))[0]
    rows = []
    for length, name in sorted(lengths.items()):
        cache.clear()
        found: list[np.ndarray] = []
        places: list[int] = []
        for start in range(0, len(ids), length):
            part = ids[start : start + length]
            found.append(cache.call(name, part))
            places.append(start + len(part) - 1)
        got, wanted = np.concatenate(found), expected[places]
        same = np.argmax(got, axis=-1) == np.argmax(wanted, axis=-1)
        error = float(np.abs(got - wanted).max())
        rows.append(SignatureParity(name, error, float(np.mean(same))))
    return rows


def save_language_bundle(
    model: keras.Model,
    path: str | os.PathLike[str],
    *,
    tokenizer: tokenizers.Tokenizer,
    context_length: int = 256,
    prefill_lengths: Sequence[int] = (16, 64),
    quantize: str | None = "dynamic",
    cache: str = "float32",
    bos_id: int | None = None,
    eos_ids: Sequence[int] = (),
    chat_format: str = "plain",
    max_new_tokens: int = 64,
    temperature: float = 0.0,
) -> LanguageBundle:
    """Exports a language model with its tokenizer, as a folder that `Generator` opens alone.

    The folder is written under a temporary name and renamed when it is complete and was tried.

    Args:
        model: A language model of this package; a `Compressed` one is stripped on the way.
        path: The folder to write. Its parent exists; a bundle that is there is replaced.
        tokenizer: What makes and reads the ids; it must have no id beyond the model's.
        context_length: As in `language_to_tflite`.
        prefill_lengths: As in `language_to_tflite`.
        quantize: As in `language_to_tflite`.
        cache: As in `language_to_tflite`.
        bos_id: Id that is put before each prompt (beginning of sequence), or None.
        eos_ids: Ids that end a text (end of sequence).
        chat_format: "chatml" if the model was taught turns, otherwise "plain".
        max_new_tokens: Tokens that an agent in a pool writes for one request.
        temperature: Temperature of an agent in a pool.

    Returns:
        The bundle, opened again from disk.

    Raises:
        TypeError: If `tokenizer` is not a `tokenizers.Tokenizer`.
        ValueError: If the model is no language model, an id is not one of its rows, or a setting
            is out of range.
        FileExistsError: If something other than a bundle is at `path`.
    """
    if not isinstance(tokenizer, tokenizers.Tokenizer):
        raise TypeError(
            "`tokenizer` must be a tokenizers.Tokenizer. Received: tokenizer="
            f"{type(tokenizer).__name__}. Tokenizer.from_file('tokenizer.json') makes one."
        )
    if chat_format not in CHAT_FORMATS:
        raise ValueError(
            f"`chat_format` must be one of {CHAT_FORMATS}. Received: chat_format={chat_format!r}."
        )
    generation = Generation(
        context_length=context_length,
        bos_id=bos_id,
        eos_ids=tuple(int(token) for token in eos_ids),
        chat_format=chat_format,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
    )
    plain = plain_model(model)
    rows = int(plain.output_shape[-1])
    ids = [*tokenizer.get_vocab(with_added_tokens=True).values(), *generation.eos_ids]
    ids += [] if bos_id is None else [bos_id]
    if max(ids, default=0) >= rows:
        raise ValueError(
            f"`tokenizer`, `bos_id` and `eos_ids` must have ids below {rows}, the model's. "
            f"Received: {max(ids)}. Give the tokenizer that the model was trained with."
        )
    target = check_place(path, replaces=BUNDLES, what="bundle")
    with replacing_folder(
        target, replaces=BUNDLES, what="bundle", reopen=open_language_bundle
    ) as folder:
        file = language_to_tflite(
            plain, folder / "model.tflite", context_length=context_length,
            prefill_lengths=prefill_lengths, quantize=quantize, cache=cache,
        )  # fmt: skip
        interpreter = Interpreter(file, vetted=True)
        KVCache(interpreter).read([rows - 1])  # refuses logits that are not finite
        (folder / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
        (folder / "card.md").write_text(_card(target.name, generation, file), encoding="utf-8")
        names = ("model.tflite", "tokenizer.json", "card.md")
        content: dict[str, Any] = {
            "format": FORMAT,
            "kind": LANGUAGE_MODEL,
            "created_with": {"tfdistill": tfdistill.__version__}
            | {name: metadata.version(name) for name in _LIBRARIES},
            "sequence_length": context_length,
            "quantize": quantize,
            "generation": dataclasses.asdict(generation),
            "signatures": describe_signatures(interpreter.signatures),
            "files": {name: asdict(record_of(folder / name)) for name in names},
        }
        _write_json(folder / MANIFEST, content)
    return open_language_bundle(target)


def _card(name: str, generation: Generation, model: Path) -> str:
    return f"""# {name}

A causal language model in one LiteRT file, made with tfdistill {tfdistill.__version__}.

* Context: {generation.context_length} tokens. Chat format: {generation.chat_format}.
* {model.stat().st_size:,} bytes.

## Use

```python
from tfdistill.agents import Generator

Generator("{name}").generate("Once upon a time", max_new_tokens=40)
```

## Before you rely on it

It writes what is probable, not what is true, and a small model is far from its teacher. Nothing
was measured when this folder was written: measure it on your own texts.
"""


def save_bundle(
    model: keras.Model,
    path: str | os.PathLike[str],
    *,
    tokenizer: tokenizers.Tokenizer | NGrams,
    labels: Sequence[str],
    quantize: str | None = "dynamic",
    calibration: Any = None,
    verify_compression: bool = True,
    confidence: Confidence | None = None,
    task: str = "class",
    thresholds: Sequence[float] | None = None,
    scale: NumberScale | None = None,
    long_texts: str = "head",
) -> Bundle:
    """Exports a classifier with its tokenizer and labels, as a folder that an agent opens alone.

    The folder is written under a temporary name beside `path` and renamed when it is complete and
    has been tried. A bundle that is already at `path` is replaced; agents that have it open keep
    the old files. Anything else at `path` is left alone and refused.

    Args:
        model: A built Keras 3 classifier: one input of token ids `[B, L]` with fixed L, and
            logits `[B, C]`. A `Compressed` model is stripped on the way.
        path: The folder to write. Its parent exists.
        tokenizer: What made the ids: a tokenizer, or the `NGrams` of a bag of words. A tokenizer's
            own truncation and padding do not matter: an agent cuts and pads with id 0 to L. Every
            id it can produce must be below the vocabulary size of the model.
        labels: C different names, in the order of the logits; of a number, its name alone.
        quantize: As in `to_tflite`, without the modes whose fixed grids surround norms and
            softmax, too.
        calibration: For a mode that needs it: token ids of typical texts, int32 `[N, L]`.
        verify_compression: As in `to_tflite`: False gives up what the file cannot keep.
        confidence: How the logits become probabilities, as `tfdistill.agents.fit_confidence` finds
            it; None takes their softmax. `tfdistill.agents.calibrate_bundle` adds it later.
        task: What the outputs mean: "class", of which one is right; "labels", each a yes or no of
            its own; or "number", one standardized number. Agents answer accordingly.
        thresholds: For "labels" the least probability of each, in (0, 1); None takes 0.5.
            `tfdistill.agents.calibrate_thresholds` finds better ones later.
        scale: For "number" what turns the output into units: mean and deviation of the training
            numbers; None takes 0 and 1, the output itself.
        long_texts: What agents read of a text of more than L tokens or n-grams, as in training:
            its "head", its "head+tail", or all of it in "windows" whose logits are averaged.

    Returns:
        The bundle, opened again from disk.

    Raises:
        TypeError: If `tokenizer` is neither a `tokenizers.Tokenizer` nor `NGrams`, `labels` not a
            list of str, `confidence` no `Confidence`, or `scale` no `NumberScale`.
        ValueError: If the task is unknown or a part belongs to another one, the number of labels
            differs from the model's classes, labels repeat, the model has other inputs or outputs,
            returns probabilities or something that is not a number, the tokenizer has more ids than
            the model, n-grams have another length or way to read long texts, or `long_texts` is
            unknown.
        FileExistsError: If something other than a bundle is at `path`.
        RuntimeError: If the converter fails, or the file lost what `verify_compression` asks for.
    """
    if not isinstance(tokenizer, tokenizers.Tokenizer | NGrams):
        raise TypeError(
            "`tokenizer` must be a tokenizers.Tokenizer or tfdistill.agents.NGrams. Received: "
            f"tokenizer={tokenizer!r} ({type(tokenizer).__name__}). A `transformers` tokenizer "
            "has one in its `backend_tokenizer`."
        )
    if quantize in MODES and not MODES[quantize].in_bundle:
        raise ValueError(
            f"`quantize` must be one of {IN_BUNDLES} for a bundle. Received: "
            f"quantize={quantize!r}, whose fixed grids cost a text model accuracy and speed. "
            f"{MODES[quantize].instead}"
        )
    names = check_labels(labels)
    kind = answer_kind(task, names, thresholds=thresholds, scale=scale)
    if check_confidence(confidence) is not None:
        check_confident(task)
    check_long_texts(long_texts)
    if isinstance(tokenizer, NGrams) and tokenizer.long_texts != long_texts:
        raise ValueError(
            "`long_texts` must be that of the n-grams. Received: "
            f"long_texts={long_texts!r}, and n-grams with long_texts={tokenizer.long_texts!r}. "
            "Give the same to both."
        )
    target = check_place(path, replaces=BUNDLES, what="bundle")
    # An agent applies softmax or sigmoid: twice would give answers that are right, and wrong
    # confidences.
    check_model(model, argument="model")
    inner = model.student if isinstance(model, Compressed) else model
    refuse_probabilities(inner, argument="model")
    with replacing_folder(target, replaces=BUNDLES, what="bundle", reopen=open_bundle) as folder:
        file = folder / "model.tflite"
        to_tflite(
            model,
            file,
            quantize=quantize,
            calibration=calibration,
            verify_compression=verify_compression,
        )
        signatures, sequence_length = _try(file, names, tokenizer)
        (folder / "tokenizer.json").write_text(_serialized(tokenizer), encoding="utf-8")
        _write_json(folder / "labels.json", list(names))
        versions = {"tfdistill": tfdistill.__version__}
        versions |= {name: metadata.version(name) for name in _LIBRARIES}
        card = card_text(
            target.name,
            names,
            sequence_length,
            quantize,
            file,
            versions=versions,
            confidence=confidence,
            kind=kind,
            long_texts=long_texts,
        )
        (folder / "card.md").write_text(card, encoding="utf-8")
        _write_json(
            folder / MANIFEST,
            {
                "format": FORMAT,
                "kind": CLASSIFIER,
                "created_with": versions,
                "sequence_length": sequence_length,
                "long_texts": long_texts,
                "quantize": quantize,
                "signatures": describe_signatures(signatures),
                "files": {name: asdict(record_of(folder / name)) for name in FILES},
                **kind.to_dict(),
                **({} if confidence is None else {"confidence": confidence.to_dict()}),
            },
        )
    return open_bundle(target)


def _try(
    model_path: Path, labels: tuple[str, ...], tokenizer: tokenizers.Tokenizer | NGrams
) -> tuple[Mapping[str, Signature], int]:
    """Runs the exported file once; returns its signatures and the number of ids per text."""
    interpreter = Interpreter(model_path, vetted=True)  # `to_tflite` has just written it
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
            f"{describe_signatures(signatures)}."
        )
    classes = outputs[0].shape[1]
    if classes != len(labels):
        raise ValueError(
            "`labels` must name each class of the model once. "
            f"Received: {len(labels)} labels, model → {classes} classes."
        )
    sequence_length = inputs[0].shape[1]
    if isinstance(tokenizer, NGrams) and tokenizer.sequence_length != sequence_length:
        raise ValueError(
            f"`tokenizer` must give the {sequence_length} ids that the model takes. Received: "
            f"{tokenizer}. Build the model with sequence_length={tokenizer.sequence_length}."
        )
    largest_id = _largest_id(tokenizer)
    ids = np.full((1, sequence_length), largest_id, dtype=inputs[0].dtype)
    try:
        (logits,) = interpreter.run({inputs[0].name: ids}).values()
    except RuntimeError as error:
        raise ValueError(
            "`tokenizer` must have no id beyond the model's vocabulary. Received: a tokenizer with "
            f"ids up to {largest_id}, on which the model fails ({error}). Build the model with "
            f"{largest_id + 1} rows or give the tokenizer it was trained with."
        ) from error
    if not np.isfinite(logits).all():
        raise ValueError(
            "`model` must answer with finite logits. Received: "
            f"{logits[0].tolist()} for a row of ids {largest_id}. Its weights may be NaN from a "
            "training that diverged: lower the learning rate and train again."
        )
    return signatures, sequence_length


def _largest_id(tokenizer: tokenizers.Tokenizer | NGrams) -> int:
    if isinstance(tokenizer, NGrams):
        return tokenizer.num_rows - 1
    return max(tokenizer.get_vocab(with_added_tokens=True).values(), default=0)


def _serialized(tokenizer: tokenizers.Tokenizer | NGrams) -> str:
    if isinstance(tokenizer, NGrams):
        return tokenizer.to_json()
    try:
        return tokenizer.to_str(pretty=False)
    except Exception as error:  # the library raises plain Exception
        raise ValueError(
            "`tokenizer` must be one that can be saved. Received: one that cannot "
            f"({error}). Use the parts of the `tokenizers` package, not your own in Python."
        ) from error


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
