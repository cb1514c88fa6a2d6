"""Weight statistics: counts zeros, distinct values, bits and uses in each weight.

    print(td.survey(model))                    # or a .tflite file
    verify_compression(model, "model.tflite")  # raises if a stage undid what the one before made

The zeros of a pruned model are gone after one plain training step, the sixteen values of a
clustered one after any quantization that does not know of them, and a shared weight may be in a
file twice. None of that raises an error by itself, and accuracy does not show it. So the counts of
any two steps of the way can be compared, and an export compares those of the model and its file.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import keras

from tfdistill.compress.compressed_model import Compressed, guarantees_of, strip
from tfdistill.compress.guarantees import (
    BUILT_IN,
    GROUPS,
    Guarantee,
    WeightMatrix,
    grid_bits,
)
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
    "verify_compression",
    "verify_file",
]

_LEAST_NUMBERS = 1024  # the converter leaves smaller weights as they are


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
        tensors = _file_tensors(path, guarantees=guarantees)
        content = path.read_bytes()
        return Survey(path.name, tensors, len(content), gzip_bytes([content]))
    model = model_or_tflite_path
    check_model(model, argument="model_or_tflite_path")
    plain = strip(model) if isinstance(model, Compressed) else model
    tensors = _model_tensors(plain, guarantees=(*guarantees_of(model), *guarantees))
    return Survey(model.name, tensors, weight_bytes(plain), gzip_weight_bytes(plain))


def verify_compression(
    expected: Survey | keras.Model | str | os.PathLike[str],
    found: Survey | keras.Model | str | os.PathLike[str],
    *,
    guarantees: Iterable[Guarantee] = (),
) -> Survey:
    """Raises unless what a weight was compressed to is still there after a later stage.

    Of each kernel and embedding table are compared: the number of zeros, the 2:4 pattern, the
    number of distinct values in a channel (if there are at most 256), the bits of the grid (if
    the values are on one), and how often the weight is stored (if it is shared). If `expected` is
    a `Compressed` model, the guarantees of its own recipe are compared as well, whoever wrote the
    technique. Exceeding what was guaranteed is fine: quantization may add zeros.

    Weights are matched by path. Where the paths differ, as between a model and a file, all
    weights of one size are compared together, the best with the best.

    Args:
        expected: The model before the stage, a `.tflite` file, or a survey of either.
        found: What the stage made of it, likewise.
        guarantees: Guarantees of techniques of your own, where `expected` is a stripped model or
            a file. A survey has to be made with them.

    Returns:
        The survey of `found`.

    Raises:
        TypeError: If one of them is neither a model nor a path nor a survey.
        ValueError: If a survey was made without a guarantee that is to be compared.
        RuntimeError: If something is gone; the message names each weight, the count that was
            guaranteed and the one that was found.

    Example:
        >>> from tfdistill.compress import quantize_aware, strip
        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(8, name="hidden")])
        >>> on_grid = strip(quantize_aware(model))
        >>> _ = verify_compression(on_grid, on_grid)
        >>> verify_compression(on_grid, model)
        Traceback (most recent call last):
        ...
        RuntimeError: `found` must keep what `expected` has. Received: hidden/kernel: 8 bits → 32...
    """
    asked = tuple(guarantees)
    before = expected if isinstance(expected, Survey) else survey(expected, guarantees=asked)
    measured = dict.fromkeys(each for tensor in before.tensors for each in tensor.measured)
    asked = tuple(dict.fromkeys((*measured, *asked)))
    after = found if isinstance(found, Survey) else survey(found, guarantees=asked)
    for argument, each in (("expected", before), ("found", after)):
        _check_measured(each, asked, argument=argument)
    broken = [text for pair in _matched(before, after) for text in _broken(*pair)]
    if broken:
        raise RuntimeError(
            f"`found` must keep what `expected` has. Received: {_listed(broken)}. "
            "A stage in between undid it: train compressed weights inside their `Compressed` "
            "model, and export them with a width of at most the bits they were trained on."
        )
    return after


def verify_file(
    model: keras.Model,
    path: str | os.PathLike[str],
    *,
    quantize: str | None,
    guarantees: Iterable[Guarantee] = (),
) -> None:
    """Raises unless the compressed weights of a model are in its file as they were compressed.

    Compared is what `verify_compression` compares, of weights of at least 1,024 numbers for which
    a guarantee holds (smaller ones stay as they are, and many things are as small). Weights that
    no output depends on are not in a file, and that is fine. A table that is both first
    and last layer is left out: as a matrix it has other scales, so 8-bit files hold it twice.

    Args:
        model: The plain model that was exported.
        path: The `.tflite` file.
        quantize: How it was exported, for the message.
        guarantees: Those of the recipe, if the plain model is a stripped `Compressed` one.

    Raises:
        RuntimeError: If something is gone; the message names the weights.
    """
    asked = tuple(guarantees)
    before = _model_tensors(model, guarantees=asked)
    if not any(_has_guarantee(tensor) for tensor in before):
        return
    after = _file_tensors(path, guarantees=asked)
    broken: list[str] = []
    for size in sorted({tensor.parameters for tensor in before if _has_guarantee(tensor)}):
        group = [_with_kernel_uses(tensor) for tensor in before if tensor.parameters == size]
        found = [tensor for tensor in after if _is_as_large(tensor, group[0])]
        if found:
            broken += _broken(group, found)
    if broken:
        raise RuntimeError(
            f"The file must keep what the model was compressed to. Received: quantize={quantize!r} "
            f"and {_listed(broken)}. Export with a width of at most the bits that were "
            "trained, or pass verify_compression=False to give this up."
        )


def _model_tensors(
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


def _file_tensors(
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


def _listed(broken: Sequence[str]) -> str:
    rest = f"; and {len(broken) - 5} more" if broken[5:] else ""
    return f"{'; '.join(broken[:5])}{rest}"


def _check_measured(found: Survey, guarantees: Sequence[Guarantee], *, argument: str) -> None:
    measured = {each for tensor in found.tensors for each in tensor.measured}
    missing = [each.name for each in guarantees if each not in measured]
    if missing and found.tensors:
        raise ValueError(
            f"`{argument}` must be a survey with the guarantees that are compared. Received: "
            f"{argument}={found.source!r} without {missing[0]!r}. Give the model or file itself, "
            "or make the survey with `survey(..., guarantees=[...])`."
        )


def _with_kernel_uses(tensor: TensorSurvey) -> TensorSurvey:
    return tensor if tensor.kind == "kernel" else replace(tensor, uses=1)


def _has_guarantee(tensor: TensorSurvey) -> bool:
    if tensor.kind == "other" or tensor.parameters < _LEAST_NUMBERS:
        return False
    holds = any(measurement.holds for measurement in tensor.measured.values())
    return holds or _with_kernel_uses(tensor).uses > 1


_Groups = tuple[Sequence[TensorSurvey], Sequence[TensorSurvey]]


def _matched(before: Survey, after: Survey) -> Iterator[_Groups]:
    """Yields the weights that are to be compared with each other."""
    there = {tensor.path: tensor for tensor in after.compressible}
    if all(tensor.path in there for tensor in before.compressible):
        for tensor in before.compressible:
            yield [tensor], [there[tensor.path]]
        return
    for size in sorted({tensor.parameters for tensor in before.compressible}):
        group = [tensor for tensor in before.tensors if tensor.parameters == size]
        yield group, [tensor for tensor in after.tensors if _is_as_large(tensor, group[0])]


def _is_as_large(found: TensorSurvey, tensor: TensorSurvey) -> bool:
    """Compares sizes; a table of 4 bits may have several rows in one, the last filled up."""
    if found.parameters == tensor.parameters or found.kind != "embedding" or found.bits != 4:
        return found.parameters == tensor.parameters
    rows = found.shape[-1] // tensor.shape[-1]
    return rows in GROUPS and found.parameters == (
        -(-tensor.shape[0] // rows) * rows * tensor.shape[-1]
    )


def _broken(before: Sequence[TensorSurvey], after: Sequence[TensorSurvey]) -> Iterator[str]:
    """Says which guarantees of some weights of one size are gone."""
    name = before[0].path if len(before) == 1 else _group_name(before)
    if not after or not all(_is_as_large(a, b) for b, a in zip(before, after, strict=False)):
        yield f"{name}: {before[0].parameters:,} weights → {_sizes(after)}"
        return
    width = before[0].shape[-1]
    rows_in_one = any(each.kind == "embedding" and each.shape[-1] > width for each in after)
    for guarantee in before[0].measured:
        if guarantee.per_channel and rows_in_one:
            continue  # several rows in one have the values of all of them
        measured = [tensor.measured[guarantee] for tensor in before]
        wanted = sorted(one.value for one in measured if one.holds)
        values = sorted(tensor.measured[guarantee].value for tensor in after)
        # Where equal weights were merged there are fewer: then the worst are compared.
        if len(after) < len(before):
            wanted, values = wanted[::-1], values[::-1]
        for expected, value in zip(wanted, values, strict=False):
            if value > expected:
                yield f"{name}: {expected:,} {guarantee.unit} → {value:,}"
                break
    if any(tensor.uses > 1 for tensor in before):
        single = len(before) == len(after) == 1 and after[0].uses < before[0].uses
        if len(after) > len(before):
            yield f"{name}: stored {len(before)} time(s) → {len(after)}"
        elif single:
            yield f"{name}: used {before[0].uses} times → {after[0].uses}"


def _group_name(tensors: Iterable[TensorSurvey]) -> str:
    paths = [tensor.path for tensor in tensors if tensor.kind != "other"]
    return paths[0] if len(paths) == 1 else f"{paths[0]} (one of {len(paths)} of its size)"


def _sizes(tensors: Sequence[TensorSurvey]) -> str:
    return f"{tensors[0].parameters:,}" if tensors else "none of that size"
