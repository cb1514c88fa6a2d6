"""TensorFlow's TFLite converter: run quietly, and its errors put into words.

`SavedModel` is the only road on which Keras 3 weights become constants of the file: a concrete
function that is handed over directly keeps them as variables (`READ_VARIABLE` operations, a file
of 50 KB without the weights, `nan` for an answer). Its signature here has a batch of exactly one,
because a batch left open costs eleven XNNPACK partitions and shape arithmetic in place of one.
"""

from __future__ import annotations

import re
import tempfile
import warnings
from collections.abc import Iterator, Mapping

import keras
import numpy as np
import tensorflow as tf
from tensorflow.lite.python.convert_phase import ConverterError

from tfdistill.export.four_bits import to_four_bits
from tfdistill.export.quiet import quiet
from tfdistill.export.signature import NamedModel

__all__ = ["SIGNATURE", "convert"]

SIGNATURE = "serving_default"
_UNSUPPORTED = re.compile(r"'tf\.(\w+)' op is neither a custom op nor a flex op")
# The graph's name of an operation holds the names of the layers around it.
_SCOPE = r'"{op}:", "([^"@]+)@'


def convert(
    named: NamedModel, *, quantize: str | None, calibration: Mapping[str, np.ndarray] | None
) -> bytes:
    """Converts a model to the bytes of a `.tflite` file with one signature of batch 1.

    Args:
        named: The model, all of whose input axes but the batch are fixed.
        quantize: None, "float16", "dynamic", "int8" or "int4".
        calibration: Arrays by name from which "int8" takes the ranges of activations.

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
                _write_saved_model(named, folder)
                content = _run_converter(folder, quantize=quantize, calibration=calibration)
            return to_four_bits(content) if quantize == "int4" else content
        except ConverterError as error:
            raise _explained(error, named.model, quantize=quantize) from error
        except (OSError, tf.errors.ResourceExhaustedError, tf.errors.OutOfRangeError) as error:
            raise OSError(
                f"The model could not be written as a SavedModel in {tempfile.gettempdir()}, the "
                f"step before conversion: {_first_line(error)} Free some space there, or set the "
                "environment variable TMPDIR to a folder that has it."
            ) from error


def _write_saved_model(named: NamedModel, folder: str) -> None:
    specs = {
        each.name: tf.TensorSpec((1, *each.shape), each.file_dtype, name=each.name)
        for each in named.inputs
    }
    archive = keras.export.ExportArchive()
    archive.track(named.model)
    archive.add_endpoint(SIGNATURE, named.__call__, input_signature=[specs])
    archive.write_out(folder, verbose=False)


def _run_converter(
    folder: str, *, quantize: str | None, calibration: Mapping[str, np.ndarray] | None
) -> bytes:
    converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[SIGNATURE])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if quantize not in (None, "int4"):
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantize == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if calibration is not None:
        converter.representative_dataset = lambda: _examples(calibration)
        # The second entry leaves operations in float that have no integer kernel.
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
            tf.lite.OpsSet.TFLITE_BUILTINS,
        ]
    with warnings.catch_warnings():
        # That inputs and outputs stay float, which is what is wanted; and that the converter's
        # own way of measuring activations will change some day.
        warnings.filterwarnings("ignore", message="Statistics for quantized inputs")
        warnings.filterwarnings("ignore", message=r"\s*Warning: tf.lite.Interpreter is deprecated")
        return converter.convert()


def _examples(
    calibration: Mapping[str, np.ndarray],
) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    for index in range(len(next(iter(calibration.values())))):
        yield SIGNATURE, {name: value[index : index + 1] for name, value in calibration.items()}


def _explained(
    error: ConverterError, model: keras.Model, *, quantize: str | None
) -> ValueError | RuntimeError:
    text = str(error)
    operations = sorted(set(_UNSUPPORTED.findall(text)))
    if not operations:
        return RuntimeError(
            f"TensorFlow's converter refused the model {model.name!r} with quantize={quantize!r}: "
            f"{_first_line(error)} Write the layer around that operation in another way."
        )
    layers = {layer.name for layer in model._flatten_layers(include_self=False)}
    described = [_described(operation, text, layers) for operation in operations]
    return ValueError(
        "`model` must use only operations that are built into TFLite. Received: "
        f"model={model.name!r}, which needs {', '.join(described)}. Write that part with other "
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
