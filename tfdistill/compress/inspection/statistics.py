"""Weight statistics: counts zeros, distinct values, bits and uses in each weight.

    print(td.survey(model))                   # or a .tflite file
    verify_compression(model, "model.tflite")  # raises if a stage undid what the one before made

The zeros of a pruned model are gone after one plain training step, the sixteen values of a
clustered one after any quantization that does not know of them, and a shared weight may be in a
file twice. None of that raises an error by itself, and accuracy does not show it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import keras

from tfdistill.compress.compressed_model import Compressed, guarantees_of, strip
from tfdistill.compress.guarantees import BUILT_IN, Guarantee, WeightMatrix, grid_bits
from tfdistill.files.atomic import gzip_bytes
from tfdistill.introspection.backend import check_model
from tfdistill.introspection.weights import (
    count_uses,
    find_targets,
    gzip_weight_bytes,
    list_owners,
    weight_bytes,
)
from tfdistill.runtime.flatbuffer import read_tflite_weights

__all__ = [
    "Measurement",
    "Survey",
    "TensorSurvey",
    "survey",
    "survey_file_tensors",
    "survey_model_tensors",
]


class Measurement(NamedTuple):
    """What a guarantee counts in one weight, and whether it holds there."""

    value: int
    holds: bool


@dataclass(frozen=True)
class TensorSurvey:
    """What is in one weight tensor.

    Attributes:
        path: Path of the weight, as `include=` takes it; in a file, the name of the tensor.
        shape: Its shape.
        kind: "kernel", "embedding" or "other" (biases, norms).
        parameters: Number of its numbers.
        nonzero: How many of them are not exactly zero.
        unique: Number of distinct values; in a quantized file, of distinct levels.
        unique_per_channel: The same in that output channel (row of a table) that has most.
        bits: Bits that one number needs: 8 or 4 if all of them are on the grid that a file of
            that width stores, otherwise as many as it is stored in.
        nonzero_of_4: Most nonzero values among any 4 neighbors along the input axis (the width
            of a table); None if 4 does not divide that axis.
        uses: How many layers, calls of one layer, or operations of a file use it.
        users: Paths by which it is reached, in a model.
        measured: What each guarantee counts in it.
    """

    path: str
    shape: tuple[int, ...]
    kind: str
    parameters: int
    nonzero: int
    unique: int
    unique_per_channel: int
    bits: int
    nonzero_of_4: int | None
    uses: int
    users: tuple[str, ...]
    measured: Mapping[Guarantee, Measurement] = field(
        default_factory=dict, repr=False, compare=False
    )

    @property
    def sparsity(self) -> float:
        """Share of exact zeros, a fraction in [0, 1]."""
        return 1.0 - self.nonzero / self.parameters

    @property
    def is_2_of_4(self) -> bool:
        """Whether at most 2 of every 4 neighbors are nonzero."""
        return self.nonzero_of_4 is not None and self.nonzero_of_4 <= 2


@dataclass(frozen=True)
class Survey:
    """What is in a model or in a file; `str()` lays it out as a table.

    Attributes:
        source: Name of the model or of the file.
        tensors: One for each weight; a shared one is in it once.
        raw_bytes: Size of the file; of a model, that of its weights as float32.
        gzip_bytes: The same after gzip level 9.
    """

    source: str
    tensors: tuple[TensorSurvey, ...]
    raw_bytes: int
    gzip_bytes: int

    @property
    def parameters(self) -> int:
        """Number of weights; what is shared counts once."""
        return sum(tensor.parameters for tensor in self.tensors)

    @property
    def nonzero(self) -> int:
        """Number of weights that are not exactly zero."""
        return sum(tensor.nonzero for tensor in self.tensors)

    @property
    def compressible(self) -> tuple[TensorSurvey, ...]:
        """The kernels and embedding tables."""
        return tuple(tensor for tensor in self.tensors if tensor.kind != "other")

    @property
    def shared(self) -> tuple[TensorSurvey, ...]:
        """The kernels and tables that are used more than once."""
        return tuple(tensor for tensor in self.compressible if tensor.uses > 1)

    def __str__(self) -> str:
        shown = [tensor for tensor in self.tensors if tensor.kind != "other"]
        width = max([28, *(len(_short(tensor.path)) for tensor in shown)])
        head = f"{'weight':<{width}}  {'shape':>14} {'nonzero':>8} {'unique':>7} {'bits':>4}"
        lines = [f"{head} {'2:4':>4} {'uses':>4}"]
        for one in shown:
            shape = "x".join(map(str, one.shape))
            lines.append(
                f"{_short(one.path):<{width}}  {shape:>14} {1 - one.sparsity:>8.1%} "
                f"{one.unique:>7,} {one.bits:>4} {'yes' if one.is_2_of_4 else '-':>4} "
                f"{one.uses:>4}"
            )
        other = [tensor for tensor in self.tensors if tensor.kind == "other"]
        if other:
            count = sum(tensor.parameters for tensor in other)
            lines.append(f"{f'{len(other)} others (biases, norms)':<{width}}  {count:>14,}")
        lines.append(
            f"{self.source}: {self.parameters:,} weights, {self.nonzero:,} nonzero, "
            f"{len(self.shared)} shared, {self.raw_bytes / 1024:,.1f} KB, "
            f"{self.gzip_bytes / 1024:,.1f} KB after gzip"
        )
        return "\n".join(lines)


def survey(
    model_or_tflite_path: keras.Model | str | os.PathLike[str],
    *,
    guarantees: Iterable[Guarantee] = (),
) -> Survey:
    """Looks into every weight of a model or of a `.tflite` file.

    A `Compressed` model is stripped first. How often a weight is used is read from the graph of
    functional models; a layer that a subclassed model calls in a loop counts as used once.

    Args:
        model_or_tflite_path: A built Keras 3 model, a `.tflite` file, or a bundle's folder.
        guarantees: Guarantees of techniques of your own, to be measured for a later
            `verify_compression`. Those of this package and of a `Compressed` model's recipe are
            always measured.

    Returns:
        What was found.

    Raises:
        TypeError: If it is neither a model nor a path.
        FileNotFoundError: If there is no such file.
        ValueError: If the model has no weights yet, or the file is no complete `.tflite` file.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="scores")])
        >>> _ = model.layers[0].kernel.assign([[0.0, 1.0], [2.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
        >>> found = survey(model).tensors[0]
        >>> found.path, found.nonzero, found.unique, found.is_2_of_4
        ('scores/kernel', 3, 3, True)
    """
    if isinstance(model_or_tflite_path, str | os.PathLike):
        path = Path(model_or_tflite_path)
        path = path / "model.tflite" if path.is_dir() else path
        tensors = survey_file_tensors(path, guarantees=guarantees)
        content = path.read_bytes()
        return Survey(path.name, tensors, len(content), gzip_bytes([content]))
    model = model_or_tflite_path
    check_model(model, argument="model_or_tflite_path")
    plain = strip(model) if isinstance(model, Compressed) else model
    tensors = survey_model_tensors(plain, guarantees=(*guarantees_of(model), *guarantees))
    return Survey(model.name, tensors, weight_bytes(plain), gzip_weight_bytes(plain))


def survey_model_tensors(
    plain: keras.Model, *, guarantees: Iterable[Guarantee] = ()
) -> tuple[TensorSurvey, ...]:
    """Looks into every weight of a plain model, without measuring how it packs.

    Args:
        plain: A built Keras 3 model that is not a `Compressed` one.
        guarantees: What to measure besides the guarantees of this package.
    """
    targets = {id(target.variable): target for target in find_targets(plain)}
    owners, uses = list_owners(plain), count_uses(plain)
    asked = _asked(guarantees)
    tensors = []
    for variable in plain.weights:
        target = targets.get(id(variable))
        users = owners.get(id(variable), ())
        value = keras.ops.convert_to_numpy(variable)
        kind = target.kind if target else "other"
        matrix = value.reshape(target.matrix_shape if target else (-1, 1))
        bits = 8 * value.dtype.itemsize
        if target and matrix.size:
            bits = grid_bits(matrix, kind=kind) or bits
        path = target.path if target else (users[0] if users else variable.path)
        weight = WeightMatrix(path, tuple(value.shape), kind, matrix, bits)
        tensors.append(_counted(weight, asked, uses=uses.get(id(variable), 1), users=users))
    return tuple(tensors)


def survey_file_tensors(
    path: str | os.PathLike[str], *, guarantees: Iterable[Guarantee] = ()
) -> tuple[TensorSurvey, ...]:
    """Looks into every weight of a `.tflite` file, without measuring how it packs.

    Args:
        path: The file; the errors are those of `survey`.
        guarantees: What to measure besides the guarantees of this package.
    """
    asked = _asked(guarantees)
    tensors = []
    for each in read_tflite_weights(path):
        bits = each.bits
        if not each.has_scale and each.kind != "other":
            bits = grid_bits(each.matrix, kind=each.kind) or bits
        weight = WeightMatrix(each.name, tuple(each.shape), each.kind, each.matrix, bits)
        tensors.append(_counted(weight, asked, uses=each.uses, users=()))
    return tuple(tensors)


def _asked(guarantees: Iterable[Guarantee]) -> tuple[Guarantee, ...]:
    return tuple(dict.fromkeys((*BUILT_IN, *guarantees)))


def _counted(
    weight: WeightMatrix,
    guarantees: Iterable[Guarantee],
    *,
    uses: int,
    users: tuple[str, ...],
) -> TensorSurvey:
    measured = {each: Measurement(each.measure(weight), each.holds(weight)) for each in guarantees}
    return TensorSurvey(
        path=weight.path,
        shape=weight.shape,
        kind=weight.kind,
        parameters=weight.matrix.size,
        nonzero=weight.nonzero,
        unique=weight.unique,
        unique_per_channel=weight.unique_per_channel,
        bits=weight.bits,
        nonzero_of_4=weight.nonzero_of_4,
        uses=uses,
        users=users,
        measured=measured,
    )


def _short(path: str) -> str:
    return path if len(path) <= 48 else f"…{path[-47:]}"
