"""The networks of a team: each agent's values of its actions, and the mixer of all agents' values.

The mixer is a sum (VDN) or a learned monotonic function (QMIX). Both keep the one property that
lets each agent act alone: what is best for an agent's own value is best for the team's, because the
team's value never falls when an agent's rises.
"""

from __future__ import annotations

import keras
import tensorflow as tf

from tfdistill.rl.learners.equations import vdn_sum

__all__ = ["AgentNetworks", "MonotonicMixer", "SumMixer"]


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


@keras.saving.register_keras_serializable(package="tfdistill")
class AgentNetworks(keras.layers.Layer):
    """Values every agent's actions by two hidden layers, shared by all agents or one set each.

    A shared network is told which agent it speaks for by a one-hot number beside the observation:
    N agents learn from each other's experience at the size of one.

    Args:
        num_actions: A.
        hidden_dim: Width of both hidden layers.
        shared: Whether the agents share one network.
        seed: Seed of the weights.

    Example:
        >>> networks = AgentNetworks(num_actions=3, hidden_dim=8)
        >>> networks(tf.zeros((5, 2, 4))).shape
        TensorShape([5, 2, 3])
    """

    def __init__(
        self,
        num_actions: int,
        *,
        hidden_dim: int = 64,
        shared: bool = True,
        seed: int = 0,
        **kwargs: object,
    ) -> None:
        super().__init__(**kwargs)
        self.num_actions, self.hidden_dim = num_actions, hidden_dim
        self.shared, self.seed = shared, seed

    def build(self, shape: tuple) -> None:
        """Makes the weights for observations of shape `[B, N, O]`."""
        _, agents, features = shape
        self.num_agents = agents
        widths = [features + (agents if self.shared else 0), self.hidden_dim, self.hidden_dim]
        sets = 1 if self.shared else agents
        self.kernels, self.biases = [], []
        for index, (ins, outs) in enumerate(
            zip(widths, [self.hidden_dim, self.hidden_dim, self.num_actions], strict=True)
        ):
            # Glorot's limit by hand: Keras would take the agents' axis for a part of the width.
            limit = (6.0 / (ins + outs)) ** 0.5
            start = keras.initializers.RandomUniform(-limit, limit, seed=self.seed * 8 + index)
            self.kernels.append(self.add_weight((sets, ins, outs), start, name=f"kernel_{index}"))
            self.biases.append(self.add_weight((sets, outs), "zeros", name=f"bias_{index}"))

    def call(self, observations: tf.Tensor) -> tf.Tensor:
        """Returns float `[B, N, A]` for observations, float `[B, N, O]`."""
        x = observations
        if self.shared:
            who = tf.eye(self.num_agents, dtype=x.dtype)[None]
            who = tf.tile(who, (tf.shape(x)[0], 1, 1))
            x = tf.concat([x, who], axis=-1)
        for index, (kernel, bias) in enumerate(zip(self.kernels, self.biases, strict=True)):
            if self.shared:
                x = tf.tensordot(x, kernel[0], 1) + bias[0]
            else:
                x = tf.einsum("bni,nio->bno", x, kernel) + bias
            x = tf.nn.relu(x) if index < len(self.kernels) - 1 else x
        return x

    def get_config(self) -> dict:
        """Returns the settings, for files."""
        own = {"hidden_dim": self.hidden_dim, "shared": self.shared, "seed": self.seed}
        return {**super().get_config(), "num_actions": self.num_actions, **own}
