"""TensorFlow's TFLite converter: run quietly, and its errors put into words.

`SavedModel` is the only road on which Keras 3 weights become constants of the file: a concrete
function that is handed over directly keeps them as variables (`READ_VARIABLE` operations, a file
of 50 KB without the weights, `nan` for an answer). Its signatures have fixed batch sizes,
because a batch left open costs eleven XNNPACK partitions and shape arithmetic in place of one.

Constants that are equal byte for byte are stored once, which is how several signatures share the
weights that their graphs have in common.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.lite.python.convert_phase import ConverterError

from tfdistill.export.convert.attention_masks import clipped_masks, own_blocks
from tfdistill.export.convert.calibration import CALIBRATED, examples
from tfdistill.export.convert.four_bits import reading_by_lookup, to_four_bits
from tfdistill.export.convert.quantizer import quantize_products
from tfdistill.export.convert.quiet import quiet
from tfdistill.export.convert.signatures import Endpoint

__all__ = ["convert"]

_INT16 = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
_UNSUPPORTED = re.compile(r"'tf\.(\w+)' op is neither a custom op nor a flex op")
_AFTERWARDS = ("int4", "int8_fc")  # converted in float and quantized by another library
# The graph's name of an operation holds the names of the layers around it.
_SCOPE = r'"{op}:", "([^"@]+)@'


def convert(
    endpoints: Mapping[str, Endpoint],
    *,
    quantize: str | None,
    calibration: Mapping[str, Mapping[str, np.ndarray]] | None,
    block_size: int | None = None,
) -> bytes:
    """Converts functions to the bytes of a `.tflite` file with one signature for each.

    Args:
        endpoints: The functions by the names of their signatures.
        quantize: One of the modes of `to_tflite`.
        calibration: Arrays by signature and input, from which the static modes take the ranges of
            activations.
        block_size: Inputs that share a scale in an "int4" file.

    Returns:
        The flatbuffer.

    Raises:
        ValueError: If the model needs operations that are not built into TFLite.
        RuntimeError: If the converter fails for another reason.
        OSError: If there is no room for the intermediate SavedModel.
    """
    with tempfile.TemporaryDirectory(prefix="tfdistill-") as folder:
        try:
            with quiet(), _rewritten(endpoints, quantize=quantize):
                _write_saved_model(endpoints, folder)
                content = _run_converter(
                    folder, endpoints, quantize=quantize, calibration=calibration
                )
            if quantize == "int4":
                return to_four_bits(content, block_size=block_size)
            if quantize == "int8_fc":
                return quantize_products(
                    content, calibration=examples(calibration or {}, endpoints)
                )
            return content
        except ConverterError as error:
            raise _explained(error, endpoints, quantize=quantize) from error
        except (OSError, tf.errors.ResourceExhaustedError, tf.errors.OutOfRangeError) as error:
            raise OSError(
                f"The model could not be written as a SavedModel in {tempfile.gettempdir()}, the "
                f"step before conversion: {_first_line(error)} Free some space there, or set the "
                "environment variable TMPDIR to a folder that has it."
            ) from error


def _rewritten(
    endpoints: Mapping[str, Endpoint], *, quantize: str | None
) -> contextlib.AbstractContextManager[None]:
    """Lets the layers compute, for the time being, in the way that suits the mode."""
    models = [each.model for each in endpoints.values()]
    if quantize == "int4":
        return reading_by_lookup(models)
    if quantize in CALIBRATED and quantize not in _AFTERWARDS:
        return clipped_masks(models)
    return clipped_masks(own_blocks(models), below=1e4)


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
    endpoints: Mapping[str, Endpoint],
    *,
    quantize: str | None,
    calibration: Mapping[str, Mapping[str, np.ndarray]] | None,
) -> bytes:
    names = list(endpoints)
    converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=names)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if quantize is not None and quantize not in _AFTERWARDS:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantize == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if calibration is not None and quantize not in _AFTERWARDS:
        converter.representative_dataset = lambda: examples(calibration, endpoints)
        # The second entry leaves operations in float that have no integer kernel.
        converter.target_spec.supported_ops = [
            _INT16 if quantize == "int8_16" else tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
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
