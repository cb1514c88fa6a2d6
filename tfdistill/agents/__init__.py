"""Agents: the exported files at work, without TensorFlow.

=============  ====================================================================================
`Agent`        one bundle in this process: `Agent("bundle/").predict(["oil prices rose"])`
`AgentPool`    several agents of one bundle: on threads, in Ray workers, or as a plain loop
`RayAgent`     one bundle in a Ray worker: `ray.get(agent.predict.remote(texts))`
`Prediction`   the answer to one text; equal whichever of the three gave it
`Team`         several agents that answer one request together: `Plan`, `Message`, `Policy`
`Generator`    a language model's bundle that continues texts; `chat_prompt` writes its prompts
`FrameWriter`  a language model in a team, that says in a sentence what the others found
=============  ====================================================================================

Nothing here imports TensorFlow, Keras or TF-MOT: a process that only answers needs about 50 MB and
starts in a fraction of a second. Ray is imported when `RayAgent` or `AgentPool(executor="ray")` is
first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfdistill.agents.agent import Agent, Prediction
    from tfdistill.agents.chat import chat_prompt
    from tfdistill.agents.encoding import UnusableTextError
    from tfdistill.agents.failures import QuarantinedTextError, TextTimeoutError
    from tfdistill.agents.frame_writer import FrameWriter, frame_prompt, slot_coverage
    from tfdistill.agents.generator import Generator, WrittenText
    from tfdistill.agents.learned_policy import LearnedPolicy, open_policy
    from tfdistill.agents.members import Answer, Member, Question
    from tfdistill.agents.messages import MalformedMessageError, Message, Span
    from tfdistill.agents.plan import Plan, PlanError, Step
    from tfdistill.agents.policy import Budget, Policy, ThresholdPolicy, View
    from tfdistill.agents.pool import AgentPool
    from tfdistill.agents.ray_worker import RayAgent
    from tfdistill.agents.replaying import replay
    from tfdistill.agents.team import Team, TeamResult
    from tfdistill.agents.trace import Trace

__all__ = [
    "Agent",
    "AgentPool",
    "Answer",
    "Budget",
    "FrameWriter",
    "Generator",
    "LearnedPolicy",
    "MalformedMessageError",
    "Member",
    "Message",
    "Plan",
    "PlanError",
    "Policy",
    "Prediction",
    "QuarantinedTextError",
    "Question",
    "RayAgent",
    "Span",
    "Step",
    "Team",
    "TeamResult",
    "TextTimeoutError",
    "ThresholdPolicy",
    "Trace",
    "UnusableTextError",
    "View",
    "WrittenText",
    "chat_prompt",
    "frame_prompt",
    "open_policy",
    "replay",
    "slot_coverage",
]

_MODULE_OF = {
    "Agent": "agent",
    "AgentPool": "pool",
    "Answer": "members",
    "Budget": "policy",
    "FrameWriter": "frame_writer",
    "Generator": "generator",
    "LearnedPolicy": "learned_policy",
    "MalformedMessageError": "messages",
    "Member": "members",
    "Message": "messages",
    "Plan": "plan",
    "PlanError": "plan",
    "Policy": "policy",
    "Prediction": "agent",
    "QuarantinedTextError": "failures",
    "Question": "members",
    "RayAgent": "ray_worker",
    "Span": "messages",
    "Step": "plan",
    "Team": "team",
    "TeamResult": "team",
    "TextTimeoutError": "failures",
    "ThresholdPolicy": "policy",
    "Trace": "trace",
    "UnusableTextError": "encoding",
    "View": "policy",
    "WrittenText": "generator",
    "chat_prompt": "chat",
    "frame_prompt": "frame_writer",
    "open_policy": "learned_policy",
    "replay": "replaying",
    "slot_coverage": "frame_writer",
}


def __getattr__(name: str) -> Any:
    """Imports the module behind a public name when the name is first used (PEP 562)."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Lists the public names, whether or not their modules are imported yet."""
    return sorted({*globals(), *__all__})
