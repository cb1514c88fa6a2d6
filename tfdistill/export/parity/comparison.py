"""Does the file answer as the model does? Numbers for the two run side by side.

A file that converts is not yet a file that agrees: a mask can be lost, a quantisation grid can be
ruined by one large constant, an input order can be swapped. So every export is followed by
`compare`, on data like that of the task::

    path = to_tflite(model, "student.tflite")
    report = compare(model, path, x_test, y_test)
    print(report)
    report.assert_close(quantize="dynamic")

Integer inputs and outputs (of a file made elsewhere) are quantised and dequantised with their own
scale and zero point before anything is compared.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import keras
import numpy as np
from tqdm import tqdm

from tfdistill.compress.compressed_model import plain_model
from tfdistill.export.convert.converter import SIGNATURE, read_families
from tfdistill.export.parity.differences import check_labels, measures
from tfdistill.export.parity.file_model import FileModel
from tfdistill.export.parity.layer_errors import LayerError, layer_errors
from tfdistill.export.parity.report import ParityReport, worst_of
from tfdistill.export.parity.several_labels import f1_of_labels
from tfdistill.introspection.named_model import NamedModel, named_model
from tfdistill.runtime.flatbuffer import output_step
from tfdistill.runtime.interpreter import Interpreter, Signature

__all__ = ["compare"]

_BATCH_SIZE = 32


def compare(
    model: keras.Model | Mapping[str, keras.Model],
    path: str | os.PathLike[str],
    x: Any,
    y: Any = None,
    *,
    layers: bool = False,
) -> ParityReport:
    """Runs a Keras model and a `.tflite` file on the same inputs and reports how they differ.

    The model runs in batches of its own, each signature of the file at its own batch size.

    Args:
        model: A built Keras 3 model; a `Compressed` one is compared as `strip` leaves it. Or a
            dict of models by the name of their signatures, as for `to_tflite`; `x` and `y` are
            then dicts by the same names.
        path: The `.tflite` file. Every batch size of the signature is compared.
        x: Inputs: one array with examples along the first axis; for a model of several inputs a
            dict by name or a list.
        y: Labels, to report accuracy too: class indices of shape `[N]` (or of the shape of the
            outputs without the class axis), one-hot rows, or rows of 0 and 1 of which some have
            none or several ones. For these, figures of each label take the place of accuracy: a
            label is said where its logit is at least 0.
        layers: Whether to compare layer by layer as well, see
            `tfdistill.export.parity.layer_errors`.

    Raises:
        TypeError: If `model`, `path` or the dtype of `x` or `y` is of the wrong type.
        FileNotFoundError: If `path` does not exist.
        ValueError: If `path` is not a complete `.tflite` file, if its inputs, outputs or number
            of classes are not those of the model, or if `x` or `y` does not fit the model.

    Example:
        >>> import tempfile
        >>> from tfdistill.export.tflite import to_tflite
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = to_tflite(model, folder + "/tiny.tflite", quantize=None)
        ...     report = compare(model, path, np.eye(4, dtype="float32"))
        >>> report.examples, report.agreement, report.max_error < 1e-6
        (4, 1.0, True)
    """
    interpreter = Interpreter(path)
    if isinstance(model, Mapping):
        if not isinstance(x, Mapping) or set(x) != set(model):
            got = sorted(map(str, x)) if isinstance(x, Mapping) else type(x).__name__
            raise ValueError(
                f"`x` must be a dict of data by the signatures {sorted(model)}. Received: {got}."
            )
        pairs = [(name, each, x[name], (y or {}).get(name)) for name, each in model.items()]
    else:
        there = interpreter.signatures
        pairs = [(SIGNATURE if SIGNATURE in there else min(there), model, x, y)]
    families = read_families(interpreter.path)
    others = set(model) if isinstance(model, Mapping) else set()
    parts = []
    for base, each, inputs, labels in pairs:
        named = named_model(plain_model(each))
        names = [base]
        if families is None:
            names += _sizes_by_name(interpreter, base, others=others)
        for name in (families or {}).get(base) or names:
            file = FileModel(interpreter, named, signature=name)
            part = _compare(named, file, inputs, labels)
            step = output_step(interpreter.path, name, file.output_name(part.output))
            found: tuple[LayerError, ...] = ()
            if layers:
                arrays = named.arrays(inputs, argument="x")
                rows = np.arange(file.batch_size) % len(next(iter(arrays.values())))
                example = {key: value[rows] for key, value in arrays.items()}
                found = layer_errors(named, interpreter.path, file.inputs, example, signature=name)
            parts.append(replace(part, step=step, batch_size=file.batch_size, layers=found))
    return parts[0] if len(parts) == 1 else worst_of(parts)


def _sizes_by_name(interpreter: Interpreter, base: str, *, others: set[str]) -> list[str]:
    """Lists the other batch sizes of a signature in a file that does not state them.

    They are called `{base}_{size}`, take as many examples, and the same inputs otherwise.
    """
    wanted = _examples(interpreter.signatures[base]) if base in interpreter.signatures else {}
    sizes: dict[int, str] = {}
    for name, signature in interpreter.signatures.items():
        found = re.fullmatch(rf"{re.escape(base)}_(\d+)", name)
        if found is None or name in others or _examples(signature) != wanted:
            continue
        size = int(found[1])
        if all(spec.shape[:1] == (size,) for spec in signature.inputs.values()):
            sizes[size] = name
    return [sizes[size] for size in sorted(sizes)]


def _examples(signature: Signature) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Returns shape and dtype of one example of each input."""
    return {name: (spec.shape[1:], spec.dtype) for name, spec in signature.inputs.items()}


def _compare(named: NamedModel, file: FileModel, x: Any, y: Any) -> ParityReport:
    arrays = named.arrays(x, argument="x")
    examples = len(next(iter(arrays.values())))
    parts: list[dict[str, np.ndarray]] = []
    labels: np.ndarray | None = None
    output = ""
    # The bar only appears when the comparison takes longer than two seconds.
    with tqdm(total=examples, desc="compare", unit="example", delay=2.0, leave=False) as bar:
        for begin in range(0, examples, _BATCH_SIZE):
            rows = slice(begin, begin + _BATCH_SIZE)
            batch = {name: value[rows] for name, value in arrays.items()}
            reference = {
                name: keras.ops.convert_to_numpy(value).astype(np.float32)
                for name, value in named(batch).items()
            }
            if not parts:
                output = "logits" if "logits" in reference else next(iter(reference))
                labels = check_labels(y, shape=(examples, *reference[output].shape[1:]))
            candidate = file.run(batch, reference, tick=bar.update)
            part_labels = None if labels is None else labels[rows]
            parts.append(measures(reference, candidate, output=output, labels=part_labels))
    return _summarize(parts, signature=file.signature.name, output=output, examples=examples)


def _summarize(
    parts: list[dict[str, np.ndarray]], *, signature: str, output: str, examples: int
) -> ParityReport:
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    largest = {"max_error", "largest"}
    values = {
        name: float(value.max() if name in largest else value.mean())
        for name, value in joined.items()
        if value.ndim == 1
    }
    return ParityReport(
        signature=signature,
        output=output,
        examples=examples,
        max_error=values["max_error"],
        mean_error=values["mean_error"],
        largest=values["largest"],
        cosine=values["cosine"],
        agreement=values.get("agreement"),
        kl=values.get("kl"),
        model_accuracy=values.get("model_accuracy"),
        file_accuracy=values.get("file_accuracy"),
        label_f1=f1_of_labels(joined) if "file_hits" in joined else (),
    )
