"""A learned policy at work: a small `.tflite` file that says what each answer is worth.

    policy/policy.tflite   from confidences, tiers and what is left to the value of each action
    policy/policy.json     whom it knows, what it was trained for, thresholds to fall back on

It only advises: the team offers what the budget allows, carries out the choice, and counts.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfdistill.agents.team.messages import Message
from tfdistill.agents.team.policy import Budget, Policy, ThresholdPolicy, View
from tfdistill.files.folder import FolderKind
from tfdistill.files.records import file_sha256, safe_file
from tfdistill.runtime.interpreter import Interpreter

__all__ = ["LearnedPolicy", "POLICIES", "open_policy"]

OPEN, CLOSED, ABSENT = 0, 1, 2  # what a field is to the exported graph
FORMAT = 1
KIND, MANIFEST = "policy", "policy.json"
_LARGEST = {MANIFEST: 2**20, "policy.tflite": 2**31}
_KEYS = frozenset({"format", "fields", "tiers", "calls", "requests", "thresholds", "sha256"})
# The folders that a policy may take the place of.
POLICIES = (FolderKind(KIND, lambda content: ["policy.tflite"], _KEYS, MANIFEST).own_files,)


class LearnedPolicy:
    """Takes the most valuable choice that the team offers, for each open field.

    A field that it does not know ("intent[7]", with three learned), and a file whose values are not
    finite, are decided by the thresholds that are stored with it.

    Args:
        path: The folder, as `tfdistill.rl.export_policy` wrote it.

    Attributes:
        path: The folder.
        fields: The fields that it knows, in order.
        tiers: The tiers that it knows, the cheapest first; the last one is rationed.
        fallback: Decides where the policy cannot.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is damaged, or is not what the other one describes.

    Example:
        >>> LearnedPolicy("no/such/folder")
        Traceback (most recent call last):
        ...
        FileNotFoundError: `path` must hold policy.json. Received: path='no/such/folder'.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        content = _read(self.path)
        try:
            self.fields = tuple(str(field) for field in content["fields"])
            self.tiers = tuple(str(tier) for tier in content["tiers"])
            self.fallback = ThresholdPolicy(
                {str(step): float(least) for step, least in content["thresholds"].items()}
            )
            self._calls, self._abstains = int(content["calls"]), bool(content["abstains"])
            wanted = str(content["sha256"])
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise _damaged(self.path, f"{type(error).__name__}: {error}") from error
        model = _file(self.path, "policy.tflite")
        if file_sha256(model) != wanted:
            raise _damaged(self.path, "policy.tflite has another hash")
        self._interpreter = Interpreter(model, threads=1)
        self._check_file()

    def check(self, members: Mapping[str, Sequence[Any]]) -> None:
        """Refuses a team with other steps or tiers.

        Args:
            members: The team's agents by step.

        Raises:
            ValueError: If a step is missing, or its tiers are not the policy's.
        """
        for step in dict.fromkeys(field.partition("[")[0] for field in self.fields):
            tiers = tuple(member.tier for member in members.get(step, ()))
            if tiers != self.tiers:
                raise ValueError(
                    f"`policy` must know the team's agents. Received: a policy for {step!r} with "
                    f"the tiers {self.tiers}; the team has {tiers or 'no such step'}. Learn a "
                    "policy from this team's record."
                )

    def decide(
        self, views: Sequence[View], *, board: Mapping[str, Message], budget: Budget
    ) -> list[str]:
        """Picks one of `view.choices` for each view."""
        values = self.values(views, board=board, budget=budget)
        choices = []
        for view, fallback in zip(
            views, self.fallback.decide(views, board=board, budget=budget), strict=True
        ):
            known = view.field in self.fields
            row = values[self.fields.index(view.field)] if known else np.array([np.nan])
            usable = known and bool(np.isfinite(row).all())
            choices.append(self._best(view, row) if usable else fallback)
        return choices

    def values(
        self, views: Sequence[View], *, board: Mapping[str, Message], budget: Budget
    ) -> np.ndarray:
        """Computes what each action of each known field is worth, float32 `[N, A]`.

        Actions are accepting, asking tier 1, 2, …, and abstaining.
        """
        count = len(self.fields)
        state = np.full(count, ABSENT, np.int32)
        tier, length = np.zeros(count, np.int32), np.zeros(count, np.float32)
        confidence = np.ones(count, np.float32)
        for place, field in enumerate(self.fields):
            message = board.get(field)
            if message is not None and message.tier in self.tiers:
                state[place], confidence[place] = CLOSED, message.confidence
                tier[place] = self.tiers.index(message.tier)
        for view in views:
            if view.field in self.fields:
                place = self.fields.index(view.field)
                state[place], length[place] = OPEN, view.length
        left = budget.calls.get(self.tiers[-1], self._calls)
        numbers = [left, budget.requests, max((view.round for view in views), default=0)]
        inputs = {"state": state, "tier": tier, "length": length, "confidence": confidence}
        inputs["left"] = np.array(numbers, np.float32)
        return self._interpreter.run({name: value[None] for name, value in inputs.items()})[
            "values"
        ][0]

    def _best(self, view: View, row: np.ndarray) -> str:
        worth = {"accept": row[0], **_named(self.tiers, row)}
        if self._abstains:
            worth["abstain"] = row[-1]
        offered = {choice: worth[choice] for choice in worth if choice in view.choices}
        return max(offered, key=lambda choice: offered[choice]) if offered else "abstain"

    def _check_file(self) -> None:
        shapes = {
            name: tensor.shape
            for name, tensor in self._interpreter.signatures["serving_default"].inputs.items()
        }
        count = len(self.fields)
        wanted = dict.fromkeys(("state", "tier", "length", "confidence"), (1, count))
        found = self._interpreter.signatures["serving_default"].outputs.get("values")
        actions = (1, count, len(self.tiers) + 1)
        if shapes != {**wanted, "left": (1, 3)} or found is None or found.shape != actions:
            raise _damaged(self.path, f"policy.tflite reads {shapes}")


def open_policy(
    path: str | os.PathLike[str], *, members: Mapping[str, Sequence[Any]] | None = None
) -> Policy:
    """Opens a learned policy; if that is not possible, warns and returns thresholds instead.

    Args:
        path: The folder.
        members: The agents of the team by step, if they are to be checked: `team.members`.

    Returns:
        A `LearnedPolicy`, or a `ThresholdPolicy`: with the thresholds stored in the folder if they
        can be read, else the default.
    """
    try:
        policy = LearnedPolicy(path)
        if members is not None:
            policy.check(members)
        return policy
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        fallback = _thresholds(Path(path))
        warnings.warn(
            f"The learned policy {str(path)!r} cannot be used; the team decides by thresholds "
            f"{fallback.threshold} instead. The budget holds as before. Reason: {error}",
            stacklevel=2,
        )
        return fallback


def _thresholds(path: Path) -> ThresholdPolicy:
    try:
        return ThresholdPolicy({str(k): float(v) for k, v in _read(path)["thresholds"].items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ThresholdPolicy()


def _named(tiers: Sequence[str], row: np.ndarray) -> dict[str, float]:
    return {f"escalate:{tier}": float(row[place]) for place, tier in enumerate(tiers) if place}


def _read(path: Path) -> dict[str, Any]:
    file = _file(path, MANIFEST)
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise _damaged(path, f"it is not of format {FORMAT}")
    if content.get("kind", KIND) != KIND:  # files from before there were kinds state none
        raise _damaged(path, f"it is of kind {content['kind']!r}")
    return content


def _file(path: Path, name: str) -> Path:
    if not os.path.lexists(path / name):
        raise FileNotFoundError(f"`path` must hold {name}. Received: path={str(path)!r}.")
    return safe_file(path, name, largest=_LARGEST[name], what="policy")


def _damaged(path: Path, reason: str) -> ValueError:
    return ValueError(
        f"`path` must be a policy that `export_policy` wrote. Received: path={str(path)!r} "
        f"({reason}). Export it again."
    )
