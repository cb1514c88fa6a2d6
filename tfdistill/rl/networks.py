"""The agents' networks: from what an agent sees to the value of each of its actions."""

from __future__ import annotations

import keras
import tensorflow as tf

__all__ = ["AgentNetworks"]


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
