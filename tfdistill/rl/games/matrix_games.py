"""Small games with known answers, to hold a learner to: each is a table of states.

A game here is two things at once: a PettingZoo `ParallelEnv`, so that other libraries can play it,
and a set of tables (next state, reward, end) that a learner can step for many episodes at once by
looking up. The published values are in the docstrings.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfdistill.rl.games.table_game import TableGame

__all__ = ["ClimbingGame", "MatrixGame", "PenaltyGame", "TwoStepGame"]

CLIMBING = ((11, -30, 0), (-30, 7, 0), (0, 6, 5))
TWO_STEP_SAFE, TWO_STEP_RISKY = ((7, 7), (7, 7)), ((0, 1), (1, 8))


class TwoStepGame(TableGame):
    """The game that tells QMIX from VDN: agent 0's first action chooses which matrix is played.

    In state "1" nothing is paid; action 0 of agent 0 leads to "2A", where everything pays 7, and
    action 1 to "2B", which pays [[0, 1], [1, 8]]. A team that cannot represent 2B takes the 7.

    Example:
        >>> game = TwoStepGame()
        >>> game.state_names
        ('1', '2A', '2B')

    References:
        Rashid et al. "QMIX", 2018, section 5 and table 1. https://arxiv.org/abs/1803.11485
    """

    metadata = {"name": "two_step_v0", "is_parallelizable": True, "render_modes": []}

    def __init__(self) -> None:
        rewards = np.zeros((3, 2, 2), np.float32)
        rewards[1], rewards[2] = TWO_STEP_SAFE, TWO_STEP_RISKY
        following = np.zeros((3, 2, 2), np.int32)
        following[0, 0], following[0, 1] = 1, 2
        ended = np.zeros((3, 2, 2), bool)
        ended[1:] = True
        super().__init__(
            state_names=("1", "2A", "2B"),
            rewards=rewards,
            following=following,
            ended=ended,
            max_steps=2,
        )


class MatrixGame(TableGame):
    """A payoff matrix, played a number of times in a row by agents that see nothing.

    Args:
        payoffs: What the team gets, `[A, A]` for two agents, `[A, A, A]` for three, and so on.
        rounds: How many times it is played in an episode.

    Raises:
        ValueError: If `payoffs` is not square or not finite, or `rounds` is not positive.

    Example:
        >>> game = MatrixGame([[1, 0], [0, 2]], rounds=3)
        >>> _ = game.reset(seed=0)
        >>> _, rewards, *_ = game.step({"agent_0": 1, "agent_1": 1})
        >>> rewards["agent_0"]
        2.0
    """

    metadata = {"name": "matrix_v0", "is_parallelizable": True, "render_modes": []}

    def __init__(self, payoffs: Sequence | np.ndarray, *, rounds: int = 1) -> None:
        matrix = np.asarray(payoffs, np.float32)
        if matrix.ndim < 2 or len(set(matrix.shape)) != 1 or not np.isfinite(matrix).all():
            raise ValueError(
                "`payoffs` must be a finite array with as many actions for each of two or more "
                f"agents. Received: payoffs of shape {matrix.shape}."
            )
        if not isinstance(rounds, int) or rounds < 1:
            raise ValueError(f"`rounds` must be a positive int. Received: rounds={rounds!r}.")
        super().__init__(
            state_names=("1",),
            rewards=matrix[None],
            following=np.zeros((1, *matrix.shape), np.int32),
            ended=np.full((1, *matrix.shape), rounds == 1),
            max_steps=rounds,
        )


class ClimbingGame(MatrixGame):
    """The climbing game: [[11, −30, 0], [−30, 7, 0], [0, 6, 5]], played once or several times.

    The best joint action pays 11 and is surrounded by −30. Under uniform exploration a value that
    is a sum, or an agent's own average, prefers the last row and column: 5.

    Example:
        >>> float(ClimbingGame().rewards.max())
        11.0

    References:
        Claus, Boutilier. "The Dynamics of Reinforcement Learning in Cooperative Multiagent
        Systems", 1998, section 4.
    """

    metadata = {"name": "climbing_v0", "is_parallelizable": True, "render_modes": []}

    def __init__(self, *, rounds: int = 1) -> None:
        super().__init__(CLIMBING, rounds=rounds)


class PenaltyGame(MatrixGame):
    """The penalty game: [[−k, 0, 10], [0, 2, 0], [10, 0, −k]].

    Two joint actions pay 10, and missing each other costs k. The larger k, the more a cautious
    team prefers the 2 in the middle.

    Args:
        penalty: k, at least 0.
        rounds: How many times it is played in an episode.

    Raises:
        ValueError: If `penalty` is negative.

    Example:
        >>> PenaltyGame(penalty=25).rewards[0, 0].tolist()
        [-25.0, 0.0, 10.0]

    References:
        Claus, Boutilier, 1998, section 4.
    """

    metadata = {"name": "penalty_v0", "is_parallelizable": True, "render_modes": []}

    def __init__(self, *, penalty: float = 0.0, rounds: int = 1) -> None:
        if not penalty >= 0:
            raise ValueError(f"`penalty` must be at least 0. Received: penalty={penalty!r}.")
        super().__init__(((-penalty, 0, 10), (0, 2, 0), (10, 0, -penalty)), rounds=rounds)
