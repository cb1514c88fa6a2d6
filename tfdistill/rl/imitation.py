"""A start for a learner: first do as a rule does, then learn what is better."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdistill.rl.budget_game import BudgetGame
from tfdistill.rl.learners import IQL
from tfdistill.rl.qlearning import masked

__all__ = ["imitate", "imitation_loss"]


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
    guide: Callable[[tf.Tensor], Any],
    *,
    steps: int = 400,
    states: int = 8192,
    margin: float = 0.05,
    seed: int = 0,
) -> float:
    """Teaches a learner's networks to do as a rule does in the learner's own game.

    Args:
        learner: Whose networks are trained; its game is a `BudgetGame`.
        guide: From episodes to actions, a rule of `baselines` or `auction` for the same game.
        steps: Gradient steps of 256 situations.
        states: Episodes that are started; each gives the situations of one request.
        margin: By how much the rule's action should be preferred.
        seed: Seed of the situations and their order.

    Returns:
        How often the learner then does as the rule, in [0, 1], over what is open.
    """
    game: BudgetGame = learner.game
    episodes, actions = _seen(game, guide, states, seed)
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
    game: BudgetGame, guide: Callable[[tf.Tensor], Any], states: int, seed: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Collects what the rule meets in one request of each of many episodes, and what it does."""
    episodes = game.start(states, tf.constant([seed, -2]))
    met, done = [], []
    for _ in range(game.rounds):
        actions = tf.cast(guide(episodes), tf.int32)
        met.append(episodes)
        done.append(actions)
        episodes = game.play(episodes, actions)[0]
    return tf.concat(met, axis=0), tf.concat(done, axis=0)
