"""Verifies that a model or a file still has what it was compressed to.

`verify_compression` compares any two steps of the way; `verify_file` is what an export runs.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator, Sequence

import keras

from tfdistill.compress.guarantees import GROUPS, Guarantee
from tfdistill.compress.inspection.statistics import (
    Survey,
    TensorSurvey,
    survey,
    survey_file_tensors,
    survey_model_tensors,
)

__all__ = ["verify_compression", "verify_file"]

_LEAST_NUMBERS = 1024  # the converter leaves smaller weights as they are


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
    before = survey_model_tensors(model, guarantees=asked)
    if not any(_has_guarantee(tensor) for tensor in before):
        return
    after = survey_file_tensors(path, guarantees=asked)
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
    return tensor if tensor.kind == "kernel" else dataclasses.replace(tensor, uses=1)


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
