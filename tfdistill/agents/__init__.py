"""Agents: the exported files at work, without TensorFlow.

=============  ====================================================================================
`Agent`        one bundle in this process: `Agent("bundle/").predict(["oil prices rose"])`
`AgentPool`    several agents of one bundle: on threads, in Ray workers, or as a plain loop
`RayAgent`     one bundle in a Ray worker: `ray.get(agent.predict.remote(texts))`
`Prediction`   the answer to one text; equal whichever of the three gave it
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
    from tfdistill.agents.encoding import UnusableTextError
    from tfdistill.agents.failures import QuarantinedTextError, TextTimeoutError
    from tfdistill.agents.pool import AgentPool
    from tfdistill.agents.ray_worker import RayAgent

__all__ = [
    "Agent",
    "AgentPool",
    "Prediction",
    "QuarantinedTextError",
    "RayAgent",
    "TextTimeoutError",
    "UnusableTextError",
]

_MODULE_OF = {
    "Agent": "agent",
    "AgentPool": "pool",
    "Prediction": "agent",
    "QuarantinedTextError": "failures",
    "RayAgent": "ray_worker",
    "TextTimeoutError": "failures",
    "UnusableTextError": "encoding",
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
