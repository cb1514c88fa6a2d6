"""Q-learning for a team under a budget, and the games with known answers that it is held to.

=============  =======================================================================
equations      `learners.equations`: targets, errors, balanced random actions
teams          `SumMixer` (VDN), `MonotonicMixer` (QMIX)
learners       `TabularQ`, `IQL`, `VDN`, `QMIX`: `train(steps)`, `greedy_return()`
budget         `TeamRecord`, `TeamEnv`, `Calibration`, `learn_policy`, `evaluate`
deployment     `export_policy`: a folder for `Team(policy=LearnedPolicy(folder))`
baselines      `thresholds`, `knn`, `agreement`, `Auction`, `Planner`, `Oracle`
games          `TwoStepGame`, `ClimbingGame`, `PenaltyGame`, `SwitchGame`, `MatrixGame`
=============  =======================================================================

Example:
    >>> from tfdistill import rl
    >>> learner = rl.VDN(rl.TwoStepGame(), seed=0)
    >>> learner.train(steps=320)["steps"]
    320
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
