"""Q-learning for a team under a budget, and the games with known answers that it is held to.

=============  =======================================================================
equations      `qlearning`: targets and errors; `exploration`: balanced random actions
teams          `SumMixer` (VDN), `MonotonicMixer` (QMIX)
learners       `TabularQ`, `IQL`, `VDN`, `QMIX`: `train(steps)`, `greedy_return()`
games          `TwoStepGame`, `ClimbingGame`, `PenaltyGame`, `SwitchGame`, `MatrixGame`
=============  =======================================================================

Example:
    >>> from tfdistill import rl
    >>> learner = rl.VDN(rl.TwoStepGame(), seed=0)
    >>> learner.train(steps=320)["steps"]
    320
"""

from tfdistill.rl.games import ClimbingGame, MatrixGame, PenaltyGame, TwoStepGame
from tfdistill.rl.learners import IQL, QMIX, VDN
from tfdistill.rl.mixers import MonotonicMixer, SumMixer
from tfdistill.rl.switch_game import SwitchGame
from tfdistill.rl.table_game import TableGame
from tfdistill.rl.tabular import TabularQ

__all__ = [
    "ClimbingGame",
    "IQL",
    "MatrixGame",
    "MonotonicMixer",
    "PenaltyGame",
    "QMIX",
    "SumMixer",
    "SwitchGame",
    "TableGame",
    "TabularQ",
    "TwoStepGame",
    "VDN",
]
