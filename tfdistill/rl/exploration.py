"""Random actions of a team: uniform, without luck where episodes are alike."""

from __future__ import annotations

import tensorflow as tf

__all__ = ["stratified_actions", "uniform_actions"]


def uniform_actions(allowed: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Draws for each agent one of its possible actions, all equally likely.

    Args:
        allowed: Which actions are possible, bool `[B, N, A]`, at least one for each agent.
        seed: Two int32 numbers; the same seed draws the same actions.

    Returns:
        int32 `[B, N]`.

    Example:
        >>> only = tf.constant([[[False, True, False]]])
        >>> int(uniform_actions(only, tf.constant([0, 1]))[0, 0])
        1
    """
    draws = tf.random.stateless_uniform(tf.shape(allowed), seed)
    return tf.argmax(tf.where(allowed, draws, -1.0), axis=-1, output_type=tf.int32)


def stratified_actions(
    strata: tf.Tensor, seed: tf.Tensor, *, num_agents: int, num_actions: int
) -> tf.Tensor:
    """Draws joint actions so that episodes of one stratum take each joint action equally often.

    Within a stratum the joint actions are dealt out like cards, from a random start and to the
    episodes in random order. So each episode's action is uniform, and the counts of two joint
    actions differ by one at most: averages over the batch carry no luck of the draw.

    Args:
        strata: Which episodes are alike, int32 `[B]`.
        seed: Two int32 numbers.
        num_agents: N.
        num_actions: A; the joint actions are A to the power of N.

    Returns:
        int32 `[B, N]`.

    Example:
        >>> drawn = stratified_actions(
        ...     tf.zeros(8, tf.int32), tf.constant([0, 1]), num_agents=2, num_actions=2)
        >>> sorted(map(tuple, drawn.numpy().tolist()))[::2]  # each of the four, twice
        [(0, 0), (0, 1), (1, 0), (1, 1)]
    """
    count = tf.shape(strata)[0]
    joint_actions = num_actions**num_agents
    shuffled = tf.random.stateless_uniform([count], seed)
    offset = tf.random.stateless_uniform(
        [], seed + 1, minval=0, maxval=joint_actions, dtype=tf.int32
    )
    by_chance = tf.argsort(shuffled)
    order = tf.gather(by_chance, tf.argsort(tf.gather(strata, by_chance), stable=True))
    dealt = tf.gather(strata, order)
    rank = tf.range(count) - tf.searchsorted(dealt, dealt, side="left")
    joint = tf.scatter_nd(order[:, None], (rank + offset) % joint_actions, [count])
    powers = [num_actions**power for power in reversed(range(num_agents))]
    return tf.stack([joint // power % num_actions for power in powers], axis=1)
