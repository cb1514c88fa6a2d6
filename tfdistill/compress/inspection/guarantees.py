"""Compares two surveys: is everything that a stage was given still there when it is done?

`check_survival` is for people, between any two stages; `check_file` is what an export runs.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import keras

from tfdistill.compress.inspection.statistics import (
    Survey,
    TensorSurvey,
    survey,
    survey_file_tensors,
    survey_model_tensors,
)
from tfdistill.compress.quantization.row_groups import GROUPS

__all__ = ["check_file", "check_survival"]

_LEAST_NUMBERS = 1024  # the converter leaves smaller weights as they are
_SHARED_VALUES = 256  # a channel of more distinct values was not clustered
_Kept = tuple[str, Callable[[TensorSurvey], int | None], Callable[[TensorSurvey], int]]


def check_survival(
    promised: Survey | keras.Model | str | os.PathLike[str],
    found: Survey | keras.Model | str | os.PathLike[str],
) -> Survey:
    """Raises unless what a stage was given is still there in what it returned.

    Of each kernel and embedding table are compared: the number of zeros, the 2:4 pattern, the
    number of distinct values in a channel (if there are at most 256), the bits of the grid (if
    the values are on one), and how often the weight is stored (if it is shared). More than was
    promised is fine: quantization may add zeros.

    Weights are matched by path. Where the paths differ, as between a model and a file, all
    weights of one size are compared together, the best with the best.

    Args:
        promised: The model before the stage, a `.tflite` file, or a survey of either.
        found: What the stage made of it, likewise.

    Returns:
        The survey of `found`.

    Raises:
        TypeError: If one of them is neither a model nor a path nor a survey.
        RuntimeError: If something is gone; the message names each weight, what was promised and
            what is there.

    Example:
        >>> from tfdistill.compress import quantize_aware, strip
        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(8, name="hidden")])
        >>> on_grid = strip(quantize_aware(model))
        >>> _ = check_survival(on_grid, on_grid)
        >>> check_survival(on_grid, model)
        Traceback (most recent call last):
        ...
        RuntimeError: `found` must keep what `promised` has. Received: hidden/kernel: 8 bits → 32...
    """
    before, after = _as_survey(promised), _as_survey(found)
    broken = [text for pair in _matched(before, after) for text in _broken(*pair)]
    if broken:
        rest = f"; and {len(broken) - 5} more" if broken[5:] else ""
        raise RuntimeError(
            f"`found` must keep what `promised` has. Received: {'; '.join(broken[:5])}{rest}. "
            "A stage in between undid it: train compressed weights inside their `Compressed` "
            "model, and export them with a width of at most the bits they were trained on."
        )
    return after


def check_file(model: keras.Model, path: str | os.PathLike[str], *, quantize: str | None) -> None:
    """Raises unless the compressed weights of a model are in its file as they were compressed.

    Compared is what `check_survival` compares, of weights of at least 1,024 numbers that have
    something to lose (smaller ones stay as they are, and many things are as small). Weights that
    no answer depends on are not in a file, and that is fine. A table that is both first
    and last layer is left out: as a matrix it has other scales, so 8-bit files hold it twice.

    Args:
        model: The plain model that was exported.
        path: The `.tflite` file.
        quantize: How it was exported, for the message.

    Raises:
        RuntimeError: If something is gone; the message names the weights.
    """
    before = survey_model_tensors(model)
    if not any(_has_promise(tensor) for tensor in before):
        return
    after = survey_file_tensors(path)
    broken: list[str] = []
    for size in sorted({tensor.parameters for tensor in before if _has_promise(tensor)}):
        group = [_as_promised(tensor) for tensor in before if tensor.parameters == size]
        found = [tensor for tensor in after if _is_as_large(tensor, group[0])]
        if found:
            broken += _broken(group, found)
    if broken:
        rest = f"; and {len(broken) - 5} more" if broken[5:] else ""
        raise RuntimeError(
            f"The file must keep what the model was compressed to. Received: quantize={quantize!r} "
            f"and {'; '.join(broken[:5])}{rest}. Export with a width of at most the bits that were "
            "trained, or pass check_survival=False to give this up."
        )


def _as_promised(tensor: TensorSurvey) -> TensorSurvey:
    """Drops the promises that only look like some."""
    # Two values, as in a kernel of zeros or an identity, are on every grid.
    if tensor.kind == "other" or tensor.unique <= 2:
        tensor = dataclasses.replace(tensor, bits=max(tensor.bits, 32))
    return tensor if tensor.kind == "kernel" else dataclasses.replace(tensor, uses=1)


def _has_promise(tensor: TensorSurvey) -> bool:
    if tensor.kind == "other" or tensor.parameters < _LEAST_NUMBERS:
        return False
    seen = _as_promised(tensor)
    return seen.uses > 1 or any(promise(seen) is not None for _, promise, _ in _KEPT)


def _is_clustered(tensor: TensorSurvey) -> bool:
    # A channel of n numbers has at most n values: that alone is no sharing.
    inputs = tensor.parameters // max(1, tensor.shape[-1])
    return tensor.unique_per_channel <= min(_SHARED_VALUES, inputs - 1)


def _few_values(tensor: TensorSurvey) -> int | None:
    return tensor.unique_per_channel if _is_clustered(tensor) else None


_KEPT: tuple[_Kept, ...] = (
    ("nonzero", lambda t: t.nonzero if t.sparsity else None, lambda t: t.nonzero),
    (
        "nonzero of 4",
        lambda t: t.nonzero_of_4 if t.is_2_of_4 else None,
        lambda t: 4 if t.nonzero_of_4 is None else t.nonzero_of_4,
    ),
    (
        "distinct values in a channel",
        _few_values,
        lambda t: t.unique_per_channel,
    ),
    ("bits", lambda t: t.bits if t.bits <= 8 else None, lambda t: t.bits),
)


def _as_survey(value: Any) -> Survey:
    return value if isinstance(value, Survey) else survey(value)


_Pair = tuple[Sequence[TensorSurvey], Sequence[TensorSurvey]]


def _matched(before: Survey, after: Survey) -> Iterator[_Pair]:
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
    """Says what of the promises of some weights of one size is gone."""
    name = before[0].path if len(before) == 1 else _group_name(before)
    if not after or not all(_is_as_large(a, b) for b, a in zip(before, after, strict=False)):
        yield f"{name}: {before[0].parameters:,} weights → {_sizes(after)}"
        return
    for what, promise, measure in _KEPT:
        if promise is _few_values and before[0].shape[-1] < min(t.shape[-1] for t in after):
            continue  # several rows in one have the values of all of them
        wanted = [value for tensor in before if (value := promise(tensor)) is not None]
        values = sorted(map(measure, after))
        # Where equal weights were merged there are fewer: then the worst are compared.
        pairs = list(zip(sorted(wanted), values, strict=False))
        if len(after) < len(before):
            pairs = list(zip(sorted(wanted)[::-1], values[::-1], strict=False))
        for expected, value in pairs:
            if value > expected:
                yield f"{name}: {expected:,} {what} → {value:,}"
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
