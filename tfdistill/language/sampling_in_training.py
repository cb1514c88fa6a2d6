"""Samples text from a language model during training: many rows at once, with a KV cache.

Sequence-level distillation trains the student on samples of the teacher, on-policy distillation on
its own samples, which the teacher scores. A finished student generates text with
`tfdistill.agents.Generator`, without TensorFlow.

References:
    Kim, Rush. "Sequence-Level Knowledge Distillation", 2016. https://arxiv.org/abs/1606.07947
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdistill.arguments import check_int
from tfdistill.language.model import causal_parts

__all__ = ["Sampler", "sample"]


class Sampler:
    """Continues rows of token ids with a language model; keeps its cache between calls.

    The weights are read at each call, so the samples are those of the student at that step.

    Args:
        model: A language model of this package.
        rows: Number of rows B sampled at once.
        prompt_length: Ids of each row that are given, P.
        num_tokens: Ids of each row that are sampled.

    Attributes:
        rows: Number of rows sampled at once.

    Raises:
        TypeError: If `model` is not a Keras 3 model.
        ValueError: If it is not a language model of this package.
    """

    def __init__(
        self, model: keras.Model, *, rows: int, prompt_length: int, num_tokens: int
    ) -> None:
        self._parts = causal_parts(model)
        self.rows = rows
        self._shape = (rows, prompt_length)
        self._num_tokens = num_tokens
        blocks, groups, head_dim = self._parts.cache_shape
        shape = (rows, groups, prompt_length + num_tokens, head_dim)
        self._keys = [tf.Variable(tf.zeros(shape), trainable=False) for _ in range(blocks)]
        self._values = [tf.Variable(tf.zeros(shape), trainable=False) for _ in range(blocks)]
        self._run = tf.function(self._sample, autograph=False, reduce_retracing=True)

    def __call__(self, prompts: Any, *, temperature: float = 1.0, seed: int = 0) -> tf.Tensor:
        """Samples one continuation of each prompt.

        Args:
            prompts: Token ids, int `[B, P]`, P at least 1.
            temperature: 0 takes the most probable token, 1 samples what the model believes.
            seed: Seed of the samples; equal seeds give equal rows.

        Returns:
            int32 `[B, num_tokens]`, without the prompts.

        Raises:
            ValueError: If the prompts have another shape or `temperature` is below 0.
        """
        prompts = tf.cast(prompts, tf.int32)
        if tuple(prompts.shape) != self._shape:
            raise ValueError(
                f"`prompts` must have the shape {self._shape} that the sampler was made for. "
                f"Received: prompts of shape {tuple(prompts.shape)}."
            )
        if temperature < 0:
            raise ValueError(
                f"`temperature` must be at least 0. Received: temperature={temperature!r}. "
                "0 takes the most probable token each time."
            )
        return self._run(prompts, tf.constant(temperature, tf.float32), tf.constant(seed))

    def _sample(self, prompts: tf.Tensor, temperature: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        written = tf.TensorArray(tf.int32, self._num_tokens)
        token = self._next(prompts, tf.constant(0), temperature, seed)
        written = written.write(0, token)

        def body(index: tf.Tensor, token: tf.Tensor, written: Any) -> tuple[Any, Any, Any]:
            position = self._shape[1] + index - 1
            token = self._next(token[:, None], position, temperature, seed)
            return index + 1, token, written.write(index, token)

        _, _, written = tf.while_loop(
            lambda index, *_: index < self._num_tokens,
            body,
            (tf.constant(1), token, written),
            shape_invariants=(
                tf.TensorSpec([], tf.int32),
                tf.TensorSpec([self._shape[0]], tf.int32),
                tf.TensorSpec(None, tf.variant),
            ),
        )
        return tf.transpose(written.stack())

    def _next(
        self, ids: tf.Tensor, position: tf.Tensor, temperature: tf.Tensor, seed: tf.Tensor
    ) -> tf.Tensor:
        """Reads ids at a position on, and draws the token behind them."""
        steps = ids.shape[1]
        states, new_keys, new_values = self._parts.extend(
            ids, positions=position + tf.range(steps), keys=self._keys, values=self._values
        )
        logits = tf.cast(self._parts.table(states[:, -1], reverse=True), tf.float32)
        # After all reads: TensorFlow copies a whole variable that is written while it is read.
        with tf.control_dependencies([logits]):
            for stores, rows in ((self._keys, new_keys), (self._values, new_values)):
                for store, new in zip(stores, rows, strict=True):
                    store[:, :, position : position + steps].assign(new)
        softened = logits / tf.maximum(temperature, 1e-6)
        drawn = tf.random.stateless_categorical(
            softened, 1, seed=tf.stack([seed, position + steps]), dtype=tf.int32
        )[:, 0]
        greedy = tf.argmax(logits, axis=-1, output_type=tf.int32)
        return tf.where(temperature > 0, drawn, greedy)


def sample(
    model: keras.Model,
    prompts: Any,
    *,
    num_tokens: int,
    temperature: float = 1.0,
    seed: int = 0,
    batch_size: int = 64,
) -> np.ndarray:
    """Continues many prompts of one length.

    Args:
        model: A language model of this package, a teacher or a student.
        prompts: Token ids, int `[B, P]`.
        num_tokens: Ids to sample behind each, an int of at least 1.
        temperature: 0 takes the most probable token, 1 samples what the model believes.
        seed: Seed of the samples.
        batch_size: Rows sampled at once. The samples depend on it.

    Returns:
        int32 `[B, P + num_tokens]`, the prompts included.

    Raises:
        TypeError: If `model` is not a Keras 3 model or `num_tokens` is no int.
        ValueError: If an argument is out of range or the model not one of this package.

    Example:
        >>> from tfdistill.students.decoder_lm import causal_lm
        >>> model = causal_lm(vocabulary_size=9, num_layers=1, hidden_dim=4, num_heads=1,
        ...                   intermediate_dim=4, seed=0)
        >>> sample(model, [[1], [2], [3]], num_tokens=4, batch_size=2).shape
        (3, 5)
    """
    prompts = np.asarray(prompts, np.int32)
    if prompts.ndim != 2 or not prompts.size:
        raise ValueError(
            "`prompts` must be token ids of shape (rows, length), at least one of each. "
            f"Received: prompts of shape {prompts.shape}. Start with the id of a first token."
        )
    check_int(num_tokens, argument="num_tokens", at_least=1)
    rows = min(batch_size, len(prompts))
    sampler = Sampler(model, rows=rows, prompt_length=prompts.shape[1], num_tokens=num_tokens)
    written = []
    for number, start in enumerate(range(0, len(prompts), rows)):
        batch = prompts[start : start + rows]
        padded = np.concatenate([batch, np.repeat(batch[-1:], rows - len(batch), axis=0)])
        new = sampler(padded, temperature=temperature, seed=seed * 100_003 + number)
        written.append(new.numpy()[: len(batch)])
    return np.concatenate([prompts, np.concatenate(written)], axis=1)
