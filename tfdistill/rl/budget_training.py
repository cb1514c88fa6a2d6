"""Training a team's learner for a budget, and keeping what did best on requests it did not see."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfdistill.rl.budget_game import BudgetGame
from tfdistill.rl.evaluation import evaluate
from tfdistill.rl.imitation import imitate
from tfdistill.rl.learners import IQL

__all__ = ["learn_policy", "policy_on"]


def policy_on(learner: IQL, game: BudgetGame) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns what a learner would do in another game with the same sub-tasks and tiers.

    Args:
        learner: Trained on any record of the team.
        game: Whose requests are played.

    Returns:
        From episodes, int32 `[B, K]`, to actions, int32 `[B, N]`; without exploration.

    Raises:
        ValueError: If the game has sub-tasks that the learner does not know.
    """
    trained = learner.game
    if trained.possible_agents != game.possible_agents:
        raise ValueError(
            "`game` must have the sub-tasks that the learner knows. Received: "
            f"{game.possible_agents}; the learner knows {trained.possible_agents}."
        )

    @tf.function(input_signature=[tf.TensorSpec((None, game.width), tf.int32)])
    def act(episodes: tf.Tensor) -> tf.Tensor:
        # Only while it is traced: the graph then holds the tables of `game` and the live weights.
        learner.game = game
        try:
            return learner.greedy(episodes)
        finally:
            learner.game = trained

    return act


def learn_policy(
    learner_class: type[IQL],
    game: BudgetGame,
    *,
    validation: BudgetGame,
    guide: Callable[[tf.Tensor], Any] | None = None,
    steps: int = 40_000,
    checks: int = 5,
    seed: int = 0,
    **settings: Any,
) -> tuple[IQL, dict[str, float]]:
    """Trains, and returns the learner as it was when it did best on the validation requests.

    With a guide it starts by doing as that rule does (`imitate`). Random actions give way to the
    learner's own over the first 60 % of the steps, down to 1 in 10: what an action is worth depends
    on what the peers do, and in the end they are not random.

    Args:
        learner_class: `IQL`, `VDN` or `QMIX`.
        game: What is practiced; made with `practice=True, relative=True` it is learned fastest.
        validation: Other requests under the same budget.
        guide: A rule for `game` to start from, such as `Auction` or `thresholds`.
        steps: Environment steps.
        checks: How often to look at the validation requests.
        seed: Seed of the learner.
        settings: Other arguments of the learner.

    Returns:
        The learner; and `validation`, its score there, `kept_at`, the steps after which that was
        (0 is the imitation alone, from which nothing was gained), and `imitated`, how often it did
        as the guide did before it went on.
    """
    start = 0.3 if guide else 1.0
    chosen: dict[str, Any] = {
        "discount": 1.0,
        "double_q": True,
        "num_episodes": 128,
        "updates": 4,
        "batch_turns": 2,
        "learning_rate": 3e-4 if guide else 1e-3,
        "replay_turns": 128,
        "exploration": lambda done: max(0.1, start * (1.0 - done / (0.6 * steps))),
    } | settings
    learner = learner_class(game, seed=seed, **chosen)
    act = policy_on(learner, validation)
    imitated = imitate(learner, guide, seed=seed) if guide else 0.0
    with tempfile.TemporaryDirectory() as folder:
        kept, best, kept_at = Path(folder) / "best.npz", -float("inf"), 0
        for check in range(checks + 1):
            if check:
                learner.train(max(steps // checks, 1))
            score = evaluate(validation, act).score
            if score > best:
                best, kept_at = score, learner.steps
                learner.save(kept)
        learner.load(kept)
    return learner, {"validation": best, "kept_at": float(kept_at), "imitated": imitated}
