"""The switch game: two agents who must let each other pass."""

from __future__ import annotations

import itertools

import numpy as np

from tfdistill.rl.games.table_game import TableGame

__all__ = ["SwitchGame"]


class SwitchGame(TableGame):
    """Two agents in two rooms must swap places through a corridor that holds one of them.

    Each agent starts in the middle of its own room and wants to be in the upper cell of the
    other's. A step costs 0.1 for each agent that is not home, reaching home pays 5, once. When both
    want the same cell, or each other's, or one that the other stays in, both stay where they were.
    A room is three cells on top of each other and the corridor leaves from the middle one, so one
    agent has to step aside to let the other in. The states are the pairs of places.

    Args:
        corridor: Number of cells of the corridor.
        max_steps: After how many steps an episode is cut off.

    Example:
        >>> SwitchGame(corridor=1).num_actions
        5

    References:
        After the "Switch" task of Sunehag et al. "Value-Decomposition Networks", 2017, section 4.
    """

    metadata = {"name": "switch_v0", "is_parallelizable": True, "render_modes": []}

    def __init__(self, *, corridor: int = 1, max_steps: int = 20) -> None:
        if not isinstance(corridor, int) or corridor < 1:
            raise ValueError(f"`corridor` must be a positive int. Received: corridor={corridor!r}.")
        cells = _cells(corridor)
        places = {cell: number for number, cell in enumerate(cells)}
        left, right = (0, 1), (corridor + 1, 1)  # the upper cells of both rooms
        homes = (places[right], places[left])
        starts = (places[(0, 0)], places[(corridor + 1, 0)])
        pairs = list(itertools.permutations(range(len(cells)), 2))
        number = {pair: index for index, pair in enumerate(pairs)}
        rewards = np.zeros((len(pairs), 5, 5), np.float32)
        following = np.zeros((len(pairs), 5, 5), np.int32)
        ended = np.zeros((len(pairs), 5, 5), bool)
        for pair, first, second in itertools.product(pairs, range(5), range(5)):
            moved = _move(pair, (first, second), cells, places, homes)
            at = number[pair], first, second
            rewards[at] = sum(
                5.0 * (new == home and old != home) - 0.1 * (new != home)
                for old, new, home in zip(pair, moved, homes, strict=True)
            )
            following[at], ended[at] = number[moved], moved == homes
        own = np.eye(len(cells), dtype=np.float32)
        super().__init__(
            state_names=tuple(f"{one},{two}" for one, two in pairs),
            rewards=rewards,
            following=following,
            ended=ended,
            max_steps=max_steps,
            observations=np.array([[own[one], own[two]] for one, two in pairs]),
            start=number[starts],
        )


def _cells(corridor: int) -> list[tuple[int, int]]:
    """Lists the cells (column, row): a room of three, the corridor, a room of three."""
    rooms = [(column, row) for column in (0, corridor + 1) for row in (-1, 0, 1)]
    return [*rooms, *((column, 0) for column in range(1, corridor + 1))]


def _move(
    pair: tuple[int, int],
    actions: tuple[int, int],
    cells: list[tuple[int, int]],
    places: dict[tuple[int, int], int],
    homes: tuple[int, int],
) -> tuple[int, int]:
    """Returns where both agents are after their moves: left, right, up, down, stay."""
    steps = ((-1, 0), (1, 0), (0, 1), (0, -1), (0, 0))
    wanted = []
    for place, action, home in zip(pair, actions, homes, strict=True):
        column, row = cells[place]
        over, up = steps[action] if place != home else (0, 0)
        wanted.append(places.get((column + over, row + up), place))
    if wanted[0] == wanted[1] or (wanted[0] == pair[1] and wanted[1] == pair[0]):
        return pair
    return wanted[0], wanted[1]
