"""A team under a budget as a PettingZoo environment: one agent for each sub-task."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from gymnasium import spaces
from pettingzoo import ParallelEnv

from tfdistill.rl.budget.game import BudgetGame
from tfdistill.rl.budget.record import TeamRecord
from tfdistill.rl.budget.recording import LabeledRequest, record_team

__all__ = ["TeamEnv"]


class TeamEnv(BudgetGame, ParallelEnv):
    """Plays recorded answers of a team, one episode at a time for anyone, many for our learners.

    A step is one round: each sub-task accepts its answer (0), asks tier 1, 2, … (1, 2, …), or
    abstains. `infos` hold the `action_mask`; an action outside of it counts as accepting, so the
    budget cannot be passed whatever a policy does. The arguments are those of `BudgetGame`.

    Example:
        >>> import numpy as np
        >>> ones = np.ones((4, 1, 2), np.float32)
        >>> right = np.array([[[False, True]]] * 4)
        >>> record = TeamRecord(
        ...     tiers=("tiny", "teacher"), fields=("topic",), active=np.ones((4, 1), bool),
        ...     right=right, confidence=ones / 2, margin=ones / 2, cost_ms=ones,
        ...     answers=right.astype(np.int32), length=np.ones((4, 1), np.int32),
        ...     sources=((0,), (1,), (2,), (3,)))
        >>> env = TeamEnv(record, calls=1, requests=2)
        >>> _ = env.reset(seed=0)
        >>> _ = env.step({"topic": 1})            # ask the teacher ...
        >>> _, rewards, *_ = env.step({"topic": 0})   # ... and take what it said
        >>> rewards["topic"]
        1.0
    """

    metadata = {"name": "team_v0", "is_parallelizable": True, "render_modes": []}

    def __init__(self, record: TeamRecord, **settings: Any) -> None:
        super().__init__(record, **settings)
        self.agents: list[str] = []
        self._episode = self.start(1, tf.constant([0, 0]))
        seen = self.observe(self._episode).shape[-1]
        self._boxes = {
            name: spaces.Box(-np.inf, np.inf, (seen,), np.float32) for name in self.possible_agents
        }
        self._choices = {name: spaces.Discrete(self.num_actions) for name in self.possible_agents}

    @staticmethod
    def record(
        team: Any, requests: Sequence[LabeledRequest], path: str | os.PathLike[str]
    ) -> TeamRecord:
        """Asks every tier of a team for every sub-task, once, and writes down what it said.

        Args:
            team: The `tfdistill.agents.Team`.
            requests: Requests with their right answers.
            path: File of JSON lines to write.

        Returns:
            The record, with the milliseconds that each answer took.
        """
        return record_team(team, requests, path)

    def observation_space(self, agent: str) -> spaces.Box:
        """Returns what an agent may see."""
        return self._boxes[agent]

    def action_space(self, agent: str) -> spaces.Discrete:
        """Returns what an agent may do."""
        return self._choices[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, dict]]:
        """Starts an episode.

        Args:
            seed: Draws the requests; None draws others each time.
            options: `{"requests": [...]}` plays these rows of the record instead.
        """
        self.agents = list(self.possible_agents)
        if options and "requests" in options:
            self._episode = self.of(tf.constant([options["requests"]], tf.int32))
        else:
            drawn = np.random.default_rng(seed).integers(2**31, size=2)
            self._episode = self.start(1, tf.constant(drawn, tf.int32))
        return self._seen(), self._infos()

    def step(self, actions: dict[str, int]) -> tuple[dict, dict, dict, dict, dict]:
        """Plays one round.

        Args:
            actions: Action of each agent, int in [0, A).

        Returns:
            Observations, rewards (paid when a request is done), ends, cut-offs and infos, by agent.

        Raises:
            ValueError: If an agent is unknown or missing.
        """
        if set(actions) != set(self.agents):
            raise ValueError(
                f"`actions` must have one for each of {self.agents}. Received: {sorted(actions)}."
            )
        chosen = tf.constant([[int(actions[name]) for name in self.possible_agents]], tf.int32)
        self._episode, rewards, ended, over = self.play(self._episode, chosen)
        names, finished = list(self.agents), bool(over[0])
        seen, infos = self._seen(), self._infos()
        if finished:
            self.agents = []
        return (
            seen,
            dict.fromkeys(names, float(rewards[0])),
            dict.fromkeys(names, bool(ended[0])),
            dict.fromkeys(names, finished and not bool(ended[0])),
            infos,
        )

    def state(self) -> np.ndarray:
        """Returns what the whole team knows, float `[4 N + 5]`."""
        return self.summary(self._episode)[0].numpy()

    def _seen(self) -> dict[str, np.ndarray]:
        rows = self.observe(self._episode)[0].numpy()
        return dict(zip(self.possible_agents, rows, strict=True))

    def _infos(self) -> dict[str, dict]:
        masks = self.allowed(self._episode)[0].numpy().astype(np.int8)
        pairs = zip(self.possible_agents, masks, strict=True)
        return {name: {"action_mask": mask} for name, mask in pairs}
