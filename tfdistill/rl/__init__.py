"""Q-learning for a team under a budget, and the games with known answers that it is held to.

=============  =======================================================================
equations      `qlearning`: targets and errors; `exploration`: balanced random actions
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

from tfdistill.rl.auction import Auction, Planner
from tfdistill.rl.baselines import Oracle, Rule, agreement, fixed_tier, knn, random_mix, thresholds
from tfdistill.rl.budget_game import BudgetGame
from tfdistill.rl.budget_report import BudgetRow, learn_budgets, worth_it, write_budget_report
from tfdistill.rl.budget_training import learn_policy, policy_on
from tfdistill.rl.calibration import Calibration
from tfdistill.rl.contest import best_guide, rules
from tfdistill.rl.env import TeamEnv
from tfdistill.rl.evaluation import Evaluation, cluster_interval, evaluate
from tfdistill.rl.games import ClimbingGame, MatrixGame, PenaltyGame, TwoStepGame
from tfdistill.rl.imitation import imitate
from tfdistill.rl.learners import IQL, QMIX, VDN
from tfdistill.rl.mixers import MonotonicMixer, SumMixer
from tfdistill.rl.policy_export import export_policy
from tfdistill.rl.record import TeamRecord
from tfdistill.rl.recording import LabeledRequest, team_fingerprint
from tfdistill.rl.switch_game import SwitchGame
from tfdistill.rl.table_game import TableGame
from tfdistill.rl.tabular import TabularQ

__all__ = [
    "Auction",
    "BudgetGame",
    "BudgetRow",
    "Calibration",
    "ClimbingGame",
    "Evaluation",
    "IQL",
    "LabeledRequest",
    "MatrixGame",
    "MonotonicMixer",
    "Oracle",
    "PenaltyGame",
    "Planner",
    "QMIX",
    "Rule",
    "SumMixer",
    "SwitchGame",
    "TableGame",
    "TabularQ",
    "TeamEnv",
    "TeamRecord",
    "TwoStepGame",
    "VDN",
    "agreement",
    "best_guide",
    "cluster_interval",
    "evaluate",
    "export_policy",
    "fixed_tier",
    "imitate",
    "knn",
    "learn_budgets",
    "learn_policy",
    "policy_on",
    "random_mix",
    "rules",
    "team_fingerprint",
    "thresholds",
    "worth_it",
    "write_budget_report",
]
