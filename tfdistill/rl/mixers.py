"""From the agents' values to the team's: a sum (VDN) or a learned monotonic function (QMIX).

Both keep the one property that lets each agent act alone: what is best for an agent's own value is
best for the team's, because the team's value never falls when an agent's rises.
"""

from __future__ import annotations

import keras
import tensorflow as tf

from tfdistill.rl.qlearning import vdn_sum

__all__ = ["MonotonicMixer", "SumMixer"]


@keras.saving.register_keras_serializable(package="tfdistill")
class SumMixer(keras.layers.Layer):
    """Adds the agents' values up (VDN).

    Example:
        >>> mixer = SumMixer()
        >>> float(mixer(tf.constant([[1.0, 2.0]]), tf.zeros((1, 3)))[0])
        3.0
    """

    def __init__(self, *, seed: int = 0, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.seed = seed

    def build(self, values_shape: tuple, state_shape: tuple) -> None:
        """Makes nothing: a sum has no weights."""

    def call(self, values: tf.Tensor, state: tf.Tensor) -> tf.Tensor:
        """Returns the team's value, float `[B]`, of agents' values `[B, N]`; `state` is unused."""
        return vdn_sum(values)


@keras.saving.register_keras_serializable(package="tfdistill")
class MonotonicMixer(keras.layers.Layer):
    """Mixes the agents' values by a network whose weights the state decides (QMIX).

    Q_tot = elu(q · |W₁(s)| + b₁(s)) · |w₂(s)| + b₂(s). The absolute values make ∂Q_tot/∂qᵢ ≥ 0;
    the biases may have any sign.

    Args:
        hidden_dim: Width E of the mixing network; 32 in the paper.
        seed: Seed of its weights.

    Example:
        >>> mixer = MonotonicMixer(hidden_dim=4)
        >>> mixer(tf.zeros((5, 2)), tf.zeros((5, 3))).shape
        TensorShape([5])

    References:
        Rashid et al. "QMIX: Monotonic Value Function Factorisation for Deep Multi-Agent
        Reinforcement Learning", 2018, section 4. https://arxiv.org/abs/1803.11485
    """

    def __init__(self, *, hidden_dim: int = 32, seed: int = 0, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.hidden_dim, self.seed = hidden_dim, seed

    def build(self, values_shape: tuple, state_shape: tuple) -> None:
        """Makes the networks that make the weights."""
        width = self.hidden_dim
        self.first_weights = self._dense(values_shape[-1] * width, 0)
        self.first_bias = self._dense(width, 1)
        self.second_weights = self._dense(width, 2)
        hidden = self._dense(width, 3, activation="relu")
        self.second_bias = keras.Sequential([hidden, self._dense(1, 4)])
        for network in (self.first_weights, self.first_bias, self.second_weights, self.second_bias):
            network.build(state_shape)

    def call(self, values: tf.Tensor, state: tf.Tensor) -> tf.Tensor:
        """Returns the team's value.

        Args:
            values: Value of each agent's action, float `[B, N]`.
            state: What the whole team knows, float `[B, S]`.

        Returns:
            Float `[B]`.
        """
        shape = (-1, values.shape[-1], self.hidden_dim)
        first = tf.reshape(tf.abs(self.first_weights(state)), shape)
        hidden = tf.einsum("bn,bne->be", values, first) + self.first_bias(state)
        second = tf.abs(self.second_weights(state))
        mixed = tf.reduce_sum(_elu(hidden) * second, axis=-1)
        return mixed + tf.squeeze(self.second_bias(state), axis=-1)

    def get_config(self) -> dict:
        """Returns the settings, for files."""
        return {**super().get_config(), "hidden_dim": self.hidden_dim, "seed": self.seed}

    def _dense(self, units: int, number: int, **settings: object) -> keras.layers.Dense:
        start = keras.initializers.GlorotUniform(seed=self.seed * 8 + number)
        return keras.layers.Dense(units, kernel_initializer=start, **settings)


def _elu(x: tf.Tensor) -> tf.Tensor:
    # Not tf.nn.elu: the optimizer of nested loops prints an error about its gradient (2.21).
    return tf.where(x > 0, x, tf.exp(tf.minimum(x, 0.0)) - 1.0)
