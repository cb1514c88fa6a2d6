"""From a learner to a file: calibration, features and network as one TFLite graph.

All of what an agent sees is computed inside the file, by the same code as in training, so that the
live team needs no TensorFlow and cannot see anything else than the learner saw.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from tfdistill.agents.team.learned_policy import (
    ABSENT,
    FORMAT,
    KIND,
    MANIFEST,
    OPEN,
    POLICIES,
    LearnedPolicy,
)
from tfdistill.agents.team.policy import ThresholdPolicy
from tfdistill.export.tflite import to_tflite
from tfdistill.files.folder import replacing_folder
from tfdistill.files.records import file_sha256
from tfdistill.rl.budget.features import resources, team_features
from tfdistill.rl.budget.game import BudgetGame
from tfdistill.rl.learners.value_decomposition import IQL

__all__ = ["export_policy"]


def export_policy(
    learner: IQL,
    path: str | os.PathLike[str],
    *,
    thresholds: Mapping[str, float] | None = None,
) -> LearnedPolicy:
    """Writes a learned policy as a folder that drives a `tfdistill.agents.Team`.

    Args:
        learner: Trained on a `BudgetGame`.
        path: The folder to write; an exported policy that is there is replaced.
        thresholds: The least confidence that is accepted for each kind of sub-task, to fall back
            on where the policy cannot be used; 0.9 by default.

    Returns:
        The policy, opened from the folder: `Team(policy=...)`.

    Raises:
        FileExistsError: If something else is at `path`.
        ValueError: If the learner's game is no `BudgetGame`, or a threshold is out of range.
    """
    game = learner.game
    if not isinstance(game, BudgetGame):
        raise ValueError(
            "`learner` must have learned a BudgetGame. Received: one that learned "
            f"{type(game).__name__}. Only a team under a budget can be driven."
        )
    steps = dict.fromkeys(game.recorded.steps)
    least = dict.fromkeys(steps, 0.9) | dict(thresholds or {})
    ThresholdPolicy(least)
    with replacing_folder(path, replaces=POLICIES, what="policy", reopen=LearnedPolicy) as folder:
        model = to_tflite(_graph(learner, game), folder / "policy.tflite", quantize=None)
        content = {
            "format": FORMAT,
            "kind": KIND,
            "fields": list(game.possible_agents),
            "tiers": list(game.recorded.tiers),
            "calls": game.calls,
            "requests": game.requests,
            "rounds": game.rounds,
            "reward": game.reward,
            "abstains": game.wrong_cost > 0,
            "thresholds": least,
            "team": game.recorded.team,
            "sha256": file_sha256(model),
        }
        (folder / MANIFEST).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return LearnedPolicy(path)


def _graph(learner: IQL, game: BudgetGame) -> keras.Model:
    count = len(game.possible_agents)
    kinds = {"state": "int32", "tier": "int32", "length": "float32", "confidence": "float32"}
    inputs = {name: keras.Input((count,), dtype=kind, name=name) for name, kind in kinds.items()}
    inputs["left"] = keras.Input((3,), dtype="float32", name="left")
    values = _Valued(learner, game, name="values")(inputs)
    return keras.Model(inputs, {"values": values})


class _Valued(keras.layers.Layer):
    """From what a live team knows to the values of the actions."""

    def __init__(self, learner: IQL, game: BudgetGame, *, name: str) -> None:
        super().__init__(name=name)
        self._game, self.network = game, learner.network
        own = np.arange(game.num_tiers)
        following = np.minimum(own + 1, game.num_tiers - 1)
        fitted = game.calibration
        at = [fitted.steps.index(step) for step in game.recorded.steps]
        self._slopes, self._shifts = (
            np.stack([t[at][:, own, own], t[at][:, own, following], t[at][:, own, -1]], -1).astype(
                np.float32
            )
            for t in (fitted.slopes, fitted.shifts)
        )

    def call(self, inputs: dict[str, tf.Tensor]) -> tf.Tensor:
        """Returns float `[B, N, A]`."""
        game, state, tier = self._game, inputs["state"], inputs["tier"]
        spoke = tf.one_hot(tier, game.num_tiers)[..., None]
        kept = tf.clip_by_value(inputs["confidence"], 1e-6, 1 - 1e-6)[..., None]
        slope, shift = (tf.reduce_sum(spoke * t, axis=2) for t in (self._slopes, self._shifts))
        chances = tf.sigmoid(tf.math.log(kept / (1.0 - kept)) * slope + shift)
        chances = tf.where((state == ABSENT)[..., None], 1.0, chances)
        size = tf.reduce_sum(tf.cast(state != ABSENT, tf.float32), axis=1)
        left, ahead, turn = tf.unstack(inputs["left"], axis=1)
        seen = team_features(
            chances,
            tier,
            tf.cast(state != OPEN, tf.int32),
            tf.math.log(1.0 + inputs["length"]) / 5,
            resources(
                left,
                ahead,
                turn / game.rounds,
                agents=len(game.possible_agents),
                calls=game.calls,
                requests=game.requests,
            ),
            num_tiers=game.num_tiers,
            messages=game.messages,
            size=None if game.reward == "all-right" else size,
        )
        return self.network(seen)
