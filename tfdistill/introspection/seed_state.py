"""The states of a model's random generators in its file, where Keras leaves them out.

Without them a resumed run draws other dropout masks and ends elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

__all__ = ["load_seeds", "save_seeds", "seed_states"]

_SEED = "seed_"


def seed_states(model: keras.Model) -> list[keras.Variable]:
    """Lists the states of a model's random generators, dropout for one, in a fixed order.

    Args:
        model: A built Keras 3 model.

    Returns:
        Variables that `model.weights` leaves out, and Keras' files with it.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dropout(0.5)])
        >>> len(model.weights), len(seed_states(model))
        (0, 1)
    """
    kept = {id(variable) for variable in model.weights}
    return [variable for variable in model.variables if id(variable) not in kept]


def save_seeds(model: keras.Model, store: Any) -> None:
    """Writes the states of the random generators beside a model's own variables.

    Args:
        model: The model.
        store: What `save_own_variables` is given. The states go by number, because paths are
            made up anew in each process.
    """
    for number, state in enumerate(seed_states(model)):
        store[f"{_SEED}{number}"] = state


def load_seeds(model: keras.Model, store: Mapping[str, Any]) -> dict[str, Any]:
    """Puts the random generators into the states that a file holds.

    Args:
        model: The model.
        store: What `load_own_variables` is given.

    Returns:
        What is left for the model's own variables.

    Raises:
        ValueError: If the file was written by a model with other random layers.
    """
    states = seed_states(model)
    rest = {name: store[name] for name in store.keys() if not name.startswith(_SEED)}
    found = len(store.keys()) - len(rest)
    if found != len(states):
        raise ValueError(
            f"The file must be of a {type(model).__name__} with the same student. "
            f"Received: {found} random generators in the file, {len(states)} in the model. "
            "Build the student as it was when the file was written."
        )
    for number, state in enumerate(states):
        state.assign(store[f"{_SEED}{number}"])
    return rest
