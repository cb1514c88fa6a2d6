"""How much each layer, head and feed-forward unit does on calibration data, and what was removed.

One pass over some hundred examples is enough to see which parts hardly move what flows through
the model. What a part adds is looked at **after** its rows of the output kernel, so that a part
that reaches nothing counts as nothing, however active it is.

References:
    Muralidharan et al. "Compact Language Models via Pruning and Knowledge Distillation" (Minitron),
    2024, section 2.2: heads and units by the norm of their activations, aggregated by the mean
    over the sequence and L2 over the batch. https://arxiv.org/abs/2407.14679
    Men et al. "ShortGPT", 2024, section 3.1: layers by block influence.
    https://arxiv.org/abs/2403.03853
    Kobayashi et al. "Attention is Not Only a Weight", 2020: norms of what is added, not of
    weights or activations alone. https://arxiv.org/abs/2004.10102
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdistill.arguments import check_int
from tfdistill.compress.structured.architecture import BlockParts, parts_of
from tfdistill.introspection.hooks import Hook, intercepting, named_arguments
from tfdistill.introspection.named_model import named_model

__all__ = [
    "Removal",
    "block_influence",
    "check_keep",
    "contribution",
    "cosine_distance",
    "most_important",
    "part_importance",
    "summarize",
]

_BATCH = 32
_MASKS = ("is_token", "padding_mask", "decoder_padding_mask")


def cosine_distance(before: Any, after: Any) -> tf.Tensor:
    """Measures how far a block turns each hidden state: 1 − cos(before, after).

    Args:
        before: What goes into the block, float `[B, L, D]`.
        after: What comes out, same shape.

    Returns:
        float32 `[B, L]`, in [0, 2]; 0 if a state keeps its direction.

    Example:
        >>> cosine_distance([[[1.0, 0.0]]], [[[3.0, 4.0]]]).numpy().round(4)
        array([[0.4]], dtype=float32)
    """
    before, after = tf.cast(before, tf.float32), tf.cast(after, tf.float32)
    return 1.0 - tf.reduce_sum(
        tf.math.l2_normalize(before, axis=-1) * tf.math.l2_normalize(after, axis=-1), axis=-1
    )


def contribution(activations: Any, kernel: Any) -> tf.Tensor:
    """Measures what each part adds to the hidden states: ‖a_h · W_h‖₂.

    Computed as √(a_h (W_h W_hᵀ) a_hᵀ), which needs no array of every part's addition.

    Args:
        activations: What the parts make, float `[B, L, H, d]`; d is 1 for feed-forward units.
        kernel: Their rows of the output kernel, float `[H, d, D]`.

    Returns:
        float32 `[B, L, H]`; exactly 0 for a part whose activations or rows are 0.

    Example:
        >>> contribution([[[[2.0], [5.0]]]], [[[3.0, 4.0]], [[0.0, 0.0]]]).numpy().tolist()
        [[[10.0, 0.0]]]
    """
    activations, kernel = tf.cast(activations, tf.float32), tf.cast(kernel, tf.float32)
    gram = tf.einsum("hdm,hem->hde", kernel, kernel)
    squares = tf.einsum("blhd,hde,blhe->blh", activations, gram, activations)
    return tf.sqrt(tf.maximum(squares, 0.0))


def most_important(scores: np.ndarray, *, keep: int) -> np.ndarray:
    """Picks the parts with the highest scores; of equal ones the first.

    Args:
        scores: One number for each part.
        keep: How many to keep.

    Returns:
        Their indices, rising.

    Example:
        >>> most_important(np.array([0.2, 0.9, 0.2, 0.5]), keep=3).tolist()
        [0, 1, 3]
    """
    return np.sort(np.argsort(-scores, kind="stable")[:keep])


def block_influence(
    model: keras.Model, blocks: list[keras.layers.Layer], *, calibration: Any
) -> np.ndarray:
    """Measures how much each block changes the hidden states.

    BI = E[1 − cos(before, after)] over the real tokens of the calibration data.

    Args:
        model: A Functional model of a known architecture.
        blocks: Its blocks, once per use.
        calibration: Inputs of the model, with examples along the first axis.

    Returns:
        float64 array with one number in [0, 2] for each use of a block.

    Raises:
        TypeError: If `calibration` has another dtype.
        ValueError: If `calibration` is empty or does not fit the model.
    """
    sums, count = np.zeros(len(blocks)), 0.0
    order = iter(range(0))

    def hear(given: dict[str, Any], outputs: Any) -> None:
        nonlocal count
        before, mask = next(iter(given.values())), _mask(given)
        index = next(order)
        sums[index] += float(tf.reduce_sum(cosine_distance(before, outputs) * mask))
        if index == 0:
            count += float(tf.reduce_sum(mask))

    hooks = [(block, _listening(after=hear)) for block in _distinct(blocks)]
    with intercepting(hooks):
        for run in _batches(model, calibration):
            order = iter(range(len(blocks)))
            run()
    return sums / max(count, 1.0)


def part_importance(
    model: keras.Model,
    blocks: list[keras.layers.Layer],
    *,
    part: str,
    calibration: Any,
) -> dict[str, np.ndarray]:
    """Measures how much each head or feed-forward unit adds to the hidden states.

    The contribution's norm is averaged over the real tokens of an example, and those means are
    aggregated over the examples (and uses of a shared block) by their root mean square.

    Args:
        model: A Functional model of a known architecture.
        blocks: Its blocks, once per use.
        part: "attention_output" for heads, "outer" for feed-forward units.
        calibration: Inputs of the model, with examples along the first axis.

    Returns:
        For each block, by its name, a float64 array with one number for each head or unit.

    Raises:
        TypeError: If `calibration` has another dtype.
        ValueError: If `calibration` is empty or does not fit the model.
    """
    means: dict[str, list[np.ndarray]] = {}
    mask: Any = None

    def enter(given: dict[str, Any]) -> None:
        nonlocal mask
        mask = _mask(given)

    def hear(parts: BlockParts, given: dict[str, Any], outputs: Any) -> None:
        activations = next(iter(given.values()))
        kernel = tf.convert_to_tensor(parts.layers[part].kernel)
        if part == "outer":
            activations, kernel = activations[..., None], kernel[:, None, :]
        per_token = contribution(activations, kernel) * mask[..., None]
        real = tf.maximum(tf.reduce_sum(mask, axis=1), 1.0)[:, None]
        per_example = (tf.reduce_sum(per_token, axis=1) / real).numpy()
        means.setdefault(parts.block.name, []).append(per_example)

    hooks = []
    for block in _distinct(blocks):
        parts = parts_of(block)
        hooks.append((block, _listening(before=enter)))
        hooks.append((parts.layers[part], _listening(after=functools.partial(hear, parts))))
    with intercepting(hooks):
        for run in _batches(model, calibration):
            run()
    return {
        name: np.sqrt(np.mean(np.concatenate(values).astype(np.float64) ** 2, axis=0))
        for name, values in means.items()
    }


def _batches(model: keras.Model, calibration: Any) -> Iterator[Callable[[], Any]]:
    named = named_model(model)
    arrays = named.arrays(calibration, argument="calibration")
    table = next((each for each in model.layers if isinstance(each, keras.layers.Embedding)), None)
    ids = arrays.get("ids", arrays.get("token_ids"))
    if table is not None and ids is not None:
        if ids.min() < 0 or ids.max() >= table.input_dim:
            raise ValueError(
                f"`calibration` must hold token ids in [0, {table.input_dim}). Received: ids from "
                f"{ids.min()} to {ids.max()}. Encode the texts with the model's own tokenizer."
            )
    for start in range(0, len(next(iter(arrays.values()))), _BATCH):
        batch = {name: value[start : start + _BATCH] for name, value in arrays.items()}
        yield functools.partial(named, batch)


def _listening(
    *,
    before: Callable[[dict[str, Any]], None] | None = None,
    after: Callable[[dict[str, Any], Any], None] | None = None,
) -> Hook:
    """Makes a hook that tells what a layer is given, and what it returns."""

    def hook(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        given = named_arguments(call, args, kwargs)
        if before is not None:
            before(given)
        outputs = call(*args, **kwargs)
        if after is not None:
            after(given, outputs)
        return outputs

    return hook


def _mask(given: dict[str, Any]) -> tf.Tensor:
    """Returns which positions are real, float32 `[B, L]`; all, if nothing is said."""
    for name in _MASKS:
        if given.get(name) is not None:
            return tf.cast(tf.cast(given[name], tf.bool), tf.float32)
    return tf.ones(tf.shape(next(iter(given.values())))[:2])


def _distinct(blocks: list[keras.layers.Layer]) -> list[keras.layers.Layer]:
    return list({id(block): block for block in blocks}.values())


@dataclass(frozen=True)
class Removal:
    """Says what was removed from a model; `str()` gives it as text.

    Attributes:
        part: "layers", "heads", "feed-forward units" or "vocabulary rows".
        kept: By place (the name of a block, or of the model or table), the indices that were kept,
            in their new order.
        removed: By place, the indices that are gone, rising.
        importance: By place, the measured importance of each index before, or nothing where it
            was not measured; see `tfdistill.compress.structured.importance` for the definitions.
        parameters_before: Number of parameters of the given model.
        parameters_after: Number of parameters of the smaller one.

    Example:
        >>> print(Removal(part="heads", kept={"encoder_0": (1,)}, removed={"encoder_0": (0,)},
        ...               importance={"encoder_0": (0.1, 0.7)}, parameters_before=200,
        ...               parameters_after=150))
        1 of 2 heads removed; parameters 200 → 150 (75 %)
          encoder_0: removed 0
    """

    part: str
    kept: dict[str, tuple[int, ...]]
    removed: dict[str, tuple[int, ...]]
    importance: dict[str, tuple[float, ...]]
    parameters_before: int
    parameters_after: int

    def __str__(self) -> str:
        """Returns a line on the whole and a line for each place."""
        gone = sum(map(len, self.removed.values()))
        total = gone + sum(map(len, self.kept.values()))
        share = self.parameters_after / self.parameters_before
        lines = [
            f"{gone:,} of {total:,} {self.part} removed; parameters "
            f"{self.parameters_before:,} → {self.parameters_after:,} ({share:.0%})".replace(
                "%)", " %)"
            )
        ]
        for place, indices in self.removed.items():
            shown = ", ".join(map(str, indices[:8])) or "nothing"
            more = f" and {len(indices) - 8:,} more" if len(indices) > 8 else ""
            lines.append(f"  {place}: removed {shown}{more}")
        return "\n".join(lines)


def summarize(
    part: str,
    *,
    before: Any,
    after: Any,
    kept: dict[str, np.ndarray],
    present: dict[str, int],
    importance: dict[str, np.ndarray],
) -> Removal:
    """Makes the summary from what was kept.

    Args:
        part: What kind of part.
        before: The given model.
        after: The smaller model.
        kept: Indices that were kept, by place.
        present: How many there were, by place.
        importance: Measured importances, by place.

    Returns:
        The summary.
    """
    return Removal(
        part=part,
        kept={place: tuple(map(int, indices)) for place, indices in kept.items()},
        removed={
            place: tuple(np.setdiff1d(np.arange(present[place]), indices).tolist())
            for place, indices in kept.items()
        },
        importance={place: tuple(map(float, scores)) for place, scores in importance.items()},
        parameters_before=before.count_params(),
        parameters_after=after.count_params(),
    )


def check_keep(keep: Any, *, present: int, what: str) -> None:
    """Refuses a number to keep that is none, or more than there is.

    Args:
        keep: What the caller passed.
        present: How many there are.
        what: What is counted, for the messages.

    Raises:
        TypeError: If it is not an int.
        ValueError: If it is out of range.
    """
    hint = f"It says how many of the {present} {what} stay, not how many go."
    check_int(keep, argument="keep", at_least=1, at_most=present, hint=hint)
