"""A policy that was learned offline, running in a team: numbers in, one choice for each field out.

The file values every action of every field at once; what the team allows at that moment is a mask
over it. So a policy can neither overspend nor ask for what there is not, whatever it learned.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfdistill.agents.messages import Message
from tfdistill.agents.policy import Budget, Policy, ThresholdPolicy, View
from tfdistill.interpreter import Interpreter

__all__ = ["LearnedPolicy", "open_policy"]

_LARGEST_JSON = 2**20
_LARGEST_FILE = 64 * 2**20


class LearnedPolicy:
    """Takes, for each open field, the allowed action that the file values most.

    Args:
        path: The folder that `tfdistill.rl.export_policy` wrote.

    Attributes:
        budget: The budget that it was trained for, to give to the team.
        fallback: The thresholds that were saved with it; they decide about fields that it does
            not know, such as a fourth part of a request.

    Raises:
        FileNotFoundError: If there is nothing at `path`.
        ValueError: If a file is missing, changed, or not what it should be.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        folder = Path(path)
        content = _read(folder)
        try:
            self._fields = {str(name): place for place, name in enumerate(content["fields"])}
            self._tiers = [str(tier) for tier in content["tiers"]]
            self._prior = np.array(content["prior"], np.float32)
            given = content["budget"]
            self.budget = Budget(calls=dict(given["calls"]), requests=given["requests"])
            self.fallback = ThresholdPolicy({str(k): v for k, v in content["thresholds"].items()})
            agents, actions = len(self._fields), len(self._tiers) + 1
            if self._prior.shape != (agents,) or not np.isfinite(self._prior).all():
                raise ValueError("prior")
            self._file = Interpreter(folder / "policy.tflite")
            (self._signature,) = self._file.signatures.values()
            if self._signature.outputs["values"].shape != (1, agents, actions):
                raise ValueError(f"outputs {self._signature.outputs['values'].shape}")
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(
                f"`path` must be a policy that tfdistill wrote. Received: path={str(path)!r} "
                f"({type(error).__name__}: {error}). Export it again."
            ) from error

    def decide(
        self, views: Sequence[View], *, board: Mapping[str, Message], budget: Budget
    ) -> list[str]:
        """Picks one of `view.choices` for each view."""
        values = self._values(views, board, budget)
        return [
            self.fallback.decide([view], board=board, budget=budget)[0]
            if view.field not in self._fields
            else self._best(view, values[self._fields[view.field]])
            for view in views
        ]

    def _best(self, view: View, values: np.ndarray) -> str:
        last = len(self._tiers)
        action = {"accept": 0, "abstain": last}
        action |= {f"escalate:{tier}": place for place, tier in enumerate(self._tiers) if place}
        known = [choice for choice in view.choices if choice in action]
        # A learner that was paid for answers never learned what abstaining is worth.
        real = [choice for choice in known if choice != "abstain"]
        return max(real or known, key=lambda choice: float(values[action[choice]]))

    def _values(
        self, views: Sequence[View], board: Mapping[str, Message], budget: Budget
    ) -> np.ndarray:
        count = len(self._fields)
        confidence, tier = self._prior.copy(), np.zeros(count, np.int32)
        active, length = np.zeros(count, np.int32), np.ones(count, np.int32)
        is_open = np.zeros(count, np.int32)
        here = {view.field: view for view in views}
        for field, place in self._fields.items():
            message = here[field].message if field in here else board.get(field)
            if message is not None and message.tier in self._tiers:
                confidence[place], tier[place] = message.confidence, self._tiers.index(message.tier)
                active[place] = 1
                is_open[place] = field in here
                length[place] = here[field].length if field in here else 1
            elif self._is_to_come(field, board):
                active[place] = is_open[place] = 1
        left = min((n for tier, n in budget.calls.items() if tier == self._tiers[-1]), default=None)
        counts = {
            "left": self.budget.calls[self._tiers[-1]] if left is None else left,
            "ahead": budget.requests,
            "turn": min((view.round for view in views), default=0),
        }
        arrays: dict[str, Any] = {"confidence": confidence[None], "tier": tier[None]}
        arrays |= {"open": is_open[None], "active": active[None], "length": length[None]}
        arrays |= {name: np.array([[count]], np.int32) for name, count in counts.items()}
        return self._file.run(arrays, signature=self._signature.name)["values"][0]

    def _is_to_come(self, field: str, board: Mapping[str, Message]) -> bool:
        """Says whether a later level will ask for a field: so many parts are known by now."""
        _, bracket, number = field.partition("[")
        if not bracket or field in board:
            return False
        parts = [len(m.value) for m in board.values() if isinstance(m.value, tuple | list)]
        first_level = all("[" not in name for name in board)
        return first_level and int(number[:-1]) < max(parts, default=0)


def open_policy(
    path: str | os.PathLike[str], *, fallback: Policy | None = None
) -> LearnedPolicy | Policy:
    """Opens a learned policy; warns and takes thresholds where its file is bad.

    A team has to answer even if somebody damaged the file that says when to spend.

    Args:
        path: The folder that `tfdistill.rl.export_policy` wrote.
        fallback: What decides instead; None is `ThresholdPolicy()`.

    Returns:
        The policy.
    """
    try:
        return LearnedPolicy(path)
    except (OSError, ValueError) as error:
        warnings.warn(f"{error} Thresholds decide instead.", RuntimeWarning, stacklevel=2)
        return ThresholdPolicy() if fallback is None else fallback


def _read(folder: Path) -> dict[str, Any]:
    for name, most in (("policy.json", _LARGEST_JSON), ("policy.tflite", _LARGEST_FILE)):
        file = folder / name
        if not file.is_file():
            raise FileNotFoundError(
                f"`path` must be a policy's folder. Received: path={str(folder)!r}, without {name}."
            )
        if file.is_symlink() or file.stat().st_size > most:
            raise ValueError(f"{name} of a policy must be a file of at most {most:,} bytes.")
    try:
        content = json.loads((folder / "policy.json").read_text(encoding="utf-8"))
        kind = content["format"], content["kind"]
        stated = content["sha256"]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"policy.json must be JSON that tfdistill wrote. Received: {str(folder)!r} ({error})."
        ) from error
    if kind != (1, "policy"):
        raise ValueError(
            f"`path` must be a policy of format 1. Received: {kind!r}. Update tfdistill."
        )
    found = hashlib.sha256((folder / "policy.tflite").read_bytes()).hexdigest()
    if found != stated:
        raise ValueError(
            f"policy.tflite must have the hash that policy.json states. Received: {found[:12]}…, "
            f"stated {str(stated)[:12]}…. Export it again."
        )
    return content
