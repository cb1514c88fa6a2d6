"""What ai-edge-quantizer makes of a float `.tflite` file: fewer bits for the operations named.

TFLite's own converter stops at 8 bits, has no scales for parts of a row, and in a static file puts
integers around norms and softmax too, which costs a transformer accuracy and most of its speed.
"""

from __future__ import annotations

import importlib.util
import math
import struct
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from tfdistill.bundles.export_modes import MODES
from tfdistill.compress.guarantees import group_size_of
from tfdistill.export.convert.converter import quiet
from tfdistill.introspection.weights import Target, find_targets

__all__ = [
    "check_block_size",
    "check_quantizer",
    "quantize_products",
    "quantize_weights",
]

_BLOCK_SIZES = (32, 64, 128, 256)
_LEAST_NUMBERS = 1024  # the converter's own limit at 8 bits: smaller kernels stay float
_PRODUCTS = {"FULLY_CONNECTED": "CHANNELWISE", "CONV_2D": "CHANNELWISE", "GATHER": "TENSORWISE"}


def check_quantizer(quantize: str | None) -> None:
    """Refuses to go on without the package.

    Args:
        quantize: The mode that needs it.

    Raises:
        ImportError: If ai-edge-quantizer is not installed.
    """
    if importlib.util.find_spec("ai_edge_quantizer") is None:
        raise ImportError(
            f"`quantize` must be a mode that needs no ai-edge-quantizer, which is not installed. "
            f"Received: quantize={quantize!r}. Install it with `pip install tfdistill[quantizer]`, "
            "or use another mode: None is float32 everywhere."
        )


def check_block_size(
    block_size: int | None, *, quantize: str | None, models: Iterable[keras.Model]
) -> None:
    """Refuses blocks that do not fit.

    Args:
        block_size: What the user asked for.
        quantize: The mode of the file.
        models: What goes into it.

    Raises:
        ValueError: If the mode has no weights of 4 bits, the size is unknown, a large kernel has a
            number of inputs that is no multiple of it, or all of them are on the grid of whole
            channels.
    """
    if block_size is None:
        return
    four_bits = MODES[quantize].bits == 4
    if not four_bits or isinstance(block_size, bool) or block_size not in _BLOCK_SIZES:
        raise ValueError(
            f"`block_size` must be None, or one of {_BLOCK_SIZES} with quantize='int4'. Received: "
            f"block_size={block_size!r} with quantize={quantize!r}."
        )
    kernels = [target for model in models for target in _large_kernels(model)]
    for target in kernels:
        if target.matrix_shape[0] % block_size:
            raise ValueError(
                "`block_size` must divide the inputs of every large kernel. Received: block_size="
                f"{block_size} for {target.path!r} with {target.matrix_shape[0]} inputs. Take a "
                "smaller block, or None: one scale per output."
            )
    if kernels and all(_is_on_grid(target) for target in kernels):
        raise ValueError(
            "`block_size` must be None for a model that was trained on the grid of whole channels, "
            f"`quantize_aware(bits=4)`. Received: block_size={block_size}. Other scales would "
            "round its weights once more."
        )


def _large_kernels(model: keras.Model) -> list[Target]:
    """Lists the kernels that are stored in blocks: those of convolutions are not."""
    kinds = keras.layers.Conv1D | keras.layers.Conv2D | keras.layers.Conv3D
    whole = {id(layer.kernel) for layer in model._flatten_layers() if isinstance(layer, kinds)}
    return [
        target
        for target in find_targets(model)
        if target.kind == "kernel"
        and math.prod(target.matrix_shape) >= _LEAST_NUMBERS
        and id(target.variable) not in whole
    ]


def _is_on_grid(target: Target) -> bool:
    matrix = keras.ops.convert_to_numpy(target.variable).reshape(target.matrix_shape)
    return group_size_of(matrix.T) is not None


def quantize_weights(
    content: bytes,
    *,
    bits: int,
    operations: Sequence[str],
    block_size: int | None = None,
    least_numbers: int = _LEAST_NUMBERS,
) -> bytes:
    """Stores weights in integers; activations are measured, in 8 bits, at run time.

    Args:
        content: The bytes of a float file.
        bits: 8 or 4.
        operations: Whose weights, by TFLite's names. Kernels have one scale per output channel,
            tables one per row.
        block_size: Inputs of a matrix product that share a scale, 32 to 256; None
            takes all of an output's.
        least_numbers: Smaller kernels stay float.

    Returns:
        The bytes of the smaller file.

    Raises:
        RuntimeError: If the quantizer fails on the file.
    """
    recipe = []
    for operation in operations:
        blocks = block_size is not None and operation == "FULLY_CONNECTED"
        granularity = f"BLOCKWISE_{block_size}" if blocks else "CHANNELWISE"
        recipe.append(_entry(operation, bits, granularity, least_numbers=least_numbers))
    return _quantized(content, recipe)


def quantize_products(
    content: bytes, *, calibration: Iterable[tuple[str, Mapping[str, np.ndarray]]]
) -> bytes:
    """Computes matrix products and convolutions on 8-bit grids, all between them in float.

    Tables are stored in 8 bits with one scale.

    Args:
        content: The bytes of a float file.
        calibration: Calls from which the ranges are taken: a signature and its inputs by name.

    Returns:
        The bytes of the smaller file.

    Raises:
        RuntimeError: If the quantizer fails on the file.
    """
    activations = {"num_bits": 8, "granularity": "TENSORWISE", "dtype": "INT"}
    recipe = [
        _entry(
            operation,
            8,
            granularity,
            least_numbers=0,  # a product whose inputs are integers has no float kernel
            # A table is stored as what it gives out: on the grid that it was trained on.
            activations={**activations, "symmetric": operation == "GATHER"},
        )
        for operation, granularity in _PRODUCTS.items()
    ]
    calls: dict[str, list[dict[str, np.ndarray]]] = {}
    for signature, inputs in calibration:
        calls.setdefault(signature, []).append(dict(inputs))
    return _quantized(content, recipe, calls)


def _entry(
    operation: str,
    bits: int,
    granularity: str,
    *,
    least_numbers: int = _LEAST_NUMBERS,
    activations: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Makes one entry of a recipe; without grids for activations they are measured at run time."""
    config = {
        "weight_tensor_config": {
            "num_bits": bits,
            "symmetric": True,
            "granularity": granularity,
            "dtype": "INT",
        },
        "compute_precision": "INTEGER",
        "explicit_dequantize": False,
        "min_weight_elements": least_numbers,
    }
    if activations is not None:
        config["activation_tensor_config"] = activations
    return {
        "regex": ".*",
        "operation": operation,
        "algorithm_key": "min_max_uniform_quantize",
        "op_config": config,
    }


def _quantized(
    content: bytes,
    recipe: list[dict[str, Any]],
    calls: dict[str, list[dict[str, np.ndarray]]] | None = None,
) -> bytes:
    from ai_edge_quantizer.quantizer import Quantizer

    with quiet(), warnings.catch_warnings():
        # The library reads all tensors of the file on purpose.
        warnings.filterwarnings("ignore", message="Warning: Enabling `experimental_preserve")
        try:
            ranges = _ranges(content, recipe, calls) if calls else None
            quantizer = Quantizer(bytearray(content), recipe)
            return bytes(quantizer.quantize(ranges).quantized_model)
        # Its own refusals, and what reading a graph that it does not know ends in.
        except (LookupError, RuntimeError, TypeError, ValueError, struct.error) as error:
            raise RuntimeError(
                f"ai-edge-quantizer refused the model: {error} "
                "Export it with quantize='dynamic' (8 bits), or None (float32)."
            ) from error


def _ranges(
    content: bytes, recipe: list[dict[str, Any]], calls: dict[str, list[dict[str, np.ndarray]]]
) -> dict[str, Any]:
    """Measures the least and the largest value of each tensor over all calls."""
    from ai_edge_quantizer.calibrator import Calibrator
    from ai_edge_quantizer.recipe_manager import RecipeManager

    manager = RecipeManager()
    manager.load_quantization_recipe(recipe)
    # The library's own rule, a moving average, cuts off what only some examples reach.
    calibrator = Calibrator(bytes(content), num_threads=1, qsv_update_func=_widest)
    calibrator.calibrate(calls, manager)
    return calibrator.get_model_qsvs()


def _widest(known: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    if not known:
        return new
    both = {
        "min": np.minimum(known["min"], new["min"]),
        "max": np.maximum(known["max"], new["max"]),
    }
    return {**new, **both}
