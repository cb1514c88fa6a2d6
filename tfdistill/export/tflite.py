"""From a Keras 3 model to a `.tflite` file that a device runs without TensorFlow.

The model is not changed, but while it is converted some of its layers compute in another way that
gives the same answers. A table of 4 bits is read by a lookup, see `convert.four_bits`. And
attention masks leave a grid to the scores: Keras masks a position by −3e38 in its score. A static
grid that has to reach there has one step for everything else, and the file answers at random. After
a softmax, −30 does the same: e⁻³⁰ is 1e-13. So while a static file is made, attention adds −30
where it is masked::

    softmax(scores + 30 · (mask − 1))

A row in which nothing is left keeps its scores, in place of becoming zeros.

A float file gains as well: one addition in place of two selections took 0.94 of the time of a whole
student (paired, 0.4 M and 1 M parameters). There −10,000 is added, whose exponential is exactly
zero, and only in this package's blocks, which read nothing from a row in which nothing is left.
"""

from __future__ import annotations

import contextlib
import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from tfdistill.bundles.export_modes import MODES, Mode
from tfdistill.compress.compressed_model import guarantees_of, plain_model
from tfdistill.compress.inspection.statistics import verify_file
from tfdistill.export.convert.calibration import check_calibration, examples
from tfdistill.export.convert.converter import (
    Endpoint,
    as_models,
    check_batch_sizes,
    convert,
    endpoints_of,
    with_families,
)
from tfdistill.export.convert.four_bits import reading_by_lookup, to_four_bits
from tfdistill.export.convert.quantizer import (
    check_block_size,
    check_quantizer,
    quantize_products,
)
from tfdistill.files.atomic import check_target, replacing
from tfdistill.introspection.hooks import Hook, has_own_method, intercepting, named_arguments
from tfdistill.runtime.interpreter import Interpreter
from tfdistill.runtime.sandbox import remember
from tfdistill.students.encoder_blocks import EncoderBlock

__all__ = ["clipped_masks", "to_tflite"]


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

    `quantize` says how the numbers are stored; the table of `tfdistill.bundles.export_modes` has
    what each mode is for and what it costs, `tfdistill export --help` prints it.

    Args:
        model: A built Keras 3 model on the TensorFlow backend. A `Compressed` one is stripped
            first. Or a dict of plain models and `Endpoint`s by the name of the signature, for
            parts of one model, such as an encoder and its heads: weights that they have in common
            are in the file once. Nothing is changed.
        path: The file to write. An existing one is replaced, in one step, when all went well.
        quantize: One of `MODES`; None stores float32.
        calibration: For the modes that measure activations: typical inputs, one array (or a dict
            by name, or a list in the model's order) with examples along the first axis. 100 to
            500 are usual. For a dict of models a dict of such, by signature.
        batch_sizes: Batch sizes of the signatures, different ints; the first has the plain name.
            None or "dynamic" leaves the batch open, which costs speed.
        verify_compression: Whether zeros, shared values, grids and shared kernels of the model,
            and what else the recipe of a `Compressed` model guarantees, must be in the file;
            False gives them up, as for 4-bit weights in an 8-bit file.
        block_size: With weights of 4 bits: 32, 64, 128 or 256 inputs of a matrix product share a
            scale, which follows outliers more closely and costs two bytes a block; for a model
            that was not trained on the grid of whole channels. None has one scale per output
            channel.

    Returns:
        The path of the file.

    Raises:
        TypeError: If `model` is not a Keras 3 model or a dict of such, `batch_sizes` are no ints,
            or `calibration` has another dtype or is a dataset or generator.
        ValueError: If the model is unbuilt, has an open axis besides the batch, computes in
            another type than float32, or needs an operation that TFLite lacks; if `quantize` is
            unknown; if `block_size` does not fit; if `calibration` is missing for a mode that
            needs it, given for another, or has another shape or values that are not finite.
        ImportError: If the mode needs ai-edge-quantizer, which is not installed.
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
        raise ValueError(
            f"`quantize` must be one of {tuple(MODES)}. Received: quantize={quantize!r}."
        )
    if MODES[quantize].needs_quantizer:
        check_quantizer(quantize)
    sizes = check_batch_sizes(batch_sizes)
    target = check_target(path)
    given = as_models(model)
    models = {name: _exportable(value) for name, value in given.items()}
    endpoints = endpoints_of(models, batch_sizes=sizes)
    one = not isinstance(model, Mapping)
    data = None
    if calibration is not None or MODES[quantize].needs_calibration:
        data = check_calibration(calibration, endpoints, quantize=quantize, one=one)
    if block_size is not None:
        plain = [each.model for each in endpoints.values()]
        check_block_size(block_size, quantize=quantize, models=plain)
    content = _converted(endpoints, quantize=quantize, calibration=data, block_size=block_size)
    with replacing(target) as temporary:
        temporary.write_bytes(with_families(content, endpoints))
        Interpreter(temporary, vetted=True)  # refuses what the runtime cannot prepare
        remember(temporary)
        if verify_compression:
            for name, each in models.items():
                if not isinstance(each, Endpoint):
                    own = guarantees_of(given[name])
                    verify_file(each, temporary, quantize=quantize, guarantees=own)
    return target


def _converted(
    endpoints: Mapping[str, Endpoint],
    *,
    quantize: str | None,
    calibration: Mapping[str, Mapping[str, np.ndarray]] | None,
    block_size: int | None,
) -> bytes:
    """Converts in one step, or to float32 and from there with ai-edge-quantizer."""
    mode = MODES[quantize]
    calls = None if calibration is None else lambda: examples(calibration, endpoints)
    with _rewritten([each.model for each in endpoints.values()], mode):
        content = convert(endpoints, quantize=quantize, calls=calls)
    if not mode.needs_quantizer:
        return content
    if calls is not None:
        return quantize_products(content, calibration=calls())
    return to_four_bits(content, block_size=block_size)


def _rewritten(models: list[keras.Model], mode: Mode) -> contextlib.AbstractContextManager[None]:
    """Lets the layers compute, for the time being, in the way that suits the mode."""
    if mode.bits == 4:
        return reading_by_lookup(models)
    if mode.needs_calibration and not mode.needs_quantizer:
        return clipped_masks(models)
    layers = [layer for model in models for layer in model._flatten_layers()]
    own_blocks = [layer for layer in layers if isinstance(layer, EncoderBlock)]
    return clipped_masks(own_blocks, below=1e4)


@contextlib.contextmanager
def clipped_masks(models: Iterable[keras.layers.Layer], *, below: float = 30.0) -> Iterator[None]:
    """Makes the softmax layers of models, those inside attention too, mask by adding −30.

    Args:
        models: Built Keras 3 models or layers. They are as before afterwards.
        below: What is subtracted from a masked score.
    """
    found = {id(layer): layer for model in models for layer in model._flatten_layers()}.values()
    softmaxes = [
        layer
        for layer in found
        if type(layer).call is keras.layers.Softmax.call and not has_own_method(layer)
    ]
    attentions = [
        layer
        for layer in found
        if isinstance(layer, keras.layers.MultiHeadAttention)
        and "return_attention_scores" in inspect.signature(layer._compute_attention).parameters
    ]
    with (
        intercepting((layer, _adding(below)) for layer in softmaxes),
        intercepting(
            ((layer, _by_softmax_layer) for layer in attentions), method="_compute_attention"
        ),
    ):
        yield


def _adding(below: float) -> Hook:
    def hook(call: Callable[..., Any], inputs: Any, mask: Any = None) -> Any:
        if mask is None:
            return call(inputs)
        kept = ops.cast(mask, inputs.dtype)
        return call(inputs + below * (kept - 1.0))

    return hook


def _by_softmax_layer(compute: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Attends past Keras' fused kernel, which has no scores to return and no softmax layer."""
    given = named_arguments(compute, args, kwargs)
    return compute(**{**given, "return_attention_scores": True})


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
