"""How the numbers of a `.tflite` file are stored: one row for each value of `quantize`.

This table is the only place that lists the modes. Checks, bounds, cards and the choices of the
command line look a mode up here, so a new one is a row, and a branch in the converter where it
needs one::

    for quantize, mode in MODES.items():
        print(quantize, mode.text, mode.when)

"dynamic" is the converter's dynamic-range quantization: for a kernel one scale per output channel,
for an embedding table one scale, the largest magnitude being ±127. Tensors of fewer than 1,024
numbers stay float.

"int8" also stores activations on fixed grids, measured on `calibration`, "int8_16" with 16 bits.
Attention masks are then made by adding −30, because a huge negative constant ruins such a grid; a
mask of your own making may do that, so compare. "int8_fc" has such grids around matrix products
only and computes all else in float: on this package's small encoders it is faster than "dynamic",
which measures every activation as it comes.

"int4" stores kernels in 4 bits with one scale per output channel and embedding tables with one per
row, the largest magnitude being ±7, and computes with 8-bit activations; small kernels and those of
Conv3D stay float. On a model that was not trained for it expect a loss. A row of a table costs 12
bytes for its scale besides, so a narrow table gains less: at width 64 a row takes 44 bytes in place
of 64.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["CALIBRATED", "IN_BUNDLES", "IN_LANGUAGE_MODELS", "MODES", "Mode"]


@dataclass(frozen=True, kw_only=True)
class Mode:
    """Describes one way to store a model.

    Attributes:
        name: What it is called in a table; the value of `quantize`, but for float32.
        bits: Bits of a weight.
        activation_bits: Bits of the activations' fixed grids; None where they stay float or are
            measured in each call.
        needs_calibration: Whether it takes typical inputs.
        needs_quantizer: Whether ai-edge-quantizer makes it of a float file, in place of
            TensorFlow's converter.
        bounds: Largest error as a fraction of the model's largest output, and least agreement of
            the top classes, that a file may have and still be the model.
        in_bundle: Whether the files of classifiers may have it.
        in_language_model: Whether the files of language models may.
        text: What is stored, for a model's card.
        when: What it is for.
        instead: What to do where its bounds are broken.
    """

    name: str
    bits: int
    activation_bits: int | None = None
    needs_calibration: bool = False
    needs_quantizer: bool = False
    bounds: tuple[float, float]
    in_bundle: bool = True
    in_language_model: bool = False
    text: str
    when: str
    instead: str = ""


_FLOAT_BETWEEN = "quantize='int8_fc' keeps softmax and norms in float."

_TABLE = (
    Mode(
        name="float32",
        bits=32,
        # Sums of a few hundred products in another order: about 80 times the spacing of float32.
        bounds=(1e-5, 0.999),
        in_language_model=True,
        text="float32",
        when="a reference, and the largest",
    ),
    Mode(
        name="float16",
        bits=16,
        bounds=(5e-3, 0.99),  # each weight is off by up to 2⁻¹¹ of itself
        text="float16",
        when="half the size, the same speed: kernels compute in float32",
    ),
    Mode(
        name="dynamic",
        bits=8,
        # Weights and activations are off by up to half a step of 1/127 of the largest in their
        # row (measured: 0.015 two layers deep, 0.07 twelve layers deep).
        bounds=(0.10, 0.98),
        in_language_model=True,
        text="dynamic-range int8",
        when="the default: a quarter of the size and faster matrix products; needs no data",
    ),
    Mode(
        name="int8",
        bits=8,
        activation_bits=8,
        needs_calibration=True,
        bounds=(0.25, 0.90),  # as "dynamic", on fixed grids that outliers widen
        in_bundle=False,
        text="8-bit integers, and activations on fixed 8-bit grids",
        when="convolutional nets and devices without a float unit; costs a transformer accuracy",
        instead=_FLOAT_BETWEEN,
    ),
    Mode(
        name="int8_16",
        bits=8,
        activation_bits=16,
        needs_calibration=True,
        bounds=(0.10, 0.98),  # grids 256 times finer: the weights are what is off
        in_bundle=False,
        text="8-bit integers, and activations on fixed 16-bit grids",
        when="the same where int8 costs too much; slower",
        instead=_FLOAT_BETWEEN,
    ),
    Mode(
        name="int8_fc",
        bits=8,
        activation_bits=8,
        needs_calibration=True,
        needs_quantizer=True,
        bounds=(0.10, 0.98),  # outliers of norms and scores widen no grid
        text="8-bit integers, and activations of matrix products on fixed 8-bit grids",
        when="transformers: softmax and norms stay float, with the accuracy that int8 costs",
    ),
    Mode(
        name="int4",
        bits=4,
        needs_quantizer=True,
        bounds=(0.10, 0.98),  # only activations are off, where weights are on the 4-bit grid
        in_language_model=True,
        text="4-bit integers",
        when="the smallest, for a model trained with `quantize_aware(bits=4)`",
    ),
)

MODES: Mapping[str | None, Mode] = MappingProxyType(
    {None if mode.bits == 32 else mode.name: mode for mode in _TABLE}
)
CALIBRATED = tuple(quantize for quantize, mode in MODES.items() if mode.needs_calibration)
IN_BUNDLES = tuple(quantize for quantize, mode in MODES.items() if mode.in_bundle)
IN_LANGUAGE_MODELS = tuple(q for q, mode in MODES.items() if mode.in_language_model)
