"""From a Keras 3 model to a `.tflite` file that a device runs without TensorFlow.

========== ============================ =========================================================
`quantize` what is stored               when
========== ============================ =========================================================
None       float32                      a reference, and the largest
"float16"  weights rounded to float16   half the size, the same speed: kernels compute in float32
"dynamic"  weights as 8-bit integers    the default: a quarter of the size and, for matrix
                                        multiplications, faster; needs no data
"int8"     activations as 8-bit too     convolutional nets and devices without a float unit;
                                        needs `calibration`, and costs a transformer accuracy
"int8_16"  activations as 16-bit        the same where "int8" costs too much; slower
"int8_fc"  activations as 8-bit where   transformers: softmax and norms stay float, without
           a matrix product reads them  the accuracy that "int8" costs; needs `calibration`
                                        and the extra `quantizer`
"int4"     weights as 4-bit integers    the smallest, for a model trained with
                                        `quantize_aware(bits=4)`; needs the extra `quantizer`
========== ============================ =========================================================
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from tfdistill.compress.compressed_model import guarantees_of, plain_model
from tfdistill.compress.inspection.verification import verify_file
from tfdistill.export.convert.calibration import check_calibration
from tfdistill.export.convert.converter import convert
from tfdistill.export.convert.quantizer import check_block_size, check_quantizer
from tfdistill.export.convert.signatures import Endpoint, as_models, check_batch_sizes, endpoints_of
from tfdistill.files.atomic import check_target, replacing
from tfdistill.runtime.interpreter import Interpreter
from tfdistill.runtime.sandbox import remember

__all__ = ["MODES", "to_tflite"]

MODES = (None, "float16", "dynamic", "int8", "int8_16", "int8_fc", "int4")


def to_tflite(
    model: keras.Model | Mapping[str, keras.Model | Endpoint],
    path: str | os.PathLike[str],
    *,
    quantize: str | None = "dynamic",
    calibration: Any = None,
    verify_compression: bool = True,
    batch_sizes: Sequence[int] | str | None = (1,),
    block_size: int | None = None,
) -> Path:
    """Writes a Keras 3 model, or several that share weights, as one `.tflite` file.

    The file of one model has one signature, "serving_default", for **one example**: a fixed batch
    of 1 runs as a single accelerated block, and a server replicates the file rather than batching.
    `batch_sizes=(1, 8)` adds "serving_default_8" for eight at once, with the same weights. A dict
    makes one signature of each value, under its name (and `{name}_8`). Inputs have
    the names of the model's inputs, outputs those of its output layers (or the keys of a dict);
    a single output without a name of its own is "logits". Only operations built into TFLite are
    used, so any LiteRT runtime opens the file. Inputs and outputs are float32 and int32 in every
    mode; a bool input becomes an int32 of zeros and ones.

    "dynamic" is the converter's dynamic-range quantisation: for a kernel one scale per output
    channel, for an embedding table one scale, the largest magnitude being ±127. Tensors of fewer
    than 1,024 numbers stay float. "int8" also stores activations on fixed grids, measured on
    `calibration`, "int8_16" with 16 bits. Attention masks are then made by adding −30, because a
    huge negative constant ruins such a grid; a mask of your own making may do that, so compare.
    "int8_fc" has such grids around matrix products only and computes all else in float: on this
    package's small encoders it is faster than "dynamic", which measures every activation as it
    comes.

    "int4" stores kernels in 4 bits with one scale per output channel and embedding tables with one
    per row, the largest magnitude being ±7, and computes with 8-bit activations; small kernels and
    those of Conv3D stay float. On a model that was not trained for it expect a loss. A row of a
    table costs 12 bytes for its scale besides, so a narrow table gains less: at width 64 a row
    takes 44 bytes in place of 64.

    Args:
        model: A built Keras 3 model on the TensorFlow backend. A `Compressed` one is stripped
            first. Or a dict of plain models and `Endpoint`s by the name of the signature, for
            parts of one model, such as an encoder and its heads: weights that they have in common
            are in the file once. Nothing is changed.
        path: The file to write. An existing one is replaced, in one step, when all went well.
        quantize: None, "float16", "dynamic", "int8", "int8_16", "int8_fc" or "int4"; see the
            module's table.
        calibration: For "int8", "int8_16" and "int8_fc": typical inputs, one array (or a dict by
            name, or a list in the model's order) with examples along the first axis. 100 to 500
            are usual. For a dict of models a dict of such, by signature.
        batch_sizes: Batch sizes of the signatures, different ints; the first has the plain name.
            None or "dynamic" leaves the batch open, which costs speed.
        verify_compression: Whether zeros, shared values, grids and shared kernels of the model,
            and what else the recipe of a `Compressed` model guarantees, must be in the file;
            False gives them up, as for 4-bit weights in an 8-bit file.
        block_size: For "int4": 32, 64, 128 or 256 inputs of a matrix product share a scale, which
            follows outliers more closely and costs two bytes a block; for a model that was not
            trained on the grid of whole channels. None has one scale per output channel.

    Returns:
        The path of the file.

    Raises:
        TypeError: If `model` is not a Keras 3 model or a dict of such, `batch_sizes` are no ints,
            or `calibration` has another dtype or is a dataset or generator.
        ValueError: If the model is unbuilt, has an open axis besides the batch, computes in
            another type than float32, or needs an operation that TFLite lacks; if `quantize` is
            unknown; if `block_size` does not fit; if `calibration` is missing for "int8", given
            for another mode, or has another shape or values that are not finite.
        ImportError: If ai-edge-quantizer, which "int4" and "int8_fc" need, is not installed.
        RuntimeError: If the converter fails on the model, or the file lost what
            `verify_compression` asks for.
        OSError: If the file cannot be written. Nothing is left behind.

    Example:
        >>> import tempfile
        >>> model = keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(2)])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = to_tflite(model, Path(folder, "tiny.tflite"), quantize=None)
        ...     signature = Interpreter(path).signatures["serving_default"]
        >>> signature.inputs["x"].shape, signature.outputs["logits"].shape
        ((1, 4), (1, 2))
    """
    if quantize not in MODES:
        raise ValueError(f"`quantize` must be one of {MODES}. Received: quantize={quantize!r}.")
    if quantize in ("int4", "int8_fc"):
        check_quantizer(quantize)
    sizes = check_batch_sizes(batch_sizes)
    target = check_target(path)
    given = as_models(model)
    models = {name: _exportable(value) for name, value in given.items()}
    endpoints = endpoints_of(models, batch_sizes=sizes)
    one = not isinstance(model, Mapping)
    data = check_calibration(calibration, endpoints, quantize=quantize, one=one)
    plain = [each.model for each in endpoints.values()]
    check_block_size(block_size, quantize=quantize, models=plain)
    content = convert(endpoints, quantize=quantize, calibration=data, block_size=block_size)
    with replacing(target) as temporary:
        temporary.write_bytes(content)
        Interpreter(temporary, vetted=True)  # refuses what the runtime cannot prepare
        remember(temporary)
        if verify_compression:
            for name, each in models.items():
                if not isinstance(each, Endpoint):
                    own = guarantees_of(given[name])
                    verify_file(each, temporary, quantize=quantize, guarantees=own)
    return target


def _exportable(value: keras.Model | Endpoint) -> keras.Model | Endpoint:
    """Returns a plain model, or the endpoint, if all of its layers can be converted."""
    model = value.model if isinstance(value, Endpoint) else plain_model(value)
    for layer in model._flatten_layers():
        policy = layer.dtype_policy
        if policy.quantization_mode is not None:
            raise ValueError(
                "`model` must have float weights: the file is quantised on the way out. Received: "
                f"layer {layer.name!r} with the Keras policy {policy.name!r}. Export the model as "
                "it was before `model.quantize(...)`, with quantize='dynamic'."
            )
        if policy.compute_dtype not in ("float32", None):
            raise ValueError(
                "`model` must compute in float32. Received: layer "
                f"{layer.name!r} with the policy {policy.name!r}. Build the model again under "
                "keras.config.set_dtype_policy('float32') and copy the weights with "
                "new_model.set_weights(model.get_weights())."
            )
    return value if isinstance(value, Endpoint) else model
