"""Typical inputs, from which a static file takes the ranges of its activations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdistill.bundles.export_modes import CALIBRATED, MODES
from tfdistill.export.convert.converter import SIGNATURE, Endpoint

__all__ = ["check_calibration", "examples"]


def check_calibration(
    calibration: Any, endpoints: Mapping[str, Endpoint], *, quantize: str | None, one: bool
) -> dict[str, dict[str, np.ndarray]] | None:
    """Checks calibration data and returns it by signature and input.

    Args:
        calibration: What the user gave: data of the model, or a dict of such by signature.
        endpoints: The signatures of the file.
        quantize: The mode.
        one: Whether the user gave one model, and so data of one.

    Returns:
        Arrays by the name of the endpoint, then of the input; None where none are needed.

    Raises:
        TypeError: If a dtype does not fit, or the data are a dataset or a generator.
        ValueError: If data are missing or not wanted, or a name, a shape or a value is wrong.
    """
    if quantize not in CALIBRATED:
        if calibration is not None:
            raise ValueError(
                f"`calibration` must be None unless `quantize` is one of {CALIBRATED}, the modes "
                "that measure activations. Received: calibration of type "
                f"{type(calibration).__name__} with quantize={quantize!r}."
            )
        return None
    if calibration is None:
        raise ValueError(
            f"`calibration` must hold typical inputs for quantize={quantize!r}. Received: "
            "calibration=None. Pass some hundred training examples, or use quantize='dynamic', "
            "which needs none."
        )
    if MODES[quantize].activation_bits == 16:
        _refuse_integers(endpoints, quantize=quantize)
    if one:
        name = next((name for name in endpoints if name == SIGNATURE), next(iter(endpoints)))
        arrays = _arrays(calibration, endpoints[name], "calibration")
        return {each: arrays for each in endpoints}
    if not isinstance(calibration, Mapping):
        raise TypeError(
            "`calibration` must be a dict of data by the name of the signature. "
            f"Received: {type(calibration).__name__}. The signatures are {sorted(endpoints)}."
        )
    found = {}
    for name, endpoint in endpoints.items():
        # A signature at another batch size takes the data of its model.
        plain = name if name in calibration else endpoint.base
        if plain not in calibration:
            raise ValueError(
                "`calibration` must hold typical inputs for each signature. Received: data for "
                f"{sorted(map(str, calibration))}, none for {name!r}."
            )
        found[name] = _arrays(calibration[plain], endpoint, f"calibration[{plain!r}]")
    return found


def _refuse_integers(endpoints: Mapping[str, Endpoint], *, quantize: str | None) -> None:
    for name, endpoint in endpoints.items():
        integers = [key for key, spec in endpoint.inputs.items() if spec.dtype.is_integer]
        if integers:
            raise ValueError(
                f"`model` must have float inputs for quantize={quantize!r}, because TensorFlow's "
                f"converter measures no others there. Received: {name!r} with the integer inputs "
                f"{integers}. Use quantize='int8' or 'dynamic'."
            )


def _arrays(calibration: Any, endpoint: Endpoint, argument: str) -> dict[str, np.ndarray]:
    no_array = (tf.data.Dataset, keras.utils.PyDataset, Iterator)
    if isinstance(calibration, no_array) or callable(calibration):
        raise TypeError(
            f"`{argument}` must be an array, a dict of arrays by input name, or a list of arrays "
            f"in the model's order. Received: {type(calibration).__name__}. Collect some hundred "
            "examples: np.concatenate([np.asarray(batch) for batch in batches])."
        )
    if endpoint.named is not None:
        arrays = endpoint.named.arrays(calibration, argument=argument)
    else:
        arrays = _function_arrays(calibration, endpoint, argument)
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise ValueError(
                f"`{argument}` must hold finite numbers, which the integer grids are made from. "
                f"Received: {np.count_nonzero(~np.isfinite(array))} of {array.size} values for "
                f"the input {name!r} that are NaN or infinite. Leave those examples out."
            )
    return arrays


def _function_arrays(value: Any, endpoint: Endpoint, argument: str) -> dict[str, np.ndarray]:
    """For a function an example is a whole call: arrays of shape `[calls, *shape of the input]`."""
    if not isinstance(value, Mapping) or set(value) != set(endpoint.inputs):
        got = sorted(map(str, value)) if isinstance(value, Mapping) else type(value).__name__
        raise ValueError(
            f"`{argument}` must be a dict of arrays by the names {sorted(endpoint.inputs)}. "
            f"Received: {got}."
        )
    arrays = {}
    for name, spec in endpoint.inputs.items():
        array = np.asarray(value[name])
        if not len(array) or not spec.shape.is_compatible_with(array.shape[1:]):
            raise ValueError(
                f"`{argument}[{name!r}]` must have shape (calls, "
                f"{', '.join(map(str, spec.shape))}). Received: shape={array.shape}."
            )
        arrays[name] = array.astype(spec.dtype.as_numpy_dtype)
    if len({len(array) for array in arrays.values()}) > 1:
        lengths = {name: len(array) for name, array in arrays.items()}
        raise ValueError(
            f"`{argument}` must have the same number of calls for each input. Received: {lengths}."
        )
    return arrays


def examples(
    calibration: Mapping[str, Mapping[str, np.ndarray]], endpoints: Mapping[str, Endpoint]
) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Yields the calls to make: the name of a signature and its inputs.

    A signature of batch size B sees the same examples as that of batch size 1, B at a time; the
    last batch is filled up from the start, so that all of them measure the same ranges.
    """
    for name, arrays in calibration.items():
        endpoint = endpoints[name]
        calls = len(next(iter(arrays.values())))
        if endpoint.named is None:
            for index in range(calls):
                yield name, {key: array[index] for key, array in arrays.items()}
            continue
        size = next(iter(endpoint.inputs.values())).shape[0] or 1
        for begin in range(0, calls, size):
            rows = np.arange(begin, begin + size) % calls
            yield name, {key: array[rows] for key, array in arrays.items()}
