"""A learned policy as a file: from what a team knows at run time to the value of each action.

Calibration, features and network are all in the `.tflite` file, so that the policy that a team runs
is the one that was trained and no second implementation of its features is needed.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tfdistill.export.atomic import replacing
from tfdistill.export.tflite import to_tflite
from tfdistill.rl.budget_game import BudgetGame
from tfdistill.rl.learners import IQL
from tfdistill.rl.team_features import resources, team_features

__all__ = ["PolicyHead", "export_policy"]

_COUNTS = ("left", "ahead", "turn")


class PolicyHead(keras.layers.Layer):
    """Values the actions of all sub-tasks of a request, from confidences to Q.

    Args:
        game: What the learner was trained on: its calibration, budget and settings are built in.
        networks: The learner's networks.
    """

    def __init__(self, game: BudgetGame, networks: keras.layers.Layer, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._game, self.networks = game, networks
        at = [game.calibration.steps.index(step) for step in game.recorded.steps]
        self._slopes = np.float32(game.calibration.slopes[at])
        self._shifts = np.float32(game.calibration.shifts[at])

    def call(self, inputs: Mapping[str, Any]) -> Any:
        """Returns float `[1, N, A]`.

        `confidence` is float `[1, N]`; `tier`, `open`, `active` and `length` are int32 `[1, N]`;
        `left`, `ahead` and `turn` are int32 `[1, 1]`.
        """
        game = self._game
        kept = ops.clip(inputs["confidence"], 1e-6, 1 - 1e-6)
        logit = ops.log(kept / (1 - kept))
        # What each tier that may have spoken would say, then the one that did.
        x = logit[..., None, None] * self._slopes + self._shifts
        p = ops.sigmoid(ops.clip(x, -30.0, 30.0))
        spoke = tf.one_hot(inputs["tier"], game.num_tiers)
        judged = ops.sum(p * spoke[..., None], axis=2)
        following = ops.concatenate([spoke[..., -1:] * 0, spoke[..., :-1]], axis=-1)
        following = following + spoke * ops.one_hot(game.num_tiers - 1, game.num_tiers)
        chances = ops.stack(
            [ops.sum(judged * spoke, -1), ops.sum(judged * following, -1), judged[..., -1]], -1
        )
        active = ops.cast(inputs["active"], "float32")[..., None]
        chances = chances * active + (1 - active)
        left, ahead, turn = (ops.cast(inputs[name][:, 0], "float32") for name in _COUNTS)
        agents = len(game.possible_agents)
        settings = {"calls": game.calls, "requests": game.requests, "rounds": game.rounds}
        size = None if game.reward == "all-right" else ops.sum(active[..., 0], axis=1)
        seen = team_features(
            chances,
            inputs["tier"],
            1 - inputs["open"] * inputs["active"],
            ops.log1p(ops.cast(inputs["length"], "float32")) / 5,
            resources(left, ahead, turn, agents=agents, **settings),
            num_tiers=game.num_tiers,
            messages=game.messages,
            size=size,
        )
        return self.networks(seen)


def export_policy(
    learner: IQL,
    path: str | os.PathLike[str],
    *,
    thresholds: Mapping[str, float] | None = None,
) -> Path:
    """Writes a learned policy as a folder that `tfdistill.agents.open_policy` opens.

    Args:
        learner: Trained on a `BudgetGame`.
        path: Folder to make, or one that holds an older policy.
        thresholds: Least confidence by kind of sub-task, for a team that finds the file damaged;
            None takes 0.9 for each.

    Returns:
        The folder, with `policy.tflite` and `policy.json`.

    Raises:
        TypeError: If the learner plays something else than a `BudgetGame`.
        OSError: If a file cannot be written.
    """
    game = learner.game
    if not isinstance(game, BudgetGame):
        raise TypeError(
            f"`learner` must have been trained on a BudgetGame. Received: {type(game).__name__}."
        )
    record, agents = game.recorded, len(game.possible_agents)
    inputs = {"confidence": keras.Input((agents,), name="confidence")}
    for name in ("tier", "open", "active", "length"):
        inputs[name] = keras.Input((agents,), dtype="int32", name=name)
    for name in _COUNTS:
        inputs[name] = keras.Input((1,), dtype="int32", name=name)
    values = PolicyHead(game, learner.network, name="values")(inputs)
    model = keras.Model(inputs, {"values": values}, name="policy")
    said = [record.confidence[record.active[:, n], n, 0] for n in range(agents)]
    content = {
        "format": 1,
        "kind": "policy",
        "fields": list(record.fields),
        "tiers": list(record.tiers),
        "prior": [float(np.mean(one)) if len(one) else 0.5 for one in said],
        "budget": {"calls": {record.tiers[-1]: game.calls}, "requests": game.requests},
        "rounds": game.rounds,
        "thresholds": dict(thresholds or dict.fromkeys(sorted(set(record.steps)), 0.9)),
    }
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        file = to_tflite(model, Path(scratch) / "policy.tflite", quantize=None)
        content["sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
        os.replace(file, folder / "policy.tflite")
    with replacing(folder / "policy.json") as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return folder
