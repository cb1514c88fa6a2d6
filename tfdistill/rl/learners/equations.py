"""The equations of Q-learning, for one agent and for a team: tensors in, tensors out.

Time is in the suffix, as usual in the field: an agent that saw `q_tm1` took `a_tm1`, got `r_t`, and
now sees `q_t`. `discount_t` is gamma, and 0 where the episode *ended* there (an episode that was
merely cut off goes on in value). Targets carry no gradient, whoever computes them.
Random actions of a team are uniform, and balanced over episodes that are alike.
"""

from __future__ import annotations

import tensorflow as tf

__all__ = [
    "chosen",
    "double_q_target",
    "masked",
    "q_target",
    "squared_td_error",
    "stratified_actions",
    "uniform_actions",
    "vdn_sum",
]

_NEVER = -1e9


def masked(q: tf.Tensor, allowed: tf.Tensor) -> tf.Tensor:
    """Puts the values of forbidden actions below all others.

    Args:
        q: Action values, float `[..., A]`.
        allowed: Which actions may be taken, bool `[..., A]`.

    Returns:
        Float `[..., A]`, −1e9 where `allowed` is False.

    Example:
        >>> masked(tf.constant([1.0, 2.0]), tf.constant([True, False])).numpy().tolist()
        [1.0, -1000000000.0]
    """
    return tf.where(allowed, q, tf.constant(_NEVER, q.dtype))


def chosen(q: tf.Tensor, actions: tf.Tensor) -> tf.Tensor:
    """Picks the value of the action that was taken: q[..., a].

    Args:
        q: Action values, float `[..., A]`.
        actions: Actions, int32 `[...]` in [0, A).

    Returns:
        Float `[...]`.

    Example:
        >>> chosen(tf.constant([[1.0, 2.0], [3.0, 4.0]]), tf.constant([1, 0])).numpy().tolist()
        [2.0, 3.0]
    """
    return tf.gather(q, actions, axis=-1, batch_dims=len(actions.shape))


def q_target(r_t: tf.Tensor, discount_t: tf.Tensor, q_t: tf.Tensor) -> tf.Tensor:
    """Computes what Q-learning aims at: r_t + discount_t · max_a q_t[a].

    Args:
        r_t: Reward, float `[...]`.
        discount_t: Discount in [0, 1], float `[...]`; 0 where the episode ended.
        q_t: Values of the next actions, float `[..., A]`, forbidden ones masked.

    Returns:
        Float `[...]`, without gradient.

    Example:
        >>> float(q_target(tf.constant(1.0), tf.constant(0.5), tf.constant([2.0, 4.0])))
        3.0

    References:
        Watkins, Dayan. "Q-learning", 1992.
    """
    return tf.stop_gradient(r_t + discount_t * tf.reduce_max(q_t, axis=-1))


def double_q_target(
    r_t: tf.Tensor, discount_t: tf.Tensor, q_t_value: tf.Tensor, q_t_selector: tf.Tensor
) -> tf.Tensor:
    """Lets one network choose the next action and another one judge it.

    r_t + discount_t · q_t_value[argmax_a q_t_selector[a]]. The maximum of noisy values is too high
    on average; a second opinion takes that bias away.

    Args:
        r_t: Reward, float `[...]`.
        discount_t: Discount in [0, 1], float `[...]`.
        q_t_value: Values of the network that judges, float `[..., A]`.
        q_t_selector: Values of the network that chooses, float `[..., A]`, forbidden ones masked.

    Returns:
        Float `[...]`, without gradient.

    Example:
        >>> value, selector = tf.constant([5.0, 1.0]), tf.constant([0.0, 9.0])
        >>> float(double_q_target(tf.constant(1.0), tf.constant(1.0), value, selector))
        2.0

    References:
        van Hasselt, Guez, Silver. "Deep Reinforcement Learning with Double Q-learning", 2015,
        equation 4. https://arxiv.org/abs/1509.06461
    """
    best = tf.argmax(q_t_selector, axis=-1, output_type=tf.int32)
    return tf.stop_gradient(r_t + discount_t * chosen(q_t_value, best))


def squared_td_error(value_tm1: tf.Tensor, target_t: tf.Tensor) -> tf.Tensor:
    """Measures how far a value is from its target: ½ (target − value)².

    Args:
        value_tm1: Value of what was done, float `[...]`.
        target_t: What it should have been, float `[...]`. Receives no gradient.

    Returns:
        Float `[...]`; its gradient in `value_tm1` is value − target.

    Example:
        >>> float(squared_td_error(tf.constant(1.0), tf.constant(4.0)))
        4.5
    """
    return 0.5 * tf.square(tf.stop_gradient(target_t) - value_tm1)


def vdn_sum(values: tf.Tensor) -> tf.Tensor:
    """Adds the agents' values up to the team's: Q_tot = Σᵢ Qᵢ.

    Each agent's best action is then part of the team's best action.

    Args:
        values: Value of each agent's action, float `[..., N]`.

    Returns:
        Float `[...]`.

    Example:
        >>> float(vdn_sum(tf.constant([1.0, 2.5])))
        3.5

    References:
        Sunehag et al. "Value-Decomposition Networks For Cooperative Multi-Agent Learning", 2017,
        equation 1. https://arxiv.org/abs/1706.05296
    """
    return tf.reduce_sum(values, axis=-1)


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
