from .budget.auction import Auction as Auction, Planner as Planner
from .budget.baselines import (
    Oracle as Oracle,
    Rule as Rule,
    agreement as agreement,
    best_behavior_policy as best_behavior_policy,
    fixed_tier as fixed_tier,
    knn as knn,
    random_mix as random_mix,
    rules as rules,
    thresholds as thresholds,
)
from .budget.calibration import Calibration as Calibration
from .budget.env import TeamEnv as TeamEnv
from .budget.evaluation import (
    Evaluation as Evaluation,
    cluster_interval as cluster_interval,
    evaluate as evaluate,
)
from .budget.game import BudgetGame as BudgetGame
from .budget.policy_export import export_policy as export_policy
from .budget.record import TeamRecord as TeamRecord
from .budget.recording import LabeledRequest as LabeledRequest, team_fingerprint as team_fingerprint
from .budget.report import (
    BudgetRow as BudgetRow,
    learn_budgets as learn_budgets,
    worth_it as worth_it,
    write_budget_report as write_budget_report,
)
from .budget.training import (
    imitate as imitate,
    learn_policy as learn_policy,
    policy_on as policy_on,
)
from .games.matrix_games import (
    ClimbingGame as ClimbingGame,
    MatrixGame as MatrixGame,
    PenaltyGame as PenaltyGame,
    TwoStepGame as TwoStepGame,
)
from .games.switch_game import SwitchGame as SwitchGame
from .games.table_game import TableGame as TableGame
from .learners.networks import MonotonicMixer as MonotonicMixer, SumMixer as SumMixer
from .learners.tabular import TabularQ as TabularQ
from .learners.value_decomposition import IQL as IQL, QMIX as QMIX, VDN as VDN
