"""What an agent of a team under a budget sees: its own chances, and what its peers told it."""

from __future__ import annotations

import tensorflow as tf

__all__ = ["gains", "resources", "team_features"]


def gains(
    now: tf.Tensor, last: tf.Tensor, closed: tf.Tensor, *, size: tf.Tensor | None = None
) -> tf.Tensor:
    """Computes what one call to the last tier is expected to add to the score of its request.

    All or nothing: Π over the others of P(right) times (P(last right) − P(right)). With a mean: the
    difference alone, divided by the number of sub-tasks. 0 where nothing is open.

    Args:
        now: P(right) of each answer, 1 where there is no sub-task, float `[B, N]`.
        last: P(right) of the last tier, likewise.
        closed: 0 where the sub-task is open, int32 `[B, N]`.
        size: Number of sub-tasks if the score is their mean, float `[B]`; None if it is all or
            nothing.

    Returns:
        float `[B, N]`.

    Example:
        >>> both = tf.constant([[0.5, 0.8]])
        >>> gains(both, both + 0.1, tf.zeros((1, 2), tf.int32)).numpy().round(3)
        array([[0.08, 0.05]], dtype=float32)
    """
    gain = last - now
    if size is None:
        gain *= tf.reduce_prod(now, axis=1, keepdims=True) / tf.maximum(now, 1e-6)
    else:
        gain /= size[:, None]
    return tf.where(closed == 0, gain, 0.0)


def resources(
    left: tf.Tensor,
    ahead: tf.Tensor,
    progress: tf.Tensor,
    *,
    agents: int,
    calls: int,
    requests: int,
) -> tf.Tensor:
    """Describes what a team has left.

    Args:
        left: Calls that are left, float `[B]`.
        ahead: Requests that share them, the present one included, float `[B]`.
        progress: Rounds of this request that are over, as a fraction, float `[B]`.
        agents: N.
        calls: Calls of a whole batch.
        requests: Requests of a whole batch.

    Returns:
        float `[B, 5]`.

    Example:
        >>> one = tf.constant([1.0])
        >>> resources(one, one, one, agents=2, calls=4, requests=2).numpy().tolist()
        [[0.5, 1.0, 0.25, 0.5, 1.0]]
    """
    ahead, most = tf.maximum(ahead, 1.0), float(agents)
    each = tf.minimum(left / ahead, most) / most * 2
    columns = [tf.minimum(left, most) / most, each, left / calls, ahead / requests, progress]
    return tf.stack(columns, axis=1)


def team_features(
    chances: tf.Tensor,
    tier: tf.Tensor,
    closed: tf.Tensor,
    length: tf.Tensor,
    resources: tf.Tensor,
    *,
    num_tiers: int,
    messages: bool,
    size: tf.Tensor | None = None,
) -> tf.Tensor:
    """Puts together what each agent sees.

    Its own: whether it is open, its tier, P(right) now, by the next and by the last tier and the
    differences, the length, and what is left of the budget. From its peers' messages: their
    P(right) and tiers, the expected gain of its own call in the score of the whole request, how
    many peers have more to gain, whether the calls that are left would reach it after them, and
    the best gain per call that the team could have.

    Args:
        chances: P(right) now, of the next tier and of the last, float `[B, N, 3]`.
        tier: int32 `[B, N]`.
        closed: int32 `[B, N]`.
        length: Of the texts, scaled, float `[B, N]`.
        resources: Of the team, float `[B, 5]`; the first is the number of calls left by N, at
            most 1.
        num_tiers: M.
        messages: Whether peers are heard.
        size: Number of sub-tasks if the score is their mean, float `[B]`; None if it is all or
            nothing.

    Returns:
        float `[B, N, O]`.
    """
    agents = tier.shape[1]
    now, following, last = tf.unstack(chances, axis=-1)
    is_open = tf.cast(closed == 0, tf.float32)
    own = [is_open, now, following - now, last - now, _log_odds(now), _log_odds(last), length]
    features = [
        tf.stack(own, axis=-1),
        tf.one_hot(tier, num_tiers),
        tf.repeat(resources[:, None], agents, axis=1),
    ]
    if messages:
        gain = gains(now, last, closed, size=size)
        ratio = tf.math.log(tf.maximum(last, 1e-6) / tf.maximum(now, 1e-6))
        order = ratio if size is None else last - now
        order = tf.where(closed == 0, order, -1e9)
        better = tf.reduce_sum(tf.cast(order[:, None] > order[..., None], tf.float32), axis=-1)
        reached = tf.cast(better < resources[:, :1] * agents - 0.5, tf.float32)
        each = _gain_per_call(now, last, closed, size)
        heard = tf.concat([now, tf.cast(tier, tf.float32) / num_tiers, is_open], axis=1)
        told = [gain * 4, better / agents, reached, *(tf.zeros_like(gain) + e for e in each)]
        features += [tf.stack(told, axis=-1), tf.repeat(heard[:, None], agents, axis=1)]
    return tf.concat(features, axis=-1)


def _gain_per_call(
    now: tf.Tensor, last: tf.Tensor, closed: tf.Tensor, size: tf.Tensor | None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the chance of the request, and the best mean gain of its k best calls, `[B, 1]`."""
    count = now.shape[1]
    calls = tf.range(1, count + 1, dtype=tf.float32)
    is_open = closed == 0
    if size is None:
        ratio = tf.math.log(tf.maximum(last, 1e-6) / tf.maximum(now, 1e-6))
        ratio = tf.sort(tf.where(is_open, ratio, 0.0), axis=1, direction="DESCENDING")
        chance = tf.reduce_prod(now, axis=1, keepdims=True)
        # Sums of logarithms: TFLite has no operation for products that run.
        sums = chance * tf.math.exp(tf.math.cumsum(ratio, axis=1))
        return chance, tf.reduce_max((sums - chance) / calls, axis=1, keepdims=True) * 4
    gain = tf.where(is_open, last - now, 0.0)
    return tf.reduce_mean(now, axis=1, keepdims=True), tf.reduce_max(gain, axis=1, keepdims=True)


def _log_odds(p: tf.Tensor) -> tf.Tensor:
    kept = tf.clip_by_value(p, 1e-3, 1 - 1e-3)
    return tf.math.log(kept / (1 - kept)) / 4
