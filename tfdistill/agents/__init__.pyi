from .agent import Agent as Agent
from .calibration import (
    calibrate_bundle as calibrate_bundle,
    calibrate_thresholds as calibrate_thresholds,
)
from .execution.executor import Executor as Executor, Job as Job
from .execution.quarantine import (
    QuarantinedTextError as QuarantinedTextError,
    TextTimeoutError as TextTimeoutError,
)
from .generation.generator import Generator as Generator, WrittenText as WrittenText
from .on_ray.actors import RayAgent as RayAgent
from .pool import AgentPool as AgentPool
from .predictions import (
    LabelsPrediction as LabelsPrediction,
    NumberPrediction as NumberPrediction,
    Prediction as Prediction,
)
from .team.folder import (
    deploy_policy as deploy_policy,
    open_team as open_team,
    save_team as save_team,
)
from .team.heads import Classifier as Classifier, HeadFile as HeadFile, Tagger as Tagger
from .team.learned_policy import LearnedPolicy as LearnedPolicy, open_policy as open_policy
from .team.member import Answer as Answer, Member as Member, Question as Question
from .team.messages import (
    MalformedMessageError as MalformedMessageError,
    Message as Message,
    Span as Span,
    plain_value as plain_value,
)
from .team.plan import Plan as Plan, PlanError as PlanError, Step as Step
from .team.policy import (
    Budget as Budget,
    Policy as Policy,
    ThresholdPolicy as ThresholdPolicy,
    View as View,
)
from .team.replay import replay as replay
from .team.slot_writer import (
    SlotWriter as SlotWriter,
    frame_prompt as frame_prompt,
    slot_coverage as slot_coverage,
)
from .team.team import Team as Team, TeamResult as TeamResult
from .team.trace import Trace as Trace
from .team.verifier import Verifier as Verifier, compatible_labels as compatible_labels
from .tokenization.ngrams import NGrams as NGrams
from .tokenization.text_encoder import UnusableTextError as UnusableTextError
from .trust.fitting import (
    fit_confidence as fit_confidence,
    fit_temperature as fit_temperature,
    scope_threshold as scope_threshold,
)
from .trust.scores import (
    class_probabilities as class_probabilities,
    in_scope_score as in_scope_score,
)
from .trust.thresholds import best_thresholds as best_thresholds
