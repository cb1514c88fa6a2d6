"""The replay buffer, a ring of whole turns; and a learner's state in a file.

The file is named arrays in an `.npz`, and nothing that could run.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfdistill.files.atomic import check_target, replacing

__all__ = ["Replay", "read_state", "write_state"]


class Replay:
    """Keeps the last turns of all episodes, and draws whole turns.

    A turn is kept and drawn as a whole, because its exploration is balanced (see
    `exploration.stratified_actions`): a random part of it would bring the luck back.

    Args:
        capacity: How many turns are kept; the oldest goes first.
        episodes: B, episodes in a turn.
        agents: N.
        width: Numbers that describe an episode.
    """

    def __init__(self, *, capacity: int, episodes: int, agents: int, width: int) -> None:
        self.capacity = capacity

        def ring(*shape: int, dtype: tf.DType) -> tf.Variable:
            return tf.Variable(tf.zeros((capacity, episodes, *shape), dtype), trainable=False)

        self.before = ring(width, dtype=tf.int32)
        self.after = ring(width, dtype=tf.int32)
        self.actions = ring(agents, dtype=tf.int32)
        self.rewards = ring(dtype=tf.float32)
        self.ended = ring(dtype=tf.bool)

    @property
    def variables(self) -> dict[str, tf.Variable]:
        """The rings by name."""
        names = ("before", "after", "actions", "rewards", "ended")
        return {f"replay_{name}": getattr(self, name) for name in names}

    def add(
        self,
        turn: tf.Tensor,
        before: tf.Tensor,
        actions: tf.Tensor,
        result: tuple[tf.Tensor, ...],
    ) -> None:
        """Keeps a turn in the place of the one `capacity` turns ago."""
        place = turn % self.capacity
        self.before[place].assign(before)
        self.actions[place].assign(actions)
        self.after[place].assign(result[0])
        self.rewards[place].assign(result[1])
        self.ended[place].assign(result[2])

    def draw(self, turn: tf.Tensor, seed: tf.Tensor, *, turns: int) -> tuple[tf.Tensor, ...]:
        """Draws whole turns with replacement.

        Args:
            turn: Number of the newest turn, int32 scalar.
            seed: Two int32 numbers.
            turns: How many.

        Returns:
            Before, actions, after, rewards and ended of `turns · B` steps.
        """
        kept = tf.minimum(turn + 1, self.capacity)
        places = tf.random.stateless_uniform([turns], seed, minval=0, maxval=kept, dtype=tf.int32)
        rings = (self.before, self.actions, self.after, self.rewards, self.ended)
        drawn = [tf.gather(ring, places) for ring in rings]
        return tuple(tf.reshape(part, (-1, *part.shape[2:])) for part in drawn)


_KIND = "learner"


def write_state(path: str | os.PathLike[str], state: Mapping[str, Any], *, kind: str) -> None:
    """Writes named variables, whole or not at all.

    Args:
        path: File to write, ending in `.npz`.
        state: Variables by name.
        kind: Class of the learner.

    Raises:
        ValueError: If the name does not end in `.npz`.
    """
    target = check_target(path)
    if target.suffix != ".npz":
        raise ValueError(f"`path` must end in .npz. Received: path={str(path)!r}.")
    arrays: dict[str, Any] = {name: np.asarray(variable) for name, variable in state.items()}
    arrays[_KIND] = np.array(kind)
    with replacing(target) as temporary:
        np.savez_compressed(temporary, **arrays)


def read_state(
    path: str | os.PathLike[str], state: Mapping[str, Any], *, kind: str
) -> list[np.ndarray]:
    """Reads the values for named variables and checks every one before any is used.

    Args:
        path: File that `write_state` wrote.
        state: The variables that want values, by name.
        kind: Class of the learner.

    Returns:
        Values in the order of `state`.

    Raises:
        ValueError: If the file is of another learner, or no such file at all.
    """
    try:
        # Opened here: np.load leaves a file open that turns out to be no archive.
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"`path` must be a file that `save` wrote. Received: path={str(path)!r} ({error})."
        ) from error
    wanted = {name: np.shape(variable) for name, variable in state.items()}
    other = str(found.pop(_KIND, "something else"))
    shapes = {name: value.shape for name, value in found.items()}
    if other != kind or shapes != wanted:
        differing = sorted(
            name for name in wanted.keys() | shapes.keys() if wanted.get(name) != shapes.get(name)
        )
        raise ValueError(
            f"`path` must be a file of a {kind} with the same game and settings. Received: "
            f"path={str(path)!r}, of {other}; differing: {', '.join(differing[:5]) or 'the class'}."
        )
    return [found[name] for name in state]
