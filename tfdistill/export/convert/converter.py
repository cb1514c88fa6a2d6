"""Functions of tensors → the bytes of a `.tflite` file with one signature for each.

One file may hold several, and they share their weights: the same model at several batch sizes, an
encoder and the heads that read from it, the prefill and the decode step of a language model. Give
`to_tflite` a dict of them, by name::

    hidden = keras.Model(both.input, both.get_layer("pooling").output)
    to_tflite({"encode": hidden, "intent": intent_head, "topic": topic_head, "all": both}, path)

A value is a Keras model, or an `Endpoint`: any function of tensors, with the model whose weights
it uses.

TensorFlow's converter is run quietly, and its errors are put into words. `SavedModel` is the only
road on which Keras 3 weights become constants of the file: a concrete function that is handed over
directly keeps them as variables (`READ_VARIABLE` operations, a file of 50 KB without the weights,
`nan` for an answer). Its signatures have fixed batch sizes, because a batch left open costs eleven
XNNPACK partitions and shape arithmetic in place of one. Constants that are equal byte for byte are
stored once, which is how several signatures share the weights that their graphs have in common.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import sys
import tempfile
import threading
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.lite.python.convert_phase import ConverterError

from tfdistill.bundles.export_modes import MODES
from tfdistill.introspection.named_model import NamedModel, named_model

__all__ = [
    "Endpoint",
    "SIGNATURE",
    "as_models",
    "check_batch_sizes",
    "convert",
    "endpoints_of",
    "quiet",
    "read_families",
    "with_families",
]

SIGNATURE = "serving_default"
_FAMILIES = "tfdistill_signatures.json"
_LONGEST = 2**20  # bytes of the record that are read
_NAME = re.compile(r"[A-Za-z]\w{0,63}")
_INT16 = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
_UNSUPPORTED = re.compile(r"'tf\.(\w+)' op is neither a custom op nor a flex op")
# The graph's name of an operation holds the names of the layers around it.
_SCOPE = r'"{op}:", "([^"@]+)@'
# File descriptors belong to the process: two threads that redirect them at once would leave them
# pointing at a deleted file.
_DESCRIPTORS = threading.Lock()


@dataclass(frozen=True)
class Endpoint:
    """A function to be one signature of a file.

    Attributes:
        function: Called with one tensor per input, by keyword; returns tensors by name. It must
            not draw random numbers or change variables.
        inputs: `tf.TensorSpec` by name, the batch axis included. Shapes are fixed best; None in
            one leaves that size open, at some cost in speed.
        model: The Keras model whose weights the function uses.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> twice = Endpoint(lambda x: {"y": 2.0 * model(x)}, {"x": tf.TensorSpec((1, 4))}, model)
        >>> sorted(twice.inputs)
        ['x']
    """

    function: Callable[..., Mapping[str, Any]]
    inputs: Mapping[str, tf.TensorSpec]
    model: keras.Model
    named: NamedModel | None = field(default=None, repr=False)
    base: str | None = field(default=None, repr=False)


def as_models(model: Any) -> dict[str, keras.Model | Endpoint]:
    """Returns what the caller wants in the file, by the name of the signature.

    Args:
        model: A Keras model, which becomes "serving_default", or a dict.

    Raises:
        TypeError: If a value of the dict is neither a Keras model nor an `Endpoint`.
        ValueError: If the dict is empty, a name is no word, or a value is a `Compressed`.

    Example:
        >>> as_models({"encode": "a path"})
        Traceback (most recent call last):
        ...
        TypeError: `model['encode']` must be a Keras 3 model or an Endpoint. Received: str.
    """
    if not isinstance(model, Mapping):
        return {SIGNATURE: model}
    if not model:
        raise ValueError("`model` must have at least one signature. Received: model={}.")
    from tfdistill.compress.compressed_model import Compressed

    for name, value in model.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError(
                "`model` must have names of letters, digits and underscores, a letter first and "
                f"at most 64 long. Received: a signature named {name!r}."
            )
        if isinstance(value, Compressed):
            raise ValueError(
                f"`model[{name!r}]` must be a plain Keras model. Received: a Compressed one. Strip "
                "the whole model once, with `tfdistill.strip`, and take the parts from the result: "
                "then they share their weights."
            )
        if not isinstance(value, keras.Model | Endpoint):
            raise TypeError(
                f"`model[{name!r}]` must be a Keras 3 model or an Endpoint. "
                f"Received: {type(value).__name__}."
            )
    return dict(model)


def check_batch_sizes(batch_sizes: Any) -> tuple[int | None, ...]:
    """Returns the batch sizes of the signatures, None for one that is left open.

    Args:
        batch_sizes: Different ints of at least 1, or None or "dynamic".

    Raises:
        TypeError: If it is something else.
        ValueError: If there is none, one is below 1, or one is there twice.

    Example:
        >>> check_batch_sizes((1, 8)), check_batch_sizes("dynamic")
        ((1, 8), (None,))
    """
    if batch_sizes is None or batch_sizes == "dynamic":
        return (None,)
    hint = "(1, 8) makes two signatures; 'dynamic' leaves the size open."
    listed = isinstance(batch_sizes, Sequence) and not isinstance(batch_sizes, str)
    if not listed or any(isinstance(n, bool) or not isinstance(n, int) for n in batch_sizes):
        raise TypeError(
            "`batch_sizes` must be a tuple of ints, or None. "
            f"Received: batch_sizes={batch_sizes!r}. {hint}"
        )
    sizes = tuple(batch_sizes)
    if not sizes or min(sizes) < 1 or len(set(sizes)) < len(sizes):
        raise ValueError(
            "`batch_sizes` must be different ints of at least 1. "
            f"Received: batch_sizes={batch_sizes!r}. {hint}"
        )
    return sizes


def endpoints_of(
    models: Mapping[str, keras.Model | Endpoint], *, batch_sizes: Sequence[int | None]
) -> dict[str, Endpoint]:
    """Turns models into endpoints, each at every batch size; endpoints stay as they are.

    The first batch size has the model's plain name, another one the size behind it: "encode",
    "encode_8". Which name belongs to which model is in `Endpoint.base`, so nobody has to guess.

    Args:
        models: By name, from `as_models`; the models are built.
        batch_sizes: From `check_batch_sizes`.

    Raises:
        ValueError: If two signatures get the same name, or a model has an open axis.
    """
    found: dict[str, Endpoint] = {}
    for base, value in models.items():
        if isinstance(value, Endpoint):
            made = {base: replace(value, base=base)}
        else:
            named = named_model(value)
            check_fixed(named)
            made = {
                base if size == batch_sizes[0] else f"{base}_{size}": _endpoint(named, size, base)
                for size in batch_sizes
            }
        for name in made:
            if name in found:
                raise ValueError(
                    "`model` must give signatures that differ in their names. Received: "
                    f"{name!r} twice, the second time for a batch size. Rename one."
                )
        found.update(made)
    return found


def check_fixed(named: NamedModel) -> None:
    """Refuses a model that leaves an axis besides the batch open."""
    for each in named.inputs:
        if None in each.shape:
            shape = ", ".join("?" if size is None else str(size) for size in each.shape)
            raise ValueError(
                "`model` must have fixed input sizes apart from the batch. Received: input "
                f"{each.name!r} of shape (batch, {shape}). Wrap it: keras.Input((64,), "
                f"name={each.name!r}, dtype={each.dtype!r}) for each input, "
                "keras.Model(inputs, model(inputs))."
            )


def _endpoint(named: NamedModel, size: int | None, base: str) -> Endpoint:
    specs = {
        each.name: tf.TensorSpec((size, *each.shape), each.file_dtype, name=each.name)
        for each in named.inputs
    }
    return Endpoint(lambda **tensors: named(tensors), specs, named.model, named, base)


def convert(
    endpoints: Mapping[str, Endpoint],
    *,
    quantize: str | None,
    calls: Callable[[], Iterable[tuple[str, Mapping[str, np.ndarray]]]] | None = None,
) -> bytes:
    """Converts functions to the bytes of a `.tflite` file with one signature for each.

    Args:
        endpoints: The functions by the names of their signatures.
        quantize: One of the modes; the converter leaves a file float that ai-edge-quantizer is to
            work on.
        calls: Gives the calls from which a static file takes the ranges of activations: a
            signature and its inputs by name.

    Returns:
        The flatbuffer.

    Raises:
        ValueError: If the model needs operations that are not built into TFLite.
        RuntimeError: If the converter fails for another reason.
        OSError: If there is no room for the intermediate SavedModel.
    """
    with tempfile.TemporaryDirectory(prefix="tfdistill-") as folder:
        try:
            with quiet():
                _write_saved_model(endpoints, folder)
                return _run_converter(folder, list(endpoints), quantize=quantize, calls=calls)
        except ConverterError as error:
            raise _explained(error, endpoints, quantize=quantize) from error
        except (OSError, tf.errors.ResourceExhaustedError, tf.errors.OutOfRangeError) as error:
            raise OSError(
                f"The model could not be written as a SavedModel in {tempfile.gettempdir()}, the "
                f"step before conversion: {_first_line(error)} Free some space there, or set the "
                "environment variable TMPDIR to a folder that has it."
            ) from error


def with_families(content: bytes, endpoints: Mapping[str, Endpoint]) -> bytes:
    """Appends to a `.tflite` file which signatures are one model at several batch sizes.

    The names do not tell: "head_8" may be "head" for eight examples at once, or another head. The
    record is a ZIP archive behind the flatbuffer, the place of a TFLite model's associated files,
    which runtimes pass over. A file of one signature needs none.

    Args:
        content: The flatbuffer.
        endpoints: Its signatures, from `endpoints_of`.
    """
    if len(endpoints) == 1:
        return content
    families: dict[str, list[str]] = {}
    for name, endpoint in endpoints.items():
        families.setdefault(endpoint.base or name, []).append(name)
    file = io.BytesIO(content)
    with zipfile.ZipFile(file, "a") as archive:
        # Without a time in it, so that equal models give equal files.
        archive.writestr(zipfile.ZipInfo(_FAMILIES), json.dumps(families))
    return file.getvalue()


def read_families(path: Path) -> dict[str, list[str]] | None:
    """Reads what `with_families` wrote.

    Args:
        path: A `.tflite` file.

    Returns:
        The signatures of each model by its name, in the order of the batch sizes; None for a file
        without that record: one of a single signature, an older or a foreign one.
    """
    if not zipfile.is_zipfile(path):
        return None
    try:
        with zipfile.ZipFile(path) as archive, archive.open(_FAMILIES) as stream:
            families = json.loads(stream.read(_LONGEST))
            return {str(base): [str(name) for name in names] for base, names in families.items()}
    # No such record, or one that somebody else wrote: packed, encrypted, cut off, of other content.
    except (
        LookupError, ValueError, AttributeError, TypeError, RuntimeError, OSError, EOFError,
        zipfile.BadZipFile, zlib.error,
    ):  # fmt: skip
        return None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps all that is printed, from Python or C++, off the terminal; an error takes it along."""
    with _DESCRIPTORS, tempfile.TemporaryFile() as chatter, io.StringIO() as python_chatter:
        sys.stdout.flush()
        sys.stderr.flush()
        kept = [os.dup(1), os.dup(2)]
        try:
            os.dup2(chatter.fileno(), 1)
            os.dup2(chatter.fileno(), 2)
            with (
                contextlib.redirect_stdout(python_chatter),
                contextlib.redirect_stderr(python_chatter),  # a notebook shows it without C++
            ):
                yield
        except Exception as error:
            if not isinstance(error, ConverterError):  # which holds all that was printed
                chatter.seek(0)
                printed = chatter.read().decode(errors="replace") + python_chatter.getvalue()
                if printed:
                    error.add_note(f"Printed on the way:\n{printed}")
            raise
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for descriptor, original in zip((1, 2), kept, strict=True):
                os.dup2(original, descriptor)
                os.close(original)


def _write_saved_model(endpoints: Mapping[str, Endpoint], folder: str) -> None:
    archive = keras.export.ExportArchive()
    for name, endpoint in endpoints.items():
        specs = {
            key: tf.TensorSpec(spec.shape, spec.dtype, name=key)
            for key, spec in endpoint.inputs.items()
        }
        archive.track(endpoint.model)
        archive.add_endpoint(name, _by_keyword(endpoint), input_signature=[specs])
    archive.write_out(folder, verbose=False)


def _by_keyword(endpoint: Endpoint) -> Callable[[Mapping[str, tf.Tensor]], dict[str, Any]]:
    return lambda tensors: dict(endpoint.function(**tensors))


def _run_converter(
    folder: str,
    names: list[str],
    *,
    quantize: str | None,
    calls: Callable[[], Iterable[tuple[str, Mapping[str, np.ndarray]]]] | None,
) -> bytes:
    mode = MODES[quantize]
    converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=names)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if mode.bits < 32 and not mode.needs_quantizer:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if mode.bits == 16:
        converter.target_spec.supported_types = [tf.float16]
    if calls is not None and not mode.needs_quantizer:
        converter.representative_dataset = calls
        # The second entry leaves operations in float that have no integer kernel.
        converter.target_spec.supported_ops = [
            _INT16 if mode.activation_bits == 16 else tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
            tf.lite.OpsSet.TFLITE_BUILTINS,
        ]
    with warnings.catch_warnings():
        # That inputs and outputs stay float, which is what is wanted; and that the converter's
        # own way of measuring activations will change some day.
        warnings.filterwarnings("ignore", message="Statistics for quantized inputs")
        warnings.filterwarnings("ignore", message=r"\s*Warning: tf.lite.Interpreter is deprecated")
        return converter.convert()


def _explained(
    error: ConverterError, endpoints: Mapping[str, Endpoint], *, quantize: str | None
) -> ValueError | RuntimeError:
    text = str(error)
    operations = sorted(set(_UNSUPPORTED.findall(text)))
    models = {id(each.model): each.model for each in endpoints.values()}.values()
    whose = " and ".join(dict.fromkeys(repr(model.name) for model in models))
    if not operations:
        return RuntimeError(
            f"TensorFlow's converter refused the model {whose} with quantize={quantize!r}: "
            f"{_first_line(error)} Write the layer around that operation in another way."
        )
    layers = {layer.name for model in models for layer in model._flatten_layers(include_self=False)}
    described = [_described(operation, text, layers) for operation in operations]
    return ValueError(
        "`model` must use only operations that are built into TFLite. Received: "
        f"model={whose}, which needs {', '.join(described)}. Write that part with other "
        "operations, or leave it out of the exported model."
    )


def _described(operation: str, text: str, layers: set[str]) -> str:
    found: list[str] = []
    for scope in re.findall(_SCOPE.format(op=operation), text):
        for part in reversed(scope.split("/")[:-1]):
            # The graph numbers a scope that it sees twice: "norm" is "norm_1" there.
            names = [name for name in (part, re.sub(r"_\d+$", "", part)) if name in layers]
            if names:
                found.extend(name for name in names[:1] if name not in found)
                break
    if not found:
        return operation
    return f"{operation} (in the layer {' and '.join(map(repr, found))})"


def _first_line(error: BaseException) -> str:
    """Returns the first sentence of an error without the converter's source locations."""
    line = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    line = re.sub(r"^.*?loc\(callsite.*?\)\)\): ", "", line)
    return line.strip().rstrip(".") + "."
