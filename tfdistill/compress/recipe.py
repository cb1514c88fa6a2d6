"""Checks a recipe: that it is one, and that each transform preserves the earlier guarantees."""

from __future__ import annotations

from collections.abc import Sequence

from tfdistill.compress.technique import WeightTransform
from tfdistill.introspection.weights import Target, select

__all__ = ["check_order", "check_recipe", "insert"]


def check_recipe(recipe: Sequence[WeightTransform]) -> None:
    """Refuses what is no list of transforms.

    Args:
        recipe: What the caller passed.

    Raises:
        TypeError: If it is empty or holds something else.
    """
    if (
        isinstance(recipe, str)
        or not isinstance(recipe, Sequence)
        or not recipe
        or not all(isinstance(item, WeightTransform) for item in recipe)
    ):
        raise TypeError(
            "`recipe` must be a non-empty list of transforms. "
            f"Received: recipe={recipe!r}. For example [Prune(sparsity=0.5), Quantize(bits=8)]."
        )


def check_order(recipe: Sequence[WeightTransform], targets: Sequence[Target]) -> None:
    """Refuses a recipe in which a transform undoes an earlier guarantee about the same weight.

    The later transform is asked: `later.preserves(guarantee)`. Two transforms of one class may
    share a weight only if the second begins where the first has ended.

    Args:
        recipe: Transforms in their order.
        targets: The weights of the model.

    Raises:
        ValueError: If there are two such transforms; the message names them and the weight.
    """
    refusal = _refusal(recipe, targets)
    if refusal:
        raise ValueError(refusal)


def insert(
    recipe: Sequence[WeightTransform], transform: WeightTransform, targets: Sequence[Target]
) -> list[WeightTransform]:
    """Adds a transform as late as the guarantees of the others allow.

    Args:
        recipe: A recipe in a valid order.
        transform: The transform to add.
        targets: The weights of the model.

    Returns:
        A new recipe.

    Raises:
        ValueError: If there is no place for it; the message is that of the last one.
    """
    for place in range(len(recipe), -1, -1):
        grown = [*recipe[:place], transform, *recipe[place:]]
        if _refusal(grown, targets) is None:
            return grown
    grown = [*recipe, transform]
    check_order(grown, targets)
    return grown


def _refusal(recipe: Sequence[WeightTransform], targets: Sequence[Target]) -> str | None:
    """Says which two transforms do not go together, or None."""
    chosen = [
        select(targets, include=transform.include, exclude=transform.exclude)
        for transform in recipe
    ]
    for second, later in enumerate(recipe):
        for first, earlier in enumerate(recipe[:second]):
            clash = _clash(earlier, later)
            own = {id(target.variable) for target in chosen[first]}
            shared = [target.path for target in chosen[second] if id(target.variable) in own]
            if clash and shared:
                names = ", ".join(type(transform).__name__ for transform in recipe)
                return clash.format(recipe=f"[{names}]", path=shared[0])
    return None


def _clash(earlier: WeightTransform, later: WeightTransform) -> str | None:
    """Says why two transforms cannot share a weight in this order, or None."""
    first, second = type(earlier).__name__, type(later).__name__
    apart = "Keep them apart with `include` and `exclude`"
    if type(earlier) is type(later):
        end = earlier.end_step
        if end is not None and later.begin_step >= end:
            return None
        wait = (
            "" if end is None else f", or let the second begin at the first's end: begin_step={end}"
        )
        return (
            "`recipe` must apply a technique once to each weight. Received: recipe={recipe}, with "
            f"{first} twice for '{{path}}'. {apart}{wait}."
        )
    undone = [each for each in earlier.guarantees if not later.preserves(each)]
    if not undone:
        return None
    can_swap = all(earlier.preserves(each) for each in later.guarantees)
    return (
        "`recipe` must not undo an earlier guarantee. Received: recipe={recipe}, where "
        f"{second} undoes the {undone[0].name} that {first} guarantees for '{{path}}'. "
        f"{f'Put {second} before {first}' if can_swap else apart}."
    )
