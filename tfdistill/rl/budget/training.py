"""Training of a team's learner for a budget: imitation of a behavior policy, then Q-learning.

The learner starts by doing as a rule does, learns what is better, and is kept as it was when it
did best on requests that it did not see.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdistill.rl.budget.evaluation import evaluate
from tfdistill.rl.budget.game import BudgetGame
from tfdistill.rl.learners.equations import masked
from tfdistill.rl.learners.value_decomposition import IQL

__all__ = ["imitate", "imitation_loss", "learn_policy", "policy_on"]


def imitation_loss(
    values: tf.Tensor, allowed: tf.Tensor, actions: tf.Tensor, *, margin: float
) -> tf.Tensor:
    """Measures how far the values are from preferring given actions, by `margin` or more.

    Cross-entropy of softmax(values / margin) over what is allowed: it falls to nothing once the
    given action is worth several margins more than the others, which leaves the values the small
    scale that gains have.

    Args:
        values: float `[B, N, A]`.
        allowed: bool `[B, N, A]`.
        actions: int32 `[B, N]`.
        margin: In the unit of the rewards, above 0.

    Returns:
        float `[B, N]`, in nats.

    Example:
        >>> values, allowed = tf.zeros((1, 1, 2)), tf.ones((1, 1, 2), tf.bool)
        >>> imitation_loss(values, allowed, tf.zeros((1, 1), tf.int32), margin=0.1).numpy().round(3)
        array([[0.693]], dtype=float32)

    References:
        After Hester et al. "Deep Q-learning from Demonstrations", 2018 (there a large-margin loss).
    """
    logits = masked(values, allowed) / margin
    return tf.nn.sparse_softmax_cross_entropy_with_logits(actions, tf.maximum(logits, -1e4))


def imitate(
    learner: IQL,
    behavior_policy: Callable[[tf.Tensor], Any],
    *,
    steps: int = 400,
    states: int = 8192,
    margin: float = 0.05,
    seed: int = 0,
) -> float:
    """Teaches a learner's networks to do as a rule does in the learner's own game.

    Args:
        learner: Whose networks are trained; its game is a `BudgetGame`.
        behavior_policy: From episodes to actions, a rule of `baselines` or `auction` for the same
            game.
        steps: Gradient steps of 256 situations.
        states: Episodes that are started; each gives the situations of one request.
        margin: By how much the rule's action should be preferred.
        seed: Seed of the situations and their order.

    Returns:
        How often the learner then does as the rule, in [0, 1], over what is open.
    """
    game: BudgetGame = learner.game
    episodes, actions = _seen(game, behavior_policy, states, seed)
    seen, allowed = game.observe(episodes), game.allowed(episodes)
    matters = tf.cast(tf.reduce_sum(tf.cast(allowed, tf.int32), -1) > 1, tf.float32)
    optimizer = keras.optimizers.Adam(2e-3)
    weights = learner.network.trainable_variables
    optimizer.build(weights)
    order = np.random.default_rng(seed).integers(len(actions), size=(steps, 256)).astype(np.int32)

    @tf.function
    def fit(orders: tf.Tensor) -> None:
        for rows in orders:
            parts = [tf.gather(part, rows) for part in (seen, allowed, actions, matters)]
            with tf.GradientTape() as tape:
                values = learner.network(parts[0])
                loss = imitation_loss(values, parts[1], parts[2], margin=margin) * parts[3]
                mean = tf.reduce_mean(loss)
            optimizer.apply(tape.gradient(mean, weights), weights)

    fit(tf.constant(order))
    chosen = tf.argmax(masked(learner.network(seen), allowed), axis=-1, output_type=tf.int32)
    same = tf.cast(chosen == actions, tf.float32) * matters
    return float(tf.reduce_sum(same) / tf.reduce_sum(matters))


def _seen(
    game: BudgetGame, behavior_policy: Callable[[tf.Tensor], Any], states: int, seed: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Collects what the rule meets in one request of each of many episodes, and what it does."""
    episodes = game.start(states, tf.constant([seed, -2]))
    met, done = [], []
    for _ in range(game.rounds):
        actions = tf.cast(behavior_policy(episodes), tf.int32)
        met.append(episodes)
        done.append(actions)
        episodes = game.play(episodes, actions)[0]
    return tf.concat(met, axis=0), tf.concat(done, axis=0)


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
    behavior_policy: Callable[[tf.Tensor], Any] | None = None,
    steps: int = 40_000,
    checks: int = 5,
    seed: int = 0,
    **settings: Any,
) -> tuple[IQL, dict[str, float]]:
    """Trains, and returns the learner as it was when it did best on the validation requests.

    With a behavior policy it starts by doing as that rule does (`imitate`). Random actions give way
    to the learner's own over the first 60 % of the steps, down to 1 in 10: what an action is worth
    depends on what the peers do, and in the end they are not random.

    Args:
        learner_class: `IQL`, `VDN` or `QMIX`.
        game: What is practiced; made with `practice=True, relative=True` it is learned fastest.
        validation: Other requests under the same budget.
        behavior_policy: A rule for `game` to start from, such as `Auction` or `thresholds`.
        steps: Environment steps.
        checks: How often to look at the validation requests.
        seed: Seed of the learner.
        settings: Other arguments of the learner.

    Returns:
        The learner; and `validation`, its score there, `kept_at`, the steps after which that was
        (0 is the imitation alone, from which nothing was gained), and `imitated`, how often it did
        as the behavior policy did before it went on.
    """
    start = 0.3 if behavior_policy else 1.0
    chosen: dict[str, Any] = {
        "discount": 1.0,
        "double_q": True,
        "num_episodes": 128,
        "updates": 4,
        "batch_turns": 2,
        "learning_rate": 3e-4 if behavior_policy else 1e-3,
        "replay_turns": 128,
        "exploration": lambda done: max(0.1, start * (1.0 - done / (0.6 * steps))),
    } | settings
    learner = learner_class(game, seed=seed, **chosen)
    act = policy_on(learner, validation)
    imitated = imitate(learner, behavior_policy, seed=seed) if behavior_policy else 0.0
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
